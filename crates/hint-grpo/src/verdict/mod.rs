//! The verdict on a run in words: its health, the fault, and the advice.
//!
//! A [`History`] takes the metrics of each step; [`RunVerdict::of`] reads it with the run's configuration. Each
//! rule is a small file that returns nothing or a finding with its numbers. [`examples`] picks groups of the
//! rollout table that show the finding. [The book](../../../book/verdicts.html) has a section per condition.
//!
//! ```
//! use hint_grpo::verdict::{Condition, History, RunVerdict};
//! use hint_grpo::{GrpoConfig, Metrics, metrics};
//!
//! let mut history = History::new();
//! for step in 1..=5 {
//!     let mut of_step = Metrics::new();
//!     of_step.set(metrics::COMPLETIONS_CLIPPED_RATIO, 0.94);
//!     history.record(step, &of_step);
//! }
//! let verdict = RunVerdict::of(&history, &GrpoConfig::default());
//! assert_eq!(verdict.condition(), Some(Condition::CutOff));
//! assert!(verdict.to_string().starts_with("CUT OFF: 94 % of the completions"));
//! ```

use std::fmt;
use std::ops::RangeInclusive;

use serde::Serialize;

use crate::config::GrpoConfig;
use crate::metrics;

mod collapsing;
mod cut_off;
mod examples;
mod frozen;
mod history;
mod leaking;
mod mismatch;
mod pseudo_signal;
mod saturated;
mod signal;
mod starved;
mod unjudged;
mod worsening;

pub use examples::{Example, examples};
pub use history::History;

use history::ENOUGH_STEPS;

/// The state of a run, from the most to the least urgent: a condition may be the cause of a later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Condition {
    /// Completions cannot be judged.
    Unjudged,
    /// Completions are cut off at the token limit.
    CutOff,
    /// The engine and the trainer assign different probabilities to the same tokens.
    Mismatch,
    /// Hints give the answer away.
    Leaking,
    /// Rewards differ by shaping alone: within a group, all completions are right or all are wrong.
    PseudoSignal,
    /// Groups are all wrong, and hints rescue few of them.
    Starved,
    /// Groups are all right.
    Saturated,
    /// The policy hardly explores.
    Collapsing,
    /// The weights do not change.
    Frozen,
    /// The policy is worse than it was. Last, since the others may be the cause.
    Worsening,
    /// No rule has a finding.
    Healthy,
}

impl Condition {
    /// Every condition, in declaration order.
    pub const ALL: [Self; 11] = [
        Self::Unjudged,
        Self::CutOff,
        Self::Mismatch,
        Self::Leaking,
        Self::PseudoSignal,
        Self::Starved,
        Self::Saturated,
        Self::Collapsing,
        Self::Frozen,
        Self::Worsening,
        Self::Healthy,
    ];

    /// The name in capitals, as displays show it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unjudged => "UNJUDGED",
            Self::CutOff => "CUT OFF",
            Self::Mismatch => "MISMATCH",
            Self::Leaking => "LEAKING",
            Self::PseudoSignal => "PSEUDO-SIGNAL",
            Self::Starved => "STARVED",
            Self::Saturated => "SATURATED",
            Self::Worsening => "WORSENING",
            Self::Collapsing => "COLLAPSING",
            Self::Frozen => "FROZEN",
            Self::Healthy => "HEALTHY",
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// When a condition holds.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Rule {
    /// The condition.
    pub condition: Condition,
    /// When it holds, as one clause.
    pub when: &'static str,
    find: fn(&History, &GrpoConfig) -> Option<Found>,
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rule").field("condition", &self.condition).finish_non_exhaustive()
    }
}

/// Every rule, in the order of [`Condition`].
pub const RULES: [Rule; 10] = [
    unjudged::RULE,
    cut_off::RULE,
    mismatch::RULE,
    leaking::RULE,
    pseudo_signal::RULE,
    starved::RULE,
    saturated::RULE,
    collapsing::RULE,
    frozen::RULE,
    worsening::RULE,
];

