//! Length of a run and the division of its steps.

use hint_rollout::error::Violations;
use hint_rollout::run::RunProgress;
use serde::{Deserialize, Serialize};

/// Length of a run and division of its steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunConfig {
    /// Seed of everything random in the run. (HINT reference: 42)
    pub seed: u64,
    /// Number of steps for schedules in shares of the run, and for the decay of the learning rate. `steps`
    /// if it is not given. With it, a run can be prolonged without a change of its schedules.
    pub schedule_steps: Option<u64>,
    /// Steps: batches, each followed by `num_iterations` times `num_minibatches` optimizer steps.
    pub steps: u64,
    /// Problems (or demonstrations) per step. (HINT reference: 64 micro-batches of one group)
    pub prompts_per_step: usize,
    /// Passes over the batch of a step. (PPO: epochs)
    pub num_iterations: usize,
    /// Optimizer steps of a pass: its groups in as many parts of nearly equal size. With more than one
    /// the order of the groups depends on seed, step and pass. (HINT reference: 2 of 64 groups, between
    /// which the engine keeps its weights)
    pub num_minibatches: usize,
    /// Largest number of tokens, padding included, in one forward pass. A longer row has one of its
    /// own, which a metric counts and a warning names.
    pub max_tokens_per_micro_batch: usize,
    /// Batches that are sampled ahead: while the learner trains on one, a second thread samples up to this many of the
    /// next. Batch `n` comes from the weights after step `n − 1 − ahead`, whatever the timing. 0 samples and trains in
    /// turn. More than 0 takes a copy of the policy, and a file of configuration turns
    /// [`loss.importance_correction`](crate::objective::LossConfig::importance_correction) on by it.
    /// That is not so where the key is given, where sampling truncates, and with the engine's log-probabilities.
    pub ahead: u64,
    /// Number of parts that the work of a step is cut into; by default that of the processes that share it. At least one
    /// for each of them. Numbers depend on it by the order of sums. With the same value, runs on any number of processes
    /// are the same on CPUs, to the last bit.
    pub virtual_workers: Option<usize>,
    /// Division of the model over several processes while they learn. It changes no number.
    pub shard: Sharding,
    /// Largest staleness of a group that trains. It counts optimizer steps between the weights that
    /// sampled it and those at the start of the step. No bound by default.
    pub max_staleness: Option<u64>,
    /// Treatment of an older group.
    pub stale_groups: StaleGroups,
    /// Whether completions without a gradient, such as those of groups with equal rewards, are scored
    /// for the metric `entropy` alone. The metric then counts as in TRL. Takes a forward pass of
    /// them.
    pub full_entropy: bool,
    /// Whether metrics and timings are also written for TensorBoard, in the folder `tensorboard` of the run.
    pub tensorboard: bool,
    /// Steps between checkpoints. 0 writes one at the end only.
    pub checkpoint_every: u64,
    /// Number of checkpoints to keep. At least 1.
    pub keep_checkpoints: usize,
    /// Most MiB of memory for a copy of weights and optimizer state before a step of several optimizer steps. If one of
    /// those fails, the step is taken back and a checkpoint of the state before it is written. A run that needs more has
    /// no copy, and continues from its newest checkpoint then.
    pub undo_mib: u64,
}

/// Division of the model over several processes while they learn. One process alone holds everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sharding {
    /// Each holds its part of the optimizer's state and of the sum of the gradients (ZeRO-2).
    #[default]
    Gradients,
    /// Each also keeps its part of the weights alone (ZeRO-3). A pass gathers those of a block before it reads them, and frees
    /// them after. The weights are whole while the run samples, evaluates and saves. In several processes it needs AdamW, a
    /// policy that gathers by block, and a teacher other than an average.
    Parameters,
}

/// Treatment of a group whose weights are older than `run.max_staleness`.
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
            schedule_steps: None,
            steps: 1000,
            prompts_per_step: 64,
            num_iterations: 1,
            num_minibatches: 1,
            max_tokens_per_micro_batch: 16_384,
            ahead: 0,
            virtual_workers: None,
            shard: Sharding::default(),
            max_staleness: None,
            stale_groups: StaleGroups::default(),
            full_entropy: false,
            tensorboard: true,
            checkpoint_every: 10,
            keep_checkpoints: 2,
            undo_mib: 4096,
        }
    }
}

impl RunConfig {
    /// After `step` steps, as schedules see it.
    pub(crate) fn progress(&self, step: u64) -> RunProgress {
        RunProgress::new(step, self.schedule_steps.unwrap_or(self.steps))
    }

    /// Whether the engine draws from older weights than those that train.
    pub(crate) const fn samples_ahead(&self) -> bool {
        self.ahead > 0
    }

    /// Whether a checkpoint follows step `step` (from 1).
    pub fn checkpoint_is_due(&self, step: u64) -> bool {
        let every = self.checkpoint_every;
        step == self.steps || (every > 0 && step.is_multiple_of(every))
    }

    pub(super) fn check(&self, at: &mut Violations) {
        at.at_least("steps", self.steps, 1);
        at.require(self.schedule_steps != Some(0), "schedule_steps", "must be at least 1", 0);
        at.at_least("prompts_per_step", self.prompts_per_step as u64, 1);
        at.at_least("num_iterations", self.num_iterations as u64, 1);
        at.at_least("num_minibatches", self.num_minibatches as u64, 1);
        let (minibatches, groups) = (self.num_minibatches, self.prompts_per_step);
        let holds = minibatches <= groups.max(1);
        at.require(holds, "num_minibatches", "must not exceed prompts_per_step", minibatches);
        at.at_least("max_tokens_per_micro_batch", self.max_tokens_per_micro_batch as u64, 1);
        let updates = self.num_iterations.saturating_mul(self.num_minibatches) as u64;
        let oldest = self.ahead.saturating_mul(updates);
        let holds = self.max_staleness.is_none_or(|bound| bound >= oldest);
        let expected = format!(
            "must be at least {oldest} (ahead · num_iterations · num_minibatches), or not given"
        );
        at.require(holds, "max_staleness", expected, self.max_staleness.unwrap_or_default());
        at.require(self.virtual_workers != Some(0), "virtual_workers", "must be at least 1", 0);
        at.at_least("keep_checkpoints", self.keep_checkpoints as u64, 1);
    }
}
