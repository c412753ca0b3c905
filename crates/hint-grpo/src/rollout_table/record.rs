//! From groups of rollouts to the records of the table.

use std::collections::HashMap;
use std::sync::Arc;

use hint_rollout::data::Problems;
use hint_rollout::evaluate::Evaluation;
use hint_rollout::sample::{AppliedHint, TeacherPrompts};
use hint_rollout::{Problem, Rollout, RolloutError, RolloutGroup};

use super::{RolloutRecord, RolloutRole};
use crate::tensor::rounded;

/// The completions that the evaluation of `problems` after step `step`
/// [kept](hint_rollout::evaluate::EvaluationOptions::kept_completions).
///
/// # Errors
///
/// A problem that cannot be read.
pub fn evaluated(
    step: u64,
    evaluation: &Evaluation,
    problems: &dyn Problems,
) -> Result<Vec<RolloutRecord>, RolloutError> {
    records(step, &evaluation.groups.iter().collect::<Vec<_>>(), None, problems)
}

/// The records of the groups that follow step `step`, whose rollouts have these advantages. An evaluation has no
/// advantages, and neither have the last groups, which do not train.
pub(crate) fn records(
    step: u64,
    groups: &[&RolloutGroup],
    advantages: Option<&[Vec<f64>]>,
    problems: &dyn Problems,
) -> Result<Vec<RolloutRecord>, RolloutError> {
    let asked = groups.iter().map(|group| group.problem_id.as_str()).collect();
    let asked = problems.find(&asked)?.into_iter();
    let asked = asked.map(|(index, id)| Ok((id, problems.at(index)?)));
    let problems = asked.collect::<Result<HashMap<_, _>, RolloutError>>()?;
    let mut records = Vec::new();
    for (index, group) in groups.iter().enumerate() {
        let problem = problems.get(group.problem_id.as_str()).map(|problem| &**problem);
        let advantages = advantages.map(|all| all.get(index));
        let members = group.rollouts.iter().enumerate().map(|(place, rollout)| {
            let role = match (advantages, rollout.is_masked) {
                (None, _) => RolloutRole::Evaluated,
                (Some(None), _) => RolloutRole::LeftOut,
                (Some(Some(_)), true) => RolloutRole::Masked,
                (Some(Some(_)), false) => RolloutRole::Trained,
            };
            let advantage = advantages.flatten().and_then(|of_group| of_group.get(place).copied());
            (rollout, role, advantage, group.teacher_of(place))
        });
        let others = [
            (&group.replaced, RolloutRole::Replaced),
            (&group.supervised, RolloutRole::Supervised),
            (&group.discarded, RolloutRole::Discarded),
            (&group.dropped, RolloutRole::Dropped),
        ];
        let others = others.into_iter().flat_map(|(rollouts, role)| {
            rollouts.iter().map(move |rollout| (rollout, role, None, None))
        });
        let all = members.chain(others).enumerate();
        records.extend(all.map(|(completion, (rollout, role, advantage, teacher))| {
            let place = Place { step, group: index, completion, role, advantage, teacher };
            record(&place, group, problem, rollout)
        }));
    }
    Ok(records)
}

/// Place of a completion in the table, and its role there.
struct Place<'g> {
    step: u64,
    group: usize,
    completion: usize,
    role: RolloutRole,
    advantage: Option<f64>,
    teacher: Option<&'g TeacherPrompts>,
}

fn record(
    place: &Place<'_>,
    group: &RolloutGroup,
    problem: Option<&Problem>,
    rollout: &Rollout,
) -> RolloutRecord {
    let Rollout { completion, text, score, hint, .. } = rollout;
    let sampled = hint.as_ref().map(|hint| &hint.prompt).filter(|prompt| **prompt != group.prompt);
    let (teacher, contrast) = match place.teacher {
        Some(teacher) => (Some(&teacher.hint), teacher.contrast.as_ref()),
        None => (None, None),
    };
    let text_of = |hint: &Arc<AppliedHint>| hint.hint.text.clone();
    RolloutRecord {
        step: place.step,
        group: place.group,
        completion: place.completion,
        problem: group.problem_id.clone(),
        question: problem.map(|problem| problem.question.clone()),
        reference: problem.map(|problem| problem.answer.clone()),
        problem_level: problem.and_then(|problem| problem.level.clone()),
        role: place.role,
        source: rollout.source(),
        hint: hint.as_ref().map(text_of),
        hint_share: hint.as_ref().map(|hint| hint.share),
        hint_leaks: hint.as_ref().or(teacher).map(|hint| hint.leaks_answer),
        teacher_hint: teacher.map(text_of),
        contrast_hint: contrast.map(text_of),
        text: text.clone(),
        prompt: group.prompt.clone(),
        sampled_prompt: sampled.cloned(),
        teacher_prompt: teacher.map(|hint| hint.prompt.clone()),
        tokens: completion.tokens.clone(),
        untrained_tokens: untrained(&completion.loss_mask),
        stop: completion.stop,
        version: completion.version.0,
        verdict: score.verdict,
        extracted: score.judgment.extracted.clone(),
        extracted_by: score.judgment.source,
        level: score.judgment.level,
        reason: score.judgment.reason.clone(),
        reward: score.value,
        reward_parts: score.parts.iter().cloned().collect(),
        advantage: place.advantage,
        behavior_logprobs: rounded(&completion.behavior_logprobs),
        logprobs: None,
        old_logprobs: None,
        plain_logprobs: None,
        ref_logprobs: None,
        teacher_logprobs: None,
        contrast_logprobs: None,
        affinity: None,
        behavior_affinity: None,
        hinted_weight: None,
    }
}

/// The positions where a mask is false.
fn untrained(loss_mask: &[bool]) -> Option<Vec<u32>> {
    let positions = loss_mask.iter().zip(0..).filter(|(trains, _)| !**trains);
    let positions = positions.map(|(_, position)| position).collect::<Vec<_>>();
    (!positions.is_empty()).then_some(positions)
}
