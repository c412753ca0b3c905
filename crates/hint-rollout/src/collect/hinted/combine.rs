//! The axis of combination: the use of hinted completions.

use serde::{Deserialize, Serialize};

use crate::collect::hinted::from_fn::from_closure;
use crate::run::{no_fields, state};
use crate::sample::{Rollout, RolloutGroup};

/// Condition for keeping a hinted group. Other hinted groups are dropped and the plain group stays,
/// so that no training slot is spent on them (Deviation D2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum KeepIf {
    /// All of them.
    #[serde(deserialize_with = "no_fields")]
    Always,
    /// Groups with a correct completion: the plain group is kept if the hint does not help.
    #[serde(deserialize_with = "no_fields")]
    AnyCorrect,
    /// Groups with a correct and a wrong completion.
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

/// Way in which hinted completions join the group.
///
/// [`CombineRule`] holds the ones that a configuration can name. An implementation of your own goes to
/// [`Collector::with_combine`](crate::collect::Collector::with_combine); it may be a closure, see
/// [`from_fn`](crate::collect::hinted::from_fn).
///
/// ```
/// use hint_rollout::collect::hinted::from_fn;
/// use hint_rollout::{Combine, Rollout, RolloutGroup};
///
/// // Correct hinted completions join the group; nothing is replaced.
/// let combine = from_fn("add_correct", |group: &mut RolloutGroup, hinted: Vec<Rollout>| {
///     group.rollouts.extend(hinted.into_iter().filter(Rollout::is_correct));
/// });
/// assert_eq!(Combine::name(&combine), "add_correct");
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not combine groups",
    note = "a closure does through `hint_rollout::collect::hinted::from_fn(\"name\", closure)`"
)]
pub trait Combine: Send + Sync {
    /// Its name and its settings, for the record of a run: a run is not resumed with others. By default the name of its
    /// type: a part with settings writes them too.
    fn name(&self) -> String {
        std::any::type_name::<Self>().to_owned()
    }

    /// Turns `group`, which holds the plain rollouts, into the one that trains.
    fn combine(&self, group: &mut RolloutGroup, hinted: Vec<Rollout>);

    /// Whether the plain completions of a hinted group still matter.
    fn keeps_plain(&self) -> bool {
        true
    }

    /// Whether hints teach: the plain completions are scored under them, see
    /// [`TeacherPrompts`](crate::sample::TeacherPrompts). Unless the teaching samples as well,
    /// [`Combine::combine`] is not called. It keeps the plain rollouts at their places.
    fn teaching(&self) -> Option<Teaching> {
        None
    }
}

/// Configuration of hints that teach plain completions. By default they teach all of a group, without a contrast, and
/// nothing is sampled under the hint.
///
/// ```
/// use hint_rollout::collect::hinted::{Contrast, Teaching};
///
/// // What a wrong hint would teach is subtracted.
/// let teaching = Teaching { contrast: Contrast::Placebo, ..Teaching::default() };
/// assert!(!teaching.samples);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Teaching {
    /// Completions that they teach.
    pub completions: Taught,
    /// Counterpart of the hint in the comparison.
    pub contrast: Contrast,
    /// Whether completions are sampled under the hint as well, and combined with the taught ones.
    pub samples: bool,
}

/// Choice of the completions of a group that a hint teaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Taught {
    /// All of them.
    #[default]
    All,
    /// Completions that are not correct; the others have the group's advantage. (SRPO)
    Wrong,
    /// Correct completions.
    Correct,
}

/// Counterpart of the log-probabilities under a hint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Contrast {
    /// Log-probabilities under the plain prompt.
    #[default]
    None,
    /// Log-probabilities under the hint of another problem of the step, see
    /// [`Placebo`](crate::hint::source::Placebo). A group without one is not taught.
    Placebo,
}

from_closure!(Combine: combine(group: &mut RolloutGroup, hinted: Vec<Rollout>));

/// The rules of combination that a configuration can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum CombineRule {
    /// They are the group; the plain ones are put aside (HINT).
    #[serde(deserialize_with = "no_fields")]
    ReplaceAll,
    /// The first success replaces the first failure.
    #[serde(deserialize_with = "no_fields")]
    ReplaceOneFailure,
    /// Each success replaces one failure.
    #[serde(deserialize_with = "no_fields")]
    ReplaceFailures,
    /// They join the plain ones.
    #[serde(deserialize_with = "no_fields")]
    Append,
    /// They do not join: they are kept for the supervised term.
    #[serde(deserialize_with = "no_fields")]
    Supervise,
    /// The hint becomes the teacher's prompt of the plain completions, and the loss credits their tokens by it.
    Teach {
        /// Completions that it teaches.
        #[serde(default)]
        completions: Taught,
        /// Counterpart in the comparison.
        #[serde(default)]
        contrast: Contrast,
        /// Whether completions are sampled under the hint as well, which join the plain ones.
        #[serde(default)]
        samples: bool,
    },
}

impl Combine for CombineRule {
    fn name(&self) -> String {
        state::described(self)
    }

    fn combine(&self, group: &mut RolloutGroup, hinted: Vec<Rollout>) {
        match self {
            Self::ReplaceAll => {
                group.replaced = std::mem::replace(&mut group.rollouts, hinted);
            }
            Self::ReplaceOneFailure => replace_failures(group, hinted, 1),
            Self::ReplaceFailures => replace_failures(group, hinted, usize::MAX),
            Self::Append | Self::Teach { .. } => group.rollouts.extend(hinted),
            Self::Supervise => {
                group.supervised = hinted;
                group.supervised.retain(|rollout| rollout.score.verdict.is_correct());
            }
        }
    }

    fn keeps_plain(&self) -> bool {
        !matches!(self, Self::ReplaceAll)
    }

    fn teaching(&self) -> Option<Teaching> {
        match *self {
            Self::Teach { completions, contrast, samples } => {
                Some(Teaching { completions, contrast, samples })
            }
            _ => None,
        }
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
