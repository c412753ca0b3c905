//! Reports of a run to its observers.
//!
//! An [`Observer`] sees the phases of a step, its report and its checkpoints, and may stop the run. The clock and
//! the memory gauge behind [`Timings`] belong to the program.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use hint_rollout::evaluate::Evaluation;
use serde_json::{Map, Value};

use crate::config::Change;
use crate::metrics::{Metrics, timings as names};
use crate::rollout_table::RolloutRecord;
use crate::warning::Warning;

/// Current phase of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// Sampling and judging completions.
    Rollout,
    /// Scoring tokens, backward passes, optimizer steps.
    Update,
    /// Handing new weights to the engine.
    Sync,
    /// Sampling and judging held-out problems.
    Evaluation,
    /// Writing a checkpoint.
    Checkpoint,
}

/// Time of a step by phase. All zero when the trainer has no clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Timings {
    /// Sampling and judging.
    pub rollout: Duration,
    /// Scoring, backward passes, optimizer steps.
    pub update: Duration,
    /// Handing new weights to the engine.
    pub sync: Duration,
    /// Sampling and judging held-out problems.
    pub evaluation: Duration,
    /// Writing the checkpoint before this step.
    pub checkpoint: Duration,
}

impl Timings {
    /// Time of the step itself, without evaluation and checkpoint.
    pub fn step(&self) -> Duration {
        self.rollout + self.update + self.sync
    }
}

/// One finished step.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StepReport {
    /// Steps finished, this one included. 0 for an evaluation before the first step.
    pub step: u64,
    /// Steps of the whole run.
    pub total_steps: u64,
    /// Its metrics.
    pub metrics: Metrics,
    /// Its time by phase.
    pub timings: Timings,
    /// Completion tokens sampled in this step; in a supervised stage, tokens learned from.
    pub tokens: u64,
    /// Largest memory of the process so far, in bytes, when the trainer has a gauge.
    pub peak_memory: Option<u64>,
    /// Findings that did not stop the step.
    pub warnings: Vec<Warning>,
}

impl StepReport {
    /// The step, its timings and its tokens by name, as a line of `timings.jsonl` holds them.
    pub fn timings_json(&self) -> Map<String, Value> {
        let seconds = self.timings.step().as_secs_f64();
        let mut line = Map::new();
        line.insert("step".to_owned(), self.step.into());
        for (name, duration) in [
            (names::ROLLOUT, self.timings.rollout),
            (names::UPDATE, self.timings.update),
            (names::SYNC, self.timings.sync),
            (names::EVALUATION, self.timings.evaluation),
            (names::CHECKPOINT, self.timings.checkpoint),
            (names::STEP, self.timings.step()),
        ] {
            line.insert(name.to_owned(), duration.as_secs_f64().into());
        }
        line.insert(names::TOKENS.to_owned(), self.tokens.into());
        if seconds > 0.0 {
            let rate = self.tokens as f64 / seconds;
            line.insert(names::TOKENS_PER_SECOND.to_owned(), rate.into());
        }
        if let Some(bytes) = self.peak_memory {
            line.insert(names::PEAK_MEMORY.to_owned(), bytes.into());
        }
        line
    }
}

/// Watches a run. All methods have a default, so an observer implements only the ones it needs.
///
/// ```
/// use std::ops::ControlFlow;
///
/// use hint_grpo::metrics;
/// use hint_grpo::{Observer, observer::StepReport};
///
/// /// Ends the run when most plain completions are right.
/// struct UntilSolved;
///
/// impl Observer for UntilSolved {
///     fn on_step(&mut self, report: &StepReport) -> ControlFlow<()> {
///         match report.metrics.get(metrics::ROLLOUT_PASS_RATE) {
///             Some(rate) if rate > 0.8 => ControlFlow::Break(()),
///             _ => ControlFlow::Continue(()),
///         }
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no observer",
    note = "a closure of step reports becomes one through `hint_grpo::observer_from_fn(closure)`"
)]
pub trait Observer: Send {
    /// A phase of step `step` (counted from 1) begins.
    fn on_phase(&mut self, step: u64, phase: Phase) {
        let _ = (step, phase);
    }

    /// The completions of step `step`, after its optimizer steps. Not called with `rollout_table.every = 0`,
    /// nor in a supervised stage.
    fn on_rollouts(&mut self, step: u64, rollouts: &[RolloutRecord]) {
        let _ = (step, rollouts);
    }

    /// Adds metrics of its own to those of step `step`, before they are written and before
    /// [`on_step`](Self::on_step). They are in `metrics.jsonl`, TensorBoard, the report and every other observer's
    /// report. A run resumes to the same `metrics.jsonl` if they follow from the step alone.
    ///
    /// Also called for the evaluation before the first step, as step 0, and for steps without
    /// [`on_rollouts`](Self::on_rollouts). Choose names of your own: others are changed for everyone who reads them.
    fn add_metrics(&mut self, step: u64, metrics: &mut Metrics) {
        let _ = (step, metrics);
    }

    /// A step is finished. `Break` ends the run after a checkpoint.
    fn on_step(&mut self, report: &StepReport) -> ControlFlow<()> {
        let _ = report;
        ControlFlow::Continue(())
    }

    /// The held-out problems were evaluated after step `step`; 0 is before the first one.
    fn on_evaluation(&mut self, step: u64, evaluation: &Evaluation) {
        let _ = (step, evaluation);
    }

    /// A checkpoint was written.
    fn on_checkpoint(&mut self, dir: &Path) {
        let _ = dir;
    }

    /// A resumed run differs from its checkpoint in something that it may [change](crate::RunBuilder::changes).
    fn on_change(&mut self, change: &Change) {
        let _ = change;
    }
}

impl<O: Observer + ?Sized> Observer for Box<O> {
    fn on_phase(&mut self, step: u64, phase: Phase) {
        (**self).on_phase(step, phase);
    }

    fn on_rollouts(&mut self, step: u64, rollouts: &[RolloutRecord]) {
        (**self).on_rollouts(step, rollouts);
    }

    fn add_metrics(&mut self, step: u64, metrics: &mut Metrics) {
        (**self).add_metrics(step, metrics);
    }

    fn on_step(&mut self, report: &StepReport) -> ControlFlow<()> {
        (**self).on_step(report)
    }

    fn on_evaluation(&mut self, step: u64, evaluation: &Evaluation) {
        (**self).on_evaluation(step, evaluation);
    }

    fn on_checkpoint(&mut self, dir: &Path) {
        (**self).on_checkpoint(dir);
    }

    fn on_change(&mut self, change: &Change) {
        (**self).on_change(change);
    }
}

/// An observer from a closure; see [`observer_from_fn`].
#[derive(Debug, Clone)]
pub struct FnObserver<F>(F);

impl<F: FnMut(&StepReport) -> ControlFlow<()> + Send> Observer for FnObserver<F> {
    fn on_step(&mut self, report: &StepReport) -> ControlFlow<()> {
        self.0(report)
    }
}

/// An observer that calls `on_step` after each step; `Break` ends the run after a checkpoint.
///
/// ```
/// use std::ops::ControlFlow;
///
/// let observer = hint_grpo::observer_from_fn(|report| {
///     println!("step {} of {}", report.step, report.total_steps);
///     ControlFlow::Continue(())
/// });
/// # let _: &dyn hint_grpo::Observer = &observer;
/// ```
pub fn observer_from_fn<F>(on_step: F) -> FnObserver<F>
where
    F: FnMut(&StepReport) -> ControlFlow<()> + Send,
{
    FnObserver(on_step)
}
