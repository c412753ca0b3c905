//! Correct completions out of judged ones.

use serde::{Deserialize, Serialize};

use crate::sample::group::{Rollout, count_correct};

/// Correct completions out of judged ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuccessCount {
    /// Correct completions.
    pub correct: usize,
    /// Judged completions.
    pub total: usize,
}

impl SuccessCount {
    /// Share of correct completions; `None` when there were none at all.
    pub fn rate(self) -> Option<f64> {
        (self.total > 0).then(|| self.correct as f64 / self.total as f64)
    }

    /// Counts one completion.
    pub(crate) fn count(&mut self, correct: bool) {
        self.correct += usize::from(correct);
        self.total += 1;
    }

    pub(crate) fn observe(&mut self, rollouts: &[Rollout]) {
        self.correct += count_correct(rollouts);
        self.total += rollouts.len();
    }
}

impl std::ops::Add for SuccessCount {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { correct: self.correct + other.correct, total: self.total + other.total }
    }
}
