//! The axis of combination: what happens to a group that got hints.

use serde::{Deserialize, Serialize};

use crate::collect::hinted::from_fn::from_closure;
use crate::run::{no_fields, state};
use crate::sample::{Rollout, RolloutGroup};

/// Which hinted groups count at all. A hinted group that does not is forgotten: the plain group stays
/// as it is, so that no training slot is spent on it (Deviation D2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum KeepIf {
    /// All of them.
    #[serde(deserialize_with = "no_fields")]
    Always,
    /// Those with a correct completion: the plain group is kept if the hint does not help.
    #[serde(deserialize_with = "no_fields")]
    AnyCorrect,
    /// Those with a correct and a wrong completion.
    #[serde(deserialize_with = "no_fields")]
    Mixed,
}

impl KeepIf {
    /// Whether a group with `correct` correct hinted completions out of `total` counts.
    pub const fn keeps(self, correct: usize, total: usize) -> bool {
        match self {
            Self::Always => total > 0,
            Self::AnyCorrect => correct > 0,
            Self::Mixed => correct > 0 && correct < total,
        }
    }
}

/// How hinted completions join the group.
///
/// [`CombineRule`] holds the ones that a configuration can name. An implementation of your own goes to
/// [`Collector::with_combine`](crate::collect::Collector::with_combine); it may be a closure, see
/// [`from_fn`](crate::collect::hinted::from_fn).
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not combine groups",
    note = "a closure does through `hint_rollout::collect::hinted::from_fn(\"name\", closure)`"
)]
pub trait Combine: Send + Sync {
    /// Its name, for the record of a run.
    fn name(&self) -> String;

    /// Turns `group`, which holds the plain rollouts, into the one that trains.
    fn combine(&self, group: &mut RolloutGroup, hinted: Vec<Rollout>);

    /// Whether the plain completions of a hinted group still matter.
    fn keeps_plain(&self) -> bool {
        true
    }
}

from_closure!(Combine: combine(group: &mut RolloutGroup, hinted: Vec<Rollout>));

/// The rules of combination that a configuration can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum CombineRule {
    /// They are the group; the plain ones are put aside (HINT).
    #[serde(deserialize_with = "no_fields")]
    ReplaceAll,
    /// The first success takes the place of the first failure.
    #[serde(deserialize_with = "no_fields")]
    ReplaceOneFailure,
    /// Each success takes the place of one failure.
    #[serde(deserialize_with = "no_fields")]
    ReplaceFailures,
    /// They join the plain ones.
    #[serde(deserialize_with = "no_fields")]
    Append,
    /// They do not join: they are kept for the supervised term.
    #[serde(deserialize_with = "no_fields")]
    Supervise,
}

impl Combine for CombineRule {
    fn name(&self) -> String {
        state::tag(self)
    }

    fn combine(&self, group: &mut RolloutGroup, hinted: Vec<Rollout>) {
        match self {
            Self::ReplaceAll => {
                group.replaced = std::mem::replace(&mut group.rollouts, hinted);
            }
            Self::ReplaceOneFailure => replace_failures(group, hinted, 1),
            Self::ReplaceFailures => replace_failures(group, hinted, usize::MAX),
            Self::Append => group.rollouts.extend(hinted),
            Self::Supervise => {
                group.supervised = hinted;
                group.supervised.retain(|rollout| rollout.score.verdict.is_correct());
            }
        }
    }

    fn keeps_plain(&self) -> bool {
        !matches!(self, Self::ReplaceAll)
    }
}

/// Puts up to `limit` correct ones of `hinted` where wrong rollouts were, in order.
fn replace_failures(group: &mut RolloutGroup, hinted: Vec<Rollout>, limit: usize) {
    let mut successes =
        hinted.into_iter().filter(|rollout| rollout.score.verdict.is_correct()).take(limit);
    let failures = group.rollouts.iter_mut().filter(|rollout| !rollout.score.verdict.is_correct());
    for failure in failures {
        let Some(success) = successes.next() else { break };
        group.replaced.push(std::mem::replace(failure, success));
    }
}
