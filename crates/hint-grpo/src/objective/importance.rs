//! Corrections for the mismatch between the distribution that drew the tokens and the old policy.

use hint_rollout::error::Violations;
use hint_rollout::run::no_fields;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::input::sum_of_rows;

/// Whether an importance weight is one of tokens or one of whole sequences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImportanceLevel {
    /// Each token has its own weight.
    #[default]
    Token,
    /// Every token of a completion has the product of the token weights, the exact weight of the
    /// sequence.
    Sequence,
}

/// Importance sampling from the distribution `μ` that drew the tokens to the old policy. Both are on the prompt `s` that
/// they were drawn from. The weight multiplies the objective, not the KL term, and is not differentiated. It is 1 for
/// demonstrations, and under [`RatioScheme::Demonstration`](crate::objective::RatioScheme::Demonstration) for hinted
/// samples.
///
/// ```text
/// ρ_t = π_old(y_t | s) / μ(y_t | s), or Π_t of it over the completion
/// truncate   w_t = min(ρ_t, C)                                                          (TIS-1)
/// mask       w_t = ρ_t where C_low ≤ ρ_t ≤ C, else 0                                    (TIS-2)
/// ```
///
/// Source: (TIS-1), (TIS-2) in [the book](../../../book/math.html#kl-and-importance-weights).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum ImportanceCorrection {
    /// No correction: every weight is 1.
    #[serde(deserialize_with = "no_fields")]
    Off,
    /// Truncated importance sampling, (TIS-1).
    Truncate {
        /// The cap `C`. Positive. Commonly 2.
        max_weight: f64,
        /// Unit of a weight.
        #[serde(default)]
        level: ImportanceLevel,
    },
    /// Masked importance sampling, (TIS-2): tokens outside the bounds do not train.
    Mask {
        /// The least weight that trains, `C_low`. Not negative. (`IcePop`: 0.5)
        #[serde(default)]
        min_weight: f64,
        /// The largest weight that trains, `C`. More than `min_weight`. (`IcePop`: 5)
        max_weight: f64,
        /// Unit of a weight.
        #[serde(default)]
        level: ImportanceLevel,
    },
}

impl ImportanceCorrection {
    /// The default of a run that samples ahead.
    pub(crate) const AHEAD: Self =
        Self::Truncate { max_weight: 2.0, level: ImportanceLevel::Token };

    pub(crate) fn check(self, at: &mut Violations) {
        match self {
            Self::Off => {}
            Self::Truncate { max_weight, .. } => at.positive("max_weight", max_weight),
            Self::Mask { min_weight, max_weight, .. } => {
                at.not_negative("min_weight", min_weight);
                let holds = max_weight > min_weight;
                at.require(
                    holds && max_weight.is_finite(),
                    "max_weight",
                    "must be finite and more than min_weight",
                    max_weight,
                );
            }
        }
    }

    /// The weights, without grad, or `None` when there is nothing to correct. Both log-probabilities are under the
    /// prompt that drew the tokens. All tensors are `[batch, seq]`; values outside `mask` (`Bool`) are 0.
    pub fn weights(
        self,
        old_logprobs: &Tensor,
        behavior_logprobs: &Tensor,
        mask: &Tensor,
    ) -> Option<Tensor> {
        let padding = mask.logical_not();
        let ratio = |level| {
            let tokens = (old_logprobs - behavior_logprobs).detach().masked_fill(&padding, 0.0);
            match level {
                ImportanceLevel::Token => tokens.exp(),
                ImportanceLevel::Sequence => sum_of_rows(&tokens).exp().expand_as(&tokens),
            }
        };
        let weights = match self {
            Self::Off => return None,
            Self::Truncate { max_weight, level } => ratio(level).clamp_max(max_weight),
            Self::Mask { min_weight, max_weight, level } => {
                let ratio = ratio(level);
                let outside = ratio.lt(min_weight).logical_or(&ratio.gt(max_weight));
                ratio.masked_fill(&outside, 0.0)
            }
        };
        Some(weights.masked_fill(&padding, 0.0))
    }
}
