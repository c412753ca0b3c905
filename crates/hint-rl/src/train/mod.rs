//! `hint-rl train`: trains a policy with plain GRPO and with HINT from the same weights and seed, and
//! compares them on held-out problems without hints.
//!
//! ```text
//! cargo run --release --example hint_grpo
//! cargo run --release --example hint_grpo -- --model smollm2 --problems gsm-symbolic --steps 10
//! cargo run --release --example hint_grpo -- --method sft --set supervised.tokens=all
//! cargo run --release --example hint_grpo -- --dry-run
//! ```
//!
//! Prints a progress display and one table; `--out DIR` keeps metrics, evaluations, checkpoints and
//! `summary.json`. The default takes under three minutes on two CPU cores: GRPO stays where it
//! started, HINT learns to work step by step. `--help` lists the options.

mod dry_run;
mod engine;
mod lock;
mod lora;
mod memory;
mod options;
mod summary;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use hint_grpo::{GrpoConfig, Outcome, RunDir, SupervisedTrainer, Trainer};
use hint_policy::runtime::keep_freed_memory;
use hint_process::{StopSignals, clock, peak_memory};
use hint_rollout::RolloutEngine;

use self::dry_run::dry_run;
use self::engine::engine;
pub use self::engine::report_server;
use self::lock::RunLock;
pub use self::options::{Method, Options, Settings};
use self::summary::{RunSummary, Summary};
use crate::process::{catch_signals, set_threads};
use crate::progress::Progress;
use crate::workload::{Model, Workload};

/// Runs the command.
///
/// # Errors
///
/// Options that do not fit together, files that cannot be read or written, a run that fails.
pub fn run(options: Options) -> Result<ExitCode> {
    let (only_print, only_try) = (options.print_config, options.dry_run);
    let stop = catch_signals("finishing the step")?;
    let mut settings = options.resolve()?;
    if only_print {
        say!("{}", settings.config_toml()?.trim_end());
        return Ok(ExitCode::SUCCESS);
    }
    set_threads(settings.threads);
    if only_try {
        dry_run(&settings, |line| say!("{line}"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let workload = settings.workload()?;
    let (train, held_out) = (workload.train.len(), workload.held_out.len());
    let (model, problems) = (&settings.model, &settings.problems);
    let unused = match workload.unused {
        0 => String::new(),
        unused => format!(" ({unused} more of those are left out: `evaluation.max_problems`)"),
    };
    note!("{model} on {problems}: {train} problems to train on, {held_out} held out{unused}");
    if let Some(line) = workload.audit() {
        note!("{line}");
    }
    settings.claim()?;
    note!("writing to {}", settings.out.display());
    let result = train_all(&settings, &workload, &stop);
    if result.is_err() {
        // A folder in which nothing was written is of no use; one with files stays.
        let _ = std::fs::remove_dir(&settings.out);
    }
    result
}

fn train_all(settings: &Settings, workload: &Workload, stop: &StopSignals) -> Result<ExitCode> {
    let mut summary = Summary::default();
    for &method in &settings.methods {
        let Some(run) = train_method(method, settings, workload, stop)? else {
            note!("stopped; continue with: --resume {}", settings.out.display());
            return Ok(stop.exit_code());
        };
        summary.runs.push(run);
    }
    say!("{}", summary.table());
    summary.write(&settings.out.join("summary.json"))?;
    Ok(ExitCode::SUCCESS)
}

/// Runs one method to its end; `None` when it was stopped before.
fn train_method(
    method: Method,
    settings: &Settings,
    workload: &Workload,
    stop: &StopSignals,
) -> Result<Option<RunSummary>> {
    let config = settings.config(method);
    let (seed, steps) = (config.run.seed, config.run.steps);
    let dir = settings.out.join(method.name());
    let model = workload.model(seed)?;
    note!("{}", model.report);
    let engine = engine(settings, &model.policy, model.stop_tokens.clone(), &dir)?;
    // Not before the model is there: a mistyped name leaves no folder behind.
    settings.save()?;
    let _lock = RunLock::take(&dir)?;
    let run_dir = open(&dir, &config, settings.from_step)?;
    if let Some((done, _)) = RunDir::checkpoints(&dir)?.pop()
        && done >= steps
    {
        note!("{}: nothing to do, step {done} of {steps} is done", method.name());
    }
    let progress = Progress::new(method.name(), steps, stop.clone());
    let outcome = match method {
        Method::Sft => supervised(config, run_dir, (model, engine), workload, progress)?,
        Method::Grpo | Method::Hint => {
            policy_gradient(config, run_dir, (model, engine), workload, progress)?
        }
    };
    match outcome {
        Outcome::Stopped { .. } => Ok(None),
        Outcome::Completed => Ok(Some(RunSummary::read(&dir, method.name(), seed, steps)?)),
    }
}

/// Goes on with the run in `dir`, or starts one.
fn open(dir: &Path, config: &GrpoConfig, from_step: Option<u64>) -> Result<RunDir> {
    Ok(match from_step {
        Some(step) => RunDir::resume_at(dir, step)?,
        None => RunDir::resume_or_create(dir, config)?,
    })
}

fn policy_gradient(
    config: GrpoConfig,
    run_dir: RunDir,
    (model, engine): (Model, Box<dyn RolloutEngine>),
    workload: &Workload,
    progress: Progress,
) -> Result<Outcome> {
    let parts = workload.parts(&model, engine);
    let Model { base, tokenizer, .. } = model;
    let reference = if config.loss.kl.coef == 0.0 { None } else { Some(workload.reference(base)?) };
    let mut builder = Trainer::from_config(config, parts)?
        .run_dir(run_dir)
        .held_out(workload.held_out.clone())
        .clock(clock())
        .peak_memory(peak_memory)
        .extra_file(move |dir| Ok(tokenizer.save(dir)?))
        .observer(progress);
    if let Some(reference) = reference {
        builder = builder.reference(reference);
    }
    let mut trainer = builder.build()?;
    // Not before: what was loaded moved into the optimizer's buffers, and leaves its memory to others.
    keep_freed_memory();
    Ok(trainer.run(&workload.train)?)
}

fn supervised(
    config: GrpoConfig,
    run_dir: RunDir,
    (model, engine): (Model, Box<dyn RolloutEngine>),
    workload: &Workload,
    progress: Progress,
) -> Result<Outcome> {
    let demonstrations = workload.demonstrations(&model)?;
    let collector = workload.collector(&model, engine, &config)?;
    let Model { policy, tokenizer, .. } = model;
    let mut trainer = SupervisedTrainer::builder(policy, config)
        .run_dir(run_dir)
        .held_out(collector, workload.held_out.clone())
        .clock(clock())
        .peak_memory(peak_memory)
        .extra_file(move |dir| Ok(tokenizer.save(dir)?))
        .observer(progress)
        .build()?;
    // As above.
    keep_freed_memory();
    Ok(trainer.run(&demonstrations)?)
}
