//! Speed and memory side by side with transformers, and with vLLM if asked for, on SmolLM2-135M:
//!
//! `cargo bench -p hint-policy --bench vs_transformers -- run [--model FILE.gguf or FOLDER or qwen2.5-1.5b]
//! [--tasks generate,ragged,train] [--precisions float32,bfloat16] [--runs 5] [--batch 32] [--requests 256] [--rows 16]
//! [--micro-batch 4] [--own-micro-batch 2] [--threads 2] [--device cpu] [--transformers PYTHON] [--vllm PYTHON]
//! [--bandwidth GB/S] [--peak TFLOP/S]`
//!
//! Each side is a process of its own that loads once and then runs in turn with the others. So other load on the
//! machine meets all. The first round is not counted. transformers lives in an environment in the cache folder, made on
//! first use from the torch of `cargo xtask setup`. `--transformers` names the Python of another one, `--vllm` the
//! Python of an environment with vLLM. `qwen2.5-1.5b` has random weights in the shape of that model, kept in the cache
//! folder. Prints a Markdown table of medians; takes hours with the defaults on two cores, most of them in
//! transformers. On a GPU: `--device cuda --batch 256 --rows 64 --micro-batch 32 --own-micro-batch 32`, so that its work is
//! larger than its launches. One side after the other is then started and measured alone, and the column of memory is the
//! device memory in use. On the side of transformers, cuDNN's attention is off and
//! AdamW fused. `--bandwidth` and `--peak` are the limits of the device. The share that decoding (weights and cache are
//! read once per step) and training reach is then printed.
#![expect(clippy::print_stdout, reason = "the table is the output")]
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock and its environment")]

mod ours;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use hint_policy::config::Architecture;
use hint_policy::{CausalLm, LoadOptions, LoadedModel, ModelConfig, Policy};
use serde_json::{Value, json};
use tch::Device;

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
    let model = PathBuf::from(option(args, "--model", &default.to_string_lossy()));
    let folder = if model.is_dir() {
        model
    } else if model.as_os_str() == "qwen2.5-1.5b" {
        random_weights(&cache)?
    } else {
        converted(&model, &cache)?
    };
    let vllm = option(args, "--vllm", "");
    let limits = [("--bandwidth", 1e9), ("--peak", 1e12)].map(|(name, unit)| {
        let limit = option(args, name, "");
        (!limit.is_empty()).then(|| limit.parse::<f64>().map(|limit| limit * unit)).transpose()
    });
    let [bandwidth, peak] = limits;
    let (bandwidth, peak) = (bandwidth?, peak?);
    let number = |name: &str, default: &str| -> Result<usize> {
        Ok(option(args, name, default).parse::<usize>()?)
    };
    let mut settings =
        settings(number("--batch", "32")?, number("--requests", "256")?, number("--rows", "16")?);
    settings["micro_batch"] = number("--micro-batch", "4")?.into();
    settings["own_micro_batch"] = number("--own-micro-batch", "2")?.into();
    settings["threads"] = number("--threads", "2")?.into();
    settings["device"] = option(args, "--device", "cpu").into();
    let runs = number("--runs", "5")?;
    let scripts = tempfile::tempdir()?;
    let script = |name: &str, text: &str| -> Result<PathBuf> {
        let path = scripts.path().join(name);
        std::fs::write(&path, text)?;
        Ok(path)
    };
    let transformers = match option(args, "--transformers", "").as_str() {
        "" => environment(&script("environment.py", include_str!("environment.py"))?)?,
        python => PathBuf::from(python),
    };
    let peer = script("peer.py", include_str!("peer.py"))?;
    let vllm_peer = script("vllm_peer.py", include_str!("vllm_peer.py"))?;
    println!("| task | precision | side | tok/s | least to most | ours is faster by | peak GiB |");
    println!("|---|---|---|---|---|---|---|");
    for task in option(args, "--tasks", "generate,ragged,train").split(',') {
        for precision in option(args, "--precisions", "float32,bfloat16").split(',') {
            let start = |name, command: &mut Command| {
                Peer::start(name, command, &folder, precision, &settings)
            };
            let program = |path: &Path, argument: &Path| {
                let mut command = Command::new(path);
                command.arg(argument);
                command
            };
            let mut sides = vec![
                ("hint-policy", program(&std::env::current_exe()?, Path::new("ours"))),
                ("transformers", program(&transformers, &peer)),
            ];
            if !vllm.is_empty() && task != "train" {
                sides.push(("vLLM", program(Path::new(&vllm), &vllm_peer)));
            }
            // A GPU holds one side at a time, so that its memory is that side's; a CPU all, in turn.
            let at_once = if settings["device"] == "cpu" { sides.len() } else { 1 };
            let mut peers = Vec::new();
            for sides in sides.chunks_mut(at_once) {
                let started = sides.iter_mut().map(|(name, command)| start(name, command));
                let mut started = started.collect::<Result<Vec<_>>>()?;
                // The first round warms every side up.
                for _ in 0..=runs {
                    for peer in &mut started {
                        peer.run(task)?;
                    }
                }
                started.iter_mut().for_each(Peer::stop);
                peers.extend(started);
            }
            let own = peers[0].median();
            for peer in &peers {
                let (median, (least, most)) = (peer.median(), peer.extremes());
                println!(
                    "| {task} | {precision} | {} | {median:.0} | {least:.0} to {most:.0} | {:.2} | {:.2} |",
                    peer.name,
                    own / median,
                    peer.peak,
                );
            }
            // Of the work for a token and the limit on it.
            let shares = [
                ("generate", "bytes_per_token", bandwidth, "bandwidth"),
                ("train", "flop_per_token", peak, "peak FLOP/s"),
            ];
            for (of, work, limit, name) in shares {
                if let (Some(limit), true) = (limit, of == task) {
                    let share = own * peers[0].work[work].as_f64().ok_or("no work")? / limit;
                    println!(
                        "\n{task} in {precision} reaches {:.1} % of the {name}\n",
                        100.0 * share
                    );
                }
            }
        }
    }
    Ok(())
}

