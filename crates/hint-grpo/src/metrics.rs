//! Metrics: their names, and how they are averaged.
//!
//! Names that TRL also logs are TRL's. The table in `docs/configuration.md` lists each constant.

use std::collections::BTreeMap;

/// Mean reward of the completions that train.
pub const REWARD: &str = "reward";
/// Standard deviation of the rewards within a group, averaged over groups.
pub const REWARD_STD: &str = "reward_std";
/// Share of groups whose rewards are all equal, which have no signal.
pub const FRAC_REWARD_ZERO_STD: &str = "frac_reward_zero_std";
/// Mean length of the sampled completions, both stages, in tokens.
pub const COMPLETIONS_MEAN_LENGTH: &str = "completions/mean_length";
/// Length of the shortest sampled completion, both stages, in tokens.
pub const COMPLETIONS_MIN_LENGTH: &str = "completions/min_length";
/// Length of the longest sampled completion, both stages, in tokens.
pub const COMPLETIONS_MAX_LENGTH: &str = "completions/max_length";
/// Mean length of the sampled completions that a stop token ended, in tokens.
pub const COMPLETIONS_MEAN_TERMINATED_LENGTH: &str = "completions/mean_terminated_length";
/// Length of the shortest of those.
pub const COMPLETIONS_MIN_TERMINATED_LENGTH: &str = "completions/min_terminated_length";
/// Length of the longest of those.
pub const COMPLETIONS_MAX_TERMINATED_LENGTH: &str = "completions/max_terminated_length";
/// Share of sampled completions cut off at the token limit, both stages.
pub const COMPLETIONS_CLIPPED_RATIO: &str = "completions/clipped_ratio";
/// Share of plain completions judged correct.
pub const ROLLOUT_PASS_RATE: &str = "rollout/pass_rate";
/// Share of plain groups in which every completion is wrong.
pub const ROLLOUT_ALL_WRONG_FRAC: &str = "rollout/all_wrong_frac";
/// Share of plain groups in which every completion is correct.
pub const ROLLOUT_ALL_RIGHT_FRAC: &str = "rollout/all_right_frac";
/// Share of sampled completions that could not be judged and were dropped.
pub const ROLLOUT_DROPPED_FRAC: &str = "rollout/dropped_frac";
/// Share of sampled completions that are left out of the loss because they were cut off.
pub const ROLLOUT_MASKED_FRAC: &str = "rollout/masked_frac";
/// Rounds of dynamic sampling, when there was more than one or something was left out.
pub const ROLLOUT_ROUNDS: &str = "rollout/rounds";
/// Share of problems whose groups dynamic sampling left out because they teach nothing.
pub const ROLLOUT_NO_SIGNAL_FRAC: &str = "rollout/no_signal_frac";
/// Groups that dynamic sampling looked for in vain.
pub const ROLLOUT_MISSING_GROUPS: &str = "rollout/missing_groups";
/// Groups of earlier steps that train again.
pub const ROLLOUT_REPLAYED_GROUPS: &str = "rollout/replayed_groups";
/// Their mean age, in steps.
pub const ROLLOUT_REPLAY_AGE: &str = "rollout/replay_age";
/// Share of problems that were sampled again with a hint.
pub const HINT_HINTED_FRAC: &str = "hint/hinted_frac";
/// Share of hinted groups with at least one correct completion.
pub const HINT_RESCUED_FRAC: &str = "hint/rescued_frac";
/// Share of hinted completions judged correct.
pub const HINT_PASS_RATE: &str = "hint/pass_rate";
/// Share of groups that were dropped because their weights were too old.
pub const ROLLOUT_STALE_FRAC: &str = "rollout/stale_frac";
/// Hinted minus plain success rate of the problems that were hinted: what is still to be
/// internalized.
pub const HINT_INTERNALIZATION_GAP: &str = "hint/internalization_gap";
/// The same over the run: hinted minus plain success rate, where the plain one is that of later
/// visits to problems that had been hinted before, averaged over those problems.
pub const HINT_INTERNALIZATION_GAP_RUN: &str = "hint/internalization_gap_run";
/// Hint levels tried, per hinted group.
pub const HINT_ATTEMPTS: &str = "hint/attempts";
/// Share of the source's hint that the decisive attempts got, averaged over hinted groups.
pub const HINT_SHARE: &str = "hint/share";
/// Share of the hints that gave something away, before the leak guard did anything about it.
pub const HINT_LEAKING_FRAC: &str = "hint/leaking_frac";
/// Share of the hints that gave the answer away.
pub const HINT_LEAKING_ANSWER_FRAC: &str = "hint/leaking_frac/answer";
/// Share of the hints that gave the value of a step away which the problem does not state.
pub const HINT_LEAKING_STEP_FRAC: &str = "hint/leaking_frac/step";
/// Share of the hints that the leak guard dropped.
pub const HINT_DROPPED_FRAC: &str = "hint/dropped_frac";
/// Affinity of the ratio that trains, over all trained tokens of the step.
pub const AFFINITY_VALUE: &str = "affinity/value";
/// EUR of the ratio that trains.
pub const AFFINITY_EUR: &str = "affinity/eur";
/// UC of the ratio that trains, in nats.
pub const AFFINITY_UC: &str = "affinity/uc";
/// Affinity of the policy on the plain prompt against the distribution that drew the tokens, over
/// the hinted completions.
pub const AFFINITY_BEHAVIOR_VALUE: &str = "affinity/behavior/value";
/// EUR against the distribution that drew the tokens.
pub const AFFINITY_BEHAVIOR_EUR: &str = "affinity/behavior/eur";
/// UC against the distribution that drew the tokens, in nats.
pub const AFFINITY_BEHAVIOR_UC: &str = "affinity/behavior/uc";
/// Mean weight of the hinted completions that trained, by group or schedule.
pub const HINTED_WEIGHT: &str = "hint/weight";
/// Loss as minimized, averaged over the optimizer steps of the step.
pub const LOSS: &str = "loss";
/// KL to the reference policy per token, in nats.
pub const KL: &str = "kl";
/// Entropy of the policy per trained token, in nats.
pub const ENTROPY: &str = "entropy";
/// Share of trained tokens whose ratio is clipped from below.
pub const CLIP_RATIO_LOW: &str = "clip_ratio/low_mean";
/// Share of trained tokens whose ratio is clipped from above.
pub const CLIP_RATIO_HIGH: &str = "clip_ratio/high_mean";
/// Share of trained tokens whose ratio is clipped.
pub const CLIP_RATIO_REGION: &str = "clip_ratio/region_mean";
/// Least share of tokens of a completion whose ratio is clipped from below.
pub const CLIP_RATIO_LOW_MIN: &str = "clip_ratio/low_min";
/// Largest share of tokens of a completion whose ratio is clipped from above.
pub const CLIP_RATIO_HIGH_MAX: &str = "clip_ratio/high_max";
/// Share of trained tokens whose detached ratio CISPO caps.
pub const CISPO_CLIP_RATIO: &str = "cispo_clip_ratio";
/// Mean absolute difference between the trainer's and the engine's log-probabilities of the same
/// plain tokens under the same weights, in nats.
pub const SAMPLING_LOGP_DIFFERENCE: &str = "sampling/sampling_logp_difference/mean";
/// Largest such difference, in nats.
pub const SAMPLING_LOGP_DIFFERENCE_MAX: &str = "sampling/sampling_logp_difference/max";
/// Mean staleness of the completions: optimizer steps between the weights that sampled them and those
/// at the start of the step.
pub const SAMPLING_STALENESS: &str = "sampling/staleness/mean";
/// Largest such staleness.
pub const SAMPLING_STALENESS_MAX: &str = "sampling/staleness/max";
/// Mean weight of the correction for the mismatch between trainer and engine.
pub const IMPORTANCE_WEIGHT: &str = "sampling/importance_sampling_ratio/mean";
/// Least such weight.
pub const IMPORTANCE_WEIGHT_MIN: &str = "sampling/importance_sampling_ratio/min";
/// Largest such weight.
pub const IMPORTANCE_WEIGHT_MAX: &str = "sampling/importance_sampling_ratio/max";
/// Negative log-likelihood of the supervised loss: per learned token, in nats, before its weights.
pub const NLL: &str = "nll";
/// Norm of the gradient before clipping.
pub const GRAD_NORM: &str = "grad_norm";
/// Optimizer steps taken since the start of the run.
pub const NUM_UPDATES: &str = "num_updates";
/// Forward passes with gradient per optimizer step.
pub const MICRO_BATCHES: &str = "micro_batch/count";
/// Tokens of the largest micro-batch of the step, padding included: what its memory depends on.
pub const MICRO_BATCH_TOKENS: &str = "micro_batch/max_tokens";
/// Share of the tokens of micro-batches that are padding.
pub const MICRO_BATCH_PADDING: &str = "micro_batch/padding_frac";
/// Rows longer than a micro-batch may be, each in one of its own, per optimizer step.
pub const MICRO_BATCH_OVERSIZED: &str = "micro_batch/oversized";
/// Optimizer steps skipped by the guard since the start of the run.
pub const SKIPPED_UPDATES: &str = "skipped_updates";
/// Learning rate of the step.
pub const LEARNING_RATE: &str = "learning_rate";
/// Tokens of prompts and completions since the start of the run, the prompt once for each completion;
/// in a supervised stage those of every pass.
pub const NUM_TOKENS: &str = "num_tokens";
/// Problems drawn since the start of the run, as a multiple of all problems.
pub const EPOCH: &str = "epoch";
/// Share of correct completions on the held-out problems, without hints: avg@k.
pub const EVAL_AVG: &str = "eval/avg";
/// Lower end of its 95 % interval.
pub const EVAL_AVG_LOW: &str = "eval/avg_low";
/// Upper end of its 95 % interval.
pub const EVAL_AVG_HIGH: &str = "eval/avg_high";
/// Mean length of the completions of the evaluation, in tokens.
pub const EVAL_MEAN_LENGTH: &str = "eval/mean_length";
/// Share of the completions of the evaluation that were cut off at the token limit.
pub const EVAL_CLIPPED_RATIO: &str = "eval/clipped_ratio";
/// Share of the completions of the evaluation that could not be judged, which count as wrong.
pub const EVAL_FAILED_FRAC: &str = "eval/failed_frac";

