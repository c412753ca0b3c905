//! Completions are cut off at the token limit.

use super::{Condition, Found, History, Rule, percent};
use crate::config::GrpoConfig;
use crate::metrics;

/// Share of completions above which the limit is likely to shape the policy.
const BOUND: f64 = 0.1;

pub(super) const RULE: Rule = Rule {
    condition: Condition::CutOff,
    when: "more than 10 % of the completions, plain and hinted, end at the token limit",
    find,
};

fn find(history: &History, config: &GrpoConfig) -> Option<Found> {
    let share = history.beyond(metrics::COMPLETIONS_CLIPPED_RATIO, BOUND)?;
    let limit = config.rollout.sampling.max_completion_len;
    let advice = format!(
        "raise `rollout.sampling.max_completion_len` (now {limit}); if completions run on after the answer, name \
         their end in `rollout.sampling.stop` or check the model's stop token with `hint-rl doctor`; \
         `rollout.mask_truncated` leaves them out of the loss"
    );
    Some(Found {
        evidence: format!("{} of the completions end at {limit} tokens", percent(share)),
        advice,
        measured: vec![(metrics::COMPLETIONS_CLIPPED_RATIO, share)],
        since: None,
    })
}
