//! Groups are all wrong, and hints rescue few of them.

use hint_rollout::collect::hinted::Combine as _;

use super::history::WRONG_AFTER_HINTS;
use super::{Condition, Found, History, Rule, percent};
use crate::config::GrpoConfig;
use crate::metrics;
use crate::objective::Credit;

/// Share of groups from which on most of the sampling is for nothing.
pub(super) const BOUND: f64 = 0.8;
/// The same while the pass rate does not rise: more than every other group.
const STALLED: f64 = 0.5;
/// Growth of the pass rate from which on a policy learns, until the pass rate is back where it began.
const LEARNS: f64 = 0.05;
/// Share of all-wrong groups that agree on an answer, from which on that is worth a word.
const AGREE: f64 = 0.5;

pub(super) const RULE: Rule = Rule {
    condition: Condition::Starved,
    when: "more than 50 % of the groups are all wrong after hints and the pass rate has not risen by 0.05. Or more than \
           80 % are all wrong after hints. Or more than 80 % have equal rewards and more of them are all wrong than all \
           right",
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

/// The pass rate of the first steps and of the latest ones; nothing while there are no first steps to compare with.
fn pass_rates(history: &History) -> Option<(f64, f64)> {
    let name = metrics::ROLLOUT_PASS_RATE;
    Some((history.start(name)?, history.mean(name)?))
}

fn find(history: &History, config: &GrpoConfig) -> Option<Found> {
    // Graded rewards differ where verdicts do not.
    if credits_equal_rewards(config) || is_graded(history) {
        return None;
    }
    let (wrong, after) = history.wrong()?;
    let equal = history.beyond(metrics::FRAC_REWARD_ZERO_STD, BOUND);
    let right = history.mean(metrics::ROLLOUT_ALL_RIGHT_FRAC).unwrap_or(0.0);
    let mostly_equal = equal.is_some() && after > right;
    let mostly_wrong = history.beyond(WRONG_AFTER_HINTS, BOUND).is_some();
    let rates = pass_rates(history);
    let rose = rates.is_some_and(|(first, _)| {
        history.latched(metrics::ROLLOUT_PASS_RATE, first + LEARNS, first)
    });
    let stalled = !rose && history.beyond(WRONG_AFTER_HINTS, STALLED).is_some();
    if !mostly_wrong && !mostly_equal && !stalled {
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
    let rates = rates.filter(|_| stalled);
    if let Some((first, now)) = rates {
        evidence = format!("{evidence}; the pass rate went from {first:.2} to {now:.2}");
    }
    let collapsed = history.mean(metrics::ROLLOUT_COLLAPSED_FRAC);
    if let Some(collapsed) = collapsed.filter(|collapsed| *collapsed > AGREE) {
        evidence = format!("{evidence}; {} of them agree on one answer", percent(collapsed));
        advice += "; where all completions agree, the reference may be wrong (`hint-rl audit`), or the policy \
                   explores too little (`rollout.sampling.temperature`)";
    }
    let mut measured = vec![(metrics::ROLLOUT_ALL_WRONG_FRAC, wrong)];
    measured.extend(hinted.map(|hinted| (metrics::HINT_HINTED_FRAC, hinted)));
    measured.extend(rates.map(|(_, now)| (metrics::ROLLOUT_PASS_RATE, now)));
    measured.extend(collapsed.map(|collapsed| (metrics::ROLLOUT_COLLAPSED_FRAC, collapsed)));
    Some(Found { evidence, advice, measured, since: None })
}
