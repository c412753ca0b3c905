//! The choice of an objective.

use serde::{Deserialize, Serialize};

use super::validate::Validator;
use crate::{Cispo, ClippedSurrogate, PolicyLoss, Reinforce, Sapo, SequenceSurrogate};

/// Which [`PolicyLoss`] to use.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum ObjectiveConfig {
    /// [`ClippedSurrogate`], (GRPO-1).
    ClippedSurrogate {
        /// Cap of the ratio where it is not clipped; more than `1 + clip_high`.
        #[serde(default)]
        max_ratio: Option<f64>,
    },
    /// [`SequenceSurrogate`], (GSPO-1).
    SequenceSurrogate {},
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
            Self::ClippedSurrogate { max_ratio } => {
                let loss = ClippedSurrogate::new(clip_low, clip_high);
                Box::new(max_ratio.map_or(loss, |max_ratio| loss.with_max_ratio(max_ratio)))
            }
            Self::SequenceSurrogate {} => Box::new(SequenceSurrogate::new(clip_low, clip_high)),
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
            Self::ClippedSurrogate { max_ratio: Some(max_ratio) } => check.that(
                "objective.max_ratio",
                max_ratio > 1.0 + clip_high,
                "must be more than 1 + clip_high",
                max_ratio,
            ),
            Self::Cispo { max_ratio } => {
                check.positive("objective.max_ratio", max_ratio);
            }
            Self::Sapo { temperature_positive, temperature_negative } => {
                check.positive("objective.temperature_positive", temperature_positive);
                check.positive("objective.temperature_negative", temperature_negative);
            }
            Self::ClippedSurrogate { max_ratio: None }
            | Self::SequenceSurrogate {}
            | Self::Reinforce {} => {}
        }
    }
}
