//! The optimizer and its learning rate.

use serde::{Deserialize, Serialize};

use super::validate::Validator;
use crate::{AdamWConfig, Decay, ScheduleConfig};

/// The optimizer and its learning rate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimizerConfig {
    /// Peak learning rate, per optimizer step. (HINT reference: 1e-6)
    pub learning_rate: f64,
    /// Shape of the learning rate over the steps.
    pub schedule: ScheduleConfig,
    /// Largest global norm of the gradient; a larger one is scaled down, once per optimizer step.
    /// (HINT reference: 1)
    pub max_grad_norm: f64,
    /// Hyper-parameters of AdamW.
    pub adamw: AdamWConfig,
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self {
            learning_rate: 1e-6,
            schedule: ScheduleConfig::default(),
            max_grad_norm: 1.0,
            adamw: AdamWConfig::default(),
        }
    }
}

impl OptimizerConfig {
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
        for (field, beta) in [
            ("optimizer.adamw.beta1", self.adamw.beta1),
            ("optimizer.adamw.beta2", self.adamw.beta2),
        ] {
            check.that(field, (0.0..1.0).contains(&beta), "must be in [0, 1)", beta);
        }
        check.positive("optimizer.adamw.epsilon", self.adamw.epsilon);
        check.not_negative("optimizer.adamw.weight_decay", self.adamw.weight_decay);
    }
}
