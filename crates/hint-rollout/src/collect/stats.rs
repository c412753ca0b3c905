//! Counts of a collection.

use std::collections::BTreeMap;
use std::ops::Add;

use hint_reward::Score;
use hint_reward::extract::AnswerSource;

use crate::engine::{Completion, StopReason};
use crate::hint::leak::LeakCounts;
use crate::sample::{Rollout, RolloutGroup, RolloutSource, SuccessCount, count_correct};

/// Counts of a collection.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Collected {
    /// The groups that can train, in problem order. A problem whose completions could not be judged
    /// has none.
    pub groups: Vec<RolloutGroup>,
    /// Groups that do not train, to be looked at. A group without rollouts had fewer than two completions that could be
    /// judged; the others are in [`RolloutGroup::dropped`]. Dynamic sampling left a group with rollouts out. A step keeps
    /// the first three of these that are all wrong, and the first three others.
    pub untrained: Vec<RolloutGroup>,
    /// Counts over plain and hinted completions.
    pub stats: CollectStats,
}

/// Counts over a collection.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct CollectStats {
    /// Problems asked.
    pub problems: usize,
    /// The plain stage.
    pub plain: PlainStats,
    /// The hinted stage.
    pub hinted: HintedStats,
    /// Completions of both stages.
    pub sampled: SampledStats,
    /// Verdicts of both stages.
    pub judged: JudgedStats,
    /// Rounds and replayed groups of a step.
    pub batch: BatchStats,
}

/// Counts over plain groups.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlainStats {
    /// Completions with a verdict, and how many of them were correct.
    pub success: SuccessCount,
    /// Groups with such completions.
    pub groups: usize,
    /// Groups in which every completion was wrong.
    pub all_wrong: usize,
    /// All-wrong groups that collapsed: at least 7 of 8 completions give the same answer. Without answers, the
    /// texts count.
    pub collapsed: usize,
    /// Groups in which every completion was correct.
    pub all_right: usize,
}

/// Counts over hints and the completions sampled with them.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[non_exhaustive]
pub struct HintedStats {
    /// Completions with a verdict, of the attempt that counts, and how many were correct.
    pub success: SuccessCount,
    /// Groups that were hinted.
    pub groups: usize,
    /// Hinted groups that counted, by [`KeepIf`](crate::collect::hinted::KeepIf).
    pub rescued: usize,
    /// Groups whose plain completions a hint teaches.
    pub taught: usize,
    /// Attempts, over all levels that were tried.
    pub attempts: usize,
    /// Hint levels of the attempts that count, summed over the hinted groups.
    pub share_sum: f64,
    /// Success of the problems that also have plain completions, for the internalization gap.
    pub paired: SuccessCount,
    /// Plain success of the problems that were hinted, for the internalization gap.
    pub paired_plain: SuccessCount,
    /// Leaks of the hints.
    pub leaks: LeakCounts,
    /// Hints and demonstrations that are longer than the engine holds: left out or cut.
    pub too_long: usize,
}

/// Counts over all completions, plain and hinted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SampledStats {
    /// Completions.
    pub completions: usize,
    /// Completions cut off at the token limit.
    pub truncated: usize,
    /// Lengths of the completions.
    pub lengths: LengthCount,
    /// Lengths of completions that a stop token ended.
    pub terminated: LengthCount,
    /// Tokens of the completions, and of hints that the policy wrote.
    pub tokens: usize,
    /// Tokens of the prompts that they were sampled from, once for each completion.
    pub prompt_tokens: usize,
    /// Problems left out because their prompts are longer than the engine holds.
    pub too_long_prompts: usize,
    /// Plain groups that could have [ended early](crate::collect::EarlyStop). 0 where that is off.
    pub stoppable: usize,
    /// Plain groups that ended early.
    pub early_stopped: usize,
    /// Tokens of completions that were thrown away with that. They are in `tokens`.
    pub early_stopped_tokens: usize,
}

/// Verdicts and rewards, plain and hinted.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct JudgedStats {
    /// Completions with a verdict by their source, and how many of them were correct.
    pub by_source: BTreeMap<RolloutSource, SuccessCount>,
    /// Completions per verdict.
    pub verdicts: BTreeMap<&'static str, usize>,
    /// Completions by the rule that found their answer, and how many of them were correct. Completions
    /// without an answer are under `none`.
    pub extracted_by: BTreeMap<&'static str, SuccessCount>,
    /// Completions dropped because they could not be judged.
    pub dropped: usize,
    /// Judged completions that are left out of the loss because they were cut off.
    pub masked: usize,
    /// Number of failures of each reward, by its name. `panic` counts those that panicked, and `rubric`
    /// those that no single reward caused.
    pub reward_failures: BTreeMap<String, usize>,
}

