//! Numbers about the groups of a step.

use std::collections::BTreeMap;

use hint_rollout::collect::{CollectStats, HintedStats, JudgedStats, SampledStats};
use hint_rollout::{Rollout, RolloutGroup};

use crate::metrics::{self, Metrics};

/// Rewards of the groups that train.
pub(super) fn observe_groups(metrics: &mut Metrics, groups: &[RolloutGroup]) {
    let mut parts = BTreeMap::<&str, Vec<f64>>::new();
    for group in groups {
        let rewards = group.rewards();
        let count = rewards.len() as f64;
        let sum = rewards.iter().sum::<f64>();
        metrics.add(metrics::REWARD, sum, count);
        let mean = sum / count;
        let squares = rewards.iter().map(|reward| (reward - mean).powi(2)).sum::<f64>();
        let equal = rewards.iter().all(|reward| *reward == rewards[0]);
        let std = if equal { 0.0 } else { (squares / (count - 1.0)).sqrt() };
        metrics.add(metrics::REWARD_STD, std, 1.0);
        metrics.add(metrics::FRAC_REWARD_ZERO_STD, f64::from(equal), 1.0);
        let (one_verdict, one_part) =
            (agree(group, Rollout::is_correct), agree(group, verdict_part));
        let shaping_only = !equal && one_verdict && one_part;
        metrics.add(metrics::ROLLOUT_SHAPING_ONLY_FRAC, f64::from(shaping_only), 1.0);
        metrics.add(metrics::ROLLOUT_GRADED_FRAC, f64::from(one_verdict && !one_part), 1.0);
        for rollout in &group.rollouts {
            for (name, value) in &rollout.score.parts {
                parts.entry(name).or_default().push(*value);
            }
        }
    }
    for (name, values) in parts {
        let count = values.len() as f64;
        let sum = values.iter().sum::<f64>();
        metrics.add(metrics::member(metrics::REWARDS_MEAN, name), sum, count);
        if values.len() > 1 {
            let squares = values.iter().map(|value| (value - sum / count).powi(2)).sum::<f64>();
            let std = (squares / (count - 1.0)).sqrt();
            metrics.set(metrics::member(metrics::REWARDS_STD, name), std);
        }
    }
}

/// Tokens of completions that are left out of the loss, once for each pass over the batch.
pub(super) fn observe_masked(metrics: &mut Metrics, groups: &[RolloutGroup], passes: usize) {
    let rollouts = groups.iter().flat_map(|group| &group.rollouts);
    let trained = |rollout: &Rollout| rollout.completion.loss_mask.iter().filter(|on| **on).count();
    let masked = rollouts.filter(|rollout| rollout.is_masked).map(trained).sum::<usize>();
    let tokens = (masked * passes) as f64;
    metrics.add(metrics::TOKENS_NO_GRADIENT_FRAC, tokens, tokens);
}

/// The part of the reward that the verdict comes from.
fn verdict_part(rollout: &Rollout) -> Option<f64> {
    rollout.score.parts.first().map(|(_, value)| *value)
}

/// Whether all rollouts of a group have the same value.
fn agree<V: PartialEq>(group: &RolloutGroup, value: impl Fn(&Rollout) -> V) -> bool {
    let mut values = group.rollouts.iter().map(value);
    let first = values.next();
    values.all(|value| Some(value) == first)
}

