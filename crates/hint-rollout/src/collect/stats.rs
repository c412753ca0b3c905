//! Counts of a collection.

use std::collections::BTreeMap;

use hint_reward::Score;
use hint_reward::extract::AnswerSource;

use crate::hint::leak::LeakCounts;
use crate::sample::{Rollout, RolloutGroup, RolloutSource, SuccessCount, count_correct};

/// What a collection gathered.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Collected {
    /// The groups that can train, in problem order. A problem whose completions could not be judged
    /// has none.
    pub groups: Vec<RolloutGroup>,
    /// Counts over plain and hinted completions.
    pub stats: CollectStats,
}

/// Counts over a collection.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct CollectStats {
    /// Problems asked.
    pub problems: usize,
    /// Plain completions with a verdict, and how many of them were correct.
    pub plain: SuccessCount,
    /// Hinted completions with a verdict, of the attempt that counts, and how many were correct.
    pub hinted: SuccessCount,
    /// The same by what they were sampled from.
    pub by_source: BTreeMap<RolloutSource, SuccessCount>,
    /// Groups with plain completions.
    pub plain_groups: usize,
    /// Plain groups in which every completion was wrong.
    pub all_wrong: usize,
    /// All-wrong groups that collapsed: at least 7 of 8 completions give the same answer, or the same text where
    /// none has an answer.
    pub collapsed: usize,
    /// Plain groups in which every completion was correct.
    pub all_right: usize,
    /// Groups that were hinted.
    pub hinted_groups: usize,
    /// Groups whose plain completions a hint teaches.
    pub taught_groups: usize,
    /// What the hints gave away.
    pub leaks: LeakCounts,
    /// Attempts at it, over all levels that were tried.
    pub attempts: usize,
    /// Hint levels of the attempts that count, summed over the hinted groups.
    pub share_sum: f64,
    /// Hinted groups that counted, by [`KeepIf`](crate::collect::hinted::KeepIf).
    pub rescued_groups: usize,
    /// Hinted success of the problems that also have plain completions, for the internalization gap.
    pub hinted_with_plain: SuccessCount,
    /// Plain success of the problems that were hinted, for the internalization gap.
    pub plain_of_hinted: SuccessCount,
    /// Completions per verdict, plain and hinted.
    pub verdicts: BTreeMap<&'static str, usize>,
    /// Completions by the rule that found their answer, and how many of them were correct. Completions
    /// without an answer are under `none`.
    pub extracted_by: BTreeMap<&'static str, SuccessCount>,
    /// Completions dropped because they could not be judged, plain and hinted.
    pub dropped: usize,
    /// How often a reward failed, by its name; `panic` for those that panicked, and `rubric` where no one
    /// reward is to blame.
    pub reward_failures: BTreeMap<String, usize>,
    /// Problems left out because their prompts are longer than the engine holds.
    pub too_long_prompts: usize,
    /// Hints and demonstrations that are longer than the engine holds: left out or cut.
    pub too_long_hints: usize,
    /// Completions sampled, plain and hinted.
    pub completions: usize,
    /// Completions cut off at the token limit, plain and hinted.
    pub truncated: usize,
    /// Lengths of the completions, plain and hinted.
    pub lengths: LengthCount,
    /// Lengths of those that a stop token ended.
    pub terminated: LengthCount,
    /// Completion tokens sampled, plain and hinted, and those of hints that the policy wrote.
    pub tokens: usize,
    /// Tokens of the prompts that they were sampled from, once for each completion.
    pub prompt_tokens: usize,
    /// Judged completions that are left out of the loss because they were cut off.
    pub masked: usize,
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
    /// How many.
    pub count: usize,
    /// Their sum.
    pub sum: usize,
    /// The shortest, if there are any.
    pub least: Option<usize>,
    /// The longest.
    pub most: usize,
}

