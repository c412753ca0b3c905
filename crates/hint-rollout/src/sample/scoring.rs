//! Scoring of completions: how many at once, and the time limit.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::Violations;

/// Scoring of the completions of a step, or of an evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScoringConfig {
    /// Problems that are scored at once, each on a thread. For a judge behind a server, the requests
    /// that it answers at once. At least 1. The scores do not depend on it.
    pub threads: usize,
    /// Seconds that the completions of one problem may take. Completions that are not scored by
    /// then are judged `timeout`. No bound if it is not given.
    pub deadline_s: Option<f64>,
}

impl Default for ScoringConfig {
    fn default() -> Self {
        Self { threads: 1, deadline_s: None }
    }
}

impl ScoringConfig {
    /// Reports every value that is out of range.
    pub(crate) fn check(&self, at: &mut Violations) {
        at.at_least("threads", self.threads, 1);
        if let Some(seconds) = self.deadline_s {
            at.seconds("deadline_s", seconds);
        }
    }

    pub(crate) fn deadline(self) -> Option<Duration> {
        self.deadline_s.map(Duration::from_secs_f64)
    }
}
