//! A check of the model: its times next to those of a finished run.

use std::fmt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use comfy_table::{CellAlignment, Table, presets::NOTHING};
use hint_grpo::GrpoConfig;
use hint_grpo::config::Sharding;
use hint_grpo::metrics::{self, timings};
use hint_grpo::objective::OldLogprobs;
use hint_policy::ModelConfig;
use serde_json::{Value, json};

use super::machine::Machine;
use super::memory::{room, server, shape};
use super::step::{Demand, Shape, StepTime};
use super::text::{efficiencies, seconds};
use super::{Options, demand};
use crate::run_log::RunLog;

/// Seconds of the parts of steps that a run measures.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Times {
    sampling: f64,
    /// Passes, optimizer and exchange of gradients.
    update: f64,
    transfer: f64,
    step: f64,
}

impl Times {
    fn of(time: &StepTime) -> Self {
        Self {
            sampling: time.sampling.seconds() + time.hinted.seconds(),
            update: time.trainer_side(),
            transfer: time.transfer,
            step: time.total(),
        }
    }

    fn mean(all: impl Iterator<Item = Self>) -> Self {
        let (mut sum, mut count) = (Self::default(), 0.0);
        for times in all {
            sum.sampling += times.sampling;
            sum.update += times.update;
            sum.transfer += times.transfer;
            sum.step += times.step;
            count += 1.0;
        }
        Self {
            sampling: sum.sampling / count,
            update: sum.update / count,
            transfer: sum.transfer / count,
            step: sum.step / count,
        }
    }
}

/// A step of a finished run.
struct MeasuredStep {
    /// Its work.
    demand: Demand,
    /// Its seconds.
    measured: Times,
}

/// The model next to a run: means over its steps.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Comparison {
    run: String,
    /// Steps that count.
    steps: usize,
    machine: Machine,
    /// The run that gave the shares of its peaks.
    fit: Option<String>,
    /// Whether rollouts were sampled ahead, so that sampling cannot be told from waiting.
    is_ahead: bool,
    predicted: Times,
    measured: Times,
}

/// Compares the model with `run`, whose processes and servers the options name. The shares of the peaks are the machine's, or
/// those of the run in `--fit`.
///
/// # Errors
///
/// A run without timings or lengths; one to fit that sampled ahead, or learned nothing.
pub(super) fn compare(
    options: &Options,
    config: &ModelConfig,
    machine: &Machine,
    run: &Path,
) -> Result<Comparison> {
    let shape = shape(config, options.adapters);
    let machine = match &options.fit {
        Some(fit) => {
            let work = demand(options, options.fit_gpus, options.fit_servers);
            let steps = steps(fit, &work)?;
            fitted(&shape, machine, &steps).with_context(|| format!("in `{}`", fit.display()))?
        }
        None => machine.clone(),
    };
    let (gpus, servers) = (options.gpus.as_slice(), options.servers.as_slice());
    let (&[gpus], &[servers]) = (gpus, servers) else {
        anyhow::bail!("`--measured` takes one number of `--gpus`, and one of `--servers`")
    };
    let steps = steps(run, &demand(options, gpus, servers))?;
    let part = machine.part(options.machine_frac);
    let predicted = steps.iter().map(|step| Times::of(&time(&shape, &step.demand, &part)));
    Ok(Comparison {
        run: run.display().to_string(),
        steps: steps.len(),
        fit: options.fit.as_ref().map(|fit| fit.display().to_string()),
        is_ahead: steps.iter().any(|step| step.demand.is_ahead),
        predicted: Times::mean(predicted),
        measured: Times::mean(steps.iter().map(|step| step.measured)),
        machine,
    })
}

fn time(shape: &Shape, demand: &Demand, machine: &Machine) -> StepTime {
    let server = (demand.servers > 0.0).then(|| server(shape, demand, machine));
    StepTime::new(shape, demand, machine, room(demand, server.as_ref()))
}

