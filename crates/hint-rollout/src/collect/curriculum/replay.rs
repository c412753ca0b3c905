//! Replay: groups of earlier steps in place of groups without a signal.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::collect::curriculum::dynamic::SignalCriterion;
use crate::error::Violations;
use crate::run::no_fields;
use crate::sample::RolloutGroup;

/// Whether groups of earlier steps train again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Replay {
    /// Never.
    #[serde(deserialize_with = "no_fields")]
    Off,
    /// In a step that lacks groups with a signal, the latest such groups of earlier steps replace
    /// those without one, each once.
    Recent {
        /// Groups kept at most. At least 1. They are in every checkpoint.
        capacity: usize,
        /// Steps after which a group is forgotten. At least 1.
        max_age: u64,
        /// Criterion for a signal.
        #[serde(default)]
        criterion: SignalCriterion,
    },
}

impl Replay {
    pub(crate) fn check(self, at: &mut Violations) {
        if let Self::Recent { capacity, max_age, .. } = self {
            at.at_least("capacity", capacity, 1);
            at.at_least("max_age", max_age, 1);
        }
    }
}

/// Groups that may train again, oldest first.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct ReplayBuffer {
    /// Shared with the snapshot of a step.
    kept: Vec<Arc<Kept>>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    /// Step that sampled it.
    step: u64,
    group: RolloutGroup,
}

/// Composition of a batch that was filled up.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refill {
    /// Groups replayed.
    pub(crate) groups: usize,
    /// Their ages in steps, summed.
    pub(crate) age_sum: u64,
}

impl ReplayBuffer {
    /// Fills the groups of step `now` up to `count` that have a signal, and remembers the fresh ones
    /// that do. Groups without a signal make room, the last ones first.
    pub(crate) fn refill(
        &mut self,
        groups: &mut Vec<RolloutGroup>,
        count: usize,
        replay: Replay,
        now: u64,
    ) -> Refill {
        let Replay::Recent { capacity, max_age, criterion } = replay else {
            return Refill::default();
        };
        self.kept.retain(|kept| now.saturating_sub(kept.step) <= max_age);
        let fresh = groups.iter().filter(|group| criterion.has_signal(group));
        let fresh = fresh.cloned().collect::<Vec<_>>();
        let asked = groups.iter().map(|group| group.problem_id.clone()).collect();
        let replayed = self.take(count.saturating_sub(fresh.len()), &asked);
        let refill = Refill {
            groups: replayed.len(),
            age_sum: replayed.iter().map(|kept| now.saturating_sub(kept.step)).sum(),
        };
        let mut surplus = (groups.len() + replayed.len()).saturating_sub(count);
        while surplus > 0 {
            let Some(last) = groups.iter().rposition(|group| !criterion.has_signal(group)) else {
                break;
            };
            groups.remove(last);
            surplus -= 1;
        }
        groups.extend(replayed.into_iter().map(|kept| Arc::unwrap_or_clone(kept).group));
        // The ratio of a hinted rollout may condition on a prompt that it was not sampled from. What the
        // policy of then would have said about it is not known any more.
        let plain = fresh.into_iter().filter(|group| !group.is_hinted());
        self.kept.extend(plain.map(|group| {
            let group = RolloutGroup { discarded: Vec::new(), dropped: Vec::new(), ..group };
            Arc::new(Kept { step: now, group })
        }));
        let surplus = self.kept.len().saturating_sub(capacity);
        self.kept.drain(..surplus);
        refill
    }

    /// Removes up to `count` groups, the latest first, of problems that are not in `asked`.
    fn take(&mut self, count: usize, asked: &BTreeSet<String>) -> Vec<Arc<Kept>> {
        let mut taken = Vec::new();
        let mut seen = asked.clone();
        for index in (0..self.kept.len()).rev() {
            if taken.len() == count {
                break;
            }
            if seen.insert(self.kept[index].group.problem_id.clone()) {
                taken.push(self.kept.remove(index));
            }
        }
        taken
    }
}
