//! Whole runs on the device and on the CPU, whose metrics must agree.
//!
//! Tokens are drawn with the same random numbers on both, so that in f32 the runs differ by rounding alone.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Device, EXAMPLE, Form, PROGRAM, read_json_lines};
use crate::process::{display, quiet};
use crate::smoke::{check_summary, read_json};

/// Tolerance of a metric on the device against the CPU's: absolute, and relative above 1.
const TOLERANCE: f64 = 1e-4;
/// Largest difference of a share of weights that changed.
const COUNTED: f64 = 0.01;

/// Runs of the main example: a name for people and folders, and the options. The CPU must give the same metrics, except
/// in bf16, where two tokens may change places.
const SHORT: [(&str, &str); 5] = [
    ("grpo-and-hint", ""),
    ("sft", "--method sft"),
    (
        "lora-dropout-checkpointing",
        "--method hint --lora rank=4,dropout=0.1 --gradient-checkpointing",
    ),
    ("bf16", "--method hint --compute bf16"),
    (
        "kl-and-truncated-sampling",
        "--method hint --set loss.kl.coef=0.05 --set rollout.sampling.top_k=20 --set rollout.sampling.top_p=0.9",
    ),
];

/// Further runs of the long form.
const LONG: [(&str, &str); 6] = [
    ("bf16-without-fast-paths", "--method hint --compute bf16 --without-fast-path all"),
    (
        "bf16-lora",
        "--method hint --compute bf16 --lora rank=4,dropout=0.1 --gradient-checkpointing",
    ),
    ("adafactor", "--method grpo --set optimizer.algorithm.type=adafactor"),
    ("muon", "--method grpo --set optimizer.algorithm.type=muon"),
    ("sgd", "--method grpo --set optimizer.algorithm.type=sgd"),
    ("small-micro-batches", "--method hint --set run.max_tokens_per_micro_batch=256"),
];

/// The presets of the program, which the long form runs.
const PRESETS: &str = "crates/hint-rl/presets";
/// Files there that it leaves out: tasks, and methods of other runs. `beacon` needs a teacher behind a server, and
/// `scaf_grpo` hints that the tiny task does not have.
const LEFT_OUT: [&str; 9] = [
    "beacon",
    "grpo",
    "hint",
    "reproduce_paper",
    "reproduce_small",
    "reproduce_tiny",
    "scaf_grpo",
    "smollm2",
    "tiny",
];
/// Cuts a preset to a size that the tiny model takes in seconds.
const CUT: &str = "--set run.prompts_per_step=6 --set rollout.group_size=4 \
                   --set rollout.sampling.max_completion_len=48";

/// All runs of a form.
pub(super) fn check(device: &Device<'_>, form: Form) -> Result<()> {
    let long = if form == Form::Full { &LONG[..] } else { &[] };
    for (name, options) in SHORT.iter().chain(long) {
        let [host, other] = ["cpu", "cuda"].map(|place| device.scratch(&format!("{name}-{place}")));
        train(device, "cuda", options, &other)?;
        let method = options.strip_prefix("--method ").and_then(|rest| rest.split(' ').next());
        let methods = method.map_or(vec!["grpo", "hint"], |method| vec![method]);
        check_summary(&other.join("summary.json"), &methods)?;
        if !options.contains("bf16") {
            train(device, "cpu", options, &host)?;
            for method in methods {
                agree(&host.join(method), &other.join(method))?;
            }
        }
    }
    if form == Form::Full {
        for preset in presets(&device.host.repo.join(PRESETS))? {
            let options = format!("--method {preset} {CUT}");
            let [host, other] = ["cpu", "cuda"].map(|place| {
                let folder = device.scratch(&format!("{preset}-{place}"));
                train(device, place, &options, &folder).map(|()| folder)
            });
            agree(&host?.join(&preset), &other?.join(&preset))?;
        }
    }
    resume(device)?;
    evaluate(device)?;
    second_device(device)
}

/// The names of the presets in a folder.
fn presets(folder: &Path) -> Result<Vec<String>> {
    let files = std::fs::read_dir(folder);
    let files = files.with_context(|| format!("cannot list `{}`", folder.display()))?;
    let names = files.flatten().filter_map(|file| {
        let name = file.file_name().to_str()?.strip_suffix(".toml")?.to_owned();
        (!LEFT_OUT.contains(&name.as_str())).then_some(name)
    });
    let mut names = names.collect::<Vec<_>>();
    names.sort();
    ensure!(!names.is_empty(), "`{}` holds no presets", folder.display());
    Ok(names)
}

/// A run continues elsewhere as if it had stayed.
fn resume(device: &Device<'_>) -> Result<()> {
    let stayed = device.scratch("stayed");
    let options = "--method hint --steps 4";
    train(device, "cpu", options, &stayed)?;
    for (first, then) in [("cpu", "cuda"), ("cuda", "cpu")] {
        let moved = device.scratch(&format!("from-{first}"));
        train(device, first, "--method hint --steps 2", &moved)?;
        let mut again = start(device, then, EXAMPLE);
        quiet(again.args(["--device", then, "--steps", "4", "--resume"]).arg(&moved))?;
        // Without the evaluations: the shorter run had one at its end.
        agree_in(&stayed.join("hint"), &moved.join("hint"), without_evaluations)?;
    }
    Ok(())
}

