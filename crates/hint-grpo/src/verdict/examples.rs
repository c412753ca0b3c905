//! Groups of the rollout table that show a condition.

use std::collections::{BTreeMap, HashMap};

use hint_rollout::engine::StopReason;
use hint_rollout::sample::RolloutSource;
use serde::Serialize;

use super::{Condition, Finding};
use crate::metrics;
use crate::rollout_table::{RolloutRecord, RolloutRole};

/// A group that shows a condition.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Example {
    /// The step.
    pub step: u64,
    /// Whether an evaluation after the step sampled it.
    pub evaluated: bool,
    /// Index of the group within the step, or within the evaluation.
    pub group: usize,
    /// Id of the problem.
    pub problem: String,
    /// Finding of the group, as a clause.
    pub why: String,
}

/// The `most` groups of `records` that show `finding` best, the clearest first; of groups that are alike, the
/// earlier ones. `records` may hold completions of training and of evaluations.
pub fn examples(finding: &Finding, records: &[RolloutRecord], most: usize) -> Vec<Example> {
    let is_evaluated = finding.is_of_evaluation();
    let mut groups = BTreeMap::<(u64, usize), Vec<&RolloutRecord>>::new();
    for record in records.iter().filter(|record| counts(finding.condition, record)) {
        if (record.role == RolloutRole::Evaluated) == is_evaluated {
            groups.entry((record.step, record.group)).or_default().push(record);
        }
    }
    let before = finding.condition == Condition::Worsening && is_evaluated;
    let before = before.then(|| right_at(*finding.steps.start(), &groups));
    let newest = groups.keys().next_back().map(|(step, _)| *step);
    let shown = groups.into_iter().filter_map(|((step, group), members)| {
        let (clarity, why) = match &before {
            Some(_) if Some(step) != newest => return None,
            Some(before) => fell(before, *finding.steps.start(), &members)?,
            None => shows(finding, &members)?,
        };
        let problem = members.first()?.problem.clone();
        Some((clarity, Example { step, evaluated: is_evaluated, group, problem, why }))
    });
    let mut shown = shown.collect::<Vec<_>>();
    shown.sort_by(|(left, _), (right, _)| right.total_cmp(left));
    shown.into_iter().take(most).map(|(_, example)| example).collect()
}

/// Whether a completion may show the condition.
const fn counts(condition: Condition, record: &RolloutRecord) -> bool {
    match record.role {
        RolloutRole::Trained
        | RolloutRole::Masked
        | RolloutRole::Replaced
        | RolloutRole::Evaluated => true,
        // Hints without success show their fault; the other conditions are those of the members.
        RolloutRole::Discarded => matches!(
            condition,
            Condition::Unjudged | Condition::CutOff | Condition::Leaking | Condition::Starved
        ),
        // Metrics over the groups drawn count them, and metrics over the groups that train do not.
        RolloutRole::LeftOut => {
            !matches!(condition, Condition::Mismatch | Condition::PseudoSignal | Condition::Frozen)
        }
        RolloutRole::Dropped => matches!(condition, Condition::Unjudged | Condition::CutOff),
        RolloutRole::Supervised => false,
    }
}

type Groups<'r> = BTreeMap<(u64, usize), Vec<&'r RolloutRecord>>;

/// How many completions were right in a group, and how many there were.
fn right(members: &[&RolloutRecord]) -> (usize, usize) {
    (members.iter().filter(|record| record.verdict.is_correct()).count(), members.len())
}

/// The right completions of each problem in the evaluation of a step.
fn right_at<'r>(step: u64, groups: &Groups<'r>) -> HashMap<&'r str, (usize, usize)> {
    let of_step = groups.range((step, 0)..=(step, usize::MAX)).map(|(_, members)| members);
    of_step
        .filter_map(|members| Some((members.first()?.problem.as_str(), right(members))))
        .collect()
}

/// By how much fewer completions of a problem are right than `before`, in the evaluation of step `since`.
fn fell(
    before: &HashMap<&str, (usize, usize)>,
    since: u64,
    members: &[&RolloutRecord],
) -> Option<(f64, String)> {
    let (was, of) = *before.get(members.first()?.problem.as_str())?;
    let (now, total) = right(members);
    let fell = was as f64 / of.max(1) as f64 - now as f64 / total.max(1) as f64;
    (fell > 0.0).then(|| {
        (
            fell,
            format!("{was} of {of} kept completions right at step {since}, now {now} of {total}"),
        )
    })
}

