//! Observers, clock and files of a run, and where its time goes.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hint_rollout::evaluate::Evaluation;

use crate::config::Change;
use crate::error::GrpoError;
use crate::learner::Learner;
use crate::metrics;
use crate::observer::{Observer, Phase, StepReport, Timings};
use crate::optim::write_state;
use crate::rollout_table::RolloutRecord;
use crate::run_dir::{CheckpointContent, OPTIMIZER, RunDir};

/// Fills a checkpoint's folder with one more file, such as a tokenizer.
pub(super) type ExtraFile =
    Box<dyn Fn(&Path) -> Result<(), Box<dyn std::error::Error + Send + Sync>> + Send>;

/// Observers, clock and files of a run, and where its time goes.
#[derive(Default)]
pub(super) struct RunContext {
    pub(super) observers: Vec<Box<dyn Observer>>,
    pub(super) clock: Option<Box<dyn Fn() -> Duration + Send>>,
    /// The time since 1970.
    pub(super) wall_clock: Option<Box<dyn Fn() -> Duration + Send>>,
    pub(super) peak_memory: Option<Box<dyn Fn() -> Option<u64> + Send>>,
    pub(super) run_dir: Option<RunDir>,
    pub(super) extra_files: Vec<ExtraFile>,
    /// The present phase, and when it began.
    current: Option<(Phase, Duration)>,
    spent: Timings,
}

impl RunContext {
    /// Tells the observers in what a resumed run differs from its checkpoint.
    pub(super) fn changed<'c>(&mut self, changes: impl Iterator<Item = &'c Change>) {
        for change in changes {
            let Change { key, before, after, .. } = change;
            tracing::info!(key, %before, %after, "the resumed run differs");
            for observer in &mut self.observers {
                observer.on_change(change);
            }
        }
    }

    /// The time of a phase begins, and that of the one before ends. The observers hear of it later.
    pub(super) fn count(&mut self, phase: Phase) {
        self.leave();
        self.current = Some((phase, self.now()));
    }

    /// A phase of step `step` begins, and the one before ends.
    pub(super) fn enter(&mut self, step: u64, phase: Phase) {
        self.count(phase);
        tracing::debug!(step, ?phase, "a phase begins");
        for observer in &mut self.observers {
            observer.on_phase(step, phase);
        }
    }

    fn leave(&mut self) {
        let Some((phase, start)) = self.current.take() else { return };
        let spent = match phase {
            Phase::Rollout => &mut self.spent.rollout,
            Phase::Update => &mut self.spent.update,
            Phase::Sync => &mut self.spent.sync,
            Phase::Evaluation => &mut self.spent.evaluation,
            Phase::Checkpoint => &mut self.spent.checkpoint,
        };
        let now = self.clock.as_ref().map_or(Duration::ZERO, |clock| clock());
        *spent += now.saturating_sub(start);
    }

    /// Completes the report of a step with its timings. Returns the time since 1970.
    pub(super) fn close_step(&mut self, report: &mut StepReport) -> Duration {
        self.leave();
        report.timings = std::mem::take(&mut self.spent);
        report.peak_memory = self.peak_memory.as_ref().and_then(|gauge| gauge());
        self.wall_clock.as_ref().map_or(Duration::ZERO, |clock| clock())
    }

    /// Writes the report of a step that ended at `wall`, and passes it to the observers. Returns whether one of them
    /// stops the run.
    pub(super) fn write_step(
        &mut self,
        mut report: StepReport,
        wall: Duration,
    ) -> Result<bool, GrpoError> {
        for observer in &mut self.observers {
            observer.add_metrics(report.step, &mut report.metrics);
        }
        if let Some(dir) = &mut self.run_dir {
            dir.record(&report, wall)?;
        }
        for warning in &report.warnings {
            tracing::warn!(step = report.step, "{warning}");
        }
        let (reward, pass_rate) =
            (report.metrics.get(metrics::REWARD), report.metrics.get(metrics::ROLLOUT_PASS_RATE));
        let (step, tokens) = (report.step, report.tokens);
        tracing::info!(step, of = report.total_steps, reward, pass_rate, tokens, "a step is done");
        let mut stop = false;
        for observer in &mut self.observers {
            stop |= observer.on_step(&report) == ControlFlow::Break(());
        }
        Ok(stop)
    }

    /// Ends an evaluation: writes its results and passes them to the observers.
    pub(super) fn finish_evaluation(
        &mut self,
        step: u64,
        evaluation: &Evaluation,
        records: &[RolloutRecord],
    ) -> Result<(), GrpoError> {
        self.leave();
        if let Some(dir) = &self.run_dir {
            dir.write_evaluation(step, evaluation, records)?;
        }
        tracing::info!(step, accuracy = evaluation.accuracy(), "an evaluation is done");
        for observer in &mut self.observers {
            observer.on_evaluation(step, evaluation);
        }
        Ok(())
    }

    /// Passes the completions of a step to the observers, and writes them if the run has a folder.
    pub(super) fn rollouts(
        &mut self,
        step: u64,
        records: &[RolloutRecord],
    ) -> Result<(), GrpoError> {
        if records.is_empty() {
            return Ok(());
        }
        for observer in &mut self.observers {
            observer.on_rollouts(step, records);
        }
        match &mut self.run_dir {
            Some(dir) => dir.record_rollouts(step, records),
            None => Ok(()),
        }
    }

    /// Writes a checkpoint of the learner, if the run has a folder.
    pub(super) fn checkpoint(
        &mut self,
        learner: &Learner,
        content: &CheckpointContent<'_>,
    ) -> Result<Option<PathBuf>, GrpoError> {
        if self.run_dir.is_none() {
            return Ok(None);
        }
        self.enter(content.progress.step, Phase::Checkpoint);
        let extra_files = &self.extra_files;
        let write_tensors = |dir: &Path| {
            // First, since the other processes help with it.
            let (parts, holders) = (learner.state_parts(), learner.holders());
            write_state(parts, &holders, Some(&dir.join(OPTIMIZER)))?;
            learner.policy().lock().save(dir)?;
            for write in extra_files {
                write(dir).map_err(|source| GrpoError::Other { part: "extra file", source })?;
            }
            Ok(())
        };
        let Some(run_dir) = &mut self.run_dir else { return Ok(None) };
        let keep = content.config.run.keep_checkpoints;
        let path = run_dir.write_checkpoint(content, keep, &write_tensors)?;
        tracing::info!(path = %path.display(), "a checkpoint is written");
        self.leave();
        for observer in &mut self.observers {
            observer.on_checkpoint(&path);
        }
        Ok(Some(path))
    }

    fn now(&self) -> Duration {
        self.clock.as_ref().map_or(Duration::ZERO, |clock| clock())
    }
}
