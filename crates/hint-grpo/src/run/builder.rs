//! Building a run, from scratch or from a checkpoint.

use std::path::Path;
use std::time::Duration;

use hint_policy::SharedPolicy;
use hint_rollout::{Collector, Problem};

use super::Run;
use super::context::RunContext;
use super::evaluation::check_held_out;
use super::restore::Restored;
use crate::advantage::AdvantageEstimator;
use crate::config::GrpoConfig;
use crate::error::{ConfigError, GrpoError};
use crate::learner::{Learner, LearnerParts};
use crate::objective::{HintedWeight, PolicyLoss};
use crate::observer::Observer;
use crate::optim::Optimizer;
use crate::run_dir::{Progress, RunDir};
use crate::stage::{PolicyGradient, Stage, Supervised};

/// Builds a [`Run`]; made by [`Trainer::builder`](super::Trainer), by
/// [`SupervisedTrainer::builder`](super::SupervisedTrainer), or for a stage of your own by
/// [`Run::of_stage`].
pub struct RunBuilder<S> {
    stage: S,
    policy: SharedPolicy,
    config: GrpoConfig,
    parts: LearnerParts,
    held_out: Vec<Problem>,
    context: RunContext,
}

impl<S> std::fmt::Debug for RunBuilder<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Run<PolicyGradient> {
    /// Starts building a run that trains `policy` on groups of `collector`. The collector must have
    /// been made from `config.rollout`.
    pub fn builder(
        policy: SharedPolicy,
        collector: Collector,
        config: GrpoConfig,
    ) -> RunBuilder<PolicyGradient> {
        Self::of_stage(PolicyGradient::new(collector, &config), policy, config)
    }
}

impl Run<Supervised> {
    /// Starts building a run that trains `policy` on demonstrations.
    pub fn builder(policy: SharedPolicy, config: GrpoConfig) -> RunBuilder<Supervised> {
        Self::of_stage(Supervised::new(&config), policy, config)
    }
}

impl<S: Stage> Run<S> {
    /// Starts building a run of `stage` that trains `policy`.
    pub fn of_stage(stage: S, policy: SharedPolicy, config: GrpoConfig) -> RunBuilder<S> {
        RunBuilder {
            stage,
            policy,
            config,
            parts: LearnerParts::default(),
            held_out: Vec::new(),
            context: RunContext::default(),
        }
    }
}

impl RunBuilder<PolicyGradient> {
    /// The frozen policy of the KL term. Needed when `loss.kl.coef` is not 0.
    #[must_use]
    pub fn reference(mut self, reference: SharedPolicy) -> Self {
        self.parts.reference = Some(reference);
        self
    }

    /// Another objective than the configuration's.
    #[must_use]
    pub fn objective(mut self, objective: impl PolicyLoss + 'static) -> Self {
        self.parts.objective = Some(Box::new(objective));
        self
    }

    /// Another advantage estimator than the configuration's.
    #[must_use]
    pub fn advantage(mut self, advantage: impl AdvantageEstimator + 'static) -> Self {
        self.stage = self.stage.with_advantage(Box::new(advantage));
        self
    }

    /// A further weight of hinted samples, beside the configuration's. May be called several times.
    #[must_use]
    pub fn hinted_weight(mut self, weight: impl HintedWeight + 'static) -> Self {
        self.parts.hinted_weights.push(Box::new(weight));
        self
    }

    /// Problems to evaluate on, without hints, as `evaluation` of the configuration says; see
    /// [`EvaluationConfig::split`](crate::config::EvaluationConfig::split). None of them may be trained on.
    #[must_use]
    pub fn held_out(mut self, problems: Vec<Problem>) -> Self {
        self.held_out = problems;
        self
    }
}

impl RunBuilder<Supervised> {
    /// Problems to evaluate on, without hints, as `evaluation` of the configuration says, with the
    /// engine, the format and the rubric of `collector`. None of them may be demonstrated.
    #[must_use]
    pub fn held_out(mut self, collector: Collector, problems: Vec<Problem>) -> Self {
        self.stage = self.stage.with_evaluator(collector);
        self.held_out = problems;
        self
    }
}

impl<S: Stage> RunBuilder<S> {
    /// Another optimizer than the configuration's.
    #[must_use]
    pub fn optimizer(mut self, optimizer: impl Optimizer + 'static) -> Self {
        self.parts.optimizer = Some(Box::new(optimizer));
        self
    }

    /// Watches the run. May be called several times.
    #[must_use]
    pub fn observer(mut self, observer: impl Observer + 'static) -> Self {
        self.context.observers.push(Box::new(observer));
        self
    }

    /// A monotonic clock, for timings. Libraries read none themselves.
    #[must_use]
    pub fn clock(mut self, clock: impl Fn() -> Duration + Send + 'static) -> Self {
        self.context.clock = Some(Box::new(clock));
        self
    }

    /// A gauge of the largest memory the process has used so far, in bytes, for timings. Libraries
    /// ask the system for nothing themselves.
    #[must_use]
    pub fn peak_memory(mut self, gauge: impl Fn() -> Option<u64> + Send + 'static) -> Self {
        self.context.peak_memory = Some(Box::new(gauge));
        self
    }

    /// Where to write metrics and checkpoints, or where to resume from.
    #[must_use]
    pub fn run_dir(mut self, run_dir: RunDir) -> Self {
        self.context.run_dir = Some(run_dir);
        self
    }

    /// Adds files to every checkpoint, such as the tokenizer's. May be called several times.
    #[must_use]
    pub fn extra_file<F>(mut self, write: F) -> Self
    where
        F: Fn(&Path) -> Result<(), Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
    {
        self.context.extra_files.push(Box::new(write));
        self
    }

    /// Checks the configuration, and restores the checkpoint of a resumed run.
    ///
    /// # Errors
    ///
    /// [`GrpoError::Config`]; for a resumed run [`GrpoError::Mismatch`] when its configuration was
    /// another one (more steps are allowed), and [`GrpoError::Checkpoint`] or [`GrpoError::Read`]
    /// when its checkpoint cannot be used.
    pub fn build(self) -> Result<Run<S>, GrpoError> {
        let Self { mut stage, policy, config, parts, held_out, context } = self;
        config.validate()?;
        if S::SAMPLES
            && stage.collector().is_some_and(|collector| *collector.config() != config.rollout)
        {
            let message = "rollout: must be the configuration that the collector was made from";
            return Err(ConfigError::Invalid(vec![message.to_owned()]).into());
        }
        check_held_out(&config, &held_out)?;
        let mut learner = Learner::new(policy, &config, S::sft_loss(&config), parts)?;
        let mut restored = None;
        if let Some(dir) = context.run_dir.as_ref().and_then(RunDir::resume_from) {
            restored = Some(Restored::load(dir, &config, &mut learner, &mut stage)?);
        }
        let progress = restored.as_ref().map_or_else(Progress::default, Restored::progress);
        Ok(Run { stage, learner, config, context, held_out, progress, restored })
    }
}
