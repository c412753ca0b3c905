//! A plan as text, as a row of a table, and as JSON.

use hint_policy::estimate::mebibytes;
use serde_json::{Value, json};

use super::step::{Bound, Part, Round, tokens};
use super::{Backend, Plan, gibibytes};

impl Part {
    /// Its name in texts and in JSON.
    fn name(self) -> &'static str {
        match self {
            Self::Sampling => "sampling",
            Self::Hinted => "hinted round",
            Self::Transfer => "transfer",
            Self::Update => "update",
            Self::Optimizer => "optimizer",
            Self::AllReduce => "all-reduce",
        }
    }
}

impl Bound {
    /// The cause in words, and what would help.
    fn in_words(self) -> (&'static str, &'static str) {
        match self {
            Self::Longest => (
                "the longest completion ends almost alone",
                "lower `--max-len`, or raise `--prompts`; with servers, `--ahead` hides it behind the update",
            ),
            Self::Weights => (
                "weights are read for few completions at a time",
                "give each GPU more completions: raise `--max-batch`, or take fewer servers",
            ),
            Self::Cache => (
                "keys and values are read from memory",
                "add servers, or take a machine with more bandwidth",
            ),
            Self::Arithmetic => {
                ("products bound it", "add servers, or take a machine with more FLOP/s")
            }
            Self::Prompts => {
                ("reading the prompts bounds it", "add servers, or shorten the prompts")
            }
        }
    }
}

/// The cause of the longest part, and what would help.
pub(super) fn bottleneck(plan: &Plan) -> (Part, &'static str, &'static str) {
    let part = plan.time.bottleneck();
    let round = |round: &Round| round.bound.in_words();
    let (cause, help) = match part {
        Part::Sampling => round(&plan.time.sampling),
        Part::Hinted => round(&plan.time.hinted),
        Part::Transfer => (
            "all weights go to disk and back",
            "train adapters with `--adapters`, or take a faster disk",
        ),
        Part::Update => ("products of the passes bound it", "add GPUs that train"),
        Part::Optimizer => ("weights and moments are read and written", "take fewer `--updates`"),
        Part::AllReduce if plan.demand.has_nccl => (
            "gradients cross the links between GPUs",
            "take fewer `--updates`, or train adapters with `--adapters`",
        ),
        Part::AllReduce => (
            "gradients travel through host memory",
            "take fewer `--updates`, or train adapters; NCCL would be faster (`--backend nccl`)",
        ),
    };
    (part, cause, help)
}

/// Seconds with three digits or so.
pub(super) fn seconds(seconds: f64) -> String {
    match seconds {
        s if s >= 100.0 => format!("{s:.0} s"),
        s if s >= 1.0 => format!("{s:.1} s"),
        s if s > 0.0 => format!("{s:.3} s"),
        _ => "0 s".to_owned(),
    }
}

/// Hours, or days from two of them on.
fn duration(seconds: f64) -> String {
    let hours = seconds / 3600.0;
    if hours < 48.0 { format!("{hours:.1} hours") } else { format!("{:.1} days", hours / 24.0) }
}

