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
    let train = |name: &str, method: &str, options: &str| train(device, name, method, options);
    let plain = "--compute f32";
    let base = train("base", "grpo", plain)?;
    let split = format!("{plain} --set run.max_tokens_per_micro_batch=128");
    let split = train("split", "grpo", &split)?;
    let more = split.micro_batches - base.micro_batches;
    ensure!(more >= 2.0, "the smaller micro-batches are {more} more");
    let further = (split.counts - base.counts).per(more);
    // The tokens are the same, however they are split, and so are the bytes except for padding.
    let further = Counts { sent: 0.0, read: 0.0, ..further };
    measured.push(("further micro-batch".to_owned(), further));
    let algorithms = ["adamw", "adafactor", "muon", "sgd"].map(|algorithm| {
        let options = format!("{plain} --set optimizer.algorithm.type={algorithm}");
        (algorithm, "grpo", options, 1.0)
    });
    let losses = LOSSES.map(|(name, method, options)| (name, method, options.to_owned(), 1.0));
    let workers = ("two workers", "grpo", format!("{plain} --set run.virtual_workers=2"), 2.0);
    for (name, method, options, micro_batches) in
        algorithms.into_iter().chain(losses).chain([workers])
    {
        let [two, four] = [2, 4].map(|times| {
            let folder = format!("{}-{times}", name.replace([' ', ','], "-"));
            let all = format!("{options} {ONE_MICRO_BATCH} --set run.{ITERATIONS}={times}");
            train(&folder, method, &all)
        });
        let (two, four) = (two?, four?);
        let found = four.micro_batches;
        ensure!(found == micro_batches, "{name}: the batch is {found} micro-batches");
        let pass = (four.counts - two.counts).per(four.updates - two.updates);
        measured.push((format!("micro-batch and step, {name}"), pass));
    }
    Ok(measured)
}

/// The key of the configuration for the number of updates per batch.
const ITERATIONS: &str = "num_iterations";

const ONE_MICRO_BATCH: &str = "--set run.max_tokens_per_micro_batch=65536";

/// Losses that measure more than the plain one: a name, the method, and the options.
const LOSSES: [(&str, &str, &str); 4] = [
    ("hint, bf16", "hint", "--compute bf16"),
    (
        "hint, bf16, adapters",
        "hint",
        "--compute bf16 --lora rank=4,dropout=0.1 --gradient-checkpointing",
    ),
    (
        "KL and importance weights",
        "grpo",
        "--compute f32 --set loss.kl.coef=0.05 --set loss.importance_correction.type=truncate \
         --set loss.importance_correction.max_weight=2",
    ),
    ("divergence from a teacher", "sdft", "--compute f32"),
];

fn train(device: &Device<'_>, name: &str, method: &str, options: &str) -> Result<Trained> {
    let folder = device.log_folder(&format!("log-{name}"))?;
    let out = device.scratch(name);
    let mut command = device.on_device(EXAMPLE);
    command.args(["--device", "cuda", "--method", method, "--steps", "1"]);
    command.args(["--set", "evaluation.at_start=false", "--held-out", "1"]);
    command.args(options.split_whitespace()).arg("--out").arg(&out);
    quiet(command.env("EMULATOR_LOG", &folder))?;
    let mut counts = Counts::default();
    for section in log::read(&folder)? {
        counts += section.counts;
    }
    let metrics = read_json_lines(&out.join(method).join("metrics.jsonl"))?;
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
