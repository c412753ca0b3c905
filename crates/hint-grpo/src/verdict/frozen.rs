//! The weights do not change.

use super::{Condition, Found, History, Rule, percent};
use crate::config::GrpoConfig;
use crate::metrics;

/// Share of the weights that has to change in a step.
const CHANGED: f64 = 0.001;
/// Steps below which a pause, such as the start of a warm-up, is no finding.
const STEPS: usize = 3;

pub(super) const RULE: Rule = Rule {
    condition: Condition::Frozen,
    when: "over at least three steps: learning rate or gradient 0, most optimizer steps skipped, or fewer than 0.1 % of \
           the weights changed",
    find,
};

fn find(history: &History, _config: &GrpoConfig) -> Option<Found> {
    let recent = |name| history.recent(name).filter(|recent| recent.count >= STEPS);
    let is_zero = |name| recent(name).is_some_and(|recent| recent.most == 0.0);
    let found = |evidence: String, advice: &str, measured| {
        Some(Found { evidence, advice: advice.to_owned(), measured: vec![measured], since: None })
    };
    if is_zero(metrics::LEARNING_RATE) {
        let advice = "the schedule has ended: see `optimizer.schedule` and `run.schedule_steps`";
        let measured = (metrics::LEARNING_RATE, 0.0);
        return found("the learning rate is 0".to_owned(), advice, measured);
    }
    let skipped = history.growth(metrics::SKIPPED_UPDATES).unwrap_or(0.0);
    let taken = history.growth(metrics::NUM_UPDATES).unwrap_or(0.0);
    if history.len() >= STEPS && skipped > taken {
        let advice = "see the warnings of the steps for the loss and the norm; lower `optimizer.learning_rate`, or \
                      widen `optimizer.guard.outlier_factor`";
        let evidence = format!("{skipped} of {} optimizer steps were skipped", skipped + taken);
        return found(evidence, advice, (metrics::SKIPPED_UPDATES, skipped));
    }
    if is_zero(metrics::GRAD_NORM) {
        let advice = "no token has a gradient: every group has equal rewards, or every completion is masked \
                      (`rollout.mask_truncated`); mend the finding above, if there is one";
        return found("the gradient is 0".to_owned(), advice, (metrics::GRAD_NORM, 0.0));
    }
    let changed = recent(metrics::WEIGHTS_CHANGED_FRAC)?.mean;
    if changed >= CHANGED {
        return None;
    }
    let advice = "updates are below the resolution of the weights: raise `optimizer.learning_rate`";
    let evidence = format!("{} of the weights change in a step", percent(changed));
    found(evidence, advice, (metrics::WEIGHTS_CHANGED_FRAC, changed))
}
