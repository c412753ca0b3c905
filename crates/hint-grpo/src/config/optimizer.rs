//! The optimizer and its learning rate.

use hint_policy::Parameter;
use serde::{Deserialize, Serialize};

use super::validate::Validator;
use crate::{
    Adafactor, AdafactorConfig, AdamW, AdamWConfig, Decay, GrpoError, GuardConfig, Muon,
    MuonConfig, Optimizer, ParameterGroup, ScheduleConfig, Sgd, SgdConfig, group_parameters,
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

/// Which [`Optimizer`] to use.
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
    /// [`Muon`], (MUON-1), with AdamW for what is not a matrix.
    Muon(MuonConfig),
}

impl OptimizerConfig {
    /// The optimizer of `parameters`.
    ///
    /// # Errors
    ///
    /// [`GrpoError::ParameterGroup`] for a group that matches nothing, or when nothing is left to train.
    pub fn build(&self, parameters: Vec<Parameter>) -> Result<Box<dyn Optimizer>, GrpoError> {
        let parameters = group_parameters(parameters, &self.groups)?;
        Ok(match &self.algorithm {
            AlgorithmConfig::AdamW(config) => Box::new(AdamW::grouped(parameters, *config)),
            AlgorithmConfig::Adafactor(config) => Box::new(Adafactor::new(parameters, *config)),
            AlgorithmConfig::Sgd(config) => Box::new(Sgd::new(parameters, *config)),
            AlgorithmConfig::Muon(config) => Box::new(Muon::new(parameters, config.clone())),
        })
    }

    pub(super) fn check(&self, check: &mut Validator) {
        check.positive("optimizer.learning_rate", self.learning_rate);
        check.positive("optimizer.max_grad_norm", self.max_grad_norm);
        if let Decay::Cosine { final_frac } = self.schedule.decay {
            let holds = (0.0..=1.0).contains(&final_frac);
            check.that(
                "optimizer.schedule.decay.final_frac",
                holds,
                "must be in [0, 1]",
                final_frac,
            );
        }
        let path = "optimizer.algorithm";
        match &self.algorithm {
            AlgorithmConfig::AdamW(config) => check_adamw(path, config, check),
            AlgorithmConfig::Adafactor(config) => {
                let holds = config.beta2_decay <= 0.0;
                let decay = config.beta2_decay;
                check.that(&format!("{path}.beta2_decay"), holds, "must not be positive", decay);
                check.positive(&format!("{path}.epsilon"), config.epsilon);
                let threshold = config.clip_threshold;
                let holds = threshold >= 1.0;
                check.that(
                    &format!("{path}.clip_threshold"),
                    holds,
                    "must be at least 1",
                    threshold,
                );
                check.not_negative(&format!("{path}.weight_decay"), config.weight_decay);
            }
            AlgorithmConfig::Sgd(config) => {
                check_decay(&format!("{path}.momentum"), config.momentum, check);
                check.not_negative(&format!("{path}.weight_decay"), config.weight_decay);
            }
            AlgorithmConfig::Muon(config) => {
                check_decay(&format!("{path}.momentum"), config.momentum, check);
                check.not_negative(&format!("{path}.weight_decay"), config.weight_decay);
                check.at_least(&format!("{path}.iterations"), config.iterations as u64, 1);
                check_adamw(&format!("{path}.adamw"), &config.adamw, check);
            }
        }
        if let Some(factor) = self.guard.outlier_factor {
            let holds = factor > 1.0 && factor.is_finite();
            check.that("optimizer.guard.outlier_factor", holds, "must be more than 1", factor);
        }
        check.at_least("optimizer.guard.window", self.guard.window as u64, 1);
        check.at_least("optimizer.guard.max_consecutive", self.guard.max_consecutive, 1);
        for (index, group) in self.groups.iter().enumerate() {
            let path = format!("optimizer.groups[{index}]");
            check.positive(&format!("{path}.lr_multiplier"), group.lr_multiplier);
            if let Some(weight_decay) = group.weight_decay {
                check.not_negative(&format!("{path}.weight_decay"), weight_decay);
            }
        }
    }
}

fn check_adamw(path: &str, config: &AdamWConfig, check: &mut Validator) {
    check_decay(&format!("{path}.beta1"), config.beta1, check);
    check_decay(&format!("{path}.beta2"), config.beta2, check);
    check.positive(&format!("{path}.epsilon"), config.epsilon);
    check.not_negative(&format!("{path}.weight_decay"), config.weight_decay);
}

fn check_decay(field: &str, value: f64, check: &mut Validator) {
    check.that(field, (0.0..1.0).contains(&value), "must be in [0, 1)", value);
}
