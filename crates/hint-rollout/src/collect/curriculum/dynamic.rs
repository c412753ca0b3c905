//! Dynamic sampling: drawing further problems until enough groups have a signal.

use serde::{Deserialize, Serialize};

use crate::error::Violations;
use crate::run::no_fields;
use crate::sample::RolloutGroup;

/// Whether further problems are drawn in place of groups without a signal (DAPO, arXiv 2503.14476).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum DynamicSampling {
    /// A step takes the groups as they come.
    #[serde(deserialize_with = "no_fields")]
    Off,
    /// Groups without a signal are left out, and as many further problems are drawn. This ends when the
    /// step has all its groups or the rounds are used up. Then the step takes the groups it has.
    UntilSignal {
        /// Rounds at most, the first one included. At least 1.
        max_rounds: usize,
        /// Criterion for a signal.
        #[serde(default)]
        criterion: SignalCriterion,
    },
}

/// Criterion for a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignalCriterion {
    /// Groups with a correct and a wrong completion.
    #[default]
    Verdicts,
    /// Groups with a correct and a wrong completion, where the plain completions that hinted ones
    /// replaced count as well. A baseline over the union can learn from them.
    UnionVerdicts,
    /// Groups with two different rewards. Shaped rewards nearly always differ.
    Rewards,
}

impl SignalCriterion {
    /// Whether `group` has a signal.
    pub fn has_signal(self, group: &RolloutGroup) -> bool {
        if group.rollouts.iter().all(|rollout| rollout.is_masked) {
            return false;
        }
        match self {
            Self::Rewards => group.has_signal(),
            Self::Verdicts => group.num_correct() > 0 && group.num_correct() < group.rollouts.len(),
            Self::UnionVerdicts => {
                let mut all = group.rollouts.iter().chain(&group.replaced);
                let first = all.next().map(crate::sample::Rollout::is_correct);
                all.any(|rollout| Some(rollout.is_correct()) != first)
            }
        }
    }
}

impl DynamicSampling {
    /// Rounds at most, and the criterion if there is one.
    pub(crate) const fn plan(self) -> (usize, Option<SignalCriterion>) {
        match self {
            Self::Off => (1, None),
            Self::UntilSignal { max_rounds, criterion } => (max_rounds, Some(criterion)),
        }
    }

    pub(crate) fn check(self, at: &mut Violations) {
        if let Self::UntilSignal { max_rounds, .. } = self {
            at.at_least("max_rounds", max_rounds, 1);
        }
    }
}
