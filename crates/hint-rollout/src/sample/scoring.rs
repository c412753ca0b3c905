//! Scoring of completions: how many at once, and the time limit.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::Violations;

/// Scoring of the completions of a step, or of an evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScoringConfig {
    /// Problems that are scored at once, each on a thread. For a judge behind a server, the requests
    /// that it answers at once; `rollout.early_stop` asks one more. At least 1. The scores do not depend on it.
    pub threads: usize,
    /// Seconds that the completions of one problem may take. If they take longer, they are scored once more one by
    /// one, and have as long again, unless a reward compares them. Those without a score then are judged `timeout`, and counted
    /// under the reward that took so long. Its threads are left behind. A problem that is late while the local engine samples is
    /// scored again after that, with all of its time.
    pub deadline_s: f64,
}

impl Default for ScoringConfig {
    fn default() -> Self {
        Self { threads: 1, deadline_s: 600.0 }
    }
}

impl ScoringConfig {
    /// Reports every value that is out of range.
    pub(crate) fn check(&self, at: &mut Violations) {
        at.at_least("threads", self.threads, 1);
        at.seconds("deadline_s", self.deadline_s);
    }

    pub(crate) fn deadline(self) -> Duration {
        // Checked configurations have a time that the machine can represent.
        Duration::try_from_secs_f64(self.deadline_s).unwrap_or(Duration::MAX)
    }
}
