//! The policy is worse than it was.

use hint_rollout::collect::curriculum::ProblemSelection;

use super::{Condition, Found, History, Rule};
use crate::config::GrpoConfig;
use crate::metrics;

/// Fall of the pass rate from which on it counts.
const FALL: f64 = 0.05;
/// Growth of the loss of demonstrations, as a share of that of the first steps.
const GROWTH: f64 = 0.2;

pub(super) const RULE: Rule = Rule {
    condition: Condition::Worsening,
    when: "the newest evaluation is below the best one, and their intervals do not meet. Or the pass rate fell by 0.05, \
           or the loss of demonstrations rose by 20 %, since the first steps and beyond chance",
    find,
};

fn find(history: &History, config: &GrpoConfig) -> Option<Found> {
    let advice = "go back to a checkpoint before the fall (`--resume`, `--from-step`); lower `optimizer.learning_rate`, \
                  or hold the policy near its start with `loss.kl.coef`";
    if let Some([best, newest]) = history.fallen_accuracy() {
        let shown =
            |(_, avg, [low, high]): (u64, f64, [f64; 2])| format!("{avg:.2} [{low:.2}, {high:.2}]");
        let mut found = Found {
            evidence: format!(
                "accuracy without hints fell from {} to {}",
                shown(best),
                shown(newest)
            ),
            advice: advice.to_owned(),
            measured: vec![(metrics::EVAL_AVG, newest.1)],
            since: Some(best.0),
        };
        let (first, now) = (history.start(metrics::REWARD), history.mean(metrics::REWARD));
        if let Some((first, now)) = first.zip(now).filter(|(first, now)| now > first) {
            let reward = format!("; the reward went from {first:.2} to {now:.2}");
            found.evidence += &reward;
            found.advice += "; the reward pays for something else than right answers: read the completions with the \
                             highest one";
        }
        return Some(found);
    }
    // A curriculum draws other problems than at the start, and only a supervised run has the same demonstrations.
    let draws_alike = !matches!(config.rollout.selection, ProblemSelection::Curriculum { .. });
    let rate = metrics::ROLLOUT_PASS_RATE;
    let fall = history.moved(rate, -FALL).filter(|_| draws_alike);
    let grown = || {
        let (nll, is_supervised) = (metrics::NLL, history.mean(rate).is_none());
        let moved = history.moved(nll, GROWTH * history.start(nll)?);
        moved.filter(|_| is_supervised).map(|means| (nll, "the loss of demonstrations rose", means))
    };
    let fall = fall.map(|means| (rate, "the pass rate fell", means));
    let (name, what, (first, now)) = fall.or_else(grown)?;
    Some(Found {
        evidence: format!("{what} from {first:.2} to {now:.2}"),
        advice: advice.to_owned(),
        measured: vec![(name, now)],
        since: None,
    })
}
