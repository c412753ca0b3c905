//! The end of a collection: hinted completions join their groups, and the record of each problem follows.

use std::collections::BTreeMap;

use crate::collect::curriculum::SuccessRecord;
use crate::collect::hinted::KeepIf;
use crate::collect::parts::Parts;
use crate::collect::search::HintSearch;
use crate::collect::stats::CollectStats;
use crate::sample::{Rollout, RolloutGroup, count_correct};

/// Joins the hinted completions to their groups, and records how often each problem was solved.
pub(crate) fn settle(
    groups: &mut [RolloutGroup],
    hinted: Vec<HintSearch>,
    (parts, keep_if): (Parts<'_>, KeepIf),
    record: &mut SuccessRecord,
    stats: &mut CollectStats,
) {
    for group in &*groups {
        stats.observe_plain(&group.rollouts);
        record.observe_plain(&group.problem_id, &group.rollouts);
    }
    let mut rates = BTreeMap::new();
    for search in hinted {
        let index = search.index;
        let Some((rollouts, others)) = search.into_rollouts() else { continue };
        let group = &mut groups[index];
        group.discarded = others;
        let correct = count_correct(&rollouts);
        rates.insert(index, correct as f64 / rollouts.len().max(1) as f64);
        let is_kept = keep_if.keeps(correct, rollouts.len());
        if rollouts.iter().any(Rollout::is_hinted) {
            stats.observe_hinted(&rollouts, &group.rollouts);
            record.observe_hinted(&group.problem_id, &rollouts);
            stats.hinted.rescued += usize::from(is_kept);
        } else {
            // The plain prompt, sampled once more.
            record.observe_plain(&group.problem_id, &rollouts);
        }
        if is_kept {
            parts.combine.combine(group, rollouts.clone());
        }
        group.discard_others(rollouts);
    }
    for (index, group) in groups.iter().enumerate() {
        let plain = group.rollouts.len();
        let plain = (plain > 0).then(|| group.num_correct() as f64 / plain as f64);
        let rate = rates.get(&index).copied().or(plain);
        let memory = record.level(&group.problem_id);
        if let Some(level) = rate.and_then(|rate| parts.levels.remember(memory, rate)) {
            record.set_level(&group.problem_id, level);
        }
    }
}
