//! `e2e-vllm -- ahead`: wall time of a step with `run.ahead` 0 and 1, through one vLLM server and two.
//!
//! Both servers are up all the time, and the four kinds of runs alternate. Each server has a core of its own, and so has
//! the trainer if there are enough. At the end `hint-rl plan` is fitted to one kind, and predicts the others.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::server::{Launch, Server};
use super::teacher::{PROBLEMS, remove};
use super::{SERVED_NAME, export, install};
use crate::process::{build, check, read};
use hint_libtorch::Host;

/// Runs of each kind.
const REPEATS: usize = 2;

/// Steps of a run. The first one, which warms up, does not count.
const STEPS: usize = 9;

/// Problems of a step: all that there are.
const PROMPTS: usize = 4;

/// A core of a server processor, in round numbers. The plan scales both peaks to what it finds; the rest is its default.
const MACHINE: &str = "\
name = \"one core\"
flops = 1e11
memory_bandwidth = 2e10
memory = 24e9
link_within = 1e9
link_between = 1e9
";

/// The head of the table.
const HEAD: &str = "\
| servers | `run.ahead` | s per step, median | least to most | `rollout_s` | `update_s` | `sync_s` |
|---|---|---|---|---|---|---|
";

/// Servers and `run.ahead` of some runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Kind {
    servers: usize,
    ahead: usize,
}

/// In this order in each round. The plan is fitted to the first one.
const KINDS: [Kind; 4] = [
    Kind { servers: 1, ahead: 0 },
    Kind { servers: 1, ahead: 1 },
    Kind { servers: 2, ahead: 0 },
    Kind { servers: 2, ahead: 1 },
];

impl Kind {
    /// Folder of its run in `round`, counted from 1.
    fn folder(self, work: &Path, round: usize) -> PathBuf {
        work.join(format!("servers-{}-ahead-{}-{round}", self.servers, self.ahead))
    }
}

/// Core of the server of that index.
const fn server_core(index: usize, cores: usize) -> usize {
    index % cores
}

/// Installs vLLM, starts two servers on SmolLM2, trains, and prints a table in Markdown and the checks of the plan.
pub(super) fn measure(host: &Host) -> Result<()> {
    hint_libtorch::setup(host)?;
    let python = install::install(host)?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    ensure!(cores > 1, "sampling and training need a core each, and this machine has one");
    let work = host.repo.join("target").join("e2e-vllm");
    let (model, runs) = (work.join("model"), work.join("ahead"));
    remove(&runs)?;
    std::fs::create_dir_all(&runs)
        .with_context(|| format!("cannot create `{}`", runs.display()))?;
    let problems = runs.join("problems.jsonl");
    std::fs::write(&problems, PROBLEMS)
        .with_context(|| format!("cannot write `{}`", problems.display()))?;
    let programs = build(host, &["--release", "--bin", "hint-rl"])?;
    let program = programs.get("hint-rl").context("cargo built no `hint-rl`")?;
    export(program, &model)?;
    let servers = (0..2)
        .map(|index| {
            Server::start(&Launch {
                python: &python,
                model: &model,
                name: SERVED_NAME,
                log: &runs.join(format!("server-{}.log", index + 1)),
                port: None,
                max_lora_rank: None,
                core: Some(server_core(index, cores)),
            })
        })
        .collect::<Result<Vec<_>>>()?;
    let trainer = Trainer { program, model: &model, problems: &problems, core: cores - 1 };
    let mut counted = KINDS.map(|_| Vec::<Step>::new());
    for round in 1..=REPEATS {
        for (kind, counted) in KINDS.into_iter().zip(&mut counted) {
            let out = kind.folder(&runs, round);
            counted.extend(trainer.run(kind, &servers[..kind.servers], &out)?);
        }
    }
    for server in servers {
        server.stop()?;
    }
    println!("{}", table(&counted));
    println!(
        "The servers have the cores {} and {}, the trainer has {} of {cores}.",
        server_core(0, cores),
        server_core(1, cores),
        trainer.core
    );
    trainer.check_plan(&runs)
}

/// The program that trains, on one core.
struct Trainer<'a> {
    program: &'a Path,
    model: &'a Path,
    problems: &'a Path,
    core: usize,
}