/// Rounds and replayed groups of a step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatchStats {
    /// Rounds of [dynamic sampling](crate::collect::curriculum::DynamicSampling); 1 without it.
    pub rounds: usize,
    /// Groups that dynamic sampling left out.
    pub without_signal: usize,
    /// Groups that dynamic sampling did not find.
    pub missing_groups: usize,
    /// Groups of earlier steps in the batch.
    pub replayed: usize,
    /// Their ages in steps, summed.
    pub replay_age_sum: u64,
}

/// Lengths, in tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LengthCount {
    /// Count.
    pub count: usize,
    /// Their sum.
    pub sum: usize,
    /// The shortest, if there are any.
    pub least: Option<usize>,
    /// The longest.
    pub most: usize,
}

impl LengthCount {
    /// The mean; `None` without values.
    pub fn mean(self) -> Option<f64> {
        (self.count > 0).then(|| self.sum as f64 / self.count as f64)
    }

    pub(crate) fn observe(&mut self, length: usize) {
        self.count += 1;
        self.sum += length;
        self.least = Some(self.least.map_or(length, |least| least.min(length)));
        self.most = self.most.max(length);
    }

    fn merge(&mut self, other: Self) {
        self.count += other.count;
        self.sum += other.sum;
        self.least = self.least.into_iter().chain(other.least).min();
        self.most = self.most.max(other.most);
    }
}

impl CollectStats {
    /// Adds the counts of another collection of the same step.
    pub(crate) fn merge(&mut self, other: Self) {
        let Self { problems, plain, hinted, sampled, judged, batch } = other;
        self.problems += problems;
        self.plain.merge(plain);
        self.hinted.merge(hinted);
        self.sampled.merge(sampled);
        self.judged.merge(judged);
        self.batch.merge(batch);
    }

    pub(crate) fn observe_plain(&mut self, rollouts: &[Rollout]) {
        if rollouts.is_empty() {
            return;
        }
        self.judged.observe_source(RolloutSource::Plain, rollouts);
        let (plain, correct) = (&mut self.plain, count_correct(rollouts));
        plain.success.observe(rollouts);
        plain.groups += 1;
        plain.all_wrong += usize::from(correct == 0);
        plain.collapsed += usize::from(correct == 0 && has_collapsed(rollouts));
        plain.all_right += usize::from(correct == rollouts.len());
    }

    pub(crate) fn observe_hinted(&mut self, rollouts: &[Rollout], plain: &[Rollout]) {
        let hinted = &mut self.hinted;
        hinted.groups += 1;
        hinted.success.observe(rollouts);
        if !plain.is_empty() {
            hinted.paired.observe(rollouts);
            hinted.paired_plain.observe(plain);
        }
        if let Some(first) = rollouts.first() {
            hinted.share_sum += first.hint.as_ref().map_or(0.0, |applied| applied.share);
            self.judged.observe_source(first.source(), rollouts);
        }
    }
}

impl PlainStats {
    fn merge(&mut self, other: Self) {
        let Self { success, groups, all_wrong, collapsed, all_right } = other;
        self.success = self.success + success;
        self.groups += groups;
        self.all_wrong += all_wrong;
        self.collapsed += collapsed;
        self.all_right += all_right;
    }
}

impl HintedStats {
    fn merge(&mut self, other: Self) {
        let Self { success, groups, rescued, taught, attempts, .. } = other;
        let Self { share_sum, paired, paired_plain, leaks, too_long, .. } = other;
        self.success = self.success + success;
        self.groups += groups;
        self.rescued += rescued;
        self.taught += taught;
        self.attempts += attempts;
        self.share_sum += share_sum;
        self.paired = self.paired + paired;
        self.paired_plain = self.paired_plain + paired_plain;
        self.leaks.merge(leaks);
        self.too_long += too_long;
    }
}

impl SampledStats {
    /// Counts the completions of one prompt. Rates and lengths are over the `first` of them, if that is given.
    pub(crate) fn observe(
        &mut self,
        prompt_len: usize,
        completions: &[Completion],
        first: Option<usize>,
    ) {
        let counted = first.unwrap_or(completions.len()).min(completions.len());
        self.completions += counted;
        self.prompt_tokens += prompt_len * completions.len();
        self.tokens += completions.iter().map(|one| one.tokens.len()).sum::<usize>();
        for completion in &completions[..counted] {
            let length = completion.policy_tokens();
            self.lengths.observe(length);
            match completion.stop {
                StopReason::Stop => self.terminated.observe(length),
                StopReason::Length => self.truncated += 1,
            }
        }
    }

    /// Counts the completions that a group threw away when it ended early, if there are any. Some never began.
    pub(crate) fn observe_others(&mut self, prompt_len: usize, completions: &[Completion]) {
        let begun = completions.iter().map(|one| one.tokens.len()).filter(|len| *len > 0);
        let tokens = begun.clone().sum::<usize>();
        self.early_stopped += usize::from(!completions.is_empty());
        self.early_stopped_tokens += tokens;
        self.tokens += tokens;
        self.prompt_tokens += prompt_len * begun.count();
    }

