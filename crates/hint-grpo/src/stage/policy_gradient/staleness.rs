//! Age of the weights that sampled a group.

use hint_rollout::sample::RolloutSource;
use hint_rollout::{PolicyVersion, RolloutGroup};

use crate::config::{RunConfig, StaleGroups};
use crate::error::GrpoError;
use crate::metrics::{self, Metrics};
use crate::warning::Warning;

/// Drops the groups that are too old to train on, and measures the staleness of all completions
/// against `current` weights. Demonstrations have no age.
pub(super) fn admit(
    groups: &mut Vec<RolloutGroup>,
    current: PolicyVersion,
    run: &RunConfig,
    metrics: &mut Metrics,
    warnings: &mut Vec<Warning>,
) -> Result<(), GrpoError> {
    let all = groups.len();
    let mut oldest_dropped = None;
    let mut kept = Vec::with_capacity(all);
    for group in groups.drain(..) {
        let mut oldest = 0;
        for rollout in &group.rollouts {
            if rollout.source() != RolloutSource::Demonstration {
                let staleness = current.0.saturating_sub(rollout.completion.version.0);
                oldest = oldest.max(staleness);
                metrics.add(metrics::SAMPLING_STALENESS, staleness as f64, 1.0);
                metrics.add_max(metrics::SAMPLING_STALENESS_MAX, staleness as f64);
            }
        }
        let Some(max_staleness) = run.max_staleness.filter(|bound| oldest > *bound) else {
            kept.push(group);
            continue;
        };
        if run.stale_groups == StaleGroups::Abort {
            let (problem, staleness) = (group.problem_id, oldest);
            return Err(GrpoError::Stale { problem, staleness, max_staleness });
        }
        oldest_dropped = oldest_dropped.max(Some(oldest));
    }
    *groups = kept;
    if let (Some(max_staleness), true) = (run.max_staleness, all > 0) {
        let dropped = all - groups.len();
        metrics.set(metrics::ROLLOUT_STALE_FRAC, dropped as f64 / all as f64);
        if let Some(staleness) = oldest_dropped {
            warnings.push(Warning::StaleGroups { groups: dropped, staleness, max_staleness });
        }
    }
    Ok(())
}
