//! Seconds per training step alone and beside busy processes, by how the threads of the program wait.
//!
//! ```text
//! cargo bench -p hint-rl --bench busy
//! cargo bench -p hint-rl --bench busy -- --steps 6 --problems problems.jsonl
//! cargo bench -p hint-rl --bench busy -- --beside 1 --rounds 4 --skip-spinning
//! ```
//!
//! Compares the program's own setting with libgomp's default, with sleeping threads and with one thread. Two further
//! rows are transformers, with libgomp's default and with sleeping threads. Its step has as many rows and tokens. It
//! samples completions, scores them under a reference policy, and updates the weights by AdamW, in f32. It lives in the
//! environment of hint-policy's benchmark `vs_transformers`. `--transformers PYTHON` names another one, and
//! `--without-transformers` leaves it out. Other work on the machine falsifies the numbers. The rows take turns in `--rounds` rounds, since a shared
//! machine is faster now and slower then. Times are medians of the steps of all rounds, without the first step of
//! each. Beside busy processes, threads that spin take minutes, so their rows are measured in the first round
//! alone. `--skip-spinning` leaves them out there.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the table and its rows are the result"
)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use serde_json::{Value, json};

/// Variables of the environment.
type Variables = &'static [(&'static str, &'static str)];

/// A name, and the environment and options with which the program is started.
type Way = (&'static str, Variables, &'static [&'static str]);

/// Rows whose threads spin.
const SPINNING: [&str; 2] = ["threads spin, as libgomp has it", "transformers"];

/// Waiting of threads: the program's own way, and the ways that it has to match.
const WAYS: [Way; 4] = [
    ("hint-rl as it is", &[], &[]),
    (SPINNING[0], &[("GOMP_SPINCOUNT", "300000")], &[]),
    ("threads sleep", &[("OMP_WAIT_POLICY", "passive")], &[]),
    ("one thread", &[], &["--threads", "1"]),
];

/// The same for transformers.
const PEERS: [(&str, Variables); 2] =
    [(SPINNING[1], &[]), ("transformers, threads sleep", &[("OMP_WAIT_POLICY", "passive")])];

/// The folder of the scripts of the side of transformers.
const SCRIPTS: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../hint-policy/benches/vs_transformers");

/// Completions of a step, a group for each of two problems.
const ROWS: usize = 8;
const GROUP: usize = 4;

#[expect(clippy::struct_excessive_bools, reason = "each is an option of the command line")]
#[derive(Debug, Parser)]
struct Options {
    /// The model.
    #[arg(long, default_value = "smollm2")]
    model: String,
    /// The problems.
    #[arg(long, default_value = "swaps")]
    problems: String,
    /// Steps of each run; the first is not counted.
    #[arg(long, default_value_t = 3)]
    steps: usize,
    /// Rounds in which the rows take turns.
    #[arg(long, default_value_t = 2)]
    rounds: usize,
    /// Tokens of a completion at most.
    #[arg(long, default_value_t = 32)]
    tokens: usize,
    /// Numbers of busy processes beside a run, a column each.
    #[arg(long, value_delimiter = ',', default_values_t = [0, 1, 2])]
    beside: Vec<usize>,
    /// Leaves out threads that spin, where other processes are busy.
    #[arg(long)]
    skip_spinning: bool,
    /// A program other than the one that was built.
    #[arg(long)]
    program: Option<String>,
    /// The Python of an environment with transformers.
    #[arg(long)]
    transformers: Option<PathBuf>,
    /// Leaves transformers out.
    #[arg(long)]
    without_transformers: bool,
    /// Further options of `hint-rl train`.
    #[arg(long)]
    with: Vec<String>,
    /// `cargo bench` passes it.
    #[arg(long, hide = true)]
    bench: bool,
    /// Starts a busy process.
    #[arg(long, hide = true)]
    spin: bool,
}

/// A process that computes until it is dropped.
struct Busy(Child);

impl Busy {
    fn start() -> Result<Self> {
        Ok(Self(Command::new(std::env::current_exe()?).arg("--spin").spawn()?))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        // It may have been ended from outside.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn main() -> Result<()> {
    let options = Options::parse();
    if options.spin {
        let mut number = 1_u64;
        loop {
            number = std::hint::black_box(number.wrapping_mul(6_364_136_223_846_793_005));
        }
    }
    ensure!(options.steps > 1, "the first step is not counted, so there have to be two");
    let heads = options.beside.iter().map(|count| format!(" beside {count} busy |"));
    println!("| seconds per step |{}", heads.collect::<String>());
    println!("|---|{}", "---|".repeat(options.beside.len()));
    let folder = tempfile::tempdir()?;
    let python = (!options.without_transformers).then(|| python(&options)).transpose()?;
    if python.is_some() {
        export(&options, &folder.path().join("model"))?;
    }
    let names = WAYS.iter().map(|(name, ..)| *name).chain(PEERS.iter().map(|(name, _)| *name));
    let names = names.take(if python.is_some() { WAYS.len() + PEERS.len() } else { WAYS.len() });
    let names = names.collect::<Vec<_>>();
    let mut table = vec![Vec::new(); names.len()];
    for &count in &options.beside {
        let _busy = (0..count).map(|_| Busy::start()).collect::<Result<Vec<_>>>()?;
        let mut times = vec![Vec::new(); names.len()];
        let mut work = None;
        for round in 0..options.rounds {
            for (row, name) in names.iter().enumerate() {
                let spins = SPINNING.contains(name) && count > 0;
                if spins && (options.skip_spinning || round > 0) {
                    continue;
                }
                let seconds = match (row.checked_sub(WAYS.len()), &python, work) {
                    (None, ..) => {
                        let (seconds, done) = step(&options, &WAYS[row])?;
                        work.get_or_insert(done);
                        seconds
                    }
                    (Some(peer), Some(python), Some(work)) => {
                        peer_step(&options, python, folder.path(), work, PEERS[peer].1)?
                    }
                    (Some(_), ..) => continue,
                };
                eprintln!("beside {count} busy, {name}: {seconds:.2?}");
                times[row].extend(seconds);
            }
        }
        for (row, times) in table.iter_mut().zip(times) {
            row.push(median(times));
        }
    }
    for (row, name) in table.iter().zip(&names) {
        print_row(name, row.iter().copied());
    }
    let (ours, peers) = table.split_at(WAYS.len());
    let best = |rows: &[Vec<f64>], column: usize| {
        rows.iter().map(|row| row[column]).filter(|time| !time.is_nan()).fold(f64::NAN, f64::min)
    };
    let own = ours[0].iter().enumerate();
    let ratios = own.clone().map(|(at, own)| own / best(&ours[1..], at));
    print_row("hint-rl over the best of its others", ratios);
    if python.is_some() {
        let ratios = own.map(|(at, own)| best(peers, at) / own);
        print_row("the best of transformers over hint-rl", ratios);
    }
    Ok(())
}

fn print_row(name: &str, numbers: impl Iterator<Item = f64>) {
    let cell = |number: f64| {
        if number.is_nan() { "not measured".to_owned() } else { format!("{number:.2}") }
    };
    println!("| {name} | {} |", numbers.map(cell).collect::<Vec<_>>().join(" | "));
}

/// Tokens of a row and of the completion in it, on average.
#[derive(Debug, Clone, Copy)]
struct Work {
    row: usize,
    completion: usize,
}

/// The Python with transformers.
fn python(options: &Options) -> Result<PathBuf> {
    if let Some(python) = &options.transformers {
        return Ok(python.clone());
    }
    let script = Path::new(SCRIPTS).join("environment.py");
    let output = Command::new("python3").arg(script).stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "no environment with transformers: {}", output.status);
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim_end()))
}

