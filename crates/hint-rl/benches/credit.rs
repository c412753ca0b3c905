//! Seconds per training step with hints that teach, relative to GRPO.
//!
//! ```text
//! cargo bench -p hint-rl --bench credit
//! cargo bench -p hint-rl --bench credit -- --model tiny --rounds 5
//! ```
//!
//! The same completions are sampled and trained on, so that only the credit differs. The runs take turns, and the ratio
//! is one of medians over their steps, the first one of each run left out. Other work on the machine falsifies it.

#![expect(clippy::print_stdout, reason = "the table is the result")]

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use clap::Parser;

/// A form of credit, and its settings.
const FORMS: [(&str, &[&str]); 5] = [
    ("GRPO", &["rollout.trigger={ type = \"never\" }"]),
    ("advantage", &[]),
    ("weight", &["loss.credit.form={ type = \"weight\", min = 0.5, max = 2.0 }"]),
    (
        "divergence, policy's top 100",
        &[
            "loss.credit.form={ type = \"divergence\", mix = 0.5, kind = { type = \"jsd\" }, top_k = 100 }",
        ],
    ),
    (
        "divergence, teacher's top 100",
        &[
            "loss.credit.form={ type = \"divergence\", mix = 0.5, kind = { type = \"forward_kl\" }, top_k = 100, \
           support = \"teacher\" }",
        ],
    ),
];

/// The settings of all forms except GRPO.
const TEACH: [&str; 2] =
    ["rollout.trigger={ type = \"always\" }", "rollout.combine={ type = \"teach\" }"];

#[derive(Debug, Parser)]
struct Options {
    /// The model.
    #[arg(long, default_value = "smollm2")]
    model: String,
    /// The problems, which need hints.
    #[arg(long, default_value = "swaps")]
    problems: String,
    /// Steps of each run; the first is not counted.
    #[arg(long, default_value_t = 3)]
    steps: usize,
    /// Runs of each form.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Tokens of a completion at most.
    #[arg(long, default_value_t = 64)]
    tokens: usize,
    /// A program other than the one that was built.
    #[arg(long)]
    program: Option<String>,
    /// `cargo bench` passes it.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let options = Options::parse();
    ensure!(options.steps > 1, "the first step is not counted, so there have to be two");
    let mut seconds = vec![Vec::new(); FORMS.len()];
    for _ in 0..options.rounds {
        for ((name, form), seconds) in FORMS.iter().zip(&mut seconds) {
            let teach: &[&str] = if *name == "GRPO" { &[] } else { &TEACH };
            seconds.extend(run(&options, &[form, teach].concat())?);
        }
    }
    println!("| credit | seconds per step | over GRPO |\n|---|---|---|");
    let medians = seconds.iter_mut().map(|seconds| median(seconds)).collect::<Vec<_>>();
    for ((name, _), median) in FORMS.iter().zip(&medians) {
        println!("| {name} | {median:.2} | {:.2} |", median / medians[0]);
    }
    Ok(())
}

/// The seconds of the steps after the first.
fn run(options: &Options, settings: &[&str]) -> Result<Vec<f64>> {
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("run");
    let tokens = format!("rollout.sampling.max_completion_len={}", options.tokens);
    // Every completion is as long, after any training.
    let length = format!("rollout.sampling.min_completion_len={}", options.tokens);
    let shared = [
        "run.prompts_per_step=2",
        "run.checkpoint_every=0",
        "rollout.group_size=4",
        "rollout_table.every=0",
        "evaluation.at_start=false",
        "loss.hinted_weight=[]",
        // With it every completion has a gradient pass, for any reward.
        "loss.aggregation={ type = \"local_token_mean\" }",
        &tokens,
        &length,
    ];
    let status = Command::new(options.program.as_deref().unwrap_or(env!("CARGO_BIN_EXE_hint-rl")))
        .args(["train", "--method", "grpo", "--quiet", "--held-out", "1"])
        .args(["--model", &options.model, "--problems", &options.problems])
        .args(["--steps", &options.steps.to_string(), "--out"])
        .arg(&out)
        .args(shared.iter().chain(settings).flat_map(|setting| ["--set", setting]))
        .stdout(Stdio::null())
        .status()?;
    ensure!(status.success(), "the program failed: {status}, {settings:?}");
    let text = std::fs::read_to_string(out.join("grpo/timings.jsonl"));
    let mut times = Vec::new();
    for line in text.context("the run keeps its timings")?.lines() {
        let timing = serde_json::from_str::<serde_json::Value>(line)?;
        if timing["step"].as_u64().is_some_and(|step| step > 1) {
            let seconds = timing["step_time"].as_f64();
            times.push(seconds.with_context(|| format!("no `step_time` in {line}"))?);
        }
    }
    ensure!(times.len() + 1 == options.steps, "{} steps were timed", times.len() + 1);
    Ok(times)
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 {
        values[middle]
    } else {
        f64::midpoint(values[middle - 1], values[middle])
    }
}
