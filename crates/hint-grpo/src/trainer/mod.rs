//! The training loop.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hint_policy::{Policy, SaveOptions, SharedPolicy};
use hint_rollout::{Collector, HeadWeights, PolicyVersion, Problem, RolloutError, WeightSource};

use self::evaluation::{Evaluator, check_disjoint};
use self::host::Host;
use self::restore::Restored;
use self::table::GroupMeasures;
use crate::optim::Guard;
use crate::run_dir::{CheckpointContent, Progress};
use crate::{AdvantageEstimator, GrpoConfig, GrpoError, Optimizer, Phase, PolicyLoss, RunDir};

mod affinity;
mod builder;
pub(crate) mod evaluation;
mod help;
pub(crate) mod host;
pub(crate) mod order;
pub(crate) mod restore;
mod scoring;
mod staleness;
mod step;
mod supervised_term;
mod table;
mod update;

pub use builder::TrainerBuilder;
pub use supervised_term::SupervisedTerm;

/// The name of this kind of training in checkpoints.
const STAGE: &str = "policy_gradient";

/// Trains a policy: collects groups, turns them into advantages and losses, takes optimizer steps.
///
/// Made by [`Trainer::builder`]. Nothing in the loop knows which method it runs: plain GRPO is a
/// collector without hints.
pub struct Trainer {
    policy: SharedPolicy,
    reference: Option<SharedPolicy>,
    collector: Collector,
    config: GrpoConfig,
    objective: Box<dyn PolicyLoss>,
    advantage: Box<dyn AdvantageEstimator>,
    optimizer: Box<dyn Optimizer>,
    guard: Guard,
    host: Host,
    /// Problems to evaluate on.
    held_out: Vec<Problem>,
    /// What the present step measured of each group.
    measures: GroupMeasures,
    progress: Progress,
    /// The checkpoint of the run that was resumed.
    restored: Option<Restored>,
}

impl std::fmt::Debug for Trainer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trainer")
            .field("config", &self.config)
            .field("progress", &self.progress)
            .finish_non_exhaustive()
    }
}

/// How a call of [`Trainer::run`] ended.
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

impl Trainer {
    /// Starts building a trainer of `policy`, whose groups come from `collector`. The collector
    /// must have been made from `config.rollout`.
    pub fn builder(
        policy: SharedPolicy,
        collector: Collector,
        config: GrpoConfig,
    ) -> TrainerBuilder {
        TrainerBuilder::new(policy, collector, config)
    }

    /// Steps finished, those before a resume included.
    pub const fn step(&self) -> u64 {
        self.progress.step
    }

    /// Tokens of prompts and completions, those before a resume included: [`metrics::NUM_TOKENS`](crate::metrics::NUM_TOKENS).
    pub const fn num_tokens(&self) -> u64 {
        self.progress.num_tokens
    }

    /// The collector, for evaluation with the run's own engine, format and rubric.
    pub const fn collector_mut(&mut self) -> &mut Collector {
        &mut self.collector
    }

    /// The folder of the run.
    pub fn run_dir(&self) -> Option<&Path> {
        self.host.run_dir.as_ref().map(RunDir::root)
    }

    /// Trains until all steps are done or an observer stops the run, and writes checkpoints on the
    /// way. A resumed run goes on where its checkpoint was written.
    ///
    /// # Errors
    ///
    /// [`GrpoError::NoProblems`]; [`GrpoError::Mismatch`] when the run was resumed and `problems`
    /// are not those it was started with; [`GrpoError::NotFinite`] for a loss or a gradient that is
    /// not a number; [`GrpoError::Config`] when a problem is both trained on and held out; and errors
    /// of the parts. The last checkpoint stays usable after any of them.
    pub fn run(&mut self, problems: &[Problem]) -> Result<Outcome, GrpoError> {
        if problems.is_empty() {
            return Err(GrpoError::NoProblems);
        }
        check_disjoint(problems.iter().map(|problem| problem.id.as_str()), &self.held_out)?;
        let fingerprint = fingerprints(problems, &self.held_out);
        if let Some(restored) = &self.restored {
            restored.check_problems(&fingerprint)?;
        }
        self.sync_engine()?;
        let mut last_checkpoint = None;
        if self.progress.step == 0 && self.restored.is_none() {
            let stop = self.evaluator().start(true)?;
            // A run that is killed before its first regular checkpoint can be resumed, too.
            last_checkpoint = self.checkpoint(&fingerprint)?;
            if stop {
                return Ok(Outcome::Stopped { step: 0, checkpoint: last_checkpoint });
            }
        }
        while self.progress.step < self.config.run.steps {
            let mut report = self.step_once(problems)?;
            let progress = self.progress;
            self.evaluator().run(progress, true, &mut report.metrics)?;
            let stop = self.host.finish_step(report)?;
            let step = self.progress.step;
            if stop || self.config.run.checkpoint_is_due(step) {
                last_checkpoint = self.checkpoint(&fingerprint)?;
            }
            if stop && step < self.config.run.steps {
                return Ok(Outcome::Stopped { step, checkpoint: last_checkpoint });
            }
        }
        Ok(Outcome::Completed)
    }

    fn checkpoint(&mut self, problems: &str) -> Result<Option<PathBuf>, GrpoError> {
        let parts = BTreeMap::from([
            ("advantage".to_owned(), serde_json::json!(self.advantage.state())),
            ("guard".to_owned(), self.guard.state()),
            ("collector".to_owned(), self.collector.state()),
        ]);
        let content = CheckpointContent {
            stage: STAGE,
            progress: self.progress,
            optimizer: self.optimizer.state(),
            parts,
            problems: problems.to_owned(),
            config: &self.config,
        };
        self.host.checkpoint(&self.policy, &content)
    }

    /// Tells the engine about the weights that the next rollouts use.
    fn sync_engine(&mut self) -> Result<(), GrpoError> {
        sync_engine(&mut self.host, &self.policy, &mut self.collector, self.progress)
    }

    fn evaluator(&mut self) -> Evaluator<'_> {
        Evaluator {
            host: &mut self.host,
            policy: &self.policy,
            collector: &mut self.collector,
            config: &self.config,
            held_out: &self.held_out,
        }
    }
}

/// Tells the engine of a collector about the weights after `progress`.
pub(crate) fn sync_engine(
    host: &mut Host,
    policy: &SharedPolicy,
    collector: &mut Collector,
    progress: Progress,
) -> Result<(), GrpoError> {
    host.enter(progress.step + 1, Phase::Sync);
    let weights = SharedWeights { policy, version: PolicyVersion(progress.updates) };
    Ok(collector.sync(&weights)?)
}

/// The fingerprint of what a run trains on, with that of what it evaluates on.
pub(crate) fn with_held_out(trained: String, held_out: &[Problem]) -> String {
    if held_out.is_empty() { trained } else { format!("{trained}+{}", fingerprint(held_out)) }
}

fn fingerprints(problems: &[Problem], held_out: &[Problem]) -> String {
    with_held_out(fingerprint(problems), held_out)
}

/// Ids, questions and answers, in order.
fn fingerprint(problems: &[Problem]) -> String {
    order::fingerprint(
        problems
            .iter()
            .map(|problem| [&problem.id, &problem.question, &problem.answer].map(String::as_bytes)),
    )
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
