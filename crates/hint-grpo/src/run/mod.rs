//! The run: one loop of steps, evaluations and checkpoints for every stage of training.
//!
//! [`Run::run`] is the loop. What a step's samples are is up to its [`Stage`]; what they do to the weights is
//! the [`Learner`]'s business; observers, clock and files are behind the `RunContext`.

use std::path::{Path, PathBuf};

use hint_policy::{Policy, SaveOptions, SharedPolicy};
use hint_rollout::engine::HeadWeights;
use hint_rollout::run::RunProgress;
use hint_rollout::{Collector, PolicyVersion, Problem, RolloutError, WeightSource};

use self::context::RunContext;
use self::restore::Restored;
use crate::config::GrpoConfig;
use crate::error::GrpoError;
use crate::learner::Learner;
use crate::metrics::{self, Metrics};
use crate::observer::{Phase, StepReport, Timings};
use crate::run_dir::{CheckpointContent, Progress, RunDir};
use crate::stage::{PolicyGradient, Stage, Supervised};

mod builder;
mod context;
mod evaluation;
mod parts;
mod restore;

pub use builder::RunBuilder;
pub use parts::{Hints, Parts};

/// A run of policy gradient: collects groups, turns them into advantages and losses, takes optimizer
/// steps. Made by [`Trainer::from_config`].
pub type Trainer = Run<PolicyGradient>;

/// A run on demonstrations. Made by [`SupervisedTrainer::builder`].
pub type SupervisedTrainer = Run<Supervised>;

/// A run of one stage: steps, evaluations and checkpoints.
///
/// A killed run resumes to the same bytes.
pub struct Run<S> {
    stage: S,
    learner: Learner,
    config: GrpoConfig,
    context: RunContext,
    /// Problems to evaluate on.
    held_out: Vec<Problem>,
    progress: Progress,
    /// The checkpoint of the run that was resumed.
    restored: Option<Restored>,
}

impl<S> std::fmt::Debug for Run<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Run")
            .field("config", &self.config)
            .field("progress", &self.progress)
            .finish_non_exhaustive()
    }
}

/// How a call of [`Run::run`] ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// All steps are done.
    Completed,
    /// An observer stopped the run.
    Stopped {
        /// Steps finished.
        step: u64,
        /// The checkpoint to resume from, when the run has a folder.
        checkpoint: Option<PathBuf>,
    },
}

impl Run<PolicyGradient> {
    /// The collector, for evaluation with the run's own engine, format and rubric.
    pub const fn collector_mut(&mut self) -> &mut Collector {
        self.stage.collector_mut()
    }
}

impl<S: Stage> Run<S> {
    /// Steps finished, those before a resume included.
    pub const fn step(&self) -> u64 {
        self.progress.step
    }

    /// Tokens of prompts and completions, those before a resume included: [`metrics::NUM_TOKENS`].
    pub const fn num_tokens(&self) -> u64 {
        self.progress.num_tokens
    }

    /// The folder of the run.
    pub fn run_dir(&self) -> Option<&Path> {
        self.context.run_dir.as_ref().map(RunDir::root)
    }

    /// Trains until all steps are done or an observer stops the run, and writes checkpoints on the
    /// way. A resumed run continues where its checkpoint was written.
    ///
    /// # Errors
    ///
    /// [`GrpoError::NoProblems`]; [`GrpoError::Mismatch`] when the run was resumed and `items`
    /// are not those it was started with; [`GrpoError::NotFinite`] for a loss or a gradient that is
    /// not a number; [`GrpoError::Config`] when a problem is both trained on and held out; and errors
    /// of the parts. The last checkpoint stays usable after any of them.
    pub fn run(&mut self, items: &[S::Item]) -> Result<Outcome, GrpoError> {
        if items.is_empty() {
            return Err(GrpoError::NoProblems);
        }
        evaluation::check_disjoint(items.iter().map(S::id), &self.held_out)?;
        let data = self.data_fingerprint(items);
        if let Some(restored) = &self.restored {
            restored.check_problems(&data)?;
        }
        if S::SAMPLES {
            self.sync()?;
        }
        let mut last_checkpoint = None;
        if self.progress.step == 0 && self.restored.is_none() {
            let stop = self.start()?;
            // A run that is killed before its first regular checkpoint can be resumed, too.
            last_checkpoint = self.checkpoint(&data)?;
            if stop {
                return Ok(Outcome::Stopped { step: 0, checkpoint: last_checkpoint });
            }
        }
        while self.progress.step < self.config.run.steps {
            let mut report = self.step_once(items)?;
            self.evaluate(&mut report.metrics)?;
            let stop = self.context.finish_step(report)?;
            let step = self.progress.step;
            if stop || self.config.run.checkpoint_is_due(step) {
                last_checkpoint = self.checkpoint(&data)?;
            }
            if stop && step < self.config.run.steps {
                return Ok(Outcome::Stopped { step, checkpoint: last_checkpoint });
            }
        }
        Ok(Outcome::Completed)
    }

