//! Requests to a teacher so far, and their limits.

use serde::{Deserialize, Serialize};

use crate::hint::source::teacher::options::TeacherBudget;

/// Spending so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Spent {
    pub(super) requests: u64,
    pub(super) tokens: u64,
}

impl Spent {
    /// Counts one more request, or returns the bound that is reached.
    pub(super) fn request(&mut self, budget: &TeacherBudget) -> Result<(), (&'static str, u64)> {
        match (budget.requests, budget.tokens) {
            (Some(limit), _) if self.requests >= limit => Err(("requests", limit)),
            (_, Some(limit)) if self.tokens >= limit => Err(("tokens", limit)),
            _ => {
                self.requests += 1;
                Ok(())
            }
        }
    }

    /// Counts the tokens of an answer, which may be any number: servers report them as they like.
    pub(super) fn add_tokens(&mut self, count: u64) {
        self.tokens = self.tokens.saturating_add(count);
    }
}
