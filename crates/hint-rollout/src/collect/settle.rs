//! The end of a collection: hinted completions join their groups, and the record of each problem follows.

use std::collections::BTreeMap;

use crate::collect::curriculum::SuccessRecord;
use crate::collect::hinted::KeepIf;
use crate::collect::parts::Parts;
use crate::collect::search::HintSearch;
use crate::collect::stats::CollectStats;
use crate::sample::{Rollout, RolloutGroup, count_correct};

/// Joins the hinted completions to their groups, and records how often each problem was solved. Of a group in `counted`, the plain
/// rollouts up to that number count.
pub(crate) fn settle(
    groups: &mut [RolloutGroup],
    hinted: Vec<HintSearch>,
    counted: &BTreeMap<usize, usize>,
    (parts, keep_if): (Parts<'_>, KeepIf),
    record: &mut SuccessRecord,
    stats: &mut CollectStats,
) {
    for (index, group) in groups.iter().enumerate() {
        let plain = counting(counted, index, group);
        stats.observe_plain(plain);
        record.observe_plain(&group.problem_id, plain);
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
            stats.observe_hinted(&rollouts, counting(counted, index, group));
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
        let plain = counting(counted, index, group);
        let plain = (!plain.is_empty()).then(|| count_correct(plain) as f64 / plain.len() as f64);
        let rate = rates.get(&index).copied().or(plain);
        let memory = record.level(&group.problem_id);
        if let Some(level) = rate.and_then(|rate| parts.levels.remember(memory, rate)) {
            record.set_level(&group.problem_id, level);
        }
    }
}

/// The plain rollouts of a group, before others join them, that count in rates.
fn counting<'g>(
    counted: &BTreeMap<usize, usize>,
    index: usize,
    group: &'g RolloutGroup,
) -> &'g [Rollout] {
    let first = counted.get(&index).and_then(|&count| group.rollouts.get(..count));
    first.unwrap_or(&group.rollouts)
}
