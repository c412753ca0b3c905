//! Hints give the answer away.

use hint_rollout::hint::leak::LeakAction;

use super::{Condition, Found, History, Rule, percent};
use crate::config::GrpoConfig;
use crate::metrics;

/// Share of hints above which the policy may learn to copy.
const BOUND: f64 = 0.02;

pub(super) const RULE: Rule = Rule {
    condition: Condition::Leaking,
    when: "more than 2 % of the hints give the answer away, and the leak guard keeps them",
    find,
};

fn find(history: &History, config: &GrpoConfig) -> Option<Found> {
    // Leaks are counted before the guard.
    if config.rollout.leak_guard.action != LeakAction::Keep {
        return None;
    }
    let share = history.beyond(metrics::HINT_LEAKING_ANSWER_FRAC, BOUND)?;
    let advice = "set `rollout.leak_guard.action` to \"drop\" or \"mask\"; list the leaking hints with \
                  `hint-rl audit`";
    Some(Found {
        evidence: format!("{} of the hints give the answer away", percent(share)),
        advice: advice.to_owned(),
        measured: vec![(metrics::HINT_LEAKING_ANSWER_FRAC, share)],
        since: None,
    })
}
