//! Log-probabilities for the denominator of the ratio.

use serde::{Deserialize, Serialize};

/// Source of the log-probabilities `log π_old` in the ratio's denominator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OldLogprobs {
    /// The trainer scores the tokens under the weights before the first optimizer step of the batch. The ratio of that
    /// step is 1. [`ImportanceCorrection`](crate::objective::ImportanceCorrection) corrects the
    /// engine's mismatch.
    #[default]
    Recomputed,
    /// The log-probabilities that the engine reported when it drew the tokens, `π_old = μ`, without a
    /// forward pass. The ratio covers both the mismatch between engine and trainer and the age of the
    /// weights. A rollout whose denominator conditions on another prompt than it was sampled from is
    /// recomputed.
    Engine,
}
