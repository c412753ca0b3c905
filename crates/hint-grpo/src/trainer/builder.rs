//! Building a trainer, from scratch or from a checkpoint.

use hint_policy::SharedPolicy;
use hint_rollout::{Collector, Problem};
use serde::Deserialize;

use super::evaluation::check_held_out;
use super::host::{Host, host_methods};
use super::restore::{Restored, materialize_gradients};
use super::table::GroupMeasures;
use super::{STAGE, Trainer};
use crate::optim::Guard;
use crate::run_dir::Progress;
use crate::{
    AdvantageEstimator, ConfigError, GrpoConfig, GrpoError, Optimizer, PolicyLoss, RunDir,
};

/// Builds a [`Trainer`]; made by [`Trainer::builder`].
pub struct TrainerBuilder {
    policy: SharedPolicy,
    collector: Collector,
    config: GrpoConfig,
    reference: Option<SharedPolicy>,
    objective: Option<Box<dyn PolicyLoss>>,
    advantage: Option<Box<dyn AdvantageEstimator>>,
    optimizer: Option<Box<dyn Optimizer>>,
    held_out: Vec<Problem>,
    host: Host,
}

impl std::fmt::Debug for TrainerBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TrainerBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}

impl TrainerBuilder {
    pub(super) fn new(policy: SharedPolicy, collector: Collector, config: GrpoConfig) -> Self {
        Self {
            policy,
            collector,
            config,
            reference: None,
            objective: None,
            advantage: None,
            optimizer: None,
            held_out: Vec::new(),
            host: Host::default(),
        }
    }

    /// The frozen policy of the KL term. Needed when `kl.coef` is not 0.
    #[must_use]
    pub fn reference(mut self, reference: SharedPolicy) -> Self {
        self.reference = Some(reference);
        self
    }

    /// Another objective than the configuration's.
    #[must_use]
    pub fn objective(mut self, objective: impl PolicyLoss + 'static) -> Self {
        self.objective = Some(Box::new(objective));
        self
    }

    /// Another advantage estimator than the configuration's.
    #[must_use]
    pub fn advantage(mut self, advantage: impl AdvantageEstimator + 'static) -> Self {
        self.advantage = Some(Box::new(advantage));
        self
    }

    /// Another optimizer than the configuration's.
    #[must_use]
    pub fn optimizer(mut self, optimizer: impl Optimizer + 'static) -> Self {
        self.optimizer = Some(Box::new(optimizer));
        self
    }

    /// Problems to evaluate on, without hints, as `evaluation` of the configuration says; see
    /// [`EvaluationConfig::split`](crate::EvaluationConfig::split). None of them may be trained on.
    #[must_use]
    pub fn held_out(mut self, problems: Vec<Problem>) -> Self {
        self.held_out = problems;
        self
    }

    host_methods!();

    /// Checks the configuration, and restores the checkpoint of a resumed run.
    ///
    /// # Errors
    ///
    /// [`GrpoError::Config`]; for a resumed run [`GrpoError::Mismatch`] when its configuration was
    /// another one (more steps are allowed), and [`GrpoError::Checkpoint`] or [`GrpoError::Read`]
    /// when its checkpoint cannot be used.
    pub fn build(self) -> Result<Trainer, GrpoError> {
        let config = self.config;
        config.validate()?;
        if *self.collector.config() != config.rollout {
            let message = "rollout: must be the configuration that the collector was made from";
            return Err(ConfigError::Invalid(vec![message.to_owned()]).into());
        }
        if config.kl.coef != 0.0 && self.reference.is_none() {
            let message =
                format!("kl.coef: must be 0 without a reference policy, got {}", config.kl.coef);
            return Err(ConfigError::Invalid(vec![message]).into());
        }
        check_held_out(&config, &self.held_out)?;
        let mut optimizer = match self.optimizer {
            Some(optimizer) => optimizer,
            None => config.optimizer.build(self.policy.lock().parameters())?,
        };
        let mut guard = Guard::new(config.optimizer.guard);
        materialize_gradients(optimizer.parameters())?;
        let mut advantage = self.advantage.unwrap_or_else(|| config.advantage.build());
        let objective = self
            .objective
            .unwrap_or_else(|| config.objective.build(config.clip_low, config.clip_high));
        let mut collector = self.collector;
        let mut restored = None;
        if let Some(dir) = self.host.run_dir.as_ref().and_then(RunDir::resume_from) {
            let found = Restored::load(dir, STAGE, &config, &self.policy, &mut optimizer)?;
            let state = Vec::<f64>::deserialize(found.part("advantage")?)
                .map_err(|error| found.damaged("advantage", error))?;
            advantage.load_state(&state)?;
            collector.load_state(found.part("collector")?)?;
            guard
                .load_state(found.part("guard")?)
                .map_err(|error| found.damaged("guard", error))?;
            restored = Some(found);
        }
        let progress = restored.as_ref().map_or_else(Progress::default, |run| run.state.progress);
        Ok(Trainer {
            policy: self.policy,
            reference: self.reference,
            collector,
            config,
            objective,
            advantage,
            optimizer,
            guard,
            host: self.host,
            held_out: self.held_out,
            measures: GroupMeasures::default(),
            progress,
            restored,
        })
    }
}
