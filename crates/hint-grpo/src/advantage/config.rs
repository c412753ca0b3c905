//! The choice of an advantage estimator.

use hint_rollout::error::Violations;
use hint_rollout::run::no_fields;
use serde::{Deserialize, Serialize};

use crate::advantage::{
    AdvantageEstimator, Baseline, BatchNormalized, GroupNormalized, LeaveOneOut, QuantileBaseline,
    Whitened,
};

/// Choice of the [`AdvantageEstimator`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum AdvantageConfig {
    /// [`GroupNormalized::new`], (ADV-1).
    GroupNormalized {
        /// Rewards that center a hinted group.
        #[serde(default = "own_group")]
        baseline: Baseline,
    },
    /// [`GroupNormalized::mean_only`], (ADV-2).
    MeanOnly {
        /// Rewards that center a hinted group.
        #[serde(default = "own_group")]
        baseline: Baseline,
    },
    /// [`LeaveOneOut`], (ADV-3).
    #[serde(deserialize_with = "no_fields")]
    LeaveOneOut,
    /// [`BatchNormalized`], (ADV-4).
    BatchNormalized {
        /// Rewards that center a hinted group.
        #[serde(default = "own_group")]
        baseline: Baseline,
    },
    /// [`Whitened`], (ADV-5): REINFORCE++.
    Whitened {
        /// Rewards whose mean is subtracted from the rewards of a group first. None by default.
        #[serde(default)]
        baseline: Option<Baseline>,
    },
    /// [`QuantileBaseline::new`], (ADV-6).
    QuantileBaseline {
        /// The quantile `K`. In `(0, 1]`.
        quantile: f64,
        /// Rewards that center a hinted group.
        #[serde(default = "own_group")]
        baseline: Baseline,
        /// Whether to divide by the standard deviation.
        #[serde(default = "yes")]
        scale: bool,
    },
    /// [`QuantileBaseline::max`], (ADV-6).
    MaxBaseline {
        /// Rewards that center a hinted group.
        #[serde(default = "own_group")]
        baseline: Baseline,
    },
}

impl Default for AdvantageConfig {
    /// HINT's published setting.
    fn default() -> Self {
        Self::GroupNormalized { baseline: own_group() }
    }
}

const fn own_group() -> Baseline {
    Baseline::Group
}

const fn yes() -> bool {
    true
}

impl AdvantageConfig {
    /// The estimator.
    pub fn build(self) -> Box<dyn AdvantageEstimator> {
        match self {
            Self::GroupNormalized { baseline } => Box::new(GroupNormalized::new(baseline)),
            Self::MeanOnly { baseline } => Box::new(GroupNormalized::mean_only(baseline)),
            Self::LeaveOneOut => Box::new(LeaveOneOut),
            Self::BatchNormalized { baseline } => Box::new(BatchNormalized::new(baseline)),
            Self::Whitened { baseline } => {
                Box::new(baseline.map_or(Whitened::new(), Whitened::with_group_baseline))
            }
            Self::QuantileBaseline { quantile, baseline, scale } => {
                let estimator = QuantileBaseline::new(quantile, baseline);
                Box::new(if scale { estimator } else { estimator.unscaled() })
            }
            Self::MaxBaseline { baseline } => Box::new(QuantileBaseline::max(baseline)),
        }
    }

    pub(crate) fn check(self, at: &mut Violations) {
        if let Self::QuantileBaseline { quantile, .. } = self {
            let holds = 0.0 < quantile && quantile <= 1.0;
            at.require(holds, "quantile", "must be in (0, 1]", quantile);
        }
    }
}
