//! Work of `cargo xtask device` on the emulated device; it runs on a GPU as well.
#![expect(clippy::print_stdout, reason = "a command-line program talks to its user")]
#![forbid(unsafe_code)]

mod counts;
mod models;

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;
use hint_policy::DeviceChoice;
use hint_policy::tch;

/// Compares models on a GPU with the CPU, and takes the steps whose work is counted.
#[derive(Debug, Parser)]
struct Program {
    /// The GPU: `cuda` or `cuda:N`.
    #[arg(long, default_value = "cuda")]
    device: DeviceChoice,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Compare logits, scores, gradients and samples of every model in a folder.
    Models {
        /// Folder of model folders.
        folder: PathBuf,
    },
    /// Take each step a few times, and synchronize the device before and after it.
    Counts,
    /// Train on rows of two lengths, and synchronize the device before and after each.
    Memory,
}

fn main() -> Result<()> {
    let program = Program::parse();
    let device = program.device.resolve()?.device;
    // The models are too small for more.
    tch::set_num_threads(1);
    match program.command {
        Command::Models { folder } => models::compare(&folder, device),
        Command::Counts => counts::take(device),
        Command::Memory => counts::memory(device),
    }
}
