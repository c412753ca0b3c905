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
//! started, HINT learns to work step by step. This is the command `hint-rl train`; `--help` lists its
//! options.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use hint_rl::{process, train};

/// Trains a policy with plain GRPO and with HINT, and compares them without hints.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Program {
    #[command(flatten)]
    options: train::Options,
}

fn main() -> Result<ExitCode> {
    process::bound_threads();
    train::run(Program::parse().options)
}