/// The folder that holds the weights of a GGUF file in the form that every side reads.
fn converted(gguf: &Path, cache: &Path) -> Result<PathBuf> {
    let folder = cache.join("vs-transformers/smollm2");
    if !folder.join("model.safetensors").is_file() {
        LoadedModel::load(gguf, &LoadOptions::default())?.save(&folder)?;
    }
    Ok(folder)
}

/// A folder of random weights in the shape of Qwen2.5-1.5B.
fn random_weights(cache: &Path) -> Result<PathBuf> {
    let folder = cache.join("vs-transformers/qwen2.5-1.5b");
    if !folder.join("model.safetensors").is_file() {
        let config = ModelConfig {
            hidden_size: 1536,
            intermediate_size: 8960,
            num_hidden_layers: 28,
            num_attention_heads: 12,
            num_key_value_heads: 2,
            head_dim: 128,
            rms_norm_eps: 1e-6,
            rope_theta: 1e6,
            max_position_embeddings: 32_768,
            ..ModelConfig::small(Architecture::Qwen2, 151_936)
        };
        CausalLm::init(&config, 1, Device::Cpu)?.save(&folder)?;
    }
    Ok(folder)
}

/// The same work for every side, from a fixed generator.
fn settings(batch: usize, requests: usize, rows: usize) -> Value {
    let mut state = 1_u64;
    let mut draw = |low: u64, high: u64| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        low + (state >> 33) % (high - low + 1)
    };
    let mut prompt = |len: u64| (0..len).map(|_| draw(100, 40_000)).collect::<Vec<_>>();
    // Eight completions of each prompt.
    let prompts: Vec<_> = (0..batch / 8).map(|_| prompt(86)).flat_map(|p| vec![p; 8]).collect();
    let lens: Vec<u64> = (0..requests as u64).map(|i| 20 + i * 7919 % 381).collect();
    let ragged_prompts: Vec<_> = lens.iter().map(|&len| prompt(len)).collect();
    let ragged_lengths: Vec<u64> = (0..requests as u64).map(|i| 5 + i * 6151 % 196).collect();
    let rows: Vec<_> = (0..rows).map(|_| prompt(512)).collect();
    json!({
        "batch": batch, "lengths": vec![128; prompts.len()], "prompts": prompts,
        "ragged_prompts": ragged_prompts, "ragged_lengths": ragged_lengths, "rows": rows,
    })
}

/// The Python of an environment with transformers and the torch of the setup.
fn environment(script: &Path) -> Result<PathBuf> {
    let output = Command::new("python3").arg(script).stderr(Stdio::inherit()).output()?;
    if output.status.success() {
        return Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim_end()));
    }
    Err(format!("no environment with transformers was made: {}", output.status).into())
}

/// One side: a process that runs a task for each line it is sent.
struct Peer {
    name: &'static str,
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    rates: Vec<f64>,
    peak: f64,
    /// The newest answer.
    work: Value,
}

impl Peer {
    fn start(
        name: &'static str,
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
        Ok(Self { name, child, input, output, rates: Vec::new(), peak: 0.0, work: Value::Null })
    }

    fn run(&mut self, task: &str) -> Result<()> {
        writeln!(self.input, "{task}")?;
        self.input.flush()?;
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            return Err(
                format!("{} ended before it answered; see what it printed", self.name).into()
            );
        }
        let answer: Value = serde_json::from_str(&line)?;
        let field = |name: &str| answer[name].as_f64().ok_or_else(|| format!("no {name}"));
        self.rates.push(field("tokens")? / field("seconds")?);
        self.peak = field("peak_gib")?;
        self.work = answer;
        Ok(())
    }

    /// Tokens per second of the runs except the first, in ascending order.
    fn sorted(&self) -> Vec<f64> {
        let mut rates = self.rates[1..].to_vec();
        rates.sort_by(f64::total_cmp);
        rates
    }

    fn median(&self) -> f64 {
        let rates = self.sorted();
        rates[rates.len() / 2]
    }

    fn extremes(&self) -> (f64, f64) {
        let rates = self.sorted();
        (rates[0], rates[rates.len() - 1])
    }
}

impl Peer {
    fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.stop();
    }
}
