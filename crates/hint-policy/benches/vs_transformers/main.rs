//! Speed and memory side by side with transformers, on SmolLM2-135M:
//!
//! `cargo bench -p hint-policy --bench vs_transformers -- run [--model FILE.gguf] [--tasks generate,ragged,train]
//! [--precisions float32,bfloat16] [--runs 5] [--requests 256] [--rows 16] [--micro-batch 4]`
//!
//! Both sides are processes of their own that load once and then run in turn, so that other load on the machine meets
//! both. The Python side lives in an environment in the cache folder, made on first use from the torch of
//! `cargo xtask setup`. Prints a Markdown table of medians; takes a quarter of an hour or more with the defaults.
#![expect(clippy::print_stdout, reason = "the table is the output")]
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock and its environment")]

mod ours;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use hint_policy::{LoadOptions, LoadedModel};
use serde_json::{Value, json};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    // `cargo bench` adds `--bench`.
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match args.first().map(String::as_str) {
        Some("run") => compare(&args[1..]),
        Some("ours") => ours::serve(&args[1..]),
        _ => {
            println!("vs_transformers compares with transformers when it is asked to `run`");
            Ok(())
        }
    }
}

fn option(args: &[String], name: &str, default: &str) -> String {
    let at = args.iter().position(|arg| arg == name);
    at.and_then(|at| args.get(at + 1)).map_or(default, String::as_str).to_owned()
}

fn cache() -> Result<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"));
    Ok(base.or_else(home).ok_or("no HOME")?.join("hint-rl"))
}

fn compare(args: &[String]) -> Result<()> {
    let cache = cache()?;
    let default = cache.join("models/SmolLM2-135M-Instruct.Q4_1.gguf");
    let gguf = option(args, "--model", &default.to_string_lossy());
    let folder = cache.join("vs-transformers/smollm2");
    if !folder.join("model.safetensors").is_file() {
        LoadedModel::load(&gguf, &LoadOptions::default())?.save(&folder)?;
    }
    let python = environment(&cache)?;
    let number = |name: &str, default: &str| -> Result<usize> {
        Ok(option(args, name, default).parse::<usize>()?)
    };
    let settings = settings(
        number("--requests", "256")?,
        number("--rows", "16")?,
        number("--micro-batch", "4")?,
        number("--threads", "2")?,
    );
    let runs = number("--runs", "5")?;
    println!(
        "| task | precision | ours tok/s | transformers tok/s | ratio | ours GiB | theirs GiB |"
    );
    println!("|---|---|---|---|---|---|---|");
    for task in option(args, "--tasks", "generate,ragged,train").split(',') {
        for precision in option(args, "--precisions", "float32,bfloat16").split(',') {
            let mut ours = Peer::start(
                Command::new(std::env::current_exe()?).arg("ours"),
                &folder,
                precision,
                &settings,
            )?;
            let script =
                Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/vs_transformers/peer.py");
            let mut theirs =
                Peer::start(Command::new(&python).arg(script), &folder, precision, &settings)?;
            // The first round warms both sides up.
            for _ in 0..=runs {
                ours.run(task)?;
                theirs.run(task)?;
            }
            let ((own, own_peak), (other, other_peak)) = (ours.result(), theirs.result());
            println!(
                "| {task} | {precision} | {own:.0} | {other:.0} | {:.2} | {own_peak:.2} | {other_peak:.2} |",
                own / other
            );
        }
    }
    Ok(())
}

/// The same work for both sides, from a fixed generator.
fn settings(requests: usize, rows: usize, micro_batch: usize, threads: usize) -> Value {
    let mut state = 1_u64;
    let mut draw = |low: u64, high: u64| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        low + (state >> 33) % (high - low + 1)
    };
    let mut prompt = |len: u64| (0..len).map(|_| draw(100, 40_000)).collect::<Vec<_>>();
    // Four prompts, eight completions of each.
    let prompts: Vec<_> = (0..4).map(|_| prompt(86)).flat_map(|p| vec![p; 8]).collect();
    let lens: Vec<u64> = (0..requests as u64).map(|i| 20 + i * 7919 % 381).collect();
    let ragged_prompts: Vec<_> = lens.iter().map(|&len| prompt(len)).collect();
    let ragged_lengths: Vec<u64> = (0..requests as u64).map(|i| 5 + i * 6151 % 196).collect();
    let rows: Vec<_> = (0..rows).map(|_| prompt(512)).collect();
    json!({
        "threads": threads, "batch": 32, "prompts": prompts, "lengths": vec![128; 32],
        "ragged_prompts": ragged_prompts, "ragged_lengths": ragged_lengths,
        "rows": rows, "micro_batch": micro_batch,
    })
}

/// The Python of an environment with transformers and the torch of the set-up.
fn environment(cache: &Path) -> Result<PathBuf> {
    let dir = cache.join("vs-transformers/env");
    let (python, done) = (dir.join("bin/python"), dir.join("complete"));
    if done.is_file() {
        return Ok(python);
    }
    let run = |command: &mut Command| -> Result<()> {
        let status = command.status()?;
        if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}").into()) }
    };
    run(Command::new("python3").args(["-m", "venv"]).arg(&dir))?;
    let pip = |args: &[&str]| {
        run(Command::new(&python).args(["-m", "pip", "install", "--quiet"]).args(args))
    };
    pip(&["--no-deps", "transformers==4.57.1"])?;
    pip(&[
        "numpy",
        "safetensors",
        "tokenizers>=0.22,<=0.23.0",
        "huggingface-hub<1.0",
        "regex",
        "pyyaml",
        "requests",
        "tqdm",
        "packaging",
        "filelock",
    ])?;
    let site = Command::new(&python)
        .args(["-c", "import sysconfig; print(sysconfig.get_paths()['purelib'], end='')"])
        .output()?;
    let torch = cache.join("torch-2.11.0");
    let site = PathBuf::from(String::from_utf8(site.stdout)?);
    std::fs::write(site.join("torch.pth"), format!("{}\n", torch.display()))?;
    std::fs::write(done, "")?;
    Ok(python)
}

/// One side: a process that runs a task for each line it is sent.
struct Peer {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    rates: Vec<f64>,
    peak: f64,
}

impl Peer {
    fn start(
        command: &mut Command,
        folder: &Path,
        precision: &str,
        settings: &Value,
    ) -> Result<Self> {
        let file = std::env::temp_dir().join(format!("vs-{}.json", std::process::id()));
        std::fs::write(&file, settings.to_string())?;
        let mut child = command
            .arg(folder)
            .arg(precision)
            .arg(file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()?;
        let input = child.stdin.take().ok_or("no input")?;
        let output = BufReader::new(child.stdout.take().ok_or("no output")?);
        Ok(Self { child, input, output, rates: Vec::new(), peak: 0.0 })
    }

    fn run(&mut self, task: &str) -> Result<()> {
        writeln!(self.input, "{task}")?;
        self.input.flush()?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        let answer: Value = serde_json::from_str(&line)?;
        let field = |name: &str| answer[name].as_f64().ok_or_else(|| format!("no {name}"));
        self.rates.push(field("tokens")? / field("seconds")?);
        self.peak = field("peak_gib")?;
        Ok(())
    }

    /// Median tokens per second without the first run, and peak memory in GiB.
    fn result(&mut self) -> (f64, f64) {
        let mut rates = self.rates.split_off(1);
        rates.sort_by(f64::total_cmp);
        (rates[rates.len() / 2], self.peak)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
