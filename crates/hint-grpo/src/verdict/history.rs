//! The metrics of a run that the rules read, step by step.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use crate::metrics::{self, Metrics};

/// The metrics that rules read.
const READ: [&str; 23] = [
    metrics::COMPLETIONS_CLIPPED_RATIO,
    metrics::ENTROPY_TRAINED,
    metrics::EVAL_AVG,
    metrics::EVAL_AVG_HIGH,
    metrics::EVAL_AVG_LOW,
    metrics::EVAL_FAILED_FRAC,
    metrics::FRAC_REWARD_ZERO_STD,
    metrics::GRAD_NORM,
    metrics::HINT_HINTED_FRAC,
    metrics::HINT_LEAKING_ANSWER_FRAC,
    metrics::LEARNING_RATE,
    metrics::NLL,
    metrics::NUM_UPDATES,
    metrics::REWARD,
    metrics::ROLLOUT_ALL_RIGHT_FRAC,
    metrics::ROLLOUT_COLLAPSED_FRAC,
    metrics::ROLLOUT_DROPPED_FRAC,
    metrics::ROLLOUT_GRADED_FRAC,
    metrics::ROLLOUT_PASS_RATE,
    metrics::ROLLOUT_SHAPING_ONLY_FRAC,
    metrics::SAMPLING_LOGP_DIFFERENCE,
    metrics::SKIPPED_UPDATES,
    metrics::WEIGHTS_CHANGED_FRAC,
];

/// Derived, see [`History::wrong_after_hints`].
const WRONG: &str = "all wrong";
pub(super) const WRONG_AFTER_HINTS: &str = "all wrong after hints";
/// Derived: shares of groups, less the groups that a hint teaches. These may be any groups, so a share is the least that
/// it can be.
pub(super) const WRONG_UNTAUGHT: &str = "all wrong after hints, and not taught";
pub(super) const RIGHT_UNTAUGHT: &str = "all right, and not taught";
pub(super) const EQUAL_UNTAUGHT: &str = "equal rewards, and not taught";

/// Steps from which on means say something.
pub(super) const ENOUGH_STEPS: usize = 3;

/// Share of its bound to which a mean falls before it counts as within again. Otherwise the noise of a mean near its
/// bound would turn a verdict on and off.
const RELEASE: f64 = 0.8;

/// Standard errors of a difference of two means above which chance is an unlikely cause. More than one test would need:
/// every window of a run is compared, and one hit counts.
const CHANCE: f64 = 4.5;
/// Steps from which on the noise of a step is known well enough.
const ENOUGH_NOISE: usize = 20;

/// The metrics of a run that the rules read, step by step. Takes some 500 bytes per step.
///
/// ```
/// use hint_grpo::verdict::History;
///
/// // A line of `metrics.jsonl`.
/// let line = serde_json::json!({ "step": 1, "reward": 0.5 });
/// let mut history = History::new();
/// history.record_with(1, |name| line[name].as_f64());
/// assert_eq!(history.len(), 1);
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct History {
    steps: Vec<u64>,
    curves: BTreeMap<&'static str, Vec<(u64, f64)>>,
}

/// A metric over the latest steps.
#[derive(Debug, Clone, Copy)]
pub(super) struct Recent {
    pub(super) mean: f64,
    pub(super) most: f64,
    /// Steps that have it.
    pub(super) count: usize,
}

impl History {
    /// No steps.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the metrics of a finished step. Steps from this one on are forgotten first, so that a resumed run
    /// may take them again. Step 0 is the evaluation before the first step.
    pub fn record(&mut self, step: u64, metrics: &Metrics) {
        self.record_with(step, |name| metrics.get(name));
    }

    /// As [`History::record`], from metrics by name, such as a line of `metrics.jsonl`.
    pub fn record_with(&mut self, step: u64, value: impl Fn(&str) -> Option<f64>) {
        self.steps.truncate(self.steps.partition_point(|earlier| *earlier < step));
        for curve in self.curves.values_mut() {
            curve.truncate(curve.partition_point(|(earlier, _)| *earlier < step));
        }
        if step > 0 {
            self.steps.push(step);
        }
        let after = Self::wrong_after_hints(&value);
        let wrong = after.map(|(wrong, _)| wrong);
        let read = READ.iter().map(|name| (*name, value(name)));
        let derived = [(WRONG, wrong), (WRONG_AFTER_HINTS, after.map(|(_, after)| after))];
        let derived = derived.into_iter().chain(Self::of_groups(&value));
        for (name, value) in read.chain(derived) {
            if let Some(value) = value {
                self.curves.entry(name).or_default().push((step, value));
            }
        }
    }