impl LengthCount {
    /// The mean; `None` when there are none.
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
    /// Adds what another collection of the same step counted.
    pub(crate) fn merge(&mut self, other: Self) {
        let Self {
            problems,
            plain,
            hinted,
            by_source,
            plain_groups,
            all_wrong,
            collapsed,
            all_right,
            hinted_groups,
            taught_groups,
            attempts,
            share_sum,
            rescued_groups,
            hinted_with_plain,
            plain_of_hinted,
            verdicts,
            extracted_by,
            dropped,
            reward_failures,
            too_long_prompts,
            too_long_hints,
            completions,
            truncated,
            leaks,
            lengths,
            terminated,
            tokens,
            prompt_tokens,
            masked,
            rounds,
            without_signal,
            missing_groups,
            replayed,
            replay_age_sum,
        } = other;
        self.problems += problems;
        self.plain = self.plain + plain;
        self.hinted = self.hinted + hinted;
        for (source, count) in by_source {
            let entry = self.by_source.entry(source).or_default();
            *entry = *entry + count;
        }
        self.plain_groups += plain_groups;
        self.all_wrong += all_wrong;
        self.collapsed += collapsed;
        self.all_right += all_right;
        self.hinted_groups += hinted_groups;
        self.taught_groups += taught_groups;
        self.attempts += attempts;
        self.share_sum += share_sum;
        self.rescued_groups += rescued_groups;
        self.hinted_with_plain = self.hinted_with_plain + hinted_with_plain;
        self.plain_of_hinted = self.plain_of_hinted + plain_of_hinted;
        for (verdict, count) in verdicts {
            *self.verdicts.entry(verdict).or_default() += count;
        }
        for (rule, count) in extracted_by {
            let entry = self.extracted_by.entry(rule).or_default();
            *entry = *entry + count;
        }
        self.dropped += dropped;
        for (name, count) in reward_failures {
            *self.reward_failures.entry(name).or_default() += count;
        }
        self.too_long_prompts += too_long_prompts;
        self.too_long_hints += too_long_hints;
        self.completions += completions;
        self.truncated += truncated;
        self.leaks.merge(leaks);
        self.lengths.merge(lengths);
        self.terminated.merge(terminated);
        self.tokens += tokens;
        self.prompt_tokens += prompt_tokens;
        self.masked += masked;
        self.rounds += rounds;
        self.without_signal += without_signal;
        self.missing_groups += missing_groups;
        self.replayed += replayed;
        self.replay_age_sum += replay_age_sum;
    }

    /// Counts verdicts, by themselves and by the rule that found the answer.
    pub(crate) fn observe_verdicts(&mut self, scores: &[Score]) {
        for Score { verdict, judgment, .. } in scores {
            *self.verdicts.entry(verdict.name()).or_default() += 1;
            let rule = judgment.source.map_or("none", AnswerSource::name);
            self.extracted_by.entry(rule).or_default().count(verdict.is_correct());
        }
    }

    pub(crate) fn observe_plain(&mut self, rollouts: &[Rollout]) {
        let correct = count_correct(rollouts);
        self.plain.observe(rollouts);
        self.by_source.entry(RolloutSource::Plain).or_default().observe(rollouts);
        self.plain_groups += usize::from(!rollouts.is_empty());
        let all_wrong = !rollouts.is_empty() && correct == 0;
        self.all_wrong += usize::from(all_wrong);
        self.collapsed += usize::from(all_wrong && has_collapsed(rollouts));
        self.all_right += usize::from(!rollouts.is_empty() && correct == rollouts.len());
    }

    pub(crate) fn observe_hinted(&mut self, rollouts: &[Rollout], plain: &[Rollout]) {
        self.hinted_groups += 1;
        self.hinted.observe(rollouts);
        if !plain.is_empty() {
            self.hinted_with_plain.observe(rollouts);
            self.plain_of_hinted.observe(plain);
        }
        if let Some(first) = rollouts.first() {
            self.by_source.entry(first.source()).or_default().observe(rollouts);
            self.share_sum += first.hint.as_ref().map_or(0.0, |applied| applied.share);
        }
    }
}

/// Whether at least 7 of 8 completions say the same.
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
    use crate::engine::{Completion, PolicyVersion, StopReason};

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
            assert_eq!(stats.all_wrong, 1);
            stats.collapsed
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
