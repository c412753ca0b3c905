//! How long a run is and how its steps are cut.

use serde::{Deserialize, Serialize};

use super::validate::Validator;

/// How long a run is and how its steps are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunConfig {
    /// Seed of everything random in the run. (HINT reference: 42)
    pub seed: u64,
    /// Rollout batches, each followed by `updates_per_batch` optimizer steps.
    pub steps: u64,
    /// Problems per rollout batch. (HINT reference: 64 micro-batches of one group)
    pub problems_per_step: usize,
    /// Optimizer steps per rollout batch, each over the whole batch.
    pub updates_per_batch: usize,
    /// Largest number of tokens, padding included, in one forward pass with gradient. A single row
    /// may exceed it.
    pub max_tokens_per_micro_batch: usize,
    /// Steps between checkpoints. 0 writes one at the end only.
    pub checkpoint_every: u64,
    /// How many checkpoints to keep. At least 1.
    pub keep_checkpoints: usize,
}

impl Default for RunConfig {
    fn default() -> Self {
        Self {
            seed: 42,
            steps: 1000,
            problems_per_step: 64,
            updates_per_batch: 1,
            max_tokens_per_micro_batch: 16_384,
            checkpoint_every: 10,
            keep_checkpoints: 2,
        }
    }
}

impl RunConfig {
    /// Whether a checkpoint follows step `step` (from 1).
    pub fn checkpoint_is_due(&self, step: u64) -> bool {
        let every = self.checkpoint_every;
        step == self.steps || (every > 0 && step.is_multiple_of(every))
    }

    pub(super) fn check(&self, check: &mut Validator) {
        check.at_least("run.steps", self.steps, 1);
        check.at_least("run.problems_per_step", self.problems_per_step as u64, 1);
        check.at_least("run.updates_per_batch", self.updates_per_batch as u64, 1);
        check.at_least("run.max_tokens_per_micro_batch", self.max_tokens_per_micro_batch as u64, 1);
        check.at_least("run.keep_checkpoints", self.keep_checkpoints as u64, 1);
    }
}
