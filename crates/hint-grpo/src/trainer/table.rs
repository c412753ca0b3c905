//! The rollout table: one line per group.

use std::collections::BTreeMap;

use hint_affinity::Affinity;
use hint_rollout::{Rollout, RolloutGroup};
use serde::Serialize;

use super::affinity::AffinityMeter;
use super::help::HelpFactors;
use crate::batch::Rows;

/// What the last optimizer step of a group measured.
#[derive(Debug, Default, Clone, Copy)]
struct Measure {
    affinity: Option<Affinity>,
    behavior: Option<Affinity>,
    weight: Option<f64>,
}

/// What was measured in a step, by the index of the group in its batch.
#[derive(Debug, Default)]
pub(super) struct GroupMeasures(BTreeMap<usize, Measure>);

impl GroupMeasures {
    /// Takes up what one optimizer step measured.
    pub(super) fn observe(
        &mut self,
        meter: &AffinityMeter,
        rows: &Rows<'_>,
        factors: &HelpFactors,
    ) {
        for (group, [affinity, behavior]) in meter.by_group() {
            let measure = self.0.entry(group).or_default();
            (measure.affinity, measure.behavior) = (affinity, behavior);
        }
        for (row, weight) in rows.rows.iter().zip(factors.rows.iter().flatten()) {
            if weight.is_some() {
                self.0.entry(row.group).or_default().weight = *weight;
            }
        }
    }

    /// A line of JSON for each of `groups`.
    pub(super) fn lines(
        &self,
        step: u64,
        groups: &[RolloutGroup],
        advantages: &[Vec<f64>],
    ) -> Result<Vec<String>, serde_json::Error> {
        let pairs = groups.iter().zip(advantages).enumerate();
        pairs
            .map(|(index, (group, advantages))| {
                let measure = self.0.get(&index).copied().unwrap_or_default();
                serde_json::to_string(&line(step, group, advantages, measure))
            })
            .collect()
    }
}

fn line<'a>(
    step: u64,
    group: &'a RolloutGroup,
    advantages: &'a [f64],
    measure: Measure,
) -> Line<'a> {
    fn each<T>(rollouts: &[Rollout], value: impl Fn(&Rollout) -> T) -> Vec<T> {
        rollouts.iter().map(value).collect()
    }
    let rollouts = group.rollouts.as_slice();
    let mut verdicts = BTreeMap::new();
    for rollout in rollouts {
        *verdicts.entry(rollout.score.verdict.name()).or_default() += 1;
    }
    Line {
        step,
        problem: &group.problem_id,
        sources: each(rollouts, |rollout| rollout.source().name()),
        rewards: group.rewards(),
        replaced_rewards: each(&group.replaced, |rollout| rollout.score.value),
        verdicts,
        advantages,
        lengths: each(rollouts, |rollout| rollout.completion.tokens.len()),
        masked: each(rollouts, |rollout| rollout.is_masked),
        versions: each(rollouts, |rollout| rollout.completion.version.0),
        hint_share: group.hint().map(|help| help.share),
        affinity: measure.affinity,
        behavior_affinity: measure.behavior,
        weight: measure.weight,
    }
}

/// One line of `rollouts.jsonl`, described in `docs/checkpoints.md`.
#[derive(Serialize)]
struct Line<'a> {
    step: u64,
    problem: &'a str,
    sources: Vec<&'static str>,
    rewards: Vec<f64>,
    replaced_rewards: Vec<f64>,
    verdicts: BTreeMap<&'static str, usize>,
    advantages: &'a [f64],
    lengths: Vec<usize>,
    masked: Vec<bool>,
    versions: Vec<u64>,
    hint_share: Option<f64>,
    affinity: Option<Affinity>,
    behavior_affinity: Option<Affinity>,
    weight: Option<f64>,
}