/// The machine with the shares that give the times of the steps. One divides the time of sampling, and one that of the
/// passes. With servers, the bandwidth of the folder divides that of the transfer. The optimizer and the exchange of gradients
/// depend on none of them.
fn fitted(shape: &Shape, machine: &Machine, steps: &[MeasuredStep]) -> Result<Machine> {
    ensure!(
        steps.iter().all(|step| !step.demand.is_ahead),
        "a run with `run.ahead` cannot be fitted, since it does not measure its sampling; name another one"
    );
    let at_peak = Machine { mfu: 1.0, sampling_efficiency: 1.0, ..machine.clone() };
    let (mut sampling, mut passes, mut others, mut transfer) = (0.0, 0.0, 0.0, 0.0);
    let mut measured = Times::default();
    for step in steps {
        let time = time(shape, &step.demand, &at_peak);
        sampling += time.sampling.seconds() + time.hinted.seconds();
        passes += time.update;
        others += time.optimizer + time.all_reduce;
        transfer += time.transfer;
        measured.sampling += step.measured.sampling;
        measured.update += step.measured.update;
        measured.transfer += step.measured.transfer;
    }
    ensure!(
        passes > 0.0 && sampling > 0.0,
        "its steps have no gradient, so they do not show how fast the machine learns; name a run that learns"
    );
    ensure!(
        measured.update > others && measured.sampling > 0.0,
        "its updates take {}, and the optimizer alone would take {}; give the machine with `--machine`",
        seconds(measured.update),
        seconds(others)
    );
    // It covers all that servers do: they also pause, load and resume.
    let hands_over = transfer > 0.0 && measured.transfer > 0.0;
    let disk_share = if hands_over { transfer / measured.transfer } else { 1.0 };
    Ok(Machine {
        mfu: passes / (measured.update - others),
        sampling_efficiency: sampling / measured.sampling,
        disk_bandwidth: machine.disk_bandwidth * disk_share,
        ..machine.clone()
    })
}

/// The steps of the run in `dir`. The first one, which also warms up, is left out if there are others.
fn steps(dir: &Path, work: &Demand) -> Result<Vec<MeasuredStep>> {
    let log = RunLog::read(dir)?;
    let file = dir.join("config.toml");
    let place = file.display();
    let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read `{place}`"))?;
    let config = GrpoConfig::from_toml(&text).with_context(|| format!("in `{place}`"))?;
    let work = configured(work, &config);
    let mut steps = Vec::new();
    let mut before = 0.0;
    for line in &log.metrics {
        let Some(total) = line[metrics::NUM_TOKENS].as_f64() else { continue };
        let counted = total - std::mem::replace(&mut before, total);
        let times = log.timings.iter().find(|times| times["step"] == line["step"]);
        steps.extend(times.and_then(|times| measured_step(line, times, counted, &work)));
    }
    ensure!(
        !steps.is_empty(),
        "`{}` has no step with timings and lengths of completions; name the folder of a run that samples",
        dir.display()
    );
    if steps.len() > 1 {
        steps.remove(0);
    }
    Ok(steps)
}

/// The counts of a configuration in place of those of the options.
fn configured(work: &Demand, config: &GrpoConfig) -> Demand {
    let (run, loss) = (&config.run, &config.loss);
    let is_old = run.num_minibatches > 1 && loss.old_logprobs == OldLogprobs::Recomputed;
    let scoring = [is_old, loss.needs_reference(), loss.further_teacher().is_some()];
    let workers = run.virtual_workers.map_or(work.workers, |workers| workers as f64);
    Demand {
        workers: workers.max(work.gpus),
        prompts: run.prompts_per_step as f64,
        group_size: config.rollout.group_size as f64,
        updates: (run.num_iterations * run.num_minibatches) as f64,
        passes: run.num_iterations as f64,
        scoring_passes: scoring.into_iter().filter(|has| *has).count() as f64,
        is_ahead: run.ahead > 0,
        shares_weights: run.shard == Sharding::Parameters,
        micro_batch_tokens: run.max_tokens_per_micro_batch as f64,
        ..work.clone()
    }
}

