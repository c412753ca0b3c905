//! The rollout table: one line per group.

use std::collections::BTreeMap;

use hint_affinity::Affinity;
use hint_reward::Level;
use hint_reward::extract::AnswerSource;
use hint_rollout::{Rollout, RolloutGroup};
use serde::Serialize;

use crate::learner::GroupStats;

/// One line of `rollouts.jsonl`, described in `docs/checkpoints.md`.
#[derive(Debug, Serialize)]
pub(super) struct TableRow {
    step: u64,
    problem: String,
    sources: Vec<&'static str>,
    rewards: Vec<f64>,
    replaced_rewards: Vec<f64>,
    verdicts: BTreeMap<&'static str, usize>,
    level: Option<Level>,
    extracted_by: Vec<Option<AnswerSource>>,
    advantages: Vec<f64>,
    lengths: Vec<usize>,
    masked: Vec<bool>,
    versions: Vec<u64>,
    hint_share: Option<f64>,
    affinity: Option<Affinity>,
    behavior_affinity: Option<Affinity>,
    hinted_weight: Option<f64>,
}

impl TableRow {
    /// A group of step `step` as it was collected.
    pub(super) fn new(step: u64, group: &RolloutGroup, advantages: &[f64]) -> Self {
        fn each<T>(rollouts: &[Rollout], value: impl Fn(&Rollout) -> T) -> Vec<T> {
            rollouts.iter().map(value).collect()
        }
        let rollouts = group.rollouts.as_slice();
        let mut verdicts = BTreeMap::new();
        for rollout in rollouts {
            *verdicts.entry(rollout.score.verdict.name()).or_default() += 1;
        }
        Self {
            step,
            problem: group.problem_id.clone(),
            sources: each(rollouts, |rollout| rollout.source().name()),
            rewards: group.rewards(),
            replaced_rewards: each(&group.replaced, |rollout| rollout.score.value),
            verdicts,
            level: rollouts.first().and_then(|rollout| rollout.score.judgment.level),
            extracted_by: each(rollouts, |rollout| rollout.score.judgment.source),
            advantages: advantages.to_vec(),
            lengths: each(rollouts, |rollout| rollout.completion.tokens.len()),
            masked: each(rollouts, |rollout| rollout.is_masked),
            versions: each(rollouts, |rollout| rollout.completion.version.0),
            hint_share: group.hint().map(|hint| hint.share),
            affinity: None,
            behavior_affinity: None,
            hinted_weight: None,
        }
    }

    /// The line, with what the optimizer steps measured of the group.
    pub(super) fn line(mut self, stats: Option<&GroupStats>) -> Result<String, serde_json::Error> {
        let stats = stats.copied().unwrap_or_default();
        self.affinity = stats.affinity;
        self.behavior_affinity = stats.behavior_affinity;
        self.hinted_weight = stats.hinted_weight;
        serde_json::to_string(&self)
    }
}
