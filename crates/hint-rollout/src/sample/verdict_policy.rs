//! Meaning of verdicts other than correct and incorrect.

use hint_reward::Verdict;
use serde::{Deserialize, Serialize};

/// Treatment of a completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerdictAction {
    /// It counts as wrong.
    Wrong,
    /// It is left out of its group, and counted.
    Drop,
    /// The run stops.
    Abort,
}

/// Meaning of each verdict other than correct and incorrect for the group.
///
/// The policy's own shortcomings (no answer, cut off) count as wrong by default. Failures of the
/// verifier must not: a verifier that fails silently would turn every group into a hinted one
/// (Deviation D6).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VerdictPolicy {
    /// The completion holds no answer.
    pub no_answer: VerdictAction,
    /// The completion was cut off before an answer.
    pub truncated: VerdictAction,
    /// The reference answer could not be read.
    pub reference_unparseable: VerdictAction,
    /// The verifier ran out of time.
    pub timeout: VerdictAction,
    /// The verifier failed.
    pub error: VerdictAction,
    /// Largest share of the completions of a [window](Self::window) that may be dropped before the run
    /// stops. In `[0, 1]`.
    pub max_dropped_frac: f64,
    /// Groups whose completions the share is taken over, from the latest steps. At least 1. Before there are as many,
    /// the share is of a full window: with the defaults, three groups may fail.
    pub window: usize,
}

impl Default for VerdictPolicy {
    fn default() -> Self {
        Self {
            no_answer: VerdictAction::Wrong,
            truncated: VerdictAction::Wrong,
            reference_unparseable: VerdictAction::Drop,
            timeout: VerdictAction::Drop,
            error: VerdictAction::Drop,
            max_dropped_frac: 0.05,
            window: 64,
        }
    }
}

impl VerdictPolicy {
    /// Treatment of a completion that was judged `verdict`, or `None` when it is an ordinary member
    /// of its group.
    pub fn action(&self, verdict: Verdict) -> Option<VerdictAction> {
        match verdict {
            Verdict::Correct | Verdict::Incorrect => None,
            Verdict::NoAnswer => Some(self.no_answer),
            Verdict::Truncated => Some(self.truncated),
            Verdict::ReferenceUnparseable => Some(self.reference_unparseable),
            Verdict::Timeout => Some(self.timeout),
            // A verdict of a later version of hint-reward is a failure until this crate knows it.
            _ => Some(self.error),
        }
    }
}