/// Clarity with which a group shows the finding, and the reason; `None` if it does not show it.
fn shows(finding: &Finding, members: &[&RolloutRecord]) -> Option<(f64, String)> {
    let count = |is: &dyn Fn(&RolloutRecord) -> bool| {
        members.iter().copied().filter(|record| is(record)).count()
    };
    let (correct, total) = right(members);
    let share = |part: usize| part as f64 / total as f64;
    match finding.condition {
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
            let leaking = count(&|record| record.hint_leaks.unwrap_or_else(|| has_answer(record)));
            (leaking > 0).then(|| (share(leaking), "the hint gives the answer away".to_owned()))
        }
        Condition::PseudoSignal => unequal_rewards(members),
        Condition::Starved if correct == 0 => all_wrong(members),
        Condition::Saturated if correct == total => {
            Some((total as f64, format!("all {total} completions right")))
        }
        Condition::Worsening => {
            let plain = members.iter().copied().filter(|one| one.source == RolloutSource::Plain);
            let (correct, total) = right(&plain.collect::<Vec<_>>());
            let wrong = 1.0 - correct as f64 / total.max(1) as f64;
            (total > 0).then(|| (wrong, format!("{correct} of {total} plain completions right")))
        }
        Condition::Collapsing if finding.has(metrics::ENTROPY_TRAINED) => {
            let nats = surprise(members)?;
            Some((-nats, format!("{nats:.3} nats per token to choose from")))
        }
        Condition::Collapsing => {
            let (answer, same) = most_frequent(members)?;
            // All-wrong groups are what the metric counts; they come first.
            let weight = share(same) + if correct == 0 { 1.0 } else { 0.0 };
            (8 * same >= 7 * total).then(|| (weight, format!("{same} of {total} answer {answer}")))
        }
        Condition::Frozen => frozen(finding, members),
        _ => None,
    }
}

/// The span of the rewards of a group whose completions are all right or all wrong.
fn unequal_rewards(members: &[&RolloutRecord]) -> Option<(f64, String)> {
    let rewards = members.iter().map(|record| record.reward);
    let least = rewards.clone().fold(f64::INFINITY, f64::min);
    let most = rewards.fold(f64::NEG_INFINITY, f64::max);
    let all = match right(members) {
        (0, _) => "wrong",
        (correct, total) if correct == total => "right",
        _ => return None,
    };
    let why = format!("all {all}, with rewards from {least:.3} to {most:.3}");
    (most > least).then_some((most - least, why))
}

/// The answers of a group without a right completion.
fn all_wrong(members: &[&RolloutRecord]) -> Option<(f64, String)> {
    let total = members.len();
    let hinted = members.iter().filter(|record| record.source != RolloutSource::Plain).count();
    let (answer, same) = most_frequent(members)?;
    let tried = if hinted > 0 { format!(", {hinted} of them hinted") } else { String::new() };
    let why = if same > total / 2 {
        format!("{total} wrong completions{tried}; {same} answer {answer}")
    } else {
        format!("{total} wrong completions{tried}, with different answers")
    };
    // Groups that hints did not rescue are the clearer ones.
    Some((hinted as f64 / total as f64, why))
}

/// A group without advantages where the gradient is 0. Else one with large advantages, which should have moved the
/// weights.
fn frozen(finding: &Finding, members: &[&RolloutRecord]) -> Option<(f64, String)> {
    let sizes = members.iter().filter_map(|record| record.advantage).map(f64::abs);
    let most = sizes.fold(0.0, f64::max);
    let (correct, total) = right(members);
    if finding.has(metrics::GRAD_NORM) {
        let why = format!("no completion has an advantage; {correct} of {total} right");
        return (most == 0.0).then_some((total as f64, why));
    }
    let why = format!("advantages up to {most:.2} have not moved the weights");
    (most > 0.0).then_some((most, why))
}

/// Mean of −log probability of the tokens where they were drawn.
fn surprise(members: &[&RolloutRecord]) -> Option<f64> {
    let logprobs = members.iter().flat_map(|record| &record.behavior_logprobs);
    let (sum, count) =
        logprobs.fold((0.0, 0.0), |(sum, count), logprob| (sum - f64::from(*logprob), count + 1.0));
    (count > 0.0).then(|| sum / count)
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

/// Whether the hint has the reference answer as a word of its own. For tables written before they had `hint_leaks`.
fn has_answer(record: &RolloutRecord) -> bool {
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