/// The number with spaces between thousands.
fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let head = digits.len() % 3;
    let mut text = digits[..head].to_owned();
    for (index, digit) in digits[head..].chars().enumerate() {
        if index % 3 == 0 && !text.is_empty() {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// The shares of the peaks that are assumed or were fitted.
pub(super) fn efficiencies(machine: &super::machine::Machine) -> String {
    let percent = |share: f64| format!("{:.3}", 100.0 * share);
    let percent = |share: f64| {
        let text = percent(share);
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    let (mfu, sampling) = (percent(machine.mfu), percent(machine.sampling_efficiency));
    format!("{mfu} % of the arithmetic in training, {sampling} % of the bound in sampling")
}

/// The plan, line by line.
pub(super) fn text(plan: &Plan) -> String {
    let Plan { shape, demand, machine, time, .. } = plan;
    let mut lines = Vec::new();
    let mut line = |what: &str, text: String| lines.push(format!("{what:<13}{text}"));
    let billions = |count: f64| format!("{:.2} B", count / 1e9);
    let adapters = if shape.adapters > 0.0 {
        format!(", {} trained", billions(shape.adapters))
    } else {
        String::new()
    };
    line("model", format!("{}, {} parameters{adapters}", plan.model, billions(shape.parameters)));
    let (flops, bandwidth) = (machine.flops / 1e12, machine.memory_bandwidth / 1e9);
    let memory = gibibytes(machine.memory);
    line("machine", format!("{}: {flops} TFLOP/s, {bandwidth} GB/s, {memory}", machine.name));
    line("assumed", efficiencies(machine));
    let (gpus, servers) = (demand.gpus, demand.servers);
    let samplers = if servers > 0.0 {
        format!("{servers} sample")
    } else {
        "the same sample in turns".to_owned()
    };
    let workers = if demand.workers > gpus {
        format!(", {} virtual workers", demand.workers)
    } else {
        String::new()
    };
    let parts = if demand.shares_weights { ", weights in parts" } else { "" };
    line("GPUs", format!("{gpus} train, {samplers}{workers}{parts}"));
    line("", String::new());
    let of_round = |round: &Round| {
        let (steps, live, cause) = (round.steps, round.live, round.bound.in_words().0);
        let prefill = seconds(round.prefill);
        format!(
            "{:>9}  {steps:.0} tokens after each other, {live:.0} completions at a time, prompts {prefill}; {cause}",
            seconds(round.seconds())
        )
    };
    for (part, duration) in time.parts() {
        let text = match part {
            Part::Sampling => of_round(&time.sampling),
            Part::Hinted if time.hinted.seconds() > 0.0 => of_round(&time.hinted),
            _ => format!("{:>9}", seconds(duration)),
        };
        line(part.name(), text);
    }
    let way = if time.overlaps { "the longer of both sides" } else { "the sum" };
    line("step", format!("{:>9}  {way}", seconds(time.total())));
    line("", String::new());
    let (part, cause, help) = bottleneck(plan);
    line("bottleneck", format!("{}: {cause}", part.name()));
    line("would help", help.to_owned());
    let speed = thousands(plan.tokens_per_second());
    line("speed", format!("{speed} tokens/s, {} tokens a step", thousands(tokens(demand))));
    line("trainer", format!("{} of {memory}", mebibytes(plan.trainer.total())));
    if let Some(server) = &plan.server {
        let (total, weights) = (gibibytes(server.total()), gibibytes(server.weights));
        let rows = server.rows;
        line(
            "server",
            format!("{total} of {memory}: weights {weights}, {rows} completions at a time"),
        );
    }
    let cost = plan.cost().map_or_else(String::new, |cost| format!(", cost {}", thousands(cost)));
    let (hours, steps) = (thousands(plan.hours()), plan.steps);
    let time = duration(plan.steps * time.total());
    line("run", format!("{steps} steps, {time}, {hours} GPU hours{cost}"));
    for warning in &plan.warnings {
        line("warning", warning.clone());
    }
    lines.iter().flat_map(|line| [line.trim_end(), "\n"]).collect()
}

/// The columns of the table.
const COLUMNS: [&str; 13] = [
    "GPUs",
    "train",
    "sample",
    "sampling",
    "transfer",
    "update",
    "all-reduce",
    "step",
    "tokens/s",
    "bottleneck",
    "trainer",
    "GPU hours",
    "cost",
];

/// The plans as a table in Markdown. A size that does not fit is marked, and so is a server without room.
pub(super) fn table(plans: &[Plan]) -> String {
    let row = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let mut text = row(&COLUMNS.map(str::to_owned));
    text.extend(["|", &"---|".repeat(COLUMNS.len()), "\n"]);
    for plan in plans {
        let time = &plan.time;
        let mark = |fits: bool| if fits { "" } else { " (!)" };
        let memory = mebibytes(plan.trainer.total());
        text += &row(&[
            thousands(plan.gpus()),
            thousands(plan.demand.gpus),
            thousands(plan.demand.servers) + mark(plan.server_fits()),
            seconds(time.sampling.seconds() + time.hinted.seconds()),
            seconds(time.transfer),
            seconds(time.update + time.optimizer),
            seconds(time.all_reduce),
            seconds(time.total()),
            thousands(plan.tokens_per_second()),
            bottleneck(plan).0.name().to_owned(),
            memory + mark(plan.trainer_fits()),
            thousands(plan.hours()),
            plan.cost().map_or_else(|| "–".to_owned(), thousands),
        ]);
    }
    let warned = |plan: &&Plan| !plan.trainer_fits() || !plan.server_fits();
    if plans.iter().any(|plan| warned(&plan)) {
        text += "\n(!) does not fit into the memory of the machine\n";
    }
    text
}

/// The plan in JSON. Seconds, bytes and tokens have no prefix.
pub(super) fn json(plan: &Plan) -> Value {
    let Plan { shape, demand, machine, time, trainer, server, .. } = plan;
    let (part, cause, help) = bottleneck(plan);
    let backend = if demand.has_nccl { Backend::Nccl } else { Backend::Gloo };
    let round = |round: &Round| {
        json!({
            "seconds": round.seconds(), "prefill": round.prefill, "decode": round.decode,
            "steps": round.steps, "live": round.live, "cause": round.bound.in_words().0,
        })
    };
    let parts = |parts: &[(&str, u64)]| {
        let parts = parts.iter().map(|(name, bytes)| ((*name).to_owned(), json!(bytes)));
        Value::Object(parts.collect())
    };
    json!({
        "model": {
            "class": plan.model, "parameters": shape.parameters, "trained": shape.trained(),
        },
        "machine": machine,
        "gpus": demand.gpus,
        "servers": demand.servers,
        "virtual_workers": demand.workers,
        "shard": if demand.shares_weights { "parameters" } else { "gradients" },
        "backend": format!("{backend:?}").to_lowercase(),
        "sampling": round(&time.sampling),
        "hinted": round(&time.hinted),
        "seconds": {
            "sampling": time.sampling.seconds(), "hinted": time.hinted.seconds(),
            "transfer": time.transfer, "update": time.update, "optimizer": time.optimizer,
            "all_reduce": time.all_reduce, "step": time.total(),
        },
        "bottleneck": { "part": part.name(), "cause": cause, "help": help },
        "tokens_per_step": tokens(demand),
        "tokens_per_second": plan.tokens_per_second(),
        "trainer": {
            "bytes": trainer.total(), "fits": plan.trainer_fits(),
            "lasting": parts(&trainer.lasting), "rollout": parts(&trainer.rollout),
            "update": parts(&trainer.update),
        },
        "server": server.map(|server| json!({
            "bytes": server.total(), "fits": plan.server_fits(), "weights": server.weights,
            "completions": server.rows,
        })),
        "steps": plan.steps,
        "gpu_hours": plan.hours(),
        "cost": plan.cost(),
        "warnings": plan.warnings,
    })
}