/// Finding of a rule.
struct Found {
    evidence: String,
    advice: String,
    measured: Vec<(&'static str, f64)>,
    /// The first step that was looked at, if it is not that of the latest ones.
    since: Option<u64>,
}

/// A condition of a run, with its evidence.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// The condition.
    pub condition: Condition,
    /// The measurement, as a clause.
    pub evidence: String,
    /// Advice, with keys of the configuration in backticks.
    pub advice: String,
    /// The metrics behind the evidence, with their means over the steps.
    pub measured: Vec<(&'static str, f64)>,
    /// The first and the last step that were looked at.
    pub steps: RangeInclusive<u64>,
}

impl Finding {
    /// The steps that were looked at: `step 3`, `steps 6–10`.
    pub fn steps_in_words(&self) -> String {
        let (first, last) = (self.steps.start(), self.steps.end());
        if first == last { format!("step {last}") } else { format!("steps {first}–{last}") }
    }

    /// Whether it was found in evaluations.
    pub fn is_of_evaluation(&self) -> bool {
        self.has(metrics::EVAL_AVG) || self.has(metrics::EVAL_FAILED_FRAC)
    }

    /// Whether a metric is behind it.
    fn has(&self, name: &str) -> bool {
        self.measured.iter().any(|(measured, _)| *measured == name)
    }
}

impl fmt::Display for Finding {
    /// Condition, evidence and steps, without the advice.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { condition, evidence, .. } = self;
        write!(f, "{condition}: {evidence} ({})", self.steps_in_words())
    }
}

/// Findings of all rules.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[non_exhaustive]
pub struct RunVerdict {
    /// The findings, the most urgent first.
    pub findings: Vec<Finding>,
    /// Steps in the history.
    pub steps: usize,
    /// While it is too early for a verdict: what the most urgent rule would say of the steps so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub so_far: Option<String>,
}

impl RunVerdict {
    /// Asks every rule about the latest steps: a tenth of the history, at least 5 and at most 50.
    pub fn of(history: &History, config: &GrpoConfig) -> Self {
        let steps = history.window();
        let find = |rule: &Rule| {
            let Found { evidence, advice, measured, since } = (rule.find)(history, config)?;
            let steps = since.unwrap_or(*steps.start())..=*steps.end();
            let condition = rule.condition;
            Some(Finding { condition, evidence, advice, measured, steps })
        };
        // A few steps say no more than how long completions are, and whether they can be judged.
        let is_certain = |finding: &Finding| {
            let of_one_step = matches!(finding.condition, Condition::Unjudged | Condition::CutOff);
            of_one_step || history.len() >= ENOUGH_STEPS
        };
        let (findings, early) = RULES.iter().filter_map(find).partition::<Vec<_>, _>(is_certain);
        let so_far = early.into_iter().next().map(|finding| finding.evidence);
        Self { findings, steps: history.len(), so_far }
    }

    /// The most urgent condition; `None` before there are enough steps.
    pub fn condition(&self) -> Option<Condition> {
        match self.findings.first() {
            Some(finding) => Some(finding.condition),
            None if self.steps < ENOUGH_STEPS => None,
            None => Some(Condition::Healthy),
        }
    }
}

impl fmt::Display for RunVerdict {
    /// One line: the most urgent finding, and the names of the others.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((first, others)) = self.findings.split_first() else {
            return match self.condition() {
                Some(condition) => write!(f, "{condition}"),
                None => match &self.so_far {
                    Some(evidence) => write!(f, "too early for a verdict; so far {evidence}"),
                    None => write!(f, "too early for a verdict"),
                },
            };
        };
        write!(f, "{first}")?;
        for (index, finding) in others.iter().enumerate() {
            write!(f, "{}{}", if index == 0 { "; also " } else { ", " }, finding.condition)?;
        }
        Ok(())
    }
}

/// A share in percent, to two digits where it is small.
fn percent(share: f64) -> String {
    let value = 100.0 * share;
    if value == 0.0 || value >= 1.0 { format!("{value:.0} %") } else { format!("{value:.2} %") }
}
