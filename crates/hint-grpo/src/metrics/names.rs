//! The names of metrics and timings, each in one table. Code uses the constants, and
//! `cargo xtask bless` writes the reference in `docs/metrics.md` from the tables.
//!
//! A name with a word in capitals stands for a family, such as one metric per verdict. [`member`] makes
//! the name of one of them.

/// A constant for each row, and the rows as a slice.
macro_rules! table {
    (
        $(#[$about:meta])*
        $table:ident
        $($(#[doc = $meaning:literal])+ $name:ident = $key:literal;)+
    ) => {
        $($(#[doc = $meaning])+ pub const $name: &str = $key;)+

        $(#[$about])*
        pub const $table: &[(&str, &str)] = &[$(($key, concat!($($meaning),+))),+];
    };
}

table! {
    /// Every metric with its meaning, in the order of the reference.
    ALL
    /// Mean reward of the completions that train.
    REWARD = "reward";
    /// Standard deviation of the rewards within a group, averaged over groups.
    REWARD_STD = "reward_std";
    /// Mean of one unweighted part of the reward.
    REWARDS_MEAN = "rewards/NAME/mean";
    /// Sample deviation of that part over the step.
    REWARDS_STD = "rewards/NAME/std";
    /// Share of groups whose rewards are all equal, which have no signal.
    FRAC_REWARD_ZERO_STD = "frac_reward_zero_std";
    /// Share of groups whose rewards differ by shaping alone. All completions are correct, or none is, and the
    /// part of the reward behind the verdict is equal.
    ROLLOUT_SHAPING_ONLY_FRAC = "rollout/shaping_only_frac";
    /// Share of groups with graded rewards: all are correct, or none is, and the part of the reward behind the
    /// verdict differs.
    ROLLOUT_GRADED_FRAC = "rollout/graded_frac";
    /// Mean length of the sampled completions, both stages, in tokens. Tokens that others wrote in them do not count.
    COMPLETIONS_MEAN_LENGTH = "completions/mean_length";
    /// Length of the shortest sampled completion, both stages, in tokens.
    COMPLETIONS_MIN_LENGTH = "completions/min_length";
    /// Length of the longest sampled completion, both stages, in tokens.
    COMPLETIONS_MAX_LENGTH = "completions/max_length";
    /// Mean length of the sampled completions that a stop token ended, in tokens.
    COMPLETIONS_MEAN_TERMINATED_LENGTH = "completions/mean_terminated_length";
    /// Length of the shortest of these, in tokens.
    COMPLETIONS_MIN_TERMINATED_LENGTH = "completions/min_terminated_length";
    /// Length of the longest of these, in tokens.
    COMPLETIONS_MAX_TERMINATED_LENGTH = "completions/max_terminated_length";
    /// Share of sampled completions cut off at the token limit, both stages.
    COMPLETIONS_CLIPPED_RATIO = "completions/clipped_ratio";
    /// Share of plain completions judged correct.
    ROLLOUT_PASS_RATE = "rollout/pass_rate";
    /// Share of plain groups in which every completion is wrong.
    ROLLOUT_ALL_WRONG_FRAC = "rollout/all_wrong_frac";
    /// Share of plain groups in which every completion is correct.
    ROLLOUT_ALL_RIGHT_FRAC = "rollout/all_right_frac";
    /// Share of the all-wrong plain groups that collapsed: at least 7 of 8 completions give the same answer.
    /// Without answers, the texts count. The others are cliffs: the completions differ, and none is right.
    ROLLOUT_COLLAPSED_FRAC = "rollout/collapsed_frac";
    /// Share of sampled completions with that verdict, both stages.
    VERDICT = "verdict/NAME";
    /// Share of sampled completions whose answer that rule of the verifier found, or `none`. Rules are `boxed`,
    /// `answer_tag`, `hashes` and `phrase`; the lenient level adds `whole_text`, `short_sentence`, `last_math` and
    /// `last_number`.
    VERIFIER_EXTRACTED_BY = "verifier/extracted_by/RULE";
    /// Share of correct ones among them.
    VERIFIER_PASS_RATE_BY = "verifier/pass_rate_by/RULE";
    /// Share of sampled completions that could not be judged and were dropped.
    ROLLOUT_DROPPED_FRAC = "rollout/dropped_frac";
    /// Problems left out because their prompts are too long, if there were any.
    ROLLOUT_TOO_LONG_PROMPTS = "rollout/too_long_prompts";
    /// Hints and demonstrations that were too long, if there were any: left out or cut.
    ROLLOUT_TOO_LONG_HINTS = "rollout/too_long_hints";
    /// Share of plain groups that ended early, where `rollout.early_stop` is given. There, rates, lengths and verdicts of
    /// plain groups are over their first `needed` completions. So few that agree count as collapsed. `reward`, `rewards/` and
    /// `frac_reward_zero_std` are over what trains, where a group that ended early weighs less. So they are not TRL's.
    /// `reward_failures/` counts all that was kept. The hint trigger sees what is kept, and fires more often.
    ROLLOUT_EARLY_STOPPED_FRAC = "rollout/early_stopped_frac";
    /// Tokens of completions that were thrown away with that. `num_tokens` and the tokens per second count them.
    ROLLOUT_EARLY_STOPPED_TOKENS = "rollout/early_stopped_tokens";
    /// Number of failures of that reward: an error, no number, a panic, or no score in time.
    REWARD_FAILURES = "reward_failures/NAME";
    /// Share of groups that were dropped because their weights were too old.
    ROLLOUT_STALE_FRAC = "rollout/stale_frac";
    /// Share of sampled completions that are left out of the loss because they were cut off.
    ROLLOUT_MASKED_FRAC = "rollout/masked_frac";
    /// Rounds of dynamic sampling, when there was more than one or something was left out.
    ROLLOUT_ROUNDS = "rollout/rounds";
    /// Share of problems whose groups dynamic sampling left out because they have no signal.
    ROLLOUT_NO_SIGNAL_FRAC = "rollout/no_signal_frac";
    /// Groups still missing when dynamic sampling gave up.
    ROLLOUT_MISSING_GROUPS = "rollout/missing_groups";
    /// Groups of earlier steps that train again.
    ROLLOUT_REPLAYED_GROUPS = "rollout/replayed_groups";
    /// Their mean age, in steps.
    ROLLOUT_REPLAY_AGE = "rollout/replay_age";
    /// Share of problems that were sampled again with a hint.
    HINT_HINTED_FRAC = "hint/hinted_frac";
    /// Share of problems whose plain completions a hint teaches, if there are any.
    HINT_TAUGHT_FRAC = "hint/taught_frac";
    /// Share of hinted groups with at least one correct completion.
    HINT_RESCUED_FRAC = "hint/rescued_frac";
    /// Share of hinted completions judged correct.
    HINT_PASS_RATE = "hint/pass_rate";
    /// Hinted minus plain success rate of the problems that were hinted: the part that is still to
    /// be internalized.
    HINT_INTERNALIZATION_GAP = "hint/internalization_gap";
    /// The same over the run: hinted minus plain success rate, averaged over problems. The plain
    /// rate comes from later visits to problems that had been hinted before.
    HINT_INTERNALIZATION_GAP_RUN = "hint/internalization_gap_run";
    /// Hint levels tried, per hinted group.
    HINT_ATTEMPTS = "hint/attempts";
    /// Share of the source's hint that the decisive attempts got, averaged over hinted groups.
    HINT_SHARE = "hint/share";
    /// Share of the hints that gave something away, before the leak guard did anything about it.
    HINT_LEAKING_FRAC = "hint/leaking_frac";
    /// Share of the hints that gave the answer away.
    HINT_LEAKING_ANSWER_FRAC = "hint/leaking_frac/answer";
    /// Share of the hints that gave the value of a step away which the problem does not state.
    HINT_LEAKING_STEP_FRAC = "hint/leaking_frac/step";
    /// Share of the hints that the leak guard dropped.
    HINT_DROPPED_FRAC = "hint/dropped_frac";
    /// Affinity of the ratio that trains, over all trained tokens of the step.
    AFFINITY_VALUE = "affinity/value";
    /// EUR of the ratio that trains.
    AFFINITY_EUR = "affinity/eur";
    /// UC of the ratio that trains, in nats.
    AFFINITY_UC = "affinity/uc";
    /// Affinity of the policy on the plain prompt against the distribution that drew the tokens, over
    /// the hinted completions.
    AFFINITY_BEHAVIOR_VALUE = "affinity/behavior/value";
    /// EUR against the distribution that drew the tokens.
    AFFINITY_BEHAVIOR_EUR = "affinity/behavior/eur";
    /// UC against the distribution that drew the tokens, in nats.
    AFFINITY_BEHAVIOR_UC = "affinity/behavior/uc";
    /// Affinity of the hint that teaches plain completions: of its ratio to the policy without it, over their tokens.
    AFFINITY_TEACHER_VALUE = "affinity/teacher/value";
    /// EUR of that ratio, every token with the same weight.
    AFFINITY_TEACHER_EUR = "affinity/teacher/eur";
    /// UC of that ratio, in nats.
    AFFINITY_TEACHER_UC = "affinity/teacher/uc";
    /// Mean rise of a token's log-probability by the hint that teaches, in nats.
    TEACHER_DELTA = "hint/teacher_delta";
    /// The divergence of the policy from the teacher at a token, averaged, in nats, where the loss has one.
    TEACHER_DIVERGENCE = "hint/teacher_divergence";
    /// Affinity of the ratio that trains over `plain`, `hinted`, `prefix` or `demonstration` completions.
    AFFINITY_SOURCE_VALUE = "affinity/SOURCE/value";
    /// EUR of the same.
    AFFINITY_SOURCE_EUR = "affinity/SOURCE/eur";
    /// UC of the same, in nats.
    AFFINITY_SOURCE_UC = "affinity/SOURCE/uc";
    /// Affinity against the distribution that drew the tokens, over the completions of that source.
    AFFINITY_BEHAVIOR_SOURCE_VALUE = "affinity/behavior/SOURCE/value";
    /// EUR of the same.
    AFFINITY_BEHAVIOR_SOURCE_EUR = "affinity/behavior/SOURCE/eur";
    /// UC of the same, in nats.
    AFFINITY_BEHAVIOR_SOURCE_UC = "affinity/behavior/SOURCE/uc";
    /// Mean weight of the hinted completions that trained, by group or schedule.
    HINTED_WEIGHT = "hint/weight";
    /// Loss as minimized, averaged over the optimizer steps of the step.
    LOSS = "loss";
    /// KL to the reference policy per token, in nats.
    KL = "kl";
    /// Entropy of the policy per completion token, in nats, over all completions, as TRL counts. Left out where some have no forward pass, unless `run.full_entropy` is on.
    ENTROPY = "entropy";
    /// Entropy of the policy per token of the completions that have a gradient, in nats.
    ENTROPY_TRAINED = "entropy/trained";
    /// Share of trained tokens whose ratio is clipped from below.
    CLIP_RATIO_LOW = "clip_ratio/low_mean";
    /// Share of trained tokens whose ratio is clipped from above.
    CLIP_RATIO_HIGH = "clip_ratio/high_mean";
    /// Share of trained tokens whose ratio is clipped.
    CLIP_RATIO_REGION = "clip_ratio/region_mean";
    /// Smallest share of tokens of a completion whose ratio is clipped from below.
    CLIP_RATIO_LOW_MIN = "clip_ratio/low_min";
    /// Largest share of tokens of a completion whose ratio is clipped from above.
    CLIP_RATIO_HIGH_MAX = "clip_ratio/high_max";
    /// Share of trained tokens whose detached ratio CISPO caps.
    CISPO_CLIP_RATIO = "cispo_clip_ratio";
    /// Mean absolute difference between the trainer's and the engine's log-probabilities of the same
    /// plain tokens under the same weights, in nats.
    SAMPLING_LOGP_DIFFERENCE = "sampling/sampling_logp_difference/mean";
    /// Largest such difference, in nats.
    SAMPLING_LOGP_DIFFERENCE_MAX = "sampling/sampling_logp_difference/max";
    /// Mean staleness of the completions: optimizer steps between the weights that sampled them and those
    /// at the start of the step.
    SAMPLING_STALENESS = "sampling/staleness/mean";
    /// Largest such staleness.
    SAMPLING_STALENESS_MAX = "sampling/staleness/max";
    /// Mean weight of the correction for the mismatch between trainer and engine.
    IMPORTANCE_WEIGHT = "sampling/importance_sampling_ratio/mean";
    /// Smallest such weight.
    IMPORTANCE_WEIGHT_MIN = "sampling/importance_sampling_ratio/min";
    /// Largest such weight.
    IMPORTANCE_WEIGHT_MAX = "sampling/importance_sampling_ratio/max";
    /// Negative log-likelihood of the supervised loss: per learned token, in nats, before its weights.
    NLL = "nll";
    /// Share of the step's tokens in loss masks without a gradient of the policy objective. Their completion has
    /// an advantage of 0, they are clipped, or the optimizer step was skipped.
    TOKENS_NO_GRADIENT_FRAC = "tokens/no_gradient_frac";
    /// Share of the trained weights that differ after the step, in the number format of the policy. It is taken
    /// from a sample of 4,096 weights.
    WEIGHTS_CHANGED_FRAC = "weights/changed_frac";
    /// Norm of the gradient before clipping.
    GRAD_NORM = "grad_norm";
    /// Optimizer steps taken since the start of the run.
    NUM_UPDATES = "num_updates";
    /// Forward passes with gradient per optimizer step.
    MICRO_BATCHES = "micro_batch/count";
    /// Tokens of the largest micro-batch of the step, padding included: its memory depends on them.
    MICRO_BATCH_TOKENS = "micro_batch/max_tokens";
    /// Share of the tokens of micro-batches that are padding.
    MICRO_BATCH_PADDING = "micro_batch/padding_frac";
    /// Rows longer than a micro-batch may be, each in one of its own, per optimizer step.
    MICRO_BATCH_OVERSIZED = "micro_batch/oversized";
    /// Optimizer steps skipped by the guard since the start of the run.
    SKIPPED_UPDATES = "skipped_updates";
    /// Learning rate of the step.
    LEARNING_RATE = "learning_rate";
    /// Tokens of prompts and completions since the start of the run, the prompt once for each completion.
    /// A supervised stage counts the tokens of every pass.
    NUM_TOKENS = "num_tokens";
    /// Problems drawn since the start of the run, as a multiple of all problems.
    EPOCH = "epoch";
    /// Share of correct completions on the held-out problems, without hints: avg@k.
    EVAL_AVG = "eval/avg";
    /// Lower end of its 95 % interval.
    EVAL_AVG_LOW = "eval/avg_low";
    /// Upper end of its 95 % interval.
    EVAL_AVG_HIGH = "eval/avg_high";
    /// pass@K on the held-out problems, for each `k` above 1.
    EVAL_PASS_AT = "eval/pass_at_K";
    /// maj@K on them, where the verifier extracts answers.
    EVAL_MAJ_AT = "eval/maj_at_K";
    /// Mean length of the completions of the evaluation, in tokens that the policy wrote.
    EVAL_MEAN_LENGTH = "eval/mean_length";
    /// Share of the completions of the evaluation that were cut off at the token limit.
    EVAL_CLIPPED_RATIO = "eval/clipped_ratio";
    /// Share of the completions of the evaluation that could not be judged, which count as wrong.
    EVAL_FAILED_FRAC = "eval/failed_frac";
}

/// Seconds and counts of a step that depend on the machine, for `timings.jsonl`.
pub mod timings {
    table! {
        /// Every timing with its meaning, in the order of the reference.
        ALL
        /// Seconds in which completions were sampled, judged and hinted.
        ROLLOUT = "rollout_s";
        /// Seconds of scoring, forward and backward passes, optimizer steps, and writing the rollout table.
        UPDATE = "update_s";
        /// Seconds in which the engine took up the weights.
        SYNC = "sync_s";
        /// Seconds of the evaluation after the step.
        EVALUATION = "evaluation_s";
        /// Seconds in which the checkpoint before the step was written.
        CHECKPOINT = "checkpoint_s";
        /// Seconds of sampling, update and sync together.
        STEP = "step_time";
        /// Completion tokens sampled for training, or learned from.
        TOKENS = "tokens";
        /// The same per second of `step_time`.
        TOKENS_PER_SECOND = "tokens_per_second";
        /// Most memory used so far, in bytes: by the process, or on a GPU by all that run there.
        PEAK_MEMORY = "peak_memory_bytes";
    }
}

/// The word in capitals of a family's name, with the text before and after it.
fn parts(family: &str) -> Option<(&str, &str)> {
    let (before, rest) = family.split_at(family.find(|c: char| c.is_ascii_uppercase())?);
    Some((before, rest.trim_start_matches(|c: char| c.is_ascii_uppercase())))
}

/// The name of a member of a family.
///
/// ```
/// use hint_grpo::metrics;
///
/// assert_eq!(metrics::member(metrics::VERDICT, "correct"), "verdict/correct");
/// assert_eq!(metrics::member(metrics::EVAL_PASS_AT, 8), "eval/pass_at_8");
/// ```
pub fn member(family: &str, which: impl std::fmt::Display) -> String {
    let (before, after) = parts(family).unwrap_or((family, ""));
    format!("{before}{which}{after}")
}

/// The member of a family that `name` is, if it is one.
///
/// ```
/// use hint_grpo::metrics;
///
/// assert_eq!(metrics::which(metrics::AFFINITY_SOURCE_VALUE, "affinity/hinted/value"), Some("hinted"));
/// assert_eq!(metrics::which(metrics::AFFINITY_SOURCE_VALUE, "affinity/behavior/hinted/value"), None);
/// ```
pub fn which<'n>(family: &str, name: &'n str) -> Option<&'n str> {
    let (before, after) = parts(family)?;
    let which = name.strip_prefix(before)?.strip_suffix(after)?;
    (!which.is_empty() && !which.contains('/')).then_some(which)
}