    /// Takes one step: the stage's samples, the learner's update, the engine's new weights.
    fn step_once(&mut self, items: &[S::Item]) -> Result<StepReport, GrpoError> {
        let step = self.progress.step + 1;
        let at = RunProgress::new(self.progress.step, self.config.run.steps);
        if S::SAMPLES {
            self.context.enter(step, Phase::Rollout);
        }
        let batch = self.stage.next_batch(items, at)?;
        self.context.enter(step, Phase::Update);
        let update = self.learner.update(&batch.samples, at)?;
        self.context.rollouts(&self.stage.table(&update)?)?;
        self.progress.updates = self.learner.updates();
        if S::SAMPLES {
            self.sync()?;
        }
        self.progress.step = step;
        self.progress.num_tokens += batch.num_tokens;

        let (mut metrics, mut warnings) = (batch.metrics, batch.warnings);
        metrics.merge(&update.metrics);
        metrics.set(metrics::NUM_TOKENS, self.progress.num_tokens as f64);
        warnings.extend(update.warnings);
        Ok(StepReport { tokens: batch.tokens, warnings, ..self.report(metrics) })
    }

    /// A report of the present step.
    fn report(&self, metrics: Metrics) -> StepReport {
        StepReport {
            step: self.progress.step,
            total_steps: self.config.run.steps,
            metrics,
            timings: Timings::default(),
            tokens: 0,
            peak_memory: None,
            warnings: Vec::new(),
        }
    }

    /// Hands the weights to the engine.
    fn sync(&mut self) -> Result<(), GrpoError> {
        self.context.enter(self.progress.step + 1, Phase::Sync);
        let version = PolicyVersion(self.progress.updates);
        self.stage.sync(&SharedWeights { policy: self.learner.policy(), version })
    }

    fn checkpoint(&mut self, data: &str) -> Result<Option<PathBuf>, GrpoError> {
        let mut parts = self.stage.state();
        parts.insert("guard".to_owned(), self.learner.state());
        let content = CheckpointContent {
            stage: S::NAME,
            progress: self.progress,
            optimizer: self.learner.moments(),
            parts,
            problems: data.to_owned(),
            config: &self.config,
        };
        self.context.checkpoint(self.learner.policy(), &content)
    }

    /// The fingerprint of what the run trains on, with that of what it evaluates on.
    fn data_fingerprint(&self, items: &[S::Item]) -> String {
        let trained = S::fingerprint(items);
        if self.held_out.is_empty() {
            return trained;
        }
        format!("{trained}+{}", PolicyGradient::fingerprint(&self.held_out))
    }
}

/// The policy's weights, for engines in other processes.
struct SharedWeights<'a> {
    policy: &'a SharedPolicy,
    version: PolicyVersion,
}

impl WeightSource for SharedWeights<'_> {
    fn version(&self) -> PolicyVersion {
        self.version
    }

    fn write_checkpoint(&self, dir: &Path, head: HeadWeights) -> Result<(), RolloutError> {
        let untied_head = head == HeadWeights::Untied;
        let options = SaveOptions { untied_head, merged: true, ..SaveOptions::default() };
        Ok(self.policy.lock().save_as(dir, &options)?)
    }
}