/// Counts of sampled, judged, hinted and dropped completions.
pub(super) fn observe_collection(metrics: &mut Metrics, stats: &CollectStats) {
    let CollectStats { problems, plain, hinted, sampled, judged, batch, .. } = stats;
    metrics.set_some(metrics::ROLLOUT_PASS_RATE, plain.success.rate());
    metrics.set_some(metrics::ROLLOUT_ALL_WRONG_FRAC, share(plain.all_wrong, plain.groups));
    metrics.set_some(metrics::ROLLOUT_ALL_RIGHT_FRAC, share(plain.all_right, plain.groups));
    metrics.set_some(metrics::ROLLOUT_COLLAPSED_FRAC, share(plain.collapsed, plain.all_wrong));
    observe_sampled(metrics, sampled);
    observe_judged(metrics, judged, sampled.completions);
    observe_hinted(metrics, hinted, *problems);
    if batch.rounds > 1 || batch.without_signal > 0 || batch.missing_groups > 0 {
        metrics.set(metrics::ROLLOUT_ROUNDS, batch.rounds as f64);
        let left_out = share(batch.without_signal, *problems);
        metrics.set_some(metrics::ROLLOUT_NO_SIGNAL_FRAC, left_out);
        metrics.set(metrics::ROLLOUT_MISSING_GROUPS, batch.missing_groups as f64);
    }
    if batch.replayed > 0 {
        metrics.set(metrics::ROLLOUT_REPLAYED_GROUPS, batch.replayed as f64);
        let age = batch.replay_age_sum as f64 / batch.replayed as f64;
        metrics.set(metrics::ROLLOUT_REPLAY_AGE, age);
    }
}

