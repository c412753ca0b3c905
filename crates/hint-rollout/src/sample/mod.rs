//! Samples: completions with their scores, in groups of one problem.
//!
//! A [`Rollout`] is a completion, its text and its score, with the hint that it was sampled under
//! ([`AppliedHint`]). A [`RolloutGroup`] holds the rollouts of one problem. A [`VerdictPolicy`] gives
//! verdicts other than correct and incorrect a meaning for the group. A [`ScoringConfig`] sets how they
//! are scored. A [`SuccessCount`] counts verdicts.

mod failures;
mod group;
mod judge;
mod scoring;
mod stop;
mod success;
mod verdict_policy;

pub(crate) use failures::{FailureWindow, Failures, Tally};
pub(crate) use group::count_correct;
pub use group::{AppliedHint, Rollout, RolloutGroup, RolloutSource, TeacherPrompts};
pub(crate) use judge::{Answers, Scored, score_all};
pub use scoring::ScoringConfig;
pub(crate) use stop::cut_at_stop;
pub use success::SuccessCount;
pub use verdict_policy::{VerdictAction, VerdictPolicy};
