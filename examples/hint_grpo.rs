//! Trains a policy with plain GRPO and with HINT from the same weights and seed, and compares them
//! on held-out problems without hints.
//!
//! ```text
//! cargo run --release --example hint_grpo
//! cargo run --release --example hint_grpo -- --model smollm2 --problems gsm-symbolic --steps 10
//! ```
//!
//! Prints a progress display and one table; `--out DIR` keeps metrics, checkpoints and
//! `summary.json`. The default takes under three minutes on two CPU cores: GRPO stays where it
//! started, HINT learns to work step by step. `--help` lists the options.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Parser;
use hint_examples::options::{Method, Options, Settings};
use hint_examples::progress::Progress;
use hint_examples::summary::{RunSummary, Summary};
use hint_examples::workload::{Workload, api_key};
use hint_grpo::{GrpoError, Outcome, RunDir, Trainer};
use hint_policy::SharedPolicy;
use hint_rollout::{Collector, EvaluationOptions, LocalEngine, Problem};

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "the output of a program")]
fn main() -> Result<()> {
    let settings = Options::parse().resolve()?;
    if let Some(threads) = settings.threads {
        tch::set_num_threads(threads);
    }
    let stop = stop_on_ctrl_c()?;
    let workload = Workload::load(&settings)?;
    eprintln!(
        "{} on {}: {} problems to train on, {} held out; writing to {}",
        settings.model,
        settings.problems,
        workload.train.len(),
        workload.held_out.len(),
        settings.out.display()
    );
    if let Some(line) = workload.audit() {
        eprintln!("{line}");
    }
    let mut summary = Summary::default();
    for &method in &settings.methods {
        let Some(run) = train(method, &settings, &workload, &stop)? else {
            eprintln!("stopped; go on with: --resume {}", settings.out.display());
            return Ok(());
        };
        summary.runs.push(run);
    }
    println!("{}", summary.table());
    summary.write(&settings.out.join("summary.json"))
}

/// Runs one method to its end; `None` when it was stopped before.
fn train(
    method: Method,
    settings: &Settings,
    workload: &Workload,
    stop: &Arc<AtomicBool>,
) -> Result<Option<RunSummary>> {
    let config = settings.config(method);
    let model = workload.load_model()?;
    let tokenizer = Arc::new(model.tokenizer);
    let format = workload.format(&tokenizer, model.stop_tokens.clone());
    let policy = SharedPolicy::new(model.policy);
    let engine = LocalEngine::new(policy.clone(), model.stop_tokens);
    let rubric = workload.rubric();
    let mut collector = Collector::new(engine, format, rubric, config.rollout.clone())?
        .with_hints(config.rollout.source.build(api_key)?);

    let dir = settings.out.join(method.name());
    let run_dir = match RunDir::resume(&dir) {
        Err(GrpoError::NoCheckpoint { .. }) => RunDir::create(&dir, &config)?,
        resumed => resumed?,
    };
    let before = accuracy(&mut collector, &workload.held_out, &dir.join("before.json"))?;
    let (seed, steps) = (config.run.seed, config.run.steps);
    #[expect(clippy::disallowed_methods, reason = "a program may read the clock")]
    let start = Instant::now();
    let mut trainer = Trainer::builder(policy, collector, config)
        .run_dir(run_dir)
        .clock(move || start.elapsed())
        .asset(move |dir| Ok(tokenizer.save(dir)?))
        .observer(Progress::new(method.name(), steps, Arc::clone(stop)))
        .build()?;
    if let Outcome::Stopped { .. } = trainer.run(&workload.train)? {
        return Ok(None);
    }
    let file = dir.join("after.json");
    let after = accuracy(trainer.collector_mut(), &workload.held_out, &file)?;
    Ok(Some(RunSummary::read(&dir, method.name(), seed, (before, after))?))
}

/// Share of problems solved greedily and without hints; kept in `file` for a resumed run.
fn accuracy(collector: &mut Collector, problems: &[Problem], file: &Path) -> Result<f64> {
    if let Ok(text) = std::fs::read_to_string(file) {
        return serde_json::from_str(&text).with_context(|| format!("in `{}`", file.display()));
    }
    let sampling = collector.config().sampling.greedy();
    let options = EvaluationOptions { completions_per_problem: 1, sampling, seed: 0 };
    let accuracy = collector.evaluate(problems, &options)?.accuracy();
    std::fs::write(file, format!("{accuracy}\n"))
        .with_context(|| format!("cannot write `{}`", file.display()))?;
    Ok(accuracy)
}

/// A flag that the first Ctrl-C sets; the second one ends the program at once.
#[expect(clippy::exit, clippy::print_stderr, reason = "the signal handler of a program")]
fn stop_on_ctrl_c() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        eprintln!("\nfinishing the step; press Ctrl-C again to stop at once");
    })
    .context("cannot catch Ctrl-C")?;
    Ok(stop)
}
