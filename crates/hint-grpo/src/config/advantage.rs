//! The choice of an advantage estimator.

use serde::{Deserialize, Serialize};

use crate::{AdvantageEstimator, Baseline, GroupNormalized, LeaveOneOut};

/// Which [`AdvantageEstimator`] to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum AdvantageConfig {
    /// [`GroupNormalized::new`], (ADV-1).
    GroupNormalized {
        /// Whose rewards centre a hinted group.
        #[serde(default = "own_group")]
        baseline: Baseline,
    },
    /// [`GroupNormalized::mean_only`], (ADV-2).
    MeanOnly {
        /// Whose rewards centre a hinted group.
        #[serde(default = "own_group")]
        baseline: Baseline,
    },
    /// [`LeaveOneOut`], (ADV-3).
    LeaveOneOut {},
}

const fn own_group() -> Baseline {
    Baseline::Group {}
}

impl AdvantageConfig {
    /// The estimator.
    pub fn build(self) -> Box<dyn AdvantageEstimator> {
        match self {
            Self::GroupNormalized { baseline } => Box::new(GroupNormalized::new(baseline)),
            Self::MeanOnly { baseline } => Box::new(GroupNormalized::mean_only(baseline)),
            Self::LeaveOneOut {} => Box::new(LeaveOneOut),
        }
    }
}
