//! `hint-rl`: GRPO and HINT from the command line.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use hint_rl::{
    audit, check_vllm, compare, doctor, evaluate, export, hints, launch, plan, process, report,
    reproduce, show, tasks, tiny, train,
};
use tracing_subscriber::filter::Targets;

/// Reinforcement learning on language models, with hints where a problem is too hard.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Program {
    #[command(subcommand)]
    command: Command,

    /// Log what the libraries do to the standard error: `warn`, `info`, `debug` or `trace`, also by library, such as
    /// `warn,hint_rollout=debug`.
    #[arg(long, global = true, value_name = "LEVEL")]
    log: Option<Targets>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train a policy with one or several methods, by default GRPO and HINT, and compare them without hints.
    Train(Box<train::Options>),
    /// Evaluate a model, or the newest checkpoint of a run, without hints.
    Evaluate(Box<evaluate::Options>),
    /// Run the experiments of HINT's paper with controls, and write a report.
    Reproduce(Box<reproduce::Options>),
    /// Compare presets on the embedded task over several seeds.
    Compare(compare::Options),
    /// Generate hints ahead of training: from the solutions, a teacher, or the policy itself.
    GenerateHints(hints::Options),
    /// Check the reference answers and the hints of a problem file.
    Audit(audit::Options),
    /// Show the content of a model's files, and whether it can be trained.
    Doctor(doctor::Options),
    /// Estimate the time, memory and cost of a step on other machines, from a model's configuration alone.
    Plan(Box<plan::Options>),
    /// Print completions of a run, with their verdicts and rewards.
    Show(show::Options),
    /// Write a model as a Hugging Face folder.
    Export(export::Options),
    /// Report runs from their metrics: the verdict, curves as numbers, seconds by phase.
    Report(report::Options),
    /// Write the problems of a bundled family as JSONL.
    Problems(tasks::write::Options),
    /// Train the embedded model of the bundled families.
    #[command(hide = true)]
    PretrainTasks(tasks::pretrain::Options),
    /// Train the embedded model.
    #[command(hide = true)]
    PretrainTiny(tiny::pretrain::Options),
    /// Compare vLLM servers with the trainer.
    #[command(hide = true)]
    CheckVllm(check_vllm::Options),
}

fn main() -> ExitCode {
    process::tune_process();
    let Program { command, log } = Program::parse();
    process::exit_code(log.map_or(Ok(()), hint_rl::log::install).and_then(|()| run(command)))
}

fn run(command: Command) -> Result<ExitCode> {
    if let Command::Reproduce(_)
    | Command::Evaluate(_)
    | Command::Compare(_)
    | Command::GenerateHints(_)
    | Command::PretrainTasks(_)
    | Command::PretrainTiny(_)
    | Command::CheckVllm(_) = command
    {
        launch::refuse_several()?;
    }
    match command {
        Command::Train(options) => return train::run(*options),
        Command::Reproduce(options) => return reproduce::run(&options),
        Command::Audit(options) => return audit::run(&options),
        Command::Evaluate(options) => evaluate::run(&options)?,
        Command::Compare(options) => compare::run(&options)?,
        Command::GenerateHints(options) => return hints::run(&options),
        Command::Doctor(options) => return doctor::run(&options),
        Command::Plan(options) => plan::run(&options)?,
        Command::Show(options) => show::run(&options)?,
        Command::Export(options) => export::run(&options)?,
        Command::Report(options) => report::run(&options)?,
        Command::Problems(options) => tasks::write::run(&options)?,
        Command::PretrainTasks(options) => tasks::pretrain::run(&options)?,
        Command::PretrainTiny(options) => tiny::pretrain::run(&options)?,
        Command::CheckVllm(options) => check_vllm::run(&options)?,
    }
    Ok(ExitCode::SUCCESS)
}
