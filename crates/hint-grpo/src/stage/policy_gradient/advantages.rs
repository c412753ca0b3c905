//! The advantages of a batch of groups.

use hint_rollout::RolloutGroup;

use crate::advantage::{AdvantageEstimator, ScoredGroup};
use crate::error::GrpoError;

/// Advantages of each group's rollouts in step `step`, counted from 1.
pub(super) fn advantages(
    estimator: &mut dyn AdvantageEstimator,
    groups: &[RolloutGroup],
    step: u64,
) -> Result<Vec<Vec<f64>>, GrpoError> {
    let rewards = groups
        .iter()
        .map(|group| {
            let replaced = group.replaced.iter().map(|rollout| rollout.score.value);
            (group.rewards(), replaced.collect::<Vec<_>>())
        })
        .collect::<Vec<_>>();
    let scored = groups
        .iter()
        .zip(&rewards)
        .map(|(group, (rewards, replaced))| {
            ScoredGroup::new(&group.problem_id, rewards).with_replaced(replaced)
        })
        .collect::<Vec<_>>();
    let advantages = estimator.estimate_batch(&scored)?;
    if advantages.len() != groups.len() {
        let (found, expected) = (advantages.len(), groups.len());
        return Err(GrpoError::AdvantageGroups { found, expected });
    }
    for (group, advantages) in groups.iter().zip(&advantages) {
        if advantages.len() != group.rollouts.len() {
            return Err(GrpoError::AdvantageCount {
                problem: group.problem_id.clone(),
                found: advantages.len(),
                expected: group.rollouts.len(),
            });
        }
        if let Some(&value) = advantages.iter().find(|value| !value.is_finite()) {
            return Err(GrpoError::NotFinite { what: "an advantage", value, step });
        }
    }
    Ok(advantages)
}
