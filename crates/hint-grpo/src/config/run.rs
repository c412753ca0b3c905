//! How long a run is and how its steps are cut.

use serde::{Deserialize, Serialize};

use super::validate::Validator;

/// How long a run is and how its steps are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunConfig {
    /// Seed of everything random in the run. (HINT reference: 42)
    pub seed: u64,
    /// Rollout batches, each followed by `updates_per_batch` times `mini_batches` optimizer steps.
    pub steps: u64,
    /// Problems per rollout batch. (HINT reference: 64 micro-batches of one group)
    pub problems_per_step: usize,
    /// Passes over each rollout batch. (PPO: epochs)
    pub updates_per_batch: usize,
    /// Optimizer steps of a pass: its groups in as many parts of nearly equal size. With more than one
    /// the order of the groups depends on seed, step and pass. (HINT reference: 2 of 64 groups, between
    /// which the engine keeps its weights)
    pub mini_batches: usize,
    /// Largest number of tokens, padding included, in one forward pass. A row that is longer has one
    /// of its own, which a metric counts and a warning names.
    pub max_tokens_per_micro_batch: usize,
    /// Largest staleness of a group that trains: optimizer steps between the weights that sampled it
    /// and those at the start of the step. No bound by default.
    pub max_staleness: Option<u64>,
    /// What becomes of a group that is older.
    pub stale_groups: StaleGroups,
    /// Whether to write `rollouts.jsonl`, one line per group.
    pub rollout_table: bool,
    /// Steps between checkpoints. 0 writes one at the end only.
    pub checkpoint_every: u64,
    /// How many checkpoints to keep. At least 1.
    pub keep_checkpoints: usize,
}

/// What becomes of a group whose weights are older than `run.max_staleness`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StaleGroups {
    /// It does not train; a metric counts it, and a warning names it.
    #[default]
    Drop,
    /// The run ends with an error.
    Abort,
}

impl Default for RunConfig {
    fn default() -> Self {
        Self {
            seed: 42,
            steps: 1000,
            problems_per_step: 64,
            updates_per_batch: 1,
            mini_batches: 1,
            max_tokens_per_micro_batch: 16_384,
            max_staleness: None,
            stale_groups: StaleGroups::default(),
            rollout_table: false,
            checkpoint_every: 10,
            keep_checkpoints: 2,
        }
    }
}

impl RunConfig {
    /// Optimizer steps that a rollout batch is worth.
    pub const fn optimizer_steps_per_batch(&self) -> usize {
        self.updates_per_batch * self.mini_batches
    }

    /// Whether a checkpoint follows step `step` (from 1).
    pub fn checkpoint_is_due(&self, step: u64) -> bool {
        let every = self.checkpoint_every;
        step == self.steps || (every > 0 && step.is_multiple_of(every))
    }

    pub(super) fn check(&self, check: &mut Validator) {
        check.at_least("run.steps", self.steps, 1);
        check.at_least("run.problems_per_step", self.problems_per_step as u64, 1);
        check.at_least("run.updates_per_batch", self.updates_per_batch as u64, 1);
        check.at_least("run.mini_batches", self.mini_batches as u64, 1);
        let (mini_batches, groups) = (self.mini_batches, self.problems_per_step);
        let holds = mini_batches <= groups.max(1);
        check.that("run.mini_batches", holds, "must not exceed problems_per_step", mini_batches);
        check.at_least("run.max_tokens_per_micro_batch", self.max_tokens_per_micro_batch as u64, 1);
        check.at_least("run.keep_checkpoints", self.keep_checkpoints as u64, 1);
    }
}
