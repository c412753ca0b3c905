//! Groups of the rollout table that show a condition.

use std::collections::{BTreeMap, HashMap};

use hint_rollout::engine::StopReason;
use hint_rollout::sample::RolloutSource;
use serde::Serialize;

use super::Condition;
use crate::rollout_table::{RolloutRecord, RolloutRole};

/// A group that shows a condition.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Example {
    /// The step.
    pub step: u64,
    /// Index of the group within the step.
    pub group: usize,
    /// Id of the problem.
    pub problem: String,
    /// Finding of the group, as a clause.
    pub why: String,
}

/// The `most` groups of `records` that show `condition` best, the clearest first; of groups that are alike, the
/// earlier ones.
pub fn examples(condition: Condition, records: &[RolloutRecord], most: usize) -> Vec<Example> {
    let mut groups = BTreeMap::<(u64, usize), Vec<&RolloutRecord>>::new();
    // Hints without success show their fault; the other conditions are those of the members.
    let counts_discarded = matches!(
        condition,
        Condition::Unjudged | Condition::CutOff | Condition::Leaking | Condition::Starved
    );
    let counts = |record: &&RolloutRecord| match record.role {
        RolloutRole::Trained | RolloutRole::Masked | RolloutRole::Replaced => true,
        RolloutRole::Discarded => counts_discarded,
        RolloutRole::Supervised | RolloutRole::Evaluated => false,
    };
    for record in records.iter().filter(counts) {
        groups.entry((record.step, record.group)).or_default().push(record);
    }
    let shown = groups.into_iter().filter_map(|((step, group), members)| {
        let (clarity, why) = shows(condition, &members)?;
        let problem = members.first()?.problem.clone();
        Some((clarity, Example { step, group, problem, why }))
    });
    let mut shown = shown.collect::<Vec<_>>();
    shown.sort_by(|(left, _), (right, _)| right.total_cmp(left));
    shown.into_iter().take(most).map(|(_, example)| example).collect()
}

/// Clarity with which a group shows the condition, and the finding; `None` if it does not show it.
fn shows(condition: Condition, members: &[&RolloutRecord]) -> Option<(f64, String)> {
    let total = members.len();
    let count = |is: &dyn Fn(&RolloutRecord) -> bool| {
        members.iter().copied().filter(|record| is(record)).count()
    };
    let correct = count(&|record| record.verdict.is_correct());
    let hinted = count(&|record| record.source != RolloutSource::Plain);
    let share = |part: usize| part as f64 / total as f64;
    match condition {
        Condition::Unjudged => {
            let failed = count(&|record| record.verdict.is_failure());
            (failed > 0).then(|| (share(failed), format!("{failed} of {total} not judged")))
        }
        Condition::CutOff => {
            let cut = count(&|record| record.stop == StopReason::Length);
            (cut > 0).then(|| (share(cut), format!("{cut} of {total} completions cut off")))
        }
        Condition::Mismatch => {
            let nats = difference(members)?;
            Some((nats, format!("{nats:.3} nats per token between engine and trainer")))
        }
        Condition::Leaking => {
            let leaking = count(&leaks);
            (leaking > 0)
                .then(|| (share(leaking), "the hint contains the reference answer".to_owned()))
        }
        Condition::PseudoSignal => {
            let rewards = members.iter().map(|record| record.reward);
            let least = rewards.clone().fold(f64::INFINITY, f64::min);
            let most = rewards.fold(f64::NEG_INFINITY, f64::max);
            let all = match correct {
                0 => "wrong",
                correct if correct == total => "right",
                _ => return None,
            };
            let why = format!("all {all}, with rewards from {least:.3} to {most:.3}");
            (most > least).then_some((most - least, why))
        }
        Condition::Starved if correct == 0 => {
            let (answer, same) = most_frequent(members)?;
            let tried =
                if hinted > 0 { format!(", {hinted} of them hinted") } else { String::new() };
            let why = if same > total / 2 {
                format!("{total} wrong completions{tried}; {same} answer {answer}")
            } else {
                format!("{total} wrong completions{tried}, with different answers")
            };
            // Groups that hints did not rescue are the clearer ones.
            Some((share(hinted), why))
        }
        Condition::Saturated if correct == total => {
            Some((total as f64, format!("all {total} completions right")))
        }
        Condition::Collapsing => {
            let (answer, same) = most_frequent(members)?;
            // All-wrong groups are what the metric counts; they come first.
            let weight = share(same) + if correct == 0 { 1.0 } else { 0.0 };
            (8 * same >= 7 * total).then(|| (weight, format!("{same} of {total} answer {answer}")))
        }
        Condition::Frozen => {
            let is_flat =
                |record: &RolloutRecord| record.advantage.is_none_or(|value| value == 0.0);
            let why = format!("no completion has an advantage; {correct} of {total} right");
            (count(&is_flat) == total).then_some((total as f64, why))
        }
        _ => None,
    }
}

/// Mean absolute difference between the log-probabilities of engine and trainer over the plain completions.
fn difference(members: &[&RolloutRecord]) -> Option<f64> {
    let plain = members.iter().filter(|record| record.source == RolloutSource::Plain);
    let pairs = plain.filter_map(|record| Some((record.logprobs.as_ref()?, record)));
    let pairs = pairs.flat_map(|(logprobs, record)| logprobs.iter().zip(&record.behavior_logprobs));
    let (sum, count) = pairs.fold((0.0, 0.0), |(sum, count), (trainer, engine)| {
        (sum + f64::from((trainer - engine).abs()), count + 1.0)
    });
    (count > 0.0).then(|| sum / count)
}

/// Whether the hint contains the reference answer as a word of its own.
fn leaks(record: &RolloutRecord) -> bool {
    let (Some(hint), Some(reference)) = (&record.hint, &record.reference) else { return false };
    let reference = reference.trim();
    let is_part = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    !reference.is_empty()
        && hint.match_indices(reference).any(|(at, found)| {
            let (before, after) = (&hint[..at], &hint[at + found.len()..]);
            !is_part(before.chars().next_back()) && !is_part(after.chars().next())
        })
}

/// The answer that most completions give, in backticks, and how many; completions without one count as one
/// answer. Of answers that are as frequent, the first.
fn most_frequent(members: &[&RolloutRecord]) -> Option<(String, usize)> {
    let answer =
        |record: &RolloutRecord| record.extracted.as_deref().map(|text| text.trim().to_owned());
    let mut counts = HashMap::new();
    for record in members {
        *counts.entry(answer(record)).or_insert(0_usize) += 1;
    }
    let frequency = |record: &&RolloutRecord| counts.get(&answer(record)).copied().unwrap_or(0);
    let most = members.iter().copied().map(|record| (frequency(&record), answer(record)));
    let (same, answer) = most.reduce(|best, other| if other.0 > best.0 { other } else { best })?;
    Some((answer.map_or_else(|| "nothing".to_owned(), |text| format!("`{text}`")), same))
}
