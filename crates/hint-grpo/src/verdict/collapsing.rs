//! The policy hardly explores.

use super::{Condition, Found, History, Rule, percent};
use crate::config::GrpoConfig;
use crate::metrics;

/// Share of the first entropy below which little is explored.
const ENTROPY: f64 = 0.2;
/// Growth of the pass rate from which on a policy that grows certain has learned.
const LEARNED: f64 = 0.05;
/// Share of all groups that are all wrong with one answer, from which on more sampling finds nothing.
const AGREE: f64 = 0.5;

pub(super) const RULE: Rule = Rule {
    condition: Condition::Collapsing,
    when: "entropy fell below 20 % of that of the first steps while the pass rate did not rise. Or more than half of \
           the groups are all wrong and agree on one answer",
    find,
};

fn find(history: &History, _config: &GrpoConfig) -> Option<Found> {
    let now = history.mean(metrics::ENTROPY_TRAINED);
    let (mut evidence, mut measured) = (Vec::new(), Vec::new());
    // Who learns a task explores less, and a supervised run is meant to.
    let of = metrics::ROLLOUT_PASS_RATE;
    let has_learned = match (history.start(of), history.mean(of)) {
        (Some(first), Some(now)) => now >= first + LEARNED,
        _ => true,
    };
    if let (Some(first), Some(now)) = (history.start(metrics::ENTROPY_TRAINED), now)
        && now < ENTROPY * first
        && !has_learned
    {
        evidence.push(format!("entropy fell from {first:.3} to {now:.3} nats per token"));
        measured.push((metrics::ENTROPY_TRAINED, now));
    }
    let wrong = history.wrong().map_or(0.0, |(wrong, _)| wrong);
    let collapsed = history.mean(metrics::ROLLOUT_COLLAPSED_FRAC).unwrap_or(0.0);
    if wrong * collapsed > AGREE {
        let agree = percent(wrong * collapsed);
        evidence.push(format!("{agree} of the groups are all wrong and agree on one answer"));
        measured.push((metrics::ROLLOUT_COLLAPSED_FRAC, collapsed));
    }
    if evidence.is_empty() {
        return None;
    }
    let advice = "raise `rollout.sampling.temperature`; clip less from above (`clip_high` of `loss.objective`, 0.28 \
                  in DAPO); lower `optimizer.learning_rate`, or hold the policy near its start with `loss.kl.coef`";
    Some(Found {
        evidence: evidence.join(", and "),
        advice: advice.to_owned(),
        measured,
        since: None,
    })
}
