//! Running out of device memory, at every phase of a run: an error with advice, never a panic.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::{Device, EXAMPLE, Form, log};
use crate::process::{display, quiet};

/// Sizes of the device, in MiB. The tiny model needs 2 for its weights, 3 more for the optimizer, tens to sample, score
/// and train.
const SIZES: [u32; 11] = [1, 2, 3, 4, 5, 6, 8, 12, 20, 32, 48];

/// Those of the short form.
const FEW_SIZES: [u32; 4] = [1, 3, 5, 20];

/// Phases of a run that allocate on the device, as errors name them.
const PHASES: [&str; 8] = [
    "load the model",
    "build the optimizer",
    "make room for gradients",
    "copy the weights for the sampler",
    "sample completions",
    "score tokens",
    "take the gradient of the loss",
    "train on the batch",
];

/// Points, spread evenly over a run, at which it loses its memory.
const POINTS: u64 = 24;

/// Runs on devices of all sizes up to the need of the run. The long form also ends the memory at points all over a run.
pub(super) fn check(device: &Device<'_>, form: Form) -> Result<()> {
    sizes(device, if form == Form::Full { &SIZES } else { &FEW_SIZES })?;
    if form == Form::Full { points(device) } else { Ok(()) }
}

fn sizes(device: &Device<'_>, sizes: &[u32]) -> Result<()> {
    let mut phases = Vec::new();
    for &size in sizes {
        let mut command = train(device, &format!("memory-{size}"), "--held-out 4");
        command.env("EMULATOR_MIB", size.to_string());
        let Some(phase) = run_out(&mut command, &format!("{size} MiB"))? else {
            eprintln!("  {size} MiB are enough");
            break;
        };
        phases.push(phase);
    }
    phases.dedup();
    ensure!(phases.len() > 1, "memory ran out in one phase alone");
    Ok(())
}

/// Memory ends after some allocations of a run, and stays away. As many points lie evenly as on a logarithmic scale, since a
/// run begins with short phases.
fn points(device: &Device<'_>) -> Result<()> {
    let mut reached: BTreeMap<String, u32> = BTreeMap::new();
    for (name, options) in [
        ("whole", "--held-out 4 --set loss.kl.coef=0.05"),
        (
            "adapters",
            "--held-out 1 --compute bf16 --lora rank=4,dropout=0.1 --gradient-checkpointing",
        ),
        ("supervised", "--held-out 1 --method sft"),
        ("ahead", "--held-out 1 --set run.ahead=1"),
    ] {
        let logs = device.log_folder(&format!("log-memory-{name}"))?;
        let counted = format!("memory-{name}");
        quiet(train(device, &counted, options).env("EMULATOR_LOG", &logs))?;
        let sections = log::read(&logs)?;
        let all = sections.iter().map(|section| section.allocations).max().unwrap_or(0);
        let even = (0..POINTS).map(|at| all * (2 * at + 1) / (2 * POINTS));
        let early = std::iter::successors(Some(2_u64), |point| Some(point + point.div_ceil(2)));
        for allowed in even.chain(early.take_while(|point| *point < all)) {
            let mut command = train(device, &format!("memory-{name}-{allowed}"), options);
            command.env("EMULATOR_ALLOCATIONS", allowed.to_string());
            let place = format!("{allowed} of {all} allocations of the run `{name}`");
            let phase = run_out(&mut command, &place)?;
            let phase = phase.with_context(|| format!("{place}: the run ended well"))?;
            *reached.entry(phase).or_default() += 1;
        }
    }
    eprintln!("memory ran out: {reached:?}");
    let missing: Vec<_> = PHASES
        .into_iter()
        .filter(|phase| !reached.keys().any(|found| found.contains(phase)))
        .collect();
    ensure!(missing.is_empty(), "memory never ran out in: {}", missing.join(", "));
    Ok(())
}

/// One step of HINT, or of another method that `options` name.
fn train(device: &Device<'_>, name: &str, options: &str) -> Command {
    let mut command = device.on_device(EXAMPLE);
    command.args(["--device", "cuda", "--steps", "1"]);
    if !options.contains("--method") {
        command.args(["--method", "hint"]);
    }
    command.args(options.split_whitespace());
    command.arg("--out").arg(device.scratch(name));
    command
}

/// Phase in which memory ran out; nothing if the run ended well. A panic, or an error without advice, is a failure.
fn run_out(command: &mut Command, place: &str) -> Result<Option<String>> {
    let line = display(command);
    let ended = command.output().with_context(|| format!("cannot start `{line}`"))?;
    if ended.status.success() {
        return Ok(None);
    }
    let error = String::from_utf8_lossy(&ended.stderr);
    ensure!(
        ended.status.code() == Some(1),
        "{place}: `{line}` ended with {}\n{error}",
        ended.status
    );
    let quiet = !error.contains("panicked at");
    ensure!(quiet, "{place}: `{line}` reported a panic that became an error\n{error}");
    let told = error.rsplit("Error: ").next().unwrap_or_default();
    let advises = told.contains("max_tokens_per_micro_batch");
    ensure!(
        told.contains("out of memory") && advises,
        "{place}: the error of `{line}` does not speak of memory, or gives no advice\n{error}"
    );
    let phase = told.lines().find_map(|line| line.split_once(": out of memory"));
    let phase = phase.map_or(told, |(phase, _)| phase).trim().to_owned();
    eprintln!("  {place}: {phase}");
    Ok(Some(phase))
}