/// An evaluation has the scores of the CPU's.
fn evaluate(device: &Device<'_>) -> Result<()> {
    let model = device.host.repo.join("examples/tiny");
    let [host, other] = ["cpu", "cuda"].map(|place| {
        let out = device.scratch(&format!("scores-{place}.json"));
        let mut command = start(device, place, PROGRAM);
        let options = "evaluate --samples 2 --held-out 20 --compute f32 --device";
        command.args(options.split(' ')).arg(place);
        quiet(command.arg("--model").arg(&model).arg("--out").arg(&out))?;
        read_json(&out)
    });
    let mut different = Vec::new();
    compare("", &host?, &other?, &mut different);
    different.retain(|path| !is_time(path));
    ensure!(different.is_empty(), "evaluations differ in {}", different.join(", "));
    Ok(())
}

/// `cuda:1` of two devices works, `cuda:2` is an error.
fn second_device(device: &Device<'_>) -> Result<()> {
    let command = |index: u32| {
        let mut command = device.on_device(EXAMPLE);
        command.args(["--method", "hint", "--steps", "1", "--held-out", "4", "--device"]);
        command.arg(format!("cuda:{index}"));
        command.arg("--out").arg(device.scratch(&format!("device-{index}")));
        command.env("EMULATOR_DEVICES", "2");
        command
    };
    quiet(&mut command(1))?;
    let mut missing = command(2);
    let line = display(&missing);
    let ended = missing.output().with_context(|| format!("cannot start `{line}`"))?;
    let error = String::from_utf8_lossy(&ended.stderr);
    let told = ended.status.code() == Some(1) && error.contains("cuda:2");
    ensure!(told, "the third of two devices: {}\n{error}", ended.status);
    Ok(())
}

/// A short run of the main example.
fn train(device: &Device<'_>, place: &str, options: &str, out: &Path) -> Result<()> {
    let mut command = start(device, place, EXAMPLE);
    command.args(["--device", place, "--held-out", "10"]);
    // A GPU computes in bf16 by default.
    if !options.contains("--compute") {
        command.args(["--compute", "f32"]);
    }
    if !options.contains("--steps") {
        command.args(["--steps", "2"]);
    }
    command.args(options.split_whitespace());
    quiet(command.arg("--out").arg(out)).map(drop)
}

/// A program on the device, or, for `cpu`, without the emulator.
fn start(device: &Device<'_>, place: &str, program: &str) -> Command {
    if place == "cpu" { device.on_host(program) } else { device.on_device(program) }
}

/// Compares the metrics of two runs.
fn agree(host: &Path, other: &Path) -> Result<()> {
    agree_in(host, other, Some)
}

/// Measurements of a step, apart from evaluations; nothing if it is one.
fn without_evaluations(mut step: Value) -> Option<Value> {
    step.as_object_mut()?.retain(|name, _| !name.starts_with("eval/"));
    step["loss"].is_number().then_some(step)
}

/// As [`agree`], on the part of each line that `select` keeps.
fn agree_in(host: &Path, other: &Path, select: fn(Value) -> Option<Value>) -> Result<()> {
    let [expected, found] = [host, other].map(|folder| {
        let lines = read_json_lines(&folder.join("metrics.jsonl"))?;
        anyhow::Ok(Value::Array(lines.into_iter().filter_map(select).collect()))
    });
    let expected = expected?;
    ensure!(expected[0].is_object(), "`{}` has no metrics", host.display());
    let mut different = Vec::new();
    compare("", &expected, &found?, &mut different);
    different.retain(|path| !is_time(path));
    ensure!(
        different.is_empty(),
        "`{}` and `{}` differ in {}",
        host.display(),
        other.display(),
        different.join(", ")
    );
    Ok(())
}

/// Metrics of the machine, not of the run.
fn is_time(path: &str) -> bool {
    ["time", "seconds", "per_second", "memory", "device"].iter().any(|word| path.contains(word))
}

/// Collects the paths, with both values, at which two JSON values differ by more than rounding.
fn compare(path: &str, expected: &Value, found: &Value, different: &mut Vec<String>) {
    match (expected, found) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys().filter(|key| !a.contains_key(*key))) {
                let [a, b] = [a, b].map(|object| object.get(key).unwrap_or(&Value::Null));
                compare(&format!("{path}/{key}"), a, b, different);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                compare(&format!("{path}/{index}"), a, b, different);
            }
        }
        (Value::Number(a), Value::Number(b)) => {
            let [a, b] = [a, b].map(|number| number.as_f64().unwrap_or(f64::NAN));
            // A weight that changes by about its resolution changes here or there.
            let counts_changes = path.ends_with("weights/changed_frac");
            let tolerance = if counts_changes { COUNTED } else { TOLERANCE };
            let is_close = (a - b).abs() <= tolerance * a.abs().max(1.0);
            if !is_close {
                different.push(format!("{path} ({a}, {b})"));
            }
        }
        (a, b) if a == b => {}
        (Value::Array(a), Value::Array(b)) => {
            different.push(format!("{path} ({} and {} values)", a.len(), b.len()));
        }
        (a, b) => different.push(format!("{path} ({a}, {b})")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_that_differ_by_more_than_rounding_are_named() {
        let expected = json!([{ "loss": 0.5, "tokens": 2e6, "name": "a" }]);
        let found = json!([{ "loss": 0.500_01, "tokens": 2_000_001, "name": "a" }]);
        let mut different = Vec::new();
        compare("", &expected, &found, &mut different);
        assert_eq!(different, Vec::<String>::new());
        let found = json!([{ "loss": 0.501, "tokens": 2e6, "name": "b" }]);
        compare("", &expected, &found, &mut different);
        assert_eq!(different, [r"/0/loss (0.5, 0.501)", r#"/0/name ("a", "b")"#]);
        compare("/x", &json!({ "a": 1 }), &json!({ "b": 1 }), &mut different);
        assert_eq!(different.len(), 4);
    }
}