/// Writes the model as a folder that transformers reads.
fn export(options: &Options, folder: &Path) -> Result<()> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hint-rl"));
    command.args(["export", "--model", &options.model, "--out"]).arg(folder);
    let status = command.stdout(Stdio::null()).status()?;
    ensure!(status.success(), "the model was not written: {status}");
    Ok(())
}

/// The times of steps of transformers, without the first.
fn peer_step(
    options: &Options,
    python: &Path,
    folder: &Path,
    work: Work,
    variables: Variables,
) -> Result<Vec<f64>> {
    let threads = std::thread::available_parallelism()?.get();
    // The words do not matter; a few at the beginning of a vocabulary are control tokens.
    let tokens =
        |row: usize, len: usize| (0..len).map(|at| 20 + (row + at) % 80).collect::<Vec<_>>();
    let prompt = work.row.saturating_sub(work.completion).max(1);
    let settings = json!({
        "threads": threads, "device": "cpu", "micro_batch": ROWS, "completion": work.completion,
        "prompts": (0..ROWS).map(|row| tokens(row / GROUP, prompt)).collect::<Vec<_>>(),
        "lengths": vec![work.completion; ROWS],
        "rows": (0..ROWS).map(|row| tokens(row, prompt + work.completion)).collect::<Vec<_>>(),
    });
    let file = folder.join("settings.json");
    std::fs::write(&file, settings.to_string())?;
    let mut peer = Command::new(python)
        .arg(Path::new(SCRIPTS).join("peer.py"))
        .arg(folder.join("model"))
        .arg("float32")
        .arg(file)
        .env_remove("OMP_WAIT_POLICY")
        .env_remove("GOMP_SPINCOUNT")
        .env_remove("OMP_NUM_THREADS")
        // As hint-rl has them.
        .env("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    // It ends where its input does.
    let input = peer.stdin.take().context("no input")?;
    { input }.write_all("step\n".repeat(options.steps).as_bytes())?;
    let output = peer.wait_with_output()?;
    ensure!(output.status.success(), "transformers failed: {}", output.status);
    without_first(numbers(&String::from_utf8(output.stdout)?, "seconds")?, options.steps)
}

/// The times of steps without the first, and the work of one.
fn step(options: &Options, (_, variables, flags): &Way) -> Result<(Vec<f64>, Work)> {
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("run");
    let program = options.program.as_deref().unwrap_or(env!("CARGO_BIN_EXE_hint-rl"));
    let mut command = Command::new(program);
    // The main job of the examples is a program without commands.
    if options.program.is_none() {
        command.arg("train");
    }
    let settings = [
        "run.prompts_per_step=2",
        "run.checkpoint_every=0",
        "rollout.group_size=4",
        "rollout_table.every=0",
        "evaluation.at_start=false",
        // With it every completion has a gradient, for any reward.
        "loss.kl.coef=0.01",
    ];
    let status = command
        .args(["--method", "grpo", "--quiet", "--held-out", "1"])
        .args(["--model", &options.model, "--problems", &options.problems])
        .args(["--steps", &options.steps.to_string(), "--out"])
        .arg(&out)
        .args(settings.iter().flat_map(|setting| ["--set", setting]))
        .args(["--set", &format!("rollout.sampling.max_completion_len={}", options.tokens)])
        .args(&options.with)
        .args(*flags)
        .env_remove("OMP_WAIT_POLICY")
        .env_remove("GOMP_SPINCOUNT")
        .env_remove("OMP_NUM_THREADS")
        .envs(variables.iter().copied())
        .stdout(Stdio::null())
        .status()?;
    ensure!(status.success(), "the program failed: {status}");
    let read = |name: &str| {
        std::fs::read_to_string(out.join("grpo").join(name)).context("a run keeps its numbers")
    };
    let times = without_first(numbers(&read("timings.jsonl")?, "step_time")?, options.steps)?;
    let metrics = read("metrics.jsonl")?;
    // Of all steps so far, prompts included.
    let tokens = numbers(&metrics, "num_tokens")?.pop().context("no step was measured")?;
    let lengths = numbers(&metrics, "completions/mean_length")?;
    let steps = lengths.len() as f64;
    let work = Work {
        row: count(tokens / steps / ROWS as f64),
        completion: count(lengths.iter().sum::<f64>() / steps),
    };
    Ok((times, work))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "no row has 2⁵³ tokens, or fewer than none"
)]
fn count(mean: f64) -> usize {
    mean.round() as usize
}

/// The times after the first of `expected`.
fn without_first(mut times: Vec<f64>, expected: usize) -> Result<Vec<f64>> {
    ensure!(times.len() == expected, "{} of {expected} steps were timed", times.len());
    times.remove(0);
    Ok(times)
}

/// The median; not a number without times.
fn median(mut times: Vec<f64>) -> f64 {
    if times.is_empty() {
        return f64::NAN;
    }
    times.sort_by(f64::total_cmp);
    f64::midpoint(times[(times.len() - 1) / 2], times[times.len() / 2])
}

/// A number of each line of JSON, except of the line of step 0.
fn numbers(lines: &str, name: &str) -> Result<Vec<f64>> {
    let mut numbers = Vec::new();
    for line in lines.lines() {
        let values = serde_json::from_str::<Value>(line)?;
        if values["step"] != 0 {
            let number = values[name].as_f64();
            numbers.push(number.with_context(|| format!("no `{name}` in {line}"))?);
        }
    }
    Ok(numbers)
}
