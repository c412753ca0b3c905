//! The choice of an objective.

use serde::{Deserialize, Serialize};

use super::validate::Validator;
use crate::{Cispo, ClippedSurrogate, GeometricMean, PolicyLoss, Reinforce, Sapo};

/// Which [`PolicyLoss`] to use.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum ObjectiveConfig {
    /// [`ClippedSurrogate`], (GRPO-1).
    ClippedSurrogate {
        /// Cap of the ratio where it is not clipped; more than `1 + clip_high`.
        #[serde(default)]
        max_ratio: Option<f64>,
        /// Bound of the loss of a negative advantage, in units of its size; more than 1. (GRPO-2)
        #[serde(default)]
        dual_clip: Option<f64>,
    },
    /// [`GeometricMean`], (GMPO-1).
    GeometricMean {},
    /// [`Cispo`], (CISPO-1).
    Cispo {
        /// Cap of the detached ratio. Positive.
        max_ratio: f64,
    },
    /// [`Sapo`], (SAPO-1).
    Sapo {
        /// Temperature of the gate for positive advantages. Positive.
        temperature_positive: f64,
        /// Temperature of the gate for other advantages. Positive.
        temperature_negative: f64,
    },
    /// [`Reinforce`], (PG-1).
    Reinforce {},
}

impl ObjectiveConfig {
    /// The objective, with the clip distances of the run.
    pub fn build(self, clip_low: f64, clip_high: f64) -> Box<dyn PolicyLoss> {
        match self {
            Self::ClippedSurrogate { max_ratio, dual_clip } => {
                let mut loss = ClippedSurrogate::new(clip_low, clip_high);
                if let Some(max_ratio) = max_ratio {
                    loss = loss.with_max_ratio(max_ratio);
                }
                if let Some(dual_clip) = dual_clip {
                    loss = loss.with_dual_clip(dual_clip);
                }
                Box::new(loss)
            }
            Self::GeometricMean {} => Box::new(GeometricMean::new(clip_low, clip_high)),
            Self::Cispo { max_ratio } => Box::new(Cispo::new(max_ratio)),
            Self::Sapo { temperature_positive, temperature_negative } => {
                Box::new(Sapo::new(temperature_positive, temperature_negative))
            }
            Self::Reinforce {} => Box::new(Reinforce),
        }
    }
}

impl ObjectiveConfig {
    pub(super) fn check(self, clip_high: f64, check: &mut Validator) {
        match self {
            Self::ClippedSurrogate { max_ratio, dual_clip } => {
                if let Some(max_ratio) = max_ratio {
                    let holds = max_ratio > 1.0 + clip_high && max_ratio.is_finite();
                    let expected = "must be more than 1 + clip_high";
                    check.that("objective.max_ratio", holds, expected, max_ratio);
                }
                if let Some(dual_clip) = dual_clip {
                    let holds = dual_clip > 1.0 && dual_clip.is_finite();
                    check.that("objective.dual_clip", holds, "must be more than 1", dual_clip);
                }
            }
            Self::Cispo { max_ratio } => {
                check.positive("objective.max_ratio", max_ratio);
            }
            Self::Sapo { temperature_positive, temperature_negative } => {
                check.positive("objective.temperature_positive", temperature_positive);
                check.positive("objective.temperature_negative", temperature_negative);
            }
            Self::GeometricMean {} | Self::Reinforce {} => {}
        }
    }
}