/// One step, by its line of metrics, its line of timings, and its tokens with prompts; nothing without lengths.
fn measured_step(line: &Value, times: &Value, counted: f64, work: &Demand) -> Option<MeasuredStep> {
    let metric = |name: &str| line[name].as_f64();
    let time = |name: &str| times[name].as_f64();
    let mean_len = metric(metrics::COMPLETIONS_MEAN_LENGTH).filter(|length| *length > 0.0)?;
    let rows = time(timings::TOKENS)? / mean_len;
    let hinted_frac = metric(metrics::HINT_HINTED_FRAC).unwrap_or(0.0);
    // Dynamic sampling draws more groups than train.
    let prompts = rows / (work.group_size * (1.0 + hinted_frac));
    let without = metric(metrics::TOKENS_NO_GRADIENT_FRAC).unwrap_or(0.0);
    let demand = Demand {
        prompt_len: (counted / rows - mean_len).max(0.0),
        mean_len,
        max_len: metric(metrics::COMPLETIONS_MAX_LENGTH)?,
        hinted_frac,
        trained_frac: (work.prompts / prompts * (1.0 - without)).min(1.0),
        prompts,
        ..work.clone()
    };
    let measured = Times {
        sampling: time(timings::ROLLOUT)?,
        update: time(timings::UPDATE)?,
        transfer: time(timings::SYNC)?,
        step: time(timings::STEP)?,
    };
    (rows > 0.0).then_some(MeasuredStep { demand, measured })
}

impl Comparison {
    /// Name, prediction and measurement of each part.
    fn parts(&self) -> Vec<(&'static str, f64, f64)> {
        let (predicted, measured) = (&self.predicted, &self.measured);
        let all = [
            ("sampling", predicted.sampling, measured.sampling),
            ("update", predicted.update, measured.update),
            ("transfer", predicted.transfer, measured.transfer),
            ("step", predicted.step, measured.step),
        ];
        // Ahead, the run measures how long the learner waits for its batch and for nothing else.
        let counts = |name: &str| !self.is_ahead || matches!(name, "update" | "step");
        all.into_iter().filter(|(name, ..)| counts(name)).collect()
    }

    /// The comparison in JSON. Errors are shares of the measured time.
    pub(super) fn json(&self) -> String {
        let parts = self.parts().into_iter().map(|(name, predicted, measured)| {
            let error = error(predicted, measured);
            (
                name.to_owned(),
                json!({ "predicted": predicted, "measured": measured, "error": error }),
            )
        });
        let parts = Value::Object(parts.collect());
        let found = json!({
            "run": self.run, "fit": self.fit, "steps": self.steps, "machine": self.machine,
            "seconds": parts,
        });
        format!("{found:#}")
    }
}

/// The error of a prediction, as a share of the measured time; nothing where next to no time was measured.
fn error(predicted: f64, measured: f64) -> Option<f64> {
    (measured > 1e-2).then(|| predicted / measured - 1.0)
}

impl fmt::Display for Comparison {
    /// The shares of the peaks, and a table with a row per part.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = match &self.fit {
            Some(run) => format!("fitted to {run}"),
            None => "assumed".to_owned(),
        };
        writeln!(formatter, "{}: means of {} steps", self.run, self.steps)?;
        let machine = &self.machine;
        write!(formatter, "{source}, of {}: {}", machine.name, efficiencies(machine))?;
        if self.predicted.transfer > 0.0 {
            write!(formatter, ", {:.1} MB/s through the folder", machine.disk_bandwidth / 1e6)?;
        }
        writeln!(formatter)?;
        let mut table = Table::new();
        table.load_preset(NOTHING).set_header(["part", "predicted", "measured", "error"]);
        for (name, predicted, measured) in self.parts() {
            let error = error(predicted, measured)
                .map_or_else(|| "–".to_owned(), |error| format!("{:+.0} %", 100.0 * error));
            table.add_row([name.to_owned(), seconds(predicted), seconds(measured), error]);
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        write!(formatter, "{}", table.trim_fmt())
    }
}
