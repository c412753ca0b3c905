//! The trigger axis: when a group gets a hint.

use serde::{Deserialize, Serialize};

use crate::run::{RunPoint, RunProgress, Seed, ValueSchedule};

/// When a group is hinted. Reads verdicts, never shaped rewards: a group whose format bonuses sum to
/// something is still a group that solved nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum HintTrigger {
    /// Never: plain GRPO.
    Never {},
    /// Every group.
    Always {},
    /// When every plain completion is wrong (HINT).
    AllWrong {},
    /// When the share of correct plain completions is below `rate`.
    SuccessRateBelow {
        /// In `(0, 1]`.
        rate: f64,
    },
    /// With a probability that may change over the run.
    WithProbability {
        /// In `[0, 1]`.
        probability: ValueSchedule,
    },
    /// From a point of the run on.
    NotBefore {
        /// The point.
        start: RunPoint,
    },
    /// When all of several triggers fire.
    AllOf {
        /// The triggers. At least one.
        triggers: Vec<Self>,
    },
}

/// What a trigger looks at.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct TriggerInput {
    /// Plain completions judged correct.
    pub correct: usize,
    /// Plain completions judged.
    pub total: usize,
    /// Where the run is.
    pub progress: RunProgress,
    /// Seed of the group, for triggers that throw a coin.
    pub seed: Seed,
}

impl TriggerInput {
    /// A group with `correct` correct completions out of `total`, outside a run.
    pub const fn new(correct: usize, total: usize) -> Self {
        Self { correct, total, progress: RunProgress::new(0, 0), seed: Seed::new(0) }
    }

    /// Sets where the run is.
    #[must_use]
    pub const fn with_progress(mut self, progress: RunProgress) -> Self {
        self.progress = progress;
        self
    }

    /// Sets the seed.
    #[must_use]
    pub const fn with_seed(mut self, seed: Seed) -> Self {
        self.seed = seed;
        self
    }
}

impl HintTrigger {
    /// Whether a group gets a hint. One without a judged completion never does where the outcome
    /// matters.
    pub fn fires(&self, input: &TriggerInput) -> bool {
        let TriggerInput { correct, total, progress, seed } = *input;
        match self {
            Self::Never {} => false,
            Self::Always {} => true,
            Self::AllWrong {} => total > 0 && correct == 0,
            Self::SuccessRateBelow { rate } => total > 0 && (correct as f64) < rate * total as f64,
            Self::WithProbability { probability } => seed.unit() < probability.at(progress),
            Self::NotBefore { start } => start.is_reached(progress),
            Self::AllOf { triggers } => triggers.iter().zip(0..).all(|(trigger, index)| {
                trigger.fires(&TriggerInput { seed: seed.child(index), ..*input })
            }),
        }
    }

    /// Whether the plain completions have a say. If not, it is known before they are sampled which
    /// groups get a hint.
    pub fn looks_at_outcome(&self) -> bool {
        match self {
            Self::AllWrong {} | Self::SuccessRateBelow { .. } => true,
            Self::Never {}
            | Self::Always {}
            | Self::WithProbability { .. }
            | Self::NotBefore { .. } => false,
            Self::AllOf { triggers } => triggers.iter().any(Self::looks_at_outcome),
        }
    }

    /// Reports every violated constraint.
    pub(crate) fn check(&self, check: &mut dyn FnMut(&'static str, bool, &'static str, String)) {
        match self {
            Self::SuccessRateBelow { rate } => {
                let holds = *rate > 0.0 && *rate <= 1.0;
                check("trigger.rate", holds, "must be in (0, 1]", rate.to_string());
            }
            Self::WithProbability { probability } => {
                let holds = probability.all(|value| (0.0..=1.0).contains(&value));
                check(
                    "trigger.probability",
                    holds,
                    "must be in [0, 1]",
                    format!("{probability:?}"),
                );
            }
            Self::NotBefore { start } => {
                check("trigger.start", start.is_valid(), "must be in [0, 1]", format!("{start:?}"));
            }
            Self::AllOf { triggers } => {
                let len = triggers.len();
                check(
                    "trigger.triggers",
                    len > 0,
                    "must hold at least one trigger",
                    len.to_string(),
                );
                for trigger in triggers {
                    trigger.check(check);
                }
            }
            Self::Never {} | Self::Always {} | Self::AllWrong {} => {}
        }
    }
}
