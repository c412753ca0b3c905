//! Choice of the rewards that center a hinted group.

use hint_rollout::run::no_fields;
use serde::{Deserialize, Serialize};

use crate::advantage::ScoredGroup;

/// Choice of the rewards that center (and scale) the advantages of a hinted group. A plain group is
/// its own baseline either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Baseline {
    /// The hinted group's own rewards, as published. Properties that all its completions share,
    /// such as the choice of the strategy, then get no gradient: the advantages sum to zero.
    #[serde(deserialize_with = "no_fields")]
    Group,
    /// The union of the hinted group and the plain group it replaced. Properties that only the
    /// hinted completions share get a positive weight.
    #[serde(deserialize_with = "no_fields")]
    Union,
}

impl Baseline {
    /// The rewards that center (and scale) `group`.
    pub(super) fn rewards(self, group: &ScoredGroup<'_>) -> Vec<f64> {
        match self {
            Self::Group => group.rewards.to_vec(),
            Self::Union => [group.rewards, group.replaced].concat(),
        }
    }
}
