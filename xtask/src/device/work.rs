//! Cost of a step on a GPU: kernels launched, waits of the host, bytes over the bus.
//!
//! Each number is a difference between two runs that differ only in the count of one kind of step. So work that is done
//! once cancels out.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

use super::log::{self, Counts, Section};
use super::{Device, EXAMPLE, PROBE, bounds, read_json_lines};
use crate::process::quiet;

/// Counts the steps, and compares with the table.
pub(super) fn check(device: &Device<'_>) -> Result<()> {
    let grown = memory(device)?;
    let mut measured = probe(device)?;
    measured.extend(training(device)?);
    bounds::check(device.host, &measured)?;
    ensure!(grown.is_empty(), "memory grows faster than the length of a row: {}", grown.join(", "));
    Ok(())
}

/// Largest growth of the memory for a row of twice the length. The weights, which are the same, make up for
/// rounding.
const GROWTH: f64 = 2.1;

/// Attention whose memory is not linear in the length of a row.
fn memory(device: &Device<'_>) -> Result<Vec<String>> {
    let mut peaks: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for (name, _, section) in sections(device, "memory")? {
        peaks.entry(name).or_default().push(section.peak as f64);
    }
    let mut grown = Vec::new();
    for (name, peaks) in peaks {
        let [short, long] = peaks[..] else { anyhow::bail!("`{name}` has not two lengths") };
        let mebibytes = |bytes: f64| bytes / f64::from(1 << 20);
        let line = format!("{name} {:.1} MiB, then {:.1}", mebibytes(short), mebibytes(long));
        eprintln!("memory: {line}");
        if long > GROWTH * short {
            grown.push(line);
        }
    }
    Ok(grown)
}

/// The named sections of the program in `device/`, and how often each step was taken.
fn sections(device: &Device<'_>, what: &str) -> Result<Vec<(String, f64, Section)>> {
    let folder = device.log_folder(&format!("log-{what}"))?;
    let names = quiet(device.on_device(PROBE).arg(what).env("EMULATOR_LOG", &folder))?;
    let sections = log::read(&folder)?;
    // The last section ends with the process.
    ensure!(names.lines().count() + 1 == sections.len(), "as many names as sections");
    let mut named = Vec::new();
    for (line, section) in names.lines().zip(sections) {
        let (name, times) = line.split_once('\t').context("a name and how often")?;
        if name != "-" {
            named.push((name.to_owned(), times.parse()?, section));
        }
    }
    Ok(named)
}

/// Steps of `hint-policy` alone, which the program in `device/` takes.
fn probe(device: &Device<'_>) -> Result<Vec<(String, Counts)>> {
    let mut taken: BTreeMap<String, Vec<(f64, Counts)>> = BTreeMap::new();
    for (name, times, section) in sections(device, "counts")? {
        taken.entry(name).or_default().push((times, section.counts));
    }
    taken
        .into_iter()
        .map(|(name, sections)| {
            let [(few, before), (many, after)] = sections[..] else {
                anyhow::bail!("`{name}` has {} sections, not two", sections.len());
            };
            Ok((name, (after - before).per(many - few)))
        })
        .collect()
}

/// One run of the trainer.
struct Trained {
    counts: Counts,
    micro_batches: f64,
    updates: f64,
}

/// Micro-batches and optimizer steps, in whole runs.
fn training(device: &Device<'_>) -> Result<Vec<(String, Counts)>> {
    let mut measured = Vec::new();
    let train = |name: &str, options: &[&str]| train(device, name, options);
    let base = train("base", &[])?;
    let split = train("split", &["--set", "run.max_tokens_per_micro_batch=128"])?;
    let more = split.micro_batches - base.micro_batches;
    ensure!(more >= 2.0, "the smaller micro-batches are {more} more");
    let further = (split.counts - base.counts).per(more);
    // The tokens are the same, however they are split, and so are the bytes except for padding.
    let further = Counts { sent: 0.0, read: 0.0, ..further };
    measured.push(("further micro-batch".to_owned(), further));
    for algorithm in ["adamw", "adafactor", "muon", "sgd"] {
        let optimizer = format!("optimizer.algorithm.type={algorithm}");
        let [one, three] = [1, 3].map(|times| {
            let iterations = format!("run.{ITERATIONS}={times}");
            train(&format!("{algorithm}-{times}"), &["--set", &optimizer, "--set", &iterations])
        });
        let (one, three) = (one?, three?);
        ensure!(three.micro_batches == 1.0, "the batch is {} micro-batches", three.micro_batches);
        let pass = (three.counts - one.counts).per(three.updates - one.updates);
        measured.push((format!("micro-batch and step, {algorithm}"), pass));
    }
    Ok(measured)
}

/// The key of the configuration for the number of updates per batch.
const ITERATIONS: &str = "num_iterations";

fn train(device: &Device<'_>, name: &str, options: &[&str]) -> Result<Trained> {
    let folder = device.log_folder(&format!("log-{name}"))?;
    let out = device.scratch(name);
    let mut command = device.on_device(EXAMPLE);
    command.args(["--device", "cuda", "--compute", "f32", "--method", "grpo", "--steps", "1"]);
    command.args(["--set", "evaluation.at_start=false", "--held-out", "1"]);
    quiet(command.args(options).arg("--out").arg(&out).env("EMULATOR_LOG", &folder))?;
    let mut counts = Counts::default();
    for section in log::read(&folder)? {
        counts += section.counts;
    }
    let metrics = read_json_lines(&out.join("grpo/metrics.jsonl"))?;
    let metric = |name: &str| {
        let found = metrics.iter().find_map(|step| step[name].as_f64());
        found.with_context(|| format!("no metric `{name}`"))
    };
    Ok(Trained {
        counts,
        micro_batches: metric("micro_batch/count")?,
        updates: metric("num_updates")?,
    })
}
