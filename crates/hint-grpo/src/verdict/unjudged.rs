//! Completions cannot be judged.

use super::{Condition, Found, History, Rule, percent};
use crate::config::GrpoConfig;
use crate::metrics;

/// Share of completions above which the missing ones may bias the policy.
const BOUND: f64 = 0.02;

pub(super) const RULE: Rule = Rule {
    condition: Condition::Unjudged,
    when: "more than 2 % of the completions, in training or in the last evaluation, could not be judged",
    find,
};

fn find(history: &History, _config: &GrpoConfig) -> Option<Found> {
    let dropped = history.beyond(metrics::ROLLOUT_DROPPED_FRAC, BOUND);
    let failed = history.last(metrics::EVAL_FAILED_FRAC).filter(|share| *share > BOUND);
    let (name, share, of) = [
        (metrics::ROLLOUT_DROPPED_FRAC, dropped, "the completions were dropped"),
        (metrics::EVAL_FAILED_FRAC, failed, "the evaluation's completions count as wrong"),
    ]
    .into_iter()
    .find_map(|(name, share, of)| Some((name, share?, of)))?;
    let advice = "read the warnings of the steps, which name the reward or verifier that failed; check the \
                  references with `hint-rl audit`; `rollout.verdicts` decides what a failure means";
    Some(Found {
        evidence: format!("{} of {of}, as they could not be judged", percent(share)),
        advice: advice.to_owned(),
        measured: vec![(name, share)],
        since: None,
    })
}
