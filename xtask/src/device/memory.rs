//! Running out of device memory, at every phase of a run: an error with advice, never a panic.

use anyhow::{Context, Result, ensure};

use super::{Device, EXAMPLE, Form};
use crate::process::display;

/// Sizes of the device, in MiB. The tiny model needs 2 for its weights, 3 more for the optimizer, tens to sample, score
/// and train.
const SIZES: [u32; 11] = [1, 2, 3, 4, 5, 6, 8, 12, 20, 32, 48];

/// Those of the short form.
const FEW_SIZES: [u32; 4] = [1, 3, 5, 20];

/// Runs on devices of all sizes up to the need of the run.
pub(super) fn check(device: &Device<'_>, form: Form) -> Result<()> {
    let sizes = if form == Form::Full { &SIZES[..] } else { &FEW_SIZES };
    let mut phases = Vec::new();
    for &size in sizes {
        let mut command = device.on_device(EXAMPLE);
        command.args(["--device", "cuda", "--method", "hint", "--steps", "1", "--held-out", "4"]);
        command.arg("--out").arg(device.scratch(&format!("memory-{size}")));
        command.env("EMULATOR_MIB", size.to_string());
        let line = display(&command);
        eprintln!("+ EMULATOR_MIB={size} {line}");
        let ended = command.output().with_context(|| format!("cannot start `{line}`"))?;
        let error = String::from_utf8_lossy(&ended.stderr);
        if ended.status.success() {
            eprintln!("  {size} MiB are enough");
            break;
        }
        ensure!(ended.status.code() == Some(1), "{size} MiB: ended with {}\n{error}", ended.status);
        let quiet = !error.contains("panicked at");
        ensure!(quiet, "{size} MiB: a panic was reported that became an error\n{error}");
        let told = error.rsplit("Error: ").next().unwrap_or_default();
        let advises = told.contains("max_tokens_per_micro_batch");
        ensure!(
            told.contains("out of memory") && advises,
            "{size} MiB: the error does not speak of memory, or gives no advice\n{error}"
        );
        let phase = told.lines().find_map(|line| line.split_once(": out of memory"));
        let phase = phase.map_or(told, |(phase, _)| phase).trim();
        eprintln!("  {phase}");
        phases.push(phase.to_owned());
    }
    phases.dedup();
    ensure!(phases.len() > 1, "memory ran out in one phase alone");
    Ok(())
}
