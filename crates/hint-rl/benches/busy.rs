//! Seconds per training step alone and beside busy processes, by how the threads of the program wait.
//!
//! ```text
//! cargo bench -p hint-rl --bench busy
//! cargo bench -p hint-rl --bench busy -- --steps 6 --problems problems.jsonl
//! ```
//!
//! Compares the program's own setting with libgomp's default, with sleeping threads and with one thread. Other
//! work on the machine falsifies it. Times are medians of the steps after the first one.

#![expect(clippy::print_stdout, reason = "the table is the result")]

use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use clap::Parser;

/// A name, and the environment and options with which the program is started.
type Way = (&'static str, &'static [(&'static str, &'static str)], &'static [&'static str]);

/// Waiting of threads: the program's own way, and the ways that it has to match.
const WAYS: [Way; 4] = [
    ("hint-rl as it is", &[], &[]),
    ("threads spin, as libgomp has it", &[("GOMP_SPINCOUNT", "300000")], &[]),
    ("threads sleep", &[("OMP_WAIT_POLICY", "passive")], &[]),
    ("one thread", &[], &["--threads", "1"]),
];

#[derive(Debug, Parser)]
struct Options {
    /// The model.
    #[arg(long, default_value = "smollm2")]
    model: String,
    /// The problems.
    #[arg(long, default_value = "swaps")]
    problems: String,
    /// Steps of each run; the first is not counted.
    #[arg(long, default_value_t = 4)]
    steps: usize,
    /// Tokens of a completion at most.
    #[arg(long, default_value_t = 32)]
    tokens: usize,
    /// Most busy processes beside a run.
    #[arg(long, default_value_t = 2)]
    busy: usize,
    /// A program other than the one that was built.
    #[arg(long)]
    program: Option<String>,
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
    let columns = 0..=options.busy;
    let heads = columns.clone().map(|count| format!(" beside {count} busy |"));
    println!("| seconds per step |{}", heads.collect::<String>());
    println!("|---|{}", "---|".repeat(options.busy + 1));
    // Column by column, so that the ways of one column are measured next to each other.
    let mut table = vec![Vec::new(); WAYS.len()];
    for count in columns {
        let _busy = (0..count).map(|_| Busy::start()).collect::<Result<Vec<_>>>()?;
        for (row, way) in table.iter_mut().zip(&WAYS) {
            row.push(seconds(&options, way)?);
        }
    }
    for (row, (name, ..)) in table.iter().zip(&WAYS) {
        let cells = row.iter().map(|seconds| format!(" {seconds:.2} |"));
        println!("| {name} |{}", cells.collect::<String>());
    }
    let best = |column: usize| table.iter().skip(1).map(|row| row[column]).fold(f64::MAX, f64::min);
    let ratios = table[0].iter().enumerate().map(|(at, own)| format!(" {:.2} |", own / best(at)));
    println!("| hint-rl over the best of the others |{}", ratios.collect::<String>());
    Ok(())
}

/// The median time of the steps after the first.
fn seconds(options: &Options, (_, variables, flags): &Way) -> Result<f64> {
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
    let mut times = times(&out.join("grpo/timings.jsonl"))?;
    ensure!(times.len() == options.steps, "{} of {} steps were timed", times.len(), options.steps);
    times.remove(0);
    times.sort_by(f64::total_cmp);
    Ok(f64::midpoint(times[(times.len() - 1) / 2], times[times.len() / 2]))
}

/// The seconds of each step.
fn times(path: &Path) -> Result<Vec<f64>> {
    let text = std::fs::read_to_string(path).context("the run keeps its timings")?;
    let mut times = Vec::new();
    for line in text.lines() {
        let timing = serde_json::from_str::<serde_json::Value>(line)?;
        if timing["step"].as_u64().is_some_and(|step| step > 0) {
            let seconds = timing["step_time"].as_f64();
            times.push(seconds.with_context(|| format!("no `step_time` in {line}"))?);
        }
    }
    Ok(times)
}