    /// Share of groups in which every completion is wrong, before and after hints. `value` returns the metrics
    /// of a step. If plain completions are not sampled, every hinted group counts as wrong before.
    pub fn wrong_after_hints(value: impl Fn(&str) -> Option<f64>) -> Option<(f64, f64)> {
        let hinted = value(metrics::HINT_HINTED_FRAC).unwrap_or(0.0);
        let rescued = value(metrics::HINT_RESCUED_FRAC).unwrap_or(0.0);
        let wrong = value(metrics::ROLLOUT_ALL_WRONG_FRAC);
        let wrong = wrong.or_else(|| (hinted > 0.0).then_some(hinted))?;
        Some((wrong, wrong - hinted.min(wrong) * rescued))
    }

    /// Metrics of a step that has groups, by name: metrics that are left out where nothing was counted, and derived
    /// ones.
    fn of_groups(value: impl Fn(&str) -> Option<f64>) -> [(&'static str, Option<f64>); 7] {
        let wrong = Self::wrong_after_hints(&value).map(|(_, after)| after);
        let counted =
            |name: &'static str, least: f64| (name, wrong.map(|_| value(name).unwrap_or(least)));
        let taught = counted(metrics::HINT_TAUGHT_FRAC, 0.0);
        let untaught = |share: Option<f64>| Some((share? - taught.1?).max(0.0));
        [
            taught,
            counted(metrics::ROLLOUT_MISSING_GROUPS, 0.0),
            counted(metrics::ROLLOUT_NO_SIGNAL_FRAC, 0.0),
            counted(metrics::ROLLOUT_ROUNDS, 1.0),
            (WRONG_UNTAUGHT, untaught(wrong)),
            (RIGHT_UNTAUGHT, untaught(value(metrics::ROLLOUT_ALL_RIGHT_FRAC))),
            (EQUAL_UNTAUGHT, untaught(value(metrics::FRAC_REWARD_ZERO_STD))),
        ]
    }

    /// Steps.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether the history is empty.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The latest steps: a tenth, at least 5 and at most 50.
    fn span(&self) -> usize {
        (self.len() / 10).clamp(5, 50)
    }

    /// The first and the last of the latest steps.
    pub(super) fn window(&self) -> RangeInclusive<u64> {
        let first = self.len().saturating_sub(self.span());
        let at = |index: usize| self.steps.get(index).copied().unwrap_or(0);
        at(first)..=self.steps.last().copied().unwrap_or(0)
    }

    fn curve(&self, name: &str) -> &[(u64, f64)] {
        self.curves.get(name).map_or(&[], Vec::as_slice)
    }

    /// A metric over the latest steps.
    pub(super) fn recent(&self, name: &str) -> Option<Recent> {
        let (first, curve) = (*self.window().start(), self.curve(name));
        let curve = &curve[curve.partition_point(|(step, _)| *step < first)..];
        let sum = curve.iter().map(|(_, value)| value).sum::<f64>();
        let most = curve.iter().map(|(_, value)| *value).reduce(f64::max)?;
        Some(Recent { mean: sum / curve.len() as f64, most, count: curve.len() })
    }

    /// Its mean over the latest steps.
    pub(super) fn mean(&self, name: &str) -> Option<f64> {
        self.recent(name).map(|recent| recent.mean)
    }

    /// The mean of a metric over the latest steps, if it is beyond `bound`. It is once it rose above the bound, until it
    /// falls to four fifths of it.
    pub(super) fn beyond(&self, name: &str, bound: f64) -> Option<f64> {
        let is_beyond = self.latched(name, bound, RELEASE * bound);
        self.mean(name).filter(|_| is_beyond)
    }

    /// Whether a running mean last left the range from `off` to `on` at its upper end. It is over as many steps as the
    /// latest ones.
    pub(super) fn latched(&self, name: &str, on: f64, off: f64) -> bool {
        self.decided(name, |mean| (mean > on || mean <= off).then_some(mean > on))
    }

    /// The last decision that `decide` takes on a running mean, over as many steps as the latest ones; false without
    /// one.
    fn decided(&self, name: &str, decide: impl Fn(f64) -> Option<bool>) -> bool {
        let (span, curve) = (self.span(), self.curve(name));
        let end = |index: usize| curve.partition_point(|(step, _)| *step <= self.steps[index]);
        let least = ENOUGH_STEPS.min(self.len());
        let mut means = (least..=self.len()).rev().filter(|taken| *taken > 0).filter_map(|taken| {
            let first = self.steps[taken.saturating_sub(span)];
            let start = curve.partition_point(|(step, _)| *step < first);
            let within = curve.get(start..end(taken - 1)).filter(|within| !within.is_empty())?;
            Some(within.iter().map(|(_, value)| value).sum::<f64>() / within.len() as f64)
        });
        means.find_map(decide).unwrap_or(false)
    }

    /// The mean of a metric over the first steps and over the latest ones, if it has moved. It has where a running mean
    /// is `by` away from the first, and more than by chance. It has until it is halfway back. Nothing before 20 steps.
    pub(super) fn moved(&self, name: &str, by: f64) -> Option<(f64, f64)> {
        if self.curve(name).len() < ENOUGH_NOISE {
            return None;
        }
        let (first, now) = (self.start(name)?, self.mean(name)?);
        // The noise of a step, without a trend: from the differences of neighbors.
        let steps = self.curve(name).windows(2).map(|pair| pair[1].1 - pair[0].1);
        let count = self.curve(name).len().saturating_sub(1).max(1) as f64;
        let variance = steps.map(|step| step * step).sum::<f64>() / (2.0 * count);
        let chance = CHANCE * (2.0 * variance / self.span() as f64).sqrt();
        let bound = by.abs().max(chance);
        let is_away = self.decided(name, |mean| {
            let away = (mean - first) * by.signum();
            (away > bound || away <= bound / 2.0).then_some(away > bound)
        });
        is_away.then_some((first, now))
    }

    /// Accuracy without hints in the best evaluation and in the newest one, each with its step and its interval. Only
    /// where the newest is worse, and the intervals do not meet.
    pub(super) fn fallen_accuracy(&self) -> Option<[(u64, f64, [f64; 2]); 2]> {
        let scores = self.curve(metrics::EVAL_AVG).iter().filter_map(|&(step, avg)| {
            let low = self.at(metrics::EVAL_AVG_LOW, step)?;
            Some((step, avg, [low, self.at(metrics::EVAL_AVG_HIGH, step)?]))
        });
        let newest = scores.clone().next_back()?;
        let best = scores.reduce(|best, next| if next.2[0] > best.2[0] { next } else { best })?;
        (newest.2[1] < best.2[0]).then_some([best, newest])
    }

    /// The value of a metric at a step.
    fn at(&self, name: &str, step: u64) -> Option<f64> {
        let curve = self.curve(name);
        let index = curve.binary_search_by_key(&step, |(step, _)| *step).ok()?;
        Some(curve[index].1)
    }

    /// Shares of all-wrong groups before and after hints, over the latest steps.
    pub(super) fn wrong(&self) -> Option<(f64, f64)> {
        Some((self.mean(WRONG)?, self.mean(WRONG_AFTER_HINTS)?))
    }

    /// The mean of a metric over the first steps that have it, as many as the latest ones; nothing while both
    /// overlap.
    pub(super) fn start(&self, name: &str) -> Option<f64> {
        let (span, curve) = (self.span(), self.curve(name));
        let first = curve.get(..span).filter(|_| curve.len() >= 2 * span)?;
        Some(first.iter().map(|(_, value)| value).sum::<f64>() / span as f64)
    }

    /// The last value of a metric.
    pub(super) fn last(&self, name: &str) -> Option<f64> {
        self.curve(name).last().map(|(_, value)| *value)
    }

    /// Growth of a counter over the latest steps; without a step before them, since the first of them.
    pub(super) fn growth(&self, name: &str) -> Option<f64> {
        let (first, curve) = (*self.window().start(), self.curve(name));
        let before = curve.partition_point(|(step, _)| *step < first).saturating_sub(1);
        Some(self.last(name)? - curve.get(before)?.1)
    }
}
