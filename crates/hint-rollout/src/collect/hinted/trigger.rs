//! The trigger axis: when a group gets a hint.

use serde::{Deserialize, Serialize};

use crate::collect::hinted::from_fn::from_closure;
use crate::error::Violations;
use crate::run::{RunPoint, RunProgress, Seed, ValueSchedule, no_fields, state};

/// When a group gets hints. Reads verdicts, never shaped rewards: a group whose format bonuses sum to
/// something is still a group that solved nothing.
///
/// [`HintTrigger`] holds the ones that a configuration can name. An implementation of your own goes to
/// [`Collector::with_trigger`](crate::collect::Collector::with_trigger); it may be a closure, see
/// [`from_fn`](crate::collect::hinted::from_fn).
///
/// ```
/// use hint_rollout::Trigger;
/// use hint_rollout::collect::hinted::TriggerInput;
///
/// /// Hints for failures, in the first half of the run.
/// struct EarlyFailures;
///
/// impl Trigger for EarlyFailures {
///     fn name(&self) -> String {
///         "early_failures".to_owned()
///     }
///
///     fn fires(&self, input: &TriggerInput) -> bool {
///         input.correct == 0 && input.progress.fraction() < 0.5
///     }
/// }
///
/// assert!(EarlyFailures.fires(&TriggerInput::new(0, 8)));
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no trigger",
    note = "a closure becomes one through `hint_rollout::collect::hinted::from_fn(\"name\", closure)`"
)]
pub trait Trigger: Send + Sync {
    /// Its name and its settings, for the record of a run: a run is not resumed with others. By default the name of its
    /// type: a part with settings writes them too.
    fn name(&self) -> String {
        std::any::type_name::<Self>().to_owned()
    }

    /// Whether a group gets hints.
    fn fires(&self, input: &TriggerInput) -> bool;

    /// Whether the decision depends on the plain completions. If not, it is made before they are
    /// sampled.
    fn looks_at_outcome(&self) -> bool {
        true
    }
}

from_closure!(Trigger: fires(input: &TriggerInput) -> bool);

/// The triggers that a configuration can name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum HintTrigger {
    /// Never: plain GRPO.
    #[serde(deserialize_with = "no_fields")]
    Never,
    /// Every group.
    #[serde(deserialize_with = "no_fields")]
    Always,
    /// When every plain completion is wrong (HINT).
    #[serde(deserialize_with = "no_fields")]
    AllWrong,
    /// When the share of correct plain completions is below `rate`.
    SuccessRateBelow {
        /// In `(0, 1]`.
        rate: f64,
    },
    /// When the plain completions gave few different answers: fewer than `share` of their number. Completions without an
    /// answer count as one answer.
    AnswerDiversityBelow {
        /// In `(0, 1]`.
        share: f64,
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

/// Inputs of a trigger.
///
/// ```
/// use hint_rollout::Trigger;
/// use hint_rollout::collect::hinted::{HintTrigger, TriggerInput};
///
/// let trigger = HintTrigger::SuccessRateBelow { rate: 0.25 };
/// assert!(trigger.fires(&TriggerInput::new(1, 8)));
/// assert!(!trigger.fires(&TriggerInput::new(2, 8)));
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct TriggerInput {
    /// Plain completions judged correct.
    pub correct: usize,
    /// Plain completions judged.
    pub total: usize,
    /// Different answers that they gave.
    pub answers: usize,
    /// Progress of the run.
    pub progress: RunProgress,
    /// Seed of the group, for triggers that throw a coin.
    pub seed: Seed,
}

impl TriggerInput {
    /// A group with `correct` correct completions out of `total`, all of them different, outside a run.
    pub const fn new(correct: usize, total: usize) -> Self {
        Self {
            correct,
            total,
            answers: total,
            progress: RunProgress::new(0, 0),
            seed: Seed::new(0),
        }
    }

    /// Sets how many different answers they gave.
    #[must_use]
    pub const fn with_answers(mut self, answers: usize) -> Self {
        self.answers = answers;
        self
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

impl Trigger for HintTrigger {
    fn name(&self) -> String {
        state::described(self)
    }

    /// A group without a judged completion never gets hints where the outcome matters.
    fn fires(&self, input: &TriggerInput) -> bool {
        let TriggerInput { correct, total, answers, progress, seed } = *input;
        match self {
            Self::Never => false,
            Self::Always => true,
            Self::AllWrong => total > 0 && correct == 0,
            Self::SuccessRateBelow { rate } => total > 0 && (correct as f64) < rate * total as f64,
            Self::AnswerDiversityBelow { share } => (answers as f64) < share * total as f64,
            Self::WithProbability { probability } => seed.unit() < probability.at(progress),
            Self::NotBefore { start } => start.is_reached(progress),
            Self::AllOf { triggers } => triggers.iter().zip(0..).all(|(trigger, index)| {
                trigger.fires(&TriggerInput { seed: seed.child(index), ..*input })
            }),
        }
    }

    fn looks_at_outcome(&self) -> bool {
        match self {
            Self::AllWrong | Self::SuccessRateBelow { .. } | Self::AnswerDiversityBelow { .. } => {
                true
            }
            Self::Never | Self::Always | Self::WithProbability { .. } | Self::NotBefore { .. } => {
                false
            }
            Self::AllOf { triggers } => triggers.iter().any(Self::looks_at_outcome),
        }
    }
}

impl HintTrigger {
    pub(crate) fn check(&self, at: &mut Violations) {
        match self {
            Self::SuccessRateBelow { rate } => at.positive_share("rate", *rate),
            Self::AnswerDiversityBelow { share } => at.positive_share("share", *share),
            Self::WithProbability { probability } => probability.check(at, "probability"),
            Self::NotBefore { start } => {
                let found = format_args!("{start:?}");
                at.require(start.is_valid(), "start", "must be in [0, 1]", found);
            }
            Self::AllOf { triggers } => {
                let expected = "must hold at least one trigger";
                at.require(!triggers.is_empty(), "triggers", expected, "none");
                for (index, trigger) in triggers.iter().enumerate() {
                    at.within(format_args!("triggers[{index}]"), |at| trigger.check(at));
                }
            }
            Self::Never | Self::Always | Self::AllWrong => {}
        }
    }
}
