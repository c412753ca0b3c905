//! Groups are all right.

use hint_rollout::collect::curriculum::ProblemSelection;

use super::signal::{BOUND, Redrawn, Shares, is_graded, redraws};
use super::{Condition, Found, History, Rule, percent};
use crate::config::GrpoConfig;
use crate::metrics;

pub(super) const RULE: Rule = Rule {
    condition: Condition::Saturated,
    when: "more than 80 % of the groups are all right. Or more than 80 % have equal rewards and at least as many of \
           them are all right as all wrong. With dynamic sampling: more than 80 % of the groups drawn have no signal, at \
           least half of them all right. Or more than 5 % of a step's groups are missing, for the same reason",
    find,
};

fn find(history: &History, config: &GrpoConfig) -> Option<Found> {
    if redraws(config) {
        let is_right = |redrawn: &Redrawn| redrawn.right > 0.0 && redrawn.right >= redrawn.wrong;
        let redrawn = Redrawn::of(history, config).filter(is_right)?;
        return Some(Found {
            evidence: redrawn.evidence(redrawn.right, "all right"),
            advice: advice(config),
            measured: redrawn.measured,
            since: None,
        });
    }
    // Graded rewards differ where verdicts do not.
    if is_graded(history) {
        return None;
    }
    let shares = Shares::of(config);
    let right = history.mean(shares.right)?;
    let wrong = history.mean(shares.wrong).unwrap_or(0.0);
    let equal = history.mean(metrics::FRAC_REWARD_ZERO_STD);
    let mostly_right = history.beyond(shares.right, BOUND).is_some();
    let is_equal = history.beyond(shares.equal, BOUND).is_some();
    let mostly_equal = is_equal && right > 0.0 && right >= wrong;
    if !mostly_right && !mostly_equal {
        return None;
    }
    let right = history.mean(metrics::ROLLOUT_ALL_RIGHT_FRAC)?;
    let mut measured = vec![(metrics::ROLLOUT_ALL_RIGHT_FRAC, right)];
    measured.extend(equal.map(|equal| (metrics::FRAC_REWARD_ZERO_STD, equal)));
    Some(Found {
        evidence: format!("{} of the groups are all right", percent(right)),
        advice: advice(config),
        measured,
        since: None,
    })
}

/// What helps, and is not done yet.
fn advice(config: &GrpoConfig) -> String {
    let mut text = "stop here, or take harder problems".to_owned();
    if config.rollout.selection == ProblemSelection::Epochs {
        text += "; `rollout.selection` draws unsolved ones more often";
    }
    if !redraws(config) {
        text += "; `rollout.dynamic_sampling` draws others in place of groups without a signal";
    }
    text
}
