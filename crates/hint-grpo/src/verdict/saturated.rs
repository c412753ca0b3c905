//! Groups are all right.

use super::starved::{BOUND, credits_equal_rewards, is_graded};
use super::{Condition, Found, History, Rule, percent};
use crate::config::GrpoConfig;
use crate::metrics;

pub(super) const RULE: Rule = Rule {
    condition: Condition::Saturated,
    when: "more than 80 % of the groups are all right. Or more than 80 % have equal rewards and at least as many of \
           them are all right as all wrong",
    find,
};

fn find(history: &History, config: &GrpoConfig) -> Option<Found> {
    // Graded rewards differ where verdicts do not.
    if credits_equal_rewards(config) || is_graded(history) {
        return None;
    }
    let right = history.mean(metrics::ROLLOUT_ALL_RIGHT_FRAC)?;
    let wrong = history.wrong().map_or(0.0, |(_, after)| after);
    let equal = history.mean(metrics::FRAC_REWARD_ZERO_STD);
    let mostly_right = history.beyond(metrics::ROLLOUT_ALL_RIGHT_FRAC, BOUND).is_some();
    let is_equal = history.beyond(metrics::FRAC_REWARD_ZERO_STD, BOUND).is_some();
    let mostly_equal = is_equal && right > 0.0 && right >= wrong;
    if !mostly_right && !mostly_equal {
        return None;
    }
    let advice = "stop here, or take harder problems; `rollout.selection` draws unsolved ones more often, and \
                  `rollout.dynamic_sampling` draws others in place of groups without a signal";
    let mut measured = vec![(metrics::ROLLOUT_ALL_RIGHT_FRAC, right)];
    measured.extend(equal.map(|equal| (metrics::FRAC_REWARD_ZERO_STD, equal)));
    Some(Found {
        evidence: format!("{} of the groups are all right", percent(right)),
        advice: advice.to_owned(),
        measured,
        since: None,
    })
}
