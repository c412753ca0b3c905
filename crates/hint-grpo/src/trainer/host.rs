//! What surrounds the steps of a run, whatever they train: observers, clock, files.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hint_policy::SharedPolicy;
use hint_rollout::Evaluation;

use crate::run_dir::CheckpointContent;
use crate::{GrpoError, Observer, Phase, RunDir, StepReport, Timings};

/// Fills a checkpoint's folder with one more file, such as a tokenizer.
pub(crate) type Asset =
    Box<dyn Fn(&Path) -> Result<(), Box<dyn std::error::Error + Send + Sync>> + Send>;

/// Observers, clock and files of a run, and where its time goes.
#[derive(Default)]
pub(crate) struct Host {
    pub(crate) observers: Vec<Box<dyn Observer>>,
    pub(crate) clock: Option<Box<dyn Fn() -> Duration + Send>>,
    pub(crate) peak_memory: Option<Box<dyn Fn() -> Option<u64> + Send>>,
    pub(crate) run_dir: Option<RunDir>,
    pub(crate) assets: Vec<Asset>,
    /// The phase that is going on, and when it began.
    current: Option<(Phase, Duration)>,
    spent: Timings,
}

/// The methods of a builder that fill its field `host`.
macro_rules! host_methods {
    () => {
        /// Watches the run. May be called several times.
        #[must_use]
        pub fn observer(mut self, observer: impl $crate::Observer + 'static) -> Self {
            self.host.observers.push(Box::new(observer));
            self
        }

        /// A monotonic clock, for timings. Libraries read none themselves.
        #[must_use]
        pub fn clock(mut self, clock: impl Fn() -> std::time::Duration + Send + 'static) -> Self {
            self.host.clock = Some(Box::new(clock));
            self
        }

        /// A gauge of the largest memory the process has used so far, in bytes, for timings. Libraries
        /// ask the system for nothing themselves.
        #[must_use]
        pub fn peak_memory(mut self, gauge: impl Fn() -> Option<u64> + Send + 'static) -> Self {
            self.host.peak_memory = Some(Box::new(gauge));
            self
        }

        /// Where to write metrics and checkpoints, or where to resume from.
        #[must_use]
        pub fn run_dir(mut self, run_dir: $crate::RunDir) -> Self {
            self.host.run_dir = Some(run_dir);
            self
        }

        /// Adds files to every checkpoint, such as the tokenizer's.
        #[must_use]
        pub fn asset<F>(mut self, write: F) -> Self
        where
            F: Fn(&std::path::Path) -> Result<(), Box<dyn std::error::Error + Send + Sync>>
                + Send
                + 'static,
        {
            self.host.assets.push(Box::new(write));
            self
        }
    };
}
pub(crate) use host_methods;

impl Host {
    /// A phase of step `step` begins, and the one before ends.
    pub(crate) fn enter(&mut self, step: u64, phase: Phase) {
        self.leave();
        self.current = Some((phase, self.now()));
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

    /// Completes the report of a step, writes it down and tells the observers. Returns whether one
    /// of them stops the run.
    pub(crate) fn finish_step(&mut self, mut report: StepReport) -> Result<bool, GrpoError> {
        self.leave();
        report.timings = std::mem::take(&mut self.spent);
        report.peak_memory = self.peak_memory.as_ref().and_then(|gauge| gauge());
        if let Some(dir) = &mut self.run_dir {
            dir.record(&report)?;
        }
        let mut stop = false;
        for observer in &mut self.observers {
            stop |= observer.on_step(&report) == ControlFlow::Break(());
        }
        Ok(stop)
    }

    /// Ends an evaluation: writes its results down and tells the observers.
    pub(crate) fn finish_evaluation(
        &mut self,
        step: u64,
        evaluation: &Evaluation,
    ) -> Result<(), GrpoError> {
        self.leave();
        if let Some(dir) = &self.run_dir {
            dir.write_evaluation(step, evaluation)?;
        }
        for observer in &mut self.observers {
            observer.on_evaluation(step, evaluation);
        }
        Ok(())
    }

    /// Appends lines to the rollout table, if the run has a folder.
    pub(crate) fn rollouts(&mut self, lines: &[String]) -> Result<(), GrpoError> {
        match &mut self.run_dir {
            Some(dir) => dir.record_rollouts(lines),
            None => Ok(()),
        }
    }

    /// Writes a checkpoint, if the run has a folder.
    pub(crate) fn checkpoint(
        &mut self,
        policy: &SharedPolicy,
        content: &CheckpointContent<'_>,
    ) -> Result<Option<PathBuf>, GrpoError> {
        if self.run_dir.is_none() {
            return Ok(None);
        }
        self.enter(content.progress.step, Phase::Checkpoint);
        let assets = &self.assets;
        let write_model = |dir: &Path| {
            policy.lock().save(dir)?;
            for asset in assets {
                asset(dir).map_err(|source| GrpoError::Other { part: "asset", source })?;
            }
            Ok(())
        };
        let Some(run_dir) = &mut self.run_dir else { return Ok(None) };
        let keep = content.config.run.keep_checkpoints;
        let path = run_dir.write_checkpoint(content, keep, &write_model)?;
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