impl Trainer<'_> {
    /// Trains through `servers` and returns the steps that count. Of the run, its tables are left.
    fn run(&self, kind: Kind, servers: &[Server], out: &Path) -> Result<Vec<Step>> {
        let mut command = Command::new("taskset");
        command.args(["-c", &self.core.to_string()]).arg(self.program);
        command.args(["train", "--method", "grpo", "--threads", "1"]);
        command.arg("--model").arg(self.model).arg("--problems").arg(self.problems);
        for server in servers {
            command.args(["--vllm", &server.address()]);
        }
        command.args(["--steps", &STEPS.to_string()]);
        let ahead = format!("run.ahead={}", kind.ahead);
        let prompts = format!("run.prompts_per_step={PROMPTS}");
        for setting in [
            &*ahead,
            &*prompts,
            "run.checkpoint_every=0",
            "rollout.group_size=4",
            "rollout.sampling.max_completion_len=48",
            // With it all completions train, also where all rewards of a group are equal.
            "loss.kl.coef=0.01",
            "evaluation.held_out={ type = \"none\" }",
            "evaluation.at_start=false",
        ] {
            command.args(["--set", setting]);
        }
        check(command.arg("--out").arg(out))?;
        let run = out.join("grpo");
        // Gigabytes, which neither the table nor the plan needs.
        for weights in ["checkpoints", "vllm-weights"] {
            remove(&run.join(weights))?;
        }
        let counted = steps(&read(&run.join("timings.jsonl"))?)?;
        ensure!(counted.len() == STEPS - 1, "{} of {STEPS} steps have times", counted.len() + 1);
        Ok(counted)
    }

    /// Lets the plan predict each kind of run from the first one.
    fn check_plan(&self, runs: &Path) -> Result<()> {
        let machine = runs.join("machine.toml");
        std::fs::write(&machine, MACHINE)
            .with_context(|| format!("cannot write `{}`", machine.display()))?;
        let [fitted, predicted @ ..] = KINDS;
        for kind in predicted {
            let mut command = Command::new(self.program);
            command.arg("plan").arg("--model").arg(self.model).args(["--compute", "f32"]);
            command.arg("--measured").arg(kind.folder(runs, 1).join("grpo"));
            command.args(["--servers", &kind.servers.to_string()]);
            command.arg("--fit").arg(fitted.folder(runs, 1).join("grpo"));
            command.args(["--fit-servers", &fitted.servers.to_string()]);
            check(command.arg("--machine").arg(&machine))?;
        }
        Ok(())
    }
}

/// Seconds of a step and of its parts: all, waiting for the batch, update, handing the weights over.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Step([f64; 4]);

/// Their names in a run's `timings.jsonl`.
const PARTS: [&str; 4] = ["step_time", "rollout_s", "update_s", "sync_s"];

/// The steps in a `timings.jsonl`, without the first one.
fn steps(timings: &str) -> Result<Vec<Step>> {
    let step = |line: &str| -> Result<Step> {
        let times = serde_json::from_str::<Value>(line).context("a line of timings is no JSON")?;
        let mut parts = [0.0; PARTS.len()];
        for (part, name) in parts.iter_mut().zip(PARTS) {
            *part = times[name].as_f64().with_context(|| format!("a step has no `{name}`"))?;
        }
        Ok(Step(parts))
    };
    timings.lines().skip(1).map(step).collect()
}

/// Median, least and most of some numbers, which are not empty.
fn spread(numbers: impl Iterator<Item = f64>) -> [f64; 3] {
    let mut numbers = numbers.collect::<Vec<_>>();
    numbers.sort_by(f64::total_cmp);
    let (low, high) = (numbers[(numbers.len() - 1) / 2], numbers[numbers.len() / 2]);
    [f64::midpoint(low, high), numbers[0], numbers[numbers.len() - 1]]
}

/// A row for each kind of run.
fn table(counted: &[Vec<Step>; KINDS.len()]) -> String {
    let row = |(kind, steps): (&Kind, &Vec<Step>)| {
        let part = |index: usize| spread(steps.iter().map(|step| step.0[index]));
        let [median, least, most] = part(0);
        let [rollout, update, sync] = [1, 2, 3].map(|index| part(index)[0]);
        format!(
            "| {} | {} | {median:.1} | {least:.1} to {most:.1} | {rollout:.1} | {update:.1} | {sync:.1} |\n",
            kind.servers, kind.ahead
        )
    };
    let rows = KINDS.iter().zip(counted).map(row).collect::<Vec<_>>();
    format!("{HEAD}{}", rows.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_the_machine_of_the_check() {
        let page = include_str!("../../../docs/machines.md");
        assert!(page.contains(MACHINE), "docs/machines.md has not:\n{MACHINE}");
    }

    #[test]
    fn a_row_has_the_medians_without_the_first_step() {
        let line = |step: f64| {
            format!(
                "{{\"step_time\":{step},\"rollout_s\":{},\"update_s\":2.0,\"sync_s\":0.5}}\n",
                step - 2.5
            )
        };
        let timings = [90.0, 4.0, 7.0, 5.0, 6.0].map(line).concat();
        let counted = steps(&timings).unwrap();
        assert_eq!(counted.len(), 4);
        let text = table(&KINDS.map(|_| counted.clone()));
        let rows = text.lines().skip(2).collect::<Vec<_>>();
        assert_eq!(rows[1], "| 1 | 1 | 5.5 | 4.0 to 7.0 | 3.0 | 2.0 | 0.5 |");
        assert_eq!((rows.len(), &rows[2][..9]), (4, "| 2 | 0 |"));
        let error = steps("{}\n{\"step_time\":1.0}\n").unwrap_err().to_string();
        assert!(error.contains("`rollout_s`"), "{error}");
    }

    #[test]
    fn each_kind_has_a_folder_for_each_round_and_servers_share_the_cores() {
        let mut folders = Vec::new();
        for round in 1..=REPEATS {
            folders.extend(KINDS.map(|kind| kind.folder(Path::new("runs"), round)));
        }
        folders.sort();
        folders.dedup();
        assert_eq!(folders.len(), REPEATS * KINDS.len());
        assert_eq!([0, 1].map(|index| server_core(index, 2)), [0, 1]);
        assert_eq!(PROBLEMS.lines().count(), PROMPTS);
    }
}
