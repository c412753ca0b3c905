//! Groups are all wrong, and hints rescue few of them.

use hint_rollout::collect::hinted::Combine as _;

use super::{Condition, Found, History, Rule, percent};
use crate::config::GrpoConfig;
use crate::metrics;
use crate::objective::Credit;

/// Share of groups from which on most of the sampling is for nothing.
pub(super) const BOUND: f64 = 0.8;
/// Share of all-wrong groups that agree on an answer, from which on that is worth a word.
const AGREE: f64 = 0.5;

pub(super) const RULE: Rule = Rule {
    condition: Condition::Starved,
    when: "more than 80 % of the groups are all wrong after hints. Or more than 80 % have equal rewards and more of \
           them are all wrong than all right",
    find,
};

/// Whether a hint that teaches gives groups of equal rewards a gradient.
pub(super) fn credits_equal_rewards(config: &GrpoConfig) -> bool {
    config.rollout.combine.teaching().is_some() && !config.loss.credit.form.ignores_zero_advantage()
}

/// Whether rewards are graded, so that groups of equal verdicts have a signal: more of them than the bound leaves.
pub(super) fn is_graded(history: &History) -> bool {
    history.mean(metrics::ROLLOUT_GRADED_FRAC).is_some_and(|graded| graded > 1.0 - BOUND)
}

fn find(history: &History, config: &GrpoConfig) -> Option<Found> {
    // Graded rewards differ where verdicts do not.
    if credits_equal_rewards(config) || is_graded(history) {
        return None;
    }
    let (wrong, after) = history.wrong()?;
    let equal = history.mean(metrics::FRAC_REWARD_ZERO_STD);
    let right = history.mean(metrics::ROLLOUT_ALL_RIGHT_FRAC).unwrap_or(0.0);
    let mostly_equal = equal.is_some_and(|equal| equal > BOUND) && after > right;
    if after <= BOUND && !mostly_equal {
        return None;
    }
    let hinted = history.mean(metrics::HINT_HINTED_FRAC).filter(|hinted| *hinted > 0.0);
    let mut evidence = format!("{} of the groups are all wrong", percent(wrong));
    let mut advice = if hinted.is_some() {
        evidence = format!("{evidence}, {} after hints", percent(after));
        "hints are too weak or wrong: check them with `hint-rl audit`, give more of them (`rollout.level`), or take \
         another `rollout.source`"
    } else {
        "the problems are too hard; give hints (`rollout.source`, `rollout.trigger`), mix easier problems in, or \
         draw others in place of groups without a signal (`rollout.dynamic_sampling`)"
    }
    .to_owned();
    let collapsed = history.mean(metrics::ROLLOUT_COLLAPSED_FRAC);
    if let Some(collapsed) = collapsed.filter(|collapsed| *collapsed > AGREE) {
        evidence = format!("{evidence}; {} of them agree on one answer", percent(collapsed));
        advice += "; where all completions agree, the reference may be wrong (`hint-rl audit`), or the policy \
                   explores too little (`rollout.sampling.temperature`)";
    }
    let mut measured = vec![(metrics::ROLLOUT_ALL_WRONG_FRAC, wrong)];
    measured.extend(hinted.map(|hinted| (metrics::HINT_HINTED_FRAC, hinted)));
    measured.extend(collapsed.map(|collapsed| (metrics::ROLLOUT_COLLAPSED_FRAC, collapsed)));
    Some(Found { evidence, advice, measured })
}
