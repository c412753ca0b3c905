//! The optimizer and its learning rate.

use hint_policy::Parameter;
use hint_rollout::error::Violations;
use serde::{Deserialize, Serialize};

use crate::error::GrpoError;
use crate::optim::{
    Adafactor, AdafactorConfig, AdamW, AdamWConfig, Decay, GuardConfig, Muon, MuonConfig,
    Optimizer, ParameterGroup, ScheduleConfig, Sgd, SgdConfig, Shard, group_parameters,
};

/// The optimizer and its learning rate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimizerConfig {
    /// Peak learning rate, per optimizer step. (HINT reference: 1e-6)
    pub learning_rate: f64,
    /// Shape of the learning rate over the steps.
    pub schedule: ScheduleConfig,
    /// Largest global norm of the gradient; a larger one is scaled down, once per optimizer step.
    /// (HINT reference: 1)
    pub max_grad_norm: f64,
    /// The algorithm.
    pub algorithm: AlgorithmConfig,
    /// When an optimizer step is skipped.
    pub guard: GuardConfig,
    /// Other settings for some parameters; the first group that matches a name applies.
    pub groups: Vec<ParameterGroup>,
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self {
            learning_rate: 1e-6,
            schedule: ScheduleConfig::default(),
            max_grad_norm: 1.0,
            algorithm: AlgorithmConfig::AdamW(AdamWConfig::default()),
            guard: GuardConfig::default(),
            groups: Vec::new(),
        }
    }
}

/// Choice of the [`Optimizer`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum AlgorithmConfig {
    /// [`AdamW`], (ADAMW-1).
    #[serde(rename = "adamw")]
    AdamW(AdamWConfig),
    /// [`Adafactor`], (ADAFACTOR-1): hardly any memory beside the weights.
    Adafactor(AdafactorConfig),
    /// [`Sgd`], (SGD-1).
    Sgd(SgdConfig),
    /// [`Muon`], (MUON-1), with AdamW for parameters that are no matrix.
    Muon(MuonConfig),
}

impl OptimizerConfig {
    /// The optimizer of `parameters`.
    ///
    /// # Errors
    ///
    /// [`GrpoError::ParameterGroup`] for a group that matches nothing, or when nothing is left to train.
    pub fn build(&self, parameters: Vec<Parameter>) -> Result<Box<dyn Optimizer>, GrpoError> {
        self.build_shard(parameters, Shard::WHOLE)
    }

    /// As [`OptimizerConfig::build`], with the state of one process among several, where the algorithm
    /// [can](Optimizer::shard). So the state of all of them is never there at once.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn build_shard(
        &self,
        parameters: Vec<Parameter>,
        shard: Shard,
    ) -> Result<Box<dyn Optimizer>, GrpoError> {
        let parameters = group_parameters(parameters, &self.groups)?;
        Ok(match &self.algorithm {
            AlgorithmConfig::AdamW(config) => Box::new(AdamW::of_shard(parameters, *config, shard)),
            AlgorithmConfig::Adafactor(config) => Box::new(Adafactor::new(parameters, *config)),
            AlgorithmConfig::Sgd(config) => Box::new(Sgd::new(parameters, *config)),
            AlgorithmConfig::Muon(config) => {
                Box::new(Muon::of_shard(parameters, config.clone(), shard))
            }
        })
    }

    pub(crate) fn check(&self, at: &mut Violations) {
        at.positive("learning_rate", self.learning_rate);
        at.positive("max_grad_norm", self.max_grad_norm);
        if let Decay::Cosine { final_frac } = self.schedule.decay {
            let holds = (0.0..=1.0).contains(&final_frac);
            at.require(holds, "schedule.decay.final_frac", "must be in [0, 1]", final_frac);
        }
        at.within("algorithm", |at| self.algorithm.check(at));
        at.within("guard", |at| {
            if let Some(factor) = self.guard.outlier_factor {
                at.require(
                    factor > 1.0 && factor.is_finite(),
                    "outlier_factor",
                    "must be finite and more than 1",
                    factor,
                );
            }
            at.at_least("window", self.guard.window as u64, 1);
            at.at_least("max_consecutive", self.guard.max_consecutive, 1);
        });
        for (index, group) in self.groups.iter().enumerate() {
            at.within(format_args!("groups[{index}]"), |at| {
                at.positive("lr_multiplier", group.lr_multiplier);
                if let Some(weight_decay) = group.weight_decay {
                    at.not_negative("weight_decay", weight_decay);
                }
            });
        }
    }
}

impl AlgorithmConfig {
    fn check(&self, at: &mut Violations) {
        match self {
            Self::AdamW(config) => check_adamw(config, at),
            Self::Adafactor(config) => {
                let decay = config.beta2_decay;
                at.require(decay <= 0.0, "beta2_decay", "must not be positive", decay);
                at.positive("epsilon", config.epsilon);
                let threshold = config.clip_threshold;
                at.require(threshold >= 1.0, "clip_threshold", "must be at least 1", threshold);
                at.not_negative("weight_decay", config.weight_decay);
            }
            Self::Sgd(config) => {
                check_decay("momentum", config.momentum, at);
                at.not_negative("weight_decay", config.weight_decay);
            }
            Self::Muon(config) => {
                check_decay("momentum", config.momentum, at);
                at.not_negative("weight_decay", config.weight_decay);
                at.at_least("iterations", config.iterations as u64, 1);
                at.within("adamw", |at| check_adamw(&config.adamw, at));
            }
        }
    }
}

fn check_adamw(config: &AdamWConfig, at: &mut Violations) {
    check_decay("beta1", config.beta1, at);
    check_decay("beta2", config.beta2, at);
    at.positive("epsilon", config.epsilon);
    at.not_negative("weight_decay", config.weight_decay);
}

fn check_decay(key: &str, value: f64, at: &mut Violations) {
    at.require((0.0..1.0).contains(&value), key, "must be in [0, 1)", value);
}