/// Weighted means, and extremes, by name.
///
/// Adding is exact about weights: the mean of a step does not depend on how its rows were split
/// into micro-batches.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Metrics {
    summaries: BTreeMap<String, Summary>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Summary {
    Mean { sum: f64, weight: f64 },
    Least(f64),
    Most(f64),
}

impl Summary {
    /// This and `other` together. A name that changes its kind keeps the new one.
    fn join(self, other: Self) -> Self {
        match (self, other) {
            (Self::Mean { sum, weight }, Self::Mean { sum: more, weight: further }) => {
                Self::Mean { sum: sum + more, weight: weight + further }
            }
            (Self::Least(left), Self::Least(right)) => Self::Least(left.min(right)),
            (Self::Most(left), Self::Most(right)) => Self::Most(left.max(right)),
            (_, other) => other,
        }
    }
}

impl Metrics {
    /// No metrics.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `name` to `value`, whatever was added before.
    pub fn set(&mut self, name: impl Into<String>, value: f64) {
        self.summaries.insert(name.into(), Summary::Mean { sum: value, weight: 1.0 });
    }

    /// Sets `name` if there is a value.
    pub fn set_some(&mut self, name: impl Into<String>, value: Option<f64>) {
        if let Some(value) = value {
            self.set(name, value);
        }
    }

