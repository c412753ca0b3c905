//! Building a trainer, from scratch or from a checkpoint.

use std::path::Path;
use std::time::Duration;

use hint_policy::{Parameter, SharedPolicy};
use hint_rollout::Collector;
use tch::Tensor;

use super::{Asset, Trainer};
use crate::run_dir::{LoadedCheckpoint, Progress, read_checkpoint};
use crate::{
    AdamW, AdvantageEstimator, ConfigError, GrpoConfig, GrpoError, Observer, Optimizer, PolicyLoss,
    RunDir,
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
    observers: Vec<Box<dyn Observer>>,
    clock: Option<Box<dyn Fn() -> Duration + Send>>,
    run_dir: Option<RunDir>,
    assets: Vec<Asset>,
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
            observers: Vec::new(),
            clock: None,
            run_dir: None,
            assets: Vec::new(),
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

    /// Another optimizer than AdamW.
    #[must_use]
    pub fn optimizer(mut self, optimizer: impl Optimizer + 'static) -> Self {
        self.optimizer = Some(Box::new(optimizer));
        self
    }

    /// Watches the run. May be called several times.
    #[must_use]
    pub fn observer(mut self, observer: impl Observer + 'static) -> Self {
        self.observers.push(Box::new(observer));
        self
    }

    /// A monotonic clock, for timings. Libraries read none themselves.
    #[must_use]
    pub fn clock(mut self, clock: impl Fn() -> Duration + Send + 'static) -> Self {
        self.clock = Some(Box::new(clock));
        self
    }

    /// Where to write metrics and checkpoints, or where to resume from.
    #[must_use]
    pub fn run_dir(mut self, run_dir: RunDir) -> Self {
        self.run_dir = Some(run_dir);
        self
    }

    /// Adds files to every checkpoint, such as the tokenizer's.
    #[must_use]
    pub fn asset<F>(mut self, write: F) -> Self
    where
        F: Fn(&Path) -> Result<(), Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
    {
        self.assets.push(Box::new(write));
        self
    }

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
        let mut optimizer = self.optimizer.unwrap_or_else(|| {
            Box::new(AdamW::new(self.policy.lock().parameters(), config.optimizer.adamw))
        });
        materialize_gradients(optimizer.parameters())?;
        let mut advantage = self.advantage.unwrap_or_else(|| config.advantage.build());
        let objective = self
            .objective
            .unwrap_or_else(|| config.objective.build(config.clip_low, config.clip_high));
        let mut progress = Progress::default();
        let mut resumed_problems = None;
        if let Some(dir) = self.run_dir.as_ref().and_then(RunDir::resume_from) {
            let LoadedCheckpoint { state, model, optimizer: moments } = read_checkpoint(dir)?;
            check_config(dir, &state.config, &config)?;
            load_weights(dir, &self.policy, &model)?;
            optimizer.load_state(&moments)?;
            advantage.load_state(&state.advantage)?;
            progress = state.progress;
            resumed_problems = Some(state.problems);
        }
        Ok(Trainer {
            policy: self.policy,
            reference: self.reference,
            collector: self.collector,
            config,
            objective,
            advantage,
            optimizer,
            observers: self.observers,
            clock: self.clock,
            run_dir: self.run_dir,
            assets: self.assets,
            progress,
            resumed_problems,
        })
    }
}

/// Gives every parameter a gradient of zeros. Without one, a step in which nothing trains would leave
/// out the momentum of a fresh process and not that of a process that has trained before, so a
/// resumed run would part from an uninterrupted one.
fn materialize_gradients(parameters: &[Parameter]) -> Result<(), GrpoError> {
    for parameter in parameters {
        (parameter.tensor.sum(parameter.tensor.kind()) * 0.0)
            .f_backward()
            .map_err(|source| GrpoError::Torch { operation: "the first backward pass", source })?;
        parameter.tensor.shallow_clone().zero_grad();
    }
    Ok(())
}

/// Compares the configurations key by key. Only the number of steps may differ, so that a run can
/// be prolonged; how often checkpoints are written changes no number either.
fn check_config(dir: &Path, saved: &GrpoConfig, current: &GrpoConfig) -> Result<(), GrpoError> {
    let value = |config: &GrpoConfig| {
        let mut config = config.clone();
        config.run.checkpoint_every = 0;
        config.run.keep_checkpoints = 1;
        if matches!(config.optimizer.schedule.decay, crate::Decay::Constant {}) {
            config.run.steps = 1;
        }
        serde_json::to_value(config).expect("a configuration is plain data")
    };
    let mut differences = Vec::new();
    compare("", &value(saved), &value(current), &mut differences);
    if differences.is_empty() {
        return Ok(());
    }
    Err(GrpoError::Mismatch { path: dir.to_path_buf(), differences })
}

fn compare(
    path: &str,
    saved: &serde_json::Value,
    current: &serde_json::Value,
    differences: &mut Vec<String>,
) {
    if let (Some(left), Some(right)) = (saved.as_object(), current.as_object()) {
        let keys = left.keys().chain(right.keys().filter(|key| !left.contains_key(*key)));
        for key in keys {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            let null = serde_json::Value::Null;
            let (left, right) = (left.get(key), right.get(key));
            compare(&path, left.unwrap_or(&null), right.unwrap_or(&null), differences);
        }
    } else if saved != current {
        differences.push(format!("{path}: {saved} there, {current} here"));
    }
}

/// Copies the checkpoint's weights into the policy's parameters.
fn load_weights(
    dir: &Path,
    policy: &SharedPolicy,
    tensors: &[(String, Tensor)],
) -> Result<(), GrpoError> {
    let policy = policy.lock();
    let damaged = |problem| GrpoError::Checkpoint { path: dir.to_path_buf(), problem };
    for Parameter { name, tensor } in policy.parameters() {
        let found = tensors.iter().find(|(candidate, _)| *candidate == name);
        let (_, saved) = found.ok_or_else(|| damaged(format!("it lacks the tensor `{name}`")))?;
        if saved.size() != tensor.size() {
            let (got, expected) = (saved.size(), tensor.size());
            let problem = format!("`{name}` has shape {got:?}, the policy's is {expected:?}");
            return Err(damaged(problem));
        }
        tch::no_grad(|| tensor.shallow_clone().copy_(saved));
    }
    policy.parameters_changed();
    Ok(())
}
