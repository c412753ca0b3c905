//! Trains a policy with plain GRPO and with HINT from the same weights and seed, and compares them
//! on held-out problems without hints.
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

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Parser;
use hint_examples::dry_run::dry_run;
use hint_examples::engine::engine;
use hint_examples::memory::peak_memory;
use hint_examples::options::{Method, Options, Settings};
use hint_examples::progress::Progress;
use hint_examples::summary::{RunSummary, Summary};
use hint_examples::workload::{Assembly, Workload};
use hint_grpo::{GrpoConfig, Outcome, RunDir, SupervisedTrainer, Trainer};
use hint_policy::SharedPolicy;

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "the output of a program")]
fn main() -> Result<()> {
    let options = Options::parse();
    let (only_print, only_try) = (options.print_config, options.dry_run);
    let settings = options.resolve()?;
    if only_print {
        print!("{}", settings.config_toml()?);
        return Ok(());
    }
    hint_policy::keep_freed_memory();
    if let Some(threads) = settings.threads {
        tch::set_num_threads(threads);
    }
    let stop = stop_on_ctrl_c()?;
    let workload = Workload::load(&settings.source()?)?
        .with_lora(settings.lora.clone())
        .with_gradient_checkpointing(settings.gradient_checkpointing);
    let (train, held_out) = (workload.train.len(), workload.held_out.len());
    let (model, problems) = (&settings.model, &settings.problems);
    eprintln!("{model} on {problems}: {train} problems to train on, {held_out} held out");
    if let Some(line) = workload.audit() {
        eprintln!("{line}");
    }
    if only_try {
        for &method in &settings.methods {
            println!("{}:\n{}", method.name(), dry_run(method, &settings, &workload)?);
        }
        println!("nothing was trained, nothing was written");
        return Ok(());
    }
    eprintln!("writing to {}", settings.out.display());
    let mut summary = Summary::default();
    for &method in &settings.methods {
        let Some(run) = train_method(method, &settings, &workload, &stop)? else {
            eprintln!("stopped; go on with: --resume {}", settings.out.display());
            return Ok(());
        };
        summary.runs.push(run);
    }
    println!("{}", summary.table());
    summary.write(&settings.out.join("summary.json"))
}

/// Runs one method to its end; `None` when it was stopped before.
#[expect(clippy::print_stderr, reason = "the output of a program")]
fn train_method(
    method: Method,
    settings: &Settings,
    workload: &Workload,
    stop: &Arc<AtomicBool>,
) -> Result<Option<RunSummary>> {
    let config = settings.config(method);
    let (seed, steps) = (config.run.seed, config.run.steps);
    let dir = settings.out.join(method.name());
    let assembly = workload
        .assemble(&config, |policy, stop_tokens| engine(settings, policy, stop_tokens, &dir))?;
    eprintln!("{}", assembly.report);
    // Not before the model is there: a mistyped name leaves no folder behind.
    settings.save()?;
    let run_dir = open(&dir, &config, settings.from_step)?;
    let progress = Progress::new(method.name(), steps, Arc::clone(stop));
    let outcome = match method {
        Method::Sft => supervised(config, run_dir, assembly, workload, progress)?,
        Method::Grpo | Method::Hint => {
            policy_gradient(config, run_dir, assembly, workload, progress)?
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
    assembly: Assembly,
    workload: &Workload,
    progress: Progress,
) -> Result<Outcome> {
    let Assembly { policy, base, tokenizer, collector, .. } = assembly;
    let reference = match (config.kl.coef, base) {
        (0.0, _) => None,
        (_, Some(base)) => Some(base),
        _ => Some(SharedPolicy::new(workload.load_model()?.policy)),
    };
    let mut builder = Trainer::builder(policy, collector, config)
        .run_dir(run_dir)
        .held_out(workload.held_out.clone())
        .clock(clock())
        .peak_memory(peak_memory)
        .asset(move |dir| Ok(tokenizer.save(dir)?))
        .observer(progress);
    if let Some(reference) = reference {
        builder = builder.reference(reference);
    }
    Ok(builder.build()?.run(&workload.train)?)
}

fn supervised(
    config: GrpoConfig,
    run_dir: RunDir,
    assembly: Assembly,
    workload: &Workload,
    progress: Progress,
) -> Result<Outcome> {
    let Assembly { policy, tokenizer, format, collector, .. } = assembly;
    let demonstrations = workload.demonstrations(&*format, &tokenizer)?;
    let mut trainer = SupervisedTrainer::builder(policy, config)
        .run_dir(run_dir)
        .held_out(collector, workload.held_out.clone())
        .clock(clock())
        .peak_memory(peak_memory)
        .asset(move |dir| Ok(tokenizer.save(dir)?))
        .observer(progress)
        .build()?;
    Ok(trainer.run(&demonstrations)?)
}

fn clock() -> impl Fn() -> std::time::Duration + Send {
    #[expect(clippy::disallowed_methods, reason = "a program may read the clock")]
    let start = Instant::now();
    move || start.elapsed()
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