    /// Adds `weight` observations that sum to `sum`.
    pub fn add(&mut self, name: impl Into<String>, sum: f64, weight: f64) {
        self.join(name.into(), Summary::Mean { sum, weight });
    }

    /// Adds an observation to a metric that is the least of its observations.
    pub fn add_min(&mut self, name: impl Into<String>, value: f64) {
        self.join(name.into(), Summary::Least(value));
    }

    /// Adds an observation to a metric that is the largest of its observations.
    pub fn add_max(&mut self, name: impl Into<String>, value: f64) {
        self.join(name.into(), Summary::Most(value));
    }

    fn join(&mut self, name: String, summary: Summary) {
        let entry = self.summaries.entry(name);
        entry.and_modify(|present| *present = present.join(summary)).or_insert(summary);
    }

    /// Adds every observation of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (name, summary) in &other.summaries {
            self.join(name.clone(), *summary);
        }
    }

    /// The mean (or extreme) of `name`, or `None` when nothing was observed.
    pub fn get(&self, name: &str) -> Option<f64> {
        match *self.summaries.get(name)? {
            Summary::Mean { sum, weight } => (weight > 0.0).then(|| sum / weight),
            Summary::Least(value) | Summary::Most(value) => Some(value),
        }
    }

    /// Every name with its mean (or extreme), by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        self.summaries.keys().filter_map(|name| Some((name.as_str(), self.get(name)?)))
    }
}
