//! Trains a policy with plain GRPO and with HINT from the same weights and seed. Compares them on
//! held-out problems without hints.
//!
//! ```text
//! cargo run --release --example hint_grpo
//! cargo run --release --example hint_grpo -- --model path/to/hf-folder --problems problems.jsonl
//! cargo run --release --example hint_grpo -- --method sft --set sft.tokens=all
//! cargo run --release --example hint_grpo -- --dry-run
//! ```
//!
//! Prints a progress display and one table; `--out DIR` keeps metrics, evaluations, checkpoints and
//! `summary.json`. The default takes under three minutes on two CPU cores: GRPO stays where it
//! started, HINT learns to work step by step. `--help` lists the options, which are those of
//! `hint-rl train`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use hint_grpo::Outcome;
use hint_grpo::prelude::*;
use hint_rl::process::{exit_code, keep_freed_memory, tune_process};
use hint_rl::train::{Job, Options, run_with};
use hint_rl::workload::api_key;

/// Trains a policy with plain GRPO and with HINT, and compares them without hints.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Program {
    #[command(flatten)]
    options: Options,
}

fn main() -> ExitCode {
    tune_process();
    // Reads the options and the problems, calls `hint_grpo` for each method, and prints the table.
    exit_code(run_with(Program::parse().options, hint_grpo))
}

/// One run, part by part. Between GRPO and HINT, only `rollout.trigger` of the configuration differs.
fn hint_grpo(job: &mut Job<'_>) -> Result<Outcome> {
    // The policy, on the first GPU if there is one, and its tokenizer.
    let model = job.model()?;
    let (config, workload) = (job.config.clone(), job.workload);
    let policy = model.policy.clone();
    // What samples: the same policy, or vLLM servers.
    let engine = job.engine(&model)?;
    // How problems and hints become prompts: the chat template of the model, if it has one.
    let format = workload.format(&model.tokenizer, model.stop_tokens.clone());
    // What is correct: what `verifier` of the configuration says, a boxed or announced answer that is
    // mathematically equal to the reference unless it says otherwise.
    let rewards = Rewards::configured();
    // Hints for groups that are all wrong: Meta-Hints of the problems, or another `rollout.source`.
    let hints = Hints::configured_with(api_key);

    let parts = Parts { policy, engine, format, rewards, hints };
    // Its folder (a run that is there already continues), held-out problems, clock and display.
    let builder = job.open(Trainer::from_config(config, parts)?)?;
    // The reference of a KL term and a teacher, if the loss asks for them.
    let mut trainer = job.frozen_policies(builder, &model)?.build()?;
    keep_freed_memory(model.report.device);
    // Those whose prompts fit; says how many have hints.
    let problems = job.problems(trainer.collector_mut())?;
    Ok(trainer.run(&problems)?)
}