fn share(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// A count, unless it is 0.
fn some(count: usize) -> Option<f64> {
    (count > 0).then_some(count as f64)
}

fn observe_sampled(metrics: &mut Metrics, sampled: &SampledStats) {
    let all = [
        metrics::COMPLETIONS_MEAN_LENGTH,
        metrics::COMPLETIONS_MIN_LENGTH,
        metrics::COMPLETIONS_MAX_LENGTH,
    ];
    let terminated = [
        metrics::COMPLETIONS_MEAN_TERMINATED_LENGTH,
        metrics::COMPLETIONS_MIN_TERMINATED_LENGTH,
        metrics::COMPLETIONS_MAX_TERMINATED_LENGTH,
    ];
    for (counts, [mean, min, max]) in [(sampled.lengths, all), (sampled.terminated, terminated)] {
        metrics.set_some(mean, counts.mean());
        metrics.set_some(min, counts.least.map(|least| least as f64));
        metrics.set_some(max, counts.least.map(|_| counts.most as f64));
    }
    let truncated = share(sampled.truncated, sampled.completions);
    metrics.set_some(metrics::COMPLETIONS_CLIPPED_RATIO, truncated);
    metrics.set_some(metrics::ROLLOUT_TOO_LONG_PROMPTS, some(sampled.too_long_prompts));
    let early_stopped = share(sampled.early_stopped, sampled.stoppable);
    metrics.set_some(metrics::ROLLOUT_EARLY_STOPPED_FRAC, early_stopped);
    let thrown_away = early_stopped.map(|_| sampled.early_stopped_tokens as f64);
    metrics.set_some(metrics::ROLLOUT_EARLY_STOPPED_TOKENS, thrown_away);
}

/// Verdicts on `completions` completions.
fn observe_judged(metrics: &mut Metrics, judged: &JudgedStats, completions: usize) {
    metrics.set_some(metrics::ROLLOUT_DROPPED_FRAC, share(judged.dropped, completions));
    if judged.masked > 0 {
        metrics.set_some(metrics::ROLLOUT_MASKED_FRAC, share(judged.masked, completions));
    }
    for (name, count) in &judged.reward_failures {
        metrics.set(metrics::member(metrics::REWARD_FAILURES, name), *count as f64);
    }
    for (verdict, count) in &judged.verdicts {
        let name = metrics::member(metrics::VERDICT, verdict);
        metrics.set_some(name, share(*count, completions));
    }
    for (rule, count) in &judged.extracted_by {
        let name = metrics::member(metrics::VERIFIER_EXTRACTED_BY, rule);
        metrics.set_some(name, share(count.total, completions));
        let name = metrics::member(metrics::VERIFIER_PASS_RATE_BY, rule);
        metrics.set_some(name, count.rate());
    }
}

/// Hints for the groups of `problems` problems.
fn observe_hinted(metrics: &mut Metrics, hinted: &HintedStats, problems: usize) {
    metrics.set_some(metrics::HINT_HINTED_FRAC, share(hinted.groups, problems));
    if hinted.taught > 0 {
        metrics.set_some(metrics::HINT_TAUGHT_FRAC, share(hinted.taught, problems));
    }
    metrics.set_some(metrics::HINT_RESCUED_FRAC, share(hinted.rescued, hinted.groups));
    metrics.set_some(metrics::HINT_PASS_RATE, hinted.success.rate());
    metrics.set_some(metrics::HINT_ATTEMPTS, share(hinted.attempts, hinted.groups));
    if hinted.groups > 0 {
        metrics.set(metrics::HINT_SHARE, hinted.share_sum / hinted.groups as f64);
    }
    let leaks = hinted.leaks;
    metrics.set_some(metrics::HINT_LEAKING_FRAC, share(leaks.leaking, leaks.judged));
    metrics.set_some(metrics::HINT_LEAKING_ANSWER_FRAC, share(leaks.answer, leaks.judged));
    metrics.set_some(metrics::HINT_LEAKING_STEP_FRAC, share(leaks.step, leaks.judged));
    metrics.set_some(metrics::HINT_DROPPED_FRAC, share(leaks.dropped, leaks.judged));
    metrics.set_some(metrics::ROLLOUT_TOO_LONG_HINTS, some(hinted.too_long));
    let (hinted, plain) = (hinted.paired.rate(), hinted.paired_plain.rate());
    if let (Some(hinted), Some(plain)) = (hinted, plain) {
        metrics.set(metrics::HINT_INTERNALIZATION_GAP, hinted - plain);
    }
}

#[cfg(test)]
mod tests {
    use hint_reward::{Judgment, Score, Verdict};
    use hint_rollout::{Completion, PolicyVersion, StopReason};

    use super::*;

    /// A completion with the parts `correct` and `length` of its reward.
    fn rollout(correct: f64, length: f64) -> Rollout {
        let verdict = if correct == 1.0 { Verdict::Correct } else { Verdict::Incorrect };
        let parts = vec![("correct".to_owned(), correct), ("length".to_owned(), length)];
        let judgment = Judgment::new(verdict);
        let score = Score { value: correct + 0.1 * length, verdict, judgment, parts };
        let (logprobs, stop) = (vec![-1.0; 3], StopReason::Stop);
        let completion = Completion::new(vec![1; 3], logprobs, stop, PolicyVersion(0));
        Rollout::new(completion, String::new(), score)
    }

    #[test]
    fn a_group_whose_verdicts_agree_and_rewards_differ_has_shaping_alone() {
        let group = |rollouts: &[(f64, f64)]| {
            let rollouts = rollouts.iter().map(|(correct, length)| rollout(*correct, *length));
            RolloutGroup::plain("p", vec![1], rollouts.collect())
        };
        let share = |groups: &[RolloutGroup]| {
            let mut metrics = Metrics::new();
            observe_groups(&mut metrics, groups);
            let graded = metrics.get(metrics::ROLLOUT_GRADED_FRAC);
            (metrics.get(metrics::ROLLOUT_SHAPING_ONLY_FRAC), graded)
        };
        let shaped = [group(&[(0.0, 1.0), (0.0, 0.5)]), group(&[(1.0, 1.0), (1.0, 0.5)])];
        assert_eq!(share(&shaped), (Some(1.0), Some(0.0)));
        let mixed = group(&[(0.0, 1.0), (1.0, 0.5)]);
        let equal = group(&[(0.0, 1.0), (0.0, 1.0)]);
        // A reward that says wrong of both, and how wrong.
        let graded = group(&[(0.0, 1.0), (0.3, 1.0)]);
        let all = [mixed, equal, graded, shaped[0].clone()];
        assert_eq!(share(&all), (Some(0.25), Some(0.25)));
    }

    #[test]
    fn masked_tokens_have_no_gradient_in_any_pass() {
        let mut masked = rollout(0.0, 0.0);
        masked.is_masked = true;
        let groups = [RolloutGroup::plain("p", vec![1], vec![masked, rollout(0.0, 1.0)])];
        let mut metrics = Metrics::new();
        observe_masked(&mut metrics, &groups, 2);
        // The three tokens of the other completion have a gradient in both passes.
        metrics.add(metrics::TOKENS_NO_GRADIENT_FRAC, 0.0, 6.0);
        assert_eq!(metrics.get(metrics::TOKENS_NO_GRADIENT_FRAC), Some(0.5));
    }
}
