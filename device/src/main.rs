//! Work of `cargo xtask device` on the emulated device, where it runs on a GPU as well, and of `cargo xtask counts`.
#![expect(clippy::print_stdout, reason = "a command-line program talks to its user")]
#![forbid(unsafe_code)]

#[cfg(feature = "nccl")]
mod collectives;
mod counts;
mod instructions;
mod models;

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::Parser;
use hint_policy::DeviceChoice;
use hint_policy::runtime::FastPath;
use hint_policy::tch::{self, Device};

/// Compares models on a GPU with the CPU, and takes the steps whose work is counted.
#[derive(Debug, Parser)]
struct Program {
    /// The GPU: `cuda` or `cuda:N`.
    #[arg(long, default_value = "cuda")]
    device: DeviceChoice,

    /// Do without operators that replace several others.
    #[arg(long)]
    plain: bool,

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
    /// Try the operators that replace several others.
    FastPaths,
    /// Take each step a few times, and synchronize the device before and after it.
    Counts,
    /// Take the work whose instructions are counted on a CPU.
    Instructions,
    /// Train on rows of two lengths, and synchronize the device before and after each.
    Memory,
    /// Exchange numbers with other processes over NCCL, and compare with Gloo.
    #[cfg(feature = "nccl")]
    Collectives(collectives::Options),
}

fn main() -> Result<()> {
    let program = Program::parse();
    let device = program.device.resolve()?.device;
    // The models are too small for more.
    tch::set_num_threads(1);
    if program.plain {
        FastPath::ALL.into_iter().for_each(FastPath::forbid);
    }
    match program.command {
        Command::FastPaths => try_fast_paths(device),
        Command::Models { folder } => models::compare(&folder, device),
        Command::Counts => counts::take(device),
        Command::Instructions => instructions::take(),
        Command::Memory => counts::memory(device),
        #[cfg(feature = "nccl")]
        Command::Collectives(options) => collectives::check(&options, device),
    }
}

/// Reports every operator, and fails if one is refused.
fn try_fast_paths(device: Device) -> Result<()> {
    let mut refused = 0;
    for path in FastPath::ALL {
        let reason = path.refusal(device);
        refused += usize::from(reason.is_some());
        println!("{path}: {}", reason.unwrap_or("taken"));
    }
    ensure!(refused == 0, "{refused} of {} are refused", FastPath::ALL.len());
    Ok(())
}
