//! From the groups of a step to the records of the rollout table.

use std::collections::{HashMap, HashSet};

use hint_rollout::{Problem, Rollout, RolloutGroup};

use crate::learner::UpdateReport;
use crate::rollout_table::{RolloutRecord, RolloutRole, rounded};

/// The records of a step, and the samples that they became.
#[derive(Debug, Default)]
pub(super) struct Table {
    records: Vec<RolloutRecord>,
    /// The index of each rollout's sample, by group and rollout.
    samples: Vec<Vec<Option<usize>>>,
}

impl Table {
    /// The groups of step `step` as they were collected.
    pub(super) fn new(
        step: u64,
        groups: &[RolloutGroup],
        advantages: &[Vec<f64>],
        problems: &[Problem],
    ) -> Self {
        let wanted = groups.iter().map(|group| group.problem_id.as_str()).collect::<HashSet<_>>();
        let problems = problems.iter().filter(|problem| wanted.contains(problem.id.as_str()));
        let problems =
            problems.map(|problem| (problem.id.as_str(), problem)).collect::<HashMap<_, _>>();
        let mut records = Vec::new();
        for (index, (group, advantages)) in groups.iter().zip(advantages).enumerate() {
            let problem = problems.get(group.problem_id.as_str()).copied();
            let trained = group.rollouts.iter().zip(advantages).map(|(rollout, advantage)| {
                let role =
                    if rollout.is_masked { RolloutRole::Masked } else { RolloutRole::Trained };
                (rollout, role, Some(*advantage))
            });
            let replaced = group.replaced.iter().map(|one| (one, RolloutRole::Replaced, None));
            let supervised =
                group.supervised.iter().map(|one| (one, RolloutRole::Supervised, None));
            let all = trained.chain(replaced).chain(supervised);
            records.extend(all.enumerate().map(|(completion, (rollout, role, advantage))| {
                let place = Place { step, group: index, completion, role, advantage };
                record(&place, group, problem, rollout)
            }));
        }
        Self { records, samples: Vec::new() }
    }

    /// Sets the index of each rollout's sample, by group and rollout.
    pub(super) fn set_samples(&mut self, samples: Vec<Vec<Option<usize>>>) {
        self.samples = samples;
    }

    /// The records, with what the optimizer steps measured.
    pub(super) fn measured(self, update: &UpdateReport) -> Vec<RolloutRecord> {
        let Self { mut records, samples } = self;
        for record in &mut records {
            let stats = update.groups.get(&record.group).copied().unwrap_or_default();
            record.affinity = stats.affinity;
            record.behavior_affinity = stats.behavior_affinity;
            record.hinted_weight = stats.hinted_weight;
            let of_group = samples.get(record.group);
            let sample = of_group.and_then(|of_group| *of_group.get(record.completion)?);
            if let Some(ratio) = sample.and_then(|sample| update.logprobs.get(&sample)) {
                record.logprobs = Some(ratio.logprobs.clone());
                record.old_logprobs = Some(ratio.old_logprobs.clone());
                record.plain_logprobs.clone_from(&ratio.plain_logprobs);
            }
        }
        records
    }
}

/// Where a completion stands in the table, and what part it has there.
struct Place {
    step: u64,
    group: usize,
    completion: usize,
    role: RolloutRole,
    advantage: Option<f64>,
}

fn record(
    place: &Place,
    group: &RolloutGroup,
    problem: Option<&Problem>,
    rollout: &Rollout,
) -> RolloutRecord {
    let Rollout { completion, text, score, hint, .. } = rollout;
    let sampled = hint.as_ref().map(|hint| &hint.prompt).filter(|prompt| **prompt != group.prompt);
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
        hint: hint.as_ref().map(|hint| hint.hint.text.clone()),
        hint_share: hint.as_ref().map(|hint| hint.share),
        text: text.clone(),
        prompt: group.prompt.clone(),
        sampled_prompt: sampled.cloned(),
        tokens: completion.tokens.clone(),
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
        affinity: None,
        behavior_affinity: None,
        hinted_weight: None,
    }
}
