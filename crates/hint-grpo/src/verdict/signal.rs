//! Groups without a signal: the shares that count for a method, and the cost of drawing others in their place.

use hint_rollout::collect::curriculum::DynamicSampling;
use hint_rollout::collect::hinted::{Combine as _, Taught};
use hint_rollout::hint::source::HintSourceConfig;

use super::history::{EQUAL_UNTAUGHT, RIGHT_UNTAUGHT, WRONG_AFTER_HINTS, WRONG_UNTAUGHT};
use super::{History, percent};
use crate::config::GrpoConfig;
use crate::metrics;
use crate::objective::Credit;

/// Share of groups from which on most of the sampling is for nothing.
pub(super) const BOUND: f64 = 0.8;
/// Share of a step's groups that may be missing where dynamic sampling draws others.
const MISSING: f64 = 0.05;

/// Names of the shares of groups without a signal.
pub(super) struct Shares {
    /// All wrong after hints.
    pub(super) wrong: &'static str,
    pub(super) right: &'static str,
    /// With equal rewards.
    pub(super) equal: &'static str,
}

impl Shares {
    /// The shares that count under `config`: a hint that teaches may give groups of equal rewards a gradient.
    pub(super) fn of(config: &GrpoConfig) -> Self {
        let is_credited = is_taught(config) && !config.loss.credit.form.ignores_zero_advantage();
        if is_credited {
            let taught = config.rollout.combine.teaching().map(|teaching| teaching.completions);
            let of_peers = config.rollout.source == HintSourceConfig::PeerSuccess;
            // A group without a success has nothing to show, and no correct completion to teach.
            let never_wrong = of_peers || taught == Some(Taught::Correct);
            let never_right = taught == Some(Taught::Wrong);
            Self {
                wrong: if never_wrong { WRONG_AFTER_HINTS } else { WRONG_UNTAUGHT },
                right: if never_right { metrics::ROLLOUT_ALL_RIGHT_FRAC } else { RIGHT_UNTAUGHT },
                equal: EQUAL_UNTAUGHT,
            }
        } else {
            Self {
                wrong: WRONG_AFTER_HINTS,
                right: metrics::ROLLOUT_ALL_RIGHT_FRAC,
                equal: metrics::FRAC_REWARD_ZERO_STD,
            }
        }
    }
}

/// Whether hints are to teach plain completions.
pub(super) fn is_taught(config: &GrpoConfig) -> bool {
    config.rollout.combine.teaching().is_some()
}

/// Whether rewards are graded, so that groups of equal verdicts have a signal: more of them than the bound leaves.
pub(super) fn is_graded(history: &History) -> bool {
    history.mean(metrics::ROLLOUT_GRADED_FRAC).is_some_and(|graded| graded > 1.0 - BOUND)
}

/// Whether further problems are drawn in place of groups without a signal.
pub(super) fn redraws(config: &GrpoConfig) -> bool {
    config.rollout.dynamic_sampling != DynamicSampling::Off
}

/// The cost of drawing others.
pub(super) struct Redrawn {
    /// Shares of the groups drawn that are all wrong after hints, and all right.
    pub(super) wrong: f64,
    pub(super) right: f64,
    pub(super) measured: Vec<(&'static str, f64)>,
    no_signal: f64,
    cost: String,
}

impl Redrawn {
    /// The cost, where it is high: most groups have no signal, or the rounds end before the step has its groups.
    pub(super) fn of(history: &History, config: &GrpoConfig) -> Option<Self> {
        let DynamicSampling::UntilSignal { max_rounds, .. } = config.rollout.dynamic_sampling
        else {
            return None;
        };
        let wanted = config.run.prompts_per_step as f64;
        let missing = history.beyond(metrics::ROLLOUT_MISSING_GROUPS, MISSING * wanted);
        let is_costly = history.beyond(metrics::ROLLOUT_NO_SIGNAL_FRAC, BOUND).is_some();
        if missing.is_none() && !is_costly {
            return None;
        }
        let (_, wrong) = history.wrong()?;
        let right = history.mean(metrics::ROLLOUT_ALL_RIGHT_FRAC).unwrap_or(0.0);
        let no_signal = history.mean(metrics::ROLLOUT_NO_SIGNAL_FRAC)?;
        let rounds = history.mean(metrics::ROLLOUT_ROUNDS).unwrap_or(1.0);
        let mut cost = format!("a step takes {rounds:.1} of {max_rounds} rounds");
        let mut measured =
            vec![(metrics::ROLLOUT_NO_SIGNAL_FRAC, no_signal), (metrics::ROLLOUT_ROUNDS, rounds)];
        if let Some(missing) = missing {
            cost = format!("{cost} and lacks {} of its groups", percent(missing / wanted));
            measured.push((metrics::ROLLOUT_MISSING_GROUPS, missing));
        }
        Some(Self { wrong, right, measured, no_signal, cost })
    }

    /// The cost as a clause, with the share of groups that are of the kind `kind`.
    pub(super) fn evidence(&self, share: f64, kind: &str) -> String {
        let Self { no_signal, cost, .. } = self;
        let (no_signal, share) = (percent(*no_signal), percent(share));
        format!("{no_signal} of the groups drawn have no signal, {share} are {kind}; {cost}")
    }
}
