//! Warnings: findings that do not stop a run.

use serde::{Deserialize, Serialize};

/// Findings that do not stop a run. They are counted in the metrics, and named here for observers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum Warning {
    /// Rows that are longer than a micro-batch may be.
    #[error(
        "{rows} rows exceed the {budget} tokens of a micro-batch, the longest with {tokens}; each is in one of its own. Raise `run.max_tokens_per_micro_batch`, or lower `rollout.sampling.max_completion_len`"
    )]
    OversizedRows {
        /// Count.
        rows: usize,
        /// Tokens of the longest.
        tokens: usize,
        /// Tokens that a micro-batch may have.
        budget: usize,
    },
    /// Dynamic sampling used up its rounds before the step had all its groups.
    #[error(
        "{missing} of {wanted} groups are missing: {drawn} problems were drawn in {rounds} rounds, and the others have no signal. Raise `rollout.dynamic_sampling.max_rounds`, or look for easier problems or better hints"
    )]
    MissingGroups {
        /// Groups that the step lacks.
        missing: usize,
        /// Groups of a whole step.
        wanted: usize,
        /// Problems drawn in this step.
        drawn: usize,
        /// Rounds taken.
        rounds: usize,
    },
    /// The guard skipped an optimizer step.
    #[error(
        "an optimizer step was skipped: the loss is {loss} and the norm of the gradient {norm}; after \
         `optimizer.guard.max_consecutive` of these in a row the run stops"
    )]
    SkippedUpdate {
        /// The loss.
        loss: String,
        /// The norm of the gradient.
        norm: String,
    },
    /// The run samples ahead, and nothing corrects for the age of the weights.
    #[error(
        "batches are sampled {ahead} steps ahead, and nothing corrects for the age of their weights; set `loss.importance_correction`, or `loss.old_logprobs = \"engine\"`"
    )]
    UncorrectedStaleness {
        /// `run.ahead`.
        ahead: u64,
    },
    /// Groups that were sampled with weights too old to train on.
    #[error(
        "{groups} groups were dropped: the oldest was sampled {staleness} weight versions ago, at most {max_staleness} are allowed (`run.max_staleness`)"
    )]
    StaleGroups {
        /// Count.
        groups: usize,
        /// Weight versions between the oldest and now.
        staleness: u64,
        /// Weight versions that are allowed.
        max_staleness: u64,
    },
}
