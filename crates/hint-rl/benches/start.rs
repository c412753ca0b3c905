//! Seconds from the start of the program to its first sampled token, and to the end of its first training step.
//!
//! ```text
//! cargo bench -p hint-rl --bench start
//! cargo bench -p hint-rl --bench start -- --runs 15 --model model.gguf
//! ```
//!
//! Each run is a new process of the built program, and the clock starts before the process does:
//!
//! | row | ends |
//! |---|---|
//! | first token | with the process of `evaluate`, which samples one token for one problem |
//! | first step | where `train` prints the line of its first step, with the embedded model and GRPO |
//! | that step alone | the time of this step in its line: sampling, update, and weights for the engine |
//!
//! The first token is bounded from above: its time also holds the verdict, the table and the end of the process. The model
//! is read in three forms: as it is named, and as folders in f32 and in bf16. The program exports these before. A further
//! row of the embedded model shows what does not depend on the model's size. A run of training writes its checkpoint before
//! the first step, as by default, and does not evaluate before it. Files are in the page cache, since rows take turns and the
//! first round is not counted. Other work on the machine falsifies the numbers.

#![expect(clippy::print_stdout, reason = "the table is the result")]
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use serde_json::Value;

/// The problem of the evaluation.
const PROBLEM: &str = r#"{"id": "one", "question": "What is 2 + 3?", "answer": "5"}"#;

/// Element types of the exported folders.
const TYPES: [&str; 2] = ["f32", "bf16"];

#[derive(Debug, Parser)]
struct Options {
    /// The model whose first token is awaited.
    #[arg(long, default_value = "smollm2")]
    model: PathBuf,
    /// Counted runs of each row.
    #[arg(long, default_value_t = 7)]
    runs: usize,
    /// A program other than the one that was built.
    #[arg(long)]
    program: Option<PathBuf>,
    /// `cargo bench` passes it.
    #[arg(long, hide = true)]
    bench: bool,
}

/// A row of the table.
struct Row {
    name: String,
    /// Of each round.
    seconds: Vec<f64>,
}

impl Row {
    fn new(name: String) -> Self {
        Self { name, seconds: Vec::new() }
    }

    /// Prints median, least and most, the first round left out.
    fn print(self) {
        let Self { name, seconds } = self;
        let mut counted = seconds.into_iter().skip(1).collect::<Vec<_>>();
        counted.sort_by(f64::total_cmp);
        let (Some(least), Some(most)) = (counted.first(), counted.last()) else { return };
        let median = f64::midpoint(counted[(counted.len() - 1) / 2], counted[counted.len() / 2]);
        println!("| {name} | {median:.3} | {least:.3} to {most:.3} |");
    }
}

/// A model that is evaluated, and the problems that it can read.
struct Evaluated {
    model: PathBuf,
    problems: PathBuf,
}

fn main() -> Result<()> {
    let options = Options::parse();
    ensure!(options.runs > 0, "the first round is not counted, so there has to be one run");
    let built = Path::new(env!("CARGO_BIN_EXE_hint-rl"));
    let program = options.program.as_deref().unwrap_or(built);
    let folder = tempfile::tempdir()?;
    let problems = folder.path().join("one.jsonl");
    std::fs::write(&problems, format!("{PROBLEM}\n"))?;

    let name = options.model.display();
    let mut rows = vec![Row::new(format!("first token of {name}"))];
    let mut evaluated =
        vec![Evaluated { model: options.model.clone(), problems: problems.clone() }];
    for kind in TYPES {
        let model = folder.path().join(kind);
        export(program, &options.model, kind, &model)?;
        rows.push(Row::new(format!("first token of {name}, a folder in {kind}")));
        evaluated.push(Evaluated { model, problems: problems.clone() });
    }
    rows.push(Row::new("first token of the embedded model".to_owned()));
    // Its tokenizer knows no other questions.
    evaluated.push(Evaluated { model: "tiny".into(), problems: "swaps".into() });
    rows.push(Row::new("first step of the embedded model".to_owned()));
    rows.push(Row::new("that step alone".to_owned()));

    for _ in 0..=options.runs {
        let mut seconds = Vec::new();
        for Evaluated { model, problems } in &evaluated {
            seconds.push(first_token(program, model, problems)?);
        }
        seconds.extend(first_step(program)?);
        rows.iter_mut().zip(seconds).for_each(|(row, seconds)| row.seconds.push(seconds));
    }
    println!("| from the start of the program to | seconds | least to most |\n|---|---|---|");
    rows.into_iter().for_each(Row::print);
    Ok(())
}

/// Writes the model as a folder, with weights of the element type `kind`.
fn export(program: &Path, model: &Path, kind: &str, out: &Path) -> Result<()> {
    let mut command = Command::new(program);
    command.args(["export", "--dtype", kind, "--model"]).arg(model).arg("--out").arg(out);
    let status = command.stdout(Stdio::null()).status()?;
    ensure!(status.success(), "the model was not written: {status}");
    Ok(())
}

/// Seconds of an evaluation of one token.
fn first_token(program: &Path, model: &Path, problems: &Path) -> Result<f64> {
    let mut command = Command::new(program);
    command
        .args(["evaluate", "--quiet", "--held-out", "1", "--samples", "1", "--no-greedy"])
        .args(["--max-completion-len", "1", "--model"])
        .arg(model)
        .arg("--problems")
        .arg(problems)
        .stdout(Stdio::null());
    let started = Instant::now();
    let status = command.status()?;
    let seconds = started.elapsed().as_secs_f64();
    ensure!(status.success(), "the evaluation failed: {status}");
    Ok(seconds)
}

/// Seconds until the first step of a training run has ended, and those of the step alone.
fn first_step(program: &Path) -> Result<[f64; 2]> {
    let folder = tempfile::tempdir()?;
    let mut command = Command::new(program);
    command
        .args(["train", "--method", "grpo", "--quiet", "--json", "--model", "tiny"])
        .args(["--held-out", "1", "--set", "evaluation.at_start=false"])
        // An evaluation follows the last step, before its line.
        .args(["--steps", "2", "--out"])
        .arg(folder.path().join("run"))
        .stdout(Stdio::piped());
    let started = Instant::now();
    let mut child = command.spawn()?;
    let output = BufReader::new(child.stdout.take().context("the program has no output")?);
    let mut first = None;
    // The program ends by itself, which takes its whole output to be read.
    for line in output.lines() {
        let line = line?;
        let seconds = started.elapsed().as_secs_f64();
        let values = serde_json::from_str::<Value>(&line)
            .with_context(|| format!("a step is printed as JSON, and not as `{line}`"))?;
        if first.is_none() && values["step"] == 1 {
            let alone = values["timings"]["step_time"].as_f64();
            first = Some([seconds, alone.with_context(|| format!("no `step_time` in {line}"))?]);
        }
    }
    let status = child.wait()?;
    ensure!(status.success(), "the run failed: {status}");
    first.context("the run printed no first step")
}
