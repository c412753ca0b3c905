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

/// Runs whose memory ends: a name, and the options.
const RUNS: [(&str, &str); 4] = [
    ("whole", "--held-out 4 --set loss.kl.coef=0.05"),
    ("adapters", "--held-out 1 --compute bf16 --lora rank=4,dropout=0.1 --gradient-checkpointing"),
    ("supervised", "--held-out 1 --method sft --set optimizer.algorithm.type=sgd"),
    ("ahead", "--held-out 1 --steps 2 --set run.ahead=1"),
];

/// Further points of a run at most, to find phases that no other point has met.
const FURTHER: usize = 60;

/// Memory ends after some allocations of a run, and stays away. As many points lie evenly as on a logarithmic scale, since a
/// run begins with short phases. Phases that are still missing lie between neighbors of different ones.
fn points(device: &Device<'_>) -> Result<()> {
    let mut reached: BTreeMap<String, u32> = BTreeMap::new();
    let missing = |reached: &BTreeMap<String, u32>| {
        let is_missing = |phase: &&str| !reached.keys().any(|found| found.contains(phase));
        PHASES.into_iter().filter(is_missing).collect::<Vec<_>>()
    };
    let mut runs = Vec::new();
    for (name, options) in RUNS {
        let logs = device.log_folder(&format!("log-memory-{name}"))?;
        let counted = format!("memory-{name}");
        quiet(train(device, &counted, options).env("EMULATOR_LOG", &logs))?;
        let sections = log::read(&logs)?;
        let all = sections.iter().map(|section| section.allocations).max().unwrap_or(0);
        let even = (0..POINTS).map(|at| all * (2 * at + 1) / (2 * POINTS));
        let early = std::iter::successors(Some(2_u64), |point| Some(point + point.div_ceil(2)));
        let mut phases = BTreeMap::new();
        for allowed in even.chain(early.take_while(|point| *point < all)) {
            let phase = phase_at(device, (name, options), allowed)?;
            *reached.entry(phase.clone()).or_default() += 1;
            phases.insert(allowed, phase);
        }
        runs.push(((name, options), phases));
    }
    for (run, phases) in &mut runs {
        for _ in 0..FURTHER {
            let Some(allowed) = between(phases).filter(|_| !missing(&reached).is_empty()) else {
                break;
            };
            let phase = phase_at(device, *run, allowed)?;
            *reached.entry(phase.clone()).or_default() += 1;
            phases.insert(allowed, phase);
        }
    }
    eprintln!("memory ran out: {reached:?}");
    let missing = missing(&reached);
    ensure!(missing.is_empty(), "memory never ran out in: {}", missing.join(", "));
    Ok(())
}

/// The phase in which a run has no memory after `allowed` allocations.
fn phase_at(device: &Device<'_>, (name, options): (&str, &str), allowed: u64) -> Result<String> {
    let mut command = train(device, &format!("memory-{name}-{allowed}"), options);
    command.env("EMULATOR_ALLOCATIONS", allowed.to_string());
    let place = format!("{allowed} allocations of the run `{name}`");
    let phase = run_out(&mut command, &place)?;
    phase.with_context(|| format!("{place}: the run ended well"))
}

/// The middle of the widest gap between two points of different phases.
fn between(phases: &BTreeMap<u64, String>) -> Option<u64> {
    let gaps = phases.iter().zip(phases.iter().skip(1));
    let open = gaps.filter(|((from, before), (to, after))| *to - *from > 1 && before != after);
    let widest = open.max_by_key(|((from, _), (to, _))| *to - *from);
    widest.map(|((from, _), (to, _))| u64::midpoint(*from, *to))
}

/// One step of HINT, or of the method and the steps that `options` name.
fn train(device: &Device<'_>, name: &str, options: &str) -> Command {
    let mut command = device.on_device(EXAMPLE);
    command.args(["--device", "cuda"]);
    for (option, value) in [("--method", "hint"), ("--steps", "1")] {
        if !options.contains(option) {
            command.args([option, value]);
        }
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