    fn merge(&mut self, other: Self) {
        let Self { completions, truncated, lengths, terminated, .. } = other;
        let Self { tokens, prompt_tokens, too_long_prompts, .. } = other;
        let Self { stoppable, early_stopped, early_stopped_tokens, .. } = other;
        self.completions += completions;
        self.truncated += truncated;
        self.lengths.merge(lengths);
        self.terminated.merge(terminated);
        self.tokens += tokens;
        self.prompt_tokens += prompt_tokens;
        self.too_long_prompts += too_long_prompts;
        self.stoppable += stoppable;
        self.early_stopped += early_stopped;
        self.early_stopped_tokens += early_stopped_tokens;
    }
}

impl JudgedStats {
    /// Counts verdicts, by themselves and by the rule that found the answer.
    pub(crate) fn observe<'s>(&mut self, scores: impl Iterator<Item = &'s Score>) {
        for Score { verdict, judgment, .. } in scores {
            *self.verdicts.entry(verdict.name()).or_default() += 1;
            let rule = judgment.source.map_or("none", AnswerSource::name);
            self.extracted_by.entry(rule).or_default().count(verdict.is_correct());
        }
    }

    fn observe_source(&mut self, source: RolloutSource, rollouts: &[Rollout]) {
        self.by_source.entry(source).or_default().observe(rollouts);
    }

    fn merge(&mut self, other: Self) {
        let Self { by_source, verdicts, extracted_by, dropped, masked, reward_failures } = other;
        add(&mut self.by_source, by_source);
        add(&mut self.verdicts, verdicts);
        add(&mut self.extracted_by, extracted_by);
        self.dropped += dropped;
        self.masked += masked;
        add(&mut self.reward_failures, reward_failures);
    }
}

impl BatchStats {
    fn merge(&mut self, other: Self) {
        let Self { rounds, without_signal, missing_groups, replayed, replay_age_sum } = other;
        self.rounds += rounds;
        self.without_signal += without_signal;
        self.missing_groups += missing_groups;
        self.replayed += replayed;
        self.replay_age_sum += replay_age_sum;
    }
}

/// Adds counts by name.
fn add<K: Ord, V: Default + Copy + Add<Output = V>>(
    counts: &mut BTreeMap<K, V>,
    more: BTreeMap<K, V>,
) {
    for (name, count) in more {
        let entry = counts.entry(name).or_default();
        *entry = *entry + count;
    }
}

/// Whether at least 7 of 8 completions agree.
fn has_collapsed(rollouts: &[Rollout]) -> bool {
    let mut counts = BTreeMap::<_, usize>::new();
    for rollout in rollouts {
        let answer = rollout.score.judgment.extracted.as_deref().map(str::trim);
        // The text stands for an answer that is not there, and is not mistaken for one.
        let text = answer.is_none().then(|| rollout.text.trim());
        *counts.entry((answer, text)).or_default() += 1;
    }
    counts.values().any(|same| 8 * same >= 7 * rollouts.len())
}

#[cfg(test)]
mod tests {
    use hint_reward::{Judgment, Verdict};

    use super::*;
    use crate::engine::PolicyVersion;

    /// A group of wrong completions with these answers and texts.
    fn wrong(completions: &[(Option<&str>, &str)]) -> Vec<Rollout> {
        let rollout = |(answer, text): &(Option<&str>, &str)| {
            let mut judgment = Judgment::new(Verdict::Incorrect);
            judgment.extracted = answer.map(str::to_owned);
            let score =
                Score { value: 0.0, verdict: judgment.verdict, judgment, parts: Vec::new() };
            let completion =
                Completion::new(vec![1], vec![-1.0], StopReason::Stop, PolicyVersion(0));
            Rollout::new(completion, (*text).to_owned(), score)
        };
        completions.iter().map(rollout).collect()
    }

    #[test]
    fn all_wrong_groups_that_agree_have_collapsed() {
        let collapsed = |rollouts: &[Rollout]| {
            let mut stats = CollectStats::default();
            stats.observe_plain(rollouts);
            assert_eq!(stats.plain.all_wrong, 1);
            stats.plain.collapsed
        };
        let of = |same: usize, others: usize| {
            let others = (0..others).map(|index| ["1", "2", "3"][index]);
            let answers = std::iter::repeat_n("7", same).chain(others);
            let answers = answers.map(|answer| (Some(answer), answer)).collect::<Vec<_>>();
            wrong(&answers)
        };
        assert_eq!((collapsed(&of(7, 1)), collapsed(&of(6, 2)), collapsed(&of(3, 1))), (1, 0, 0));
        // An answer is compared, not the way to it; without one the text is.
        assert_eq!(collapsed(&wrong(&[(Some("7"), "a"), (Some(" 7"), "b")])), 1);
        assert_eq!(collapsed(&wrong(&[(None, "7"), (Some("7"), "7")])), 0);
        assert_eq!(collapsed(&wrong(&[(None, "so"), (None, "so ")])), 1);
    }
}
