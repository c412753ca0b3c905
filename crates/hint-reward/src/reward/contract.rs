//! Functions from a completion to a score.

use std::fmt;
use std::sync::Arc;

use crate::error::RewardError;
use crate::input::RewardInput;

/// Scores completions. Implement [`Reward::score`]; override [`Reward::score_group`] only when siblings must be
/// compared with each other (pairwise judges, diversity bonuses).
///
/// Scores are finite. [`Reward::score_group`] returns one score per input, in input order.
///
/// # Examples
///
/// ```
/// use hint_reward::{Reward, RewardError, RewardInput};
///
/// struct Brevity {
///     max_chars: usize,
/// }
///
/// impl Reward for Brevity {
///     fn name(&self) -> &str {
///         "brevity"
///     }
///     fn score(&self, input: &RewardInput<'_>) -> Result<f64, RewardError> {
///         Ok(f64::from(u8::from(input.completion.chars().count() <= self.max_chars)))
///     }
/// }
///
/// let brevity = Brevity { max_chars: 3 };
/// let group = [RewardInput::new("4", "4"), RewardInput::new("four", "4")];
/// assert_eq!(brevity.score_group(&group)?, [1.0, 0.0]);
/// # Ok::<(), RewardError>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a `Reward`",
    note = "wrap a closure `|input: &RewardInput<'_>| -> f64` with `hint_reward::from_fn(\"name\", closure)`"
)]
pub trait Reward: Send + Sync {
    /// Stable `snake_case` name, the NAME in the metrics `rewards/NAME/mean` and `rewards/NAME/std`.
    fn name(&self) -> &str;

    /// Name with settings, for the record of a run: a run is not resumed with another. The name by default.
    fn description(&self) -> String {
        self.name().to_owned()
    }

    /// Score of one completion. Any finite value; by convention `1.0` is correct and `0.0` is not.
    ///
    /// # Errors
    ///
    /// Return an error when the completion could not be judged. Never return `0.0` for that: an all-zero group
    /// triggers a hint.
    fn score(&self, input: &RewardInput<'_>) -> Result<f64, RewardError>;

    /// Scores of all completions of one problem, in input order.
    ///
    /// # Errors
    ///
    /// The first error of [`Reward::score`].
    fn score_group(&self, inputs: &[RewardInput<'_>]) -> Result<Vec<f64>, RewardError> {
        inputs.iter().map(|input| self.score(input)).collect()
    }

    /// Whether [`Reward::score`] gives the score that the completion has among others. Then completions are scored
    /// again one at a time where the group takes too long. False by default, for a reward that compares.
    fn scores_apart(&self) -> bool {
        false
    }

    /// Scores of all completions of one problem, in input order, each with its own error. By default those of
    /// [`Reward::score_group`], and after an error those of [`Reward::score`], one at a time. Override it where a score
    /// is expensive, such as the answer of a server, so that none is computed twice.
    fn score_each(&self, inputs: &[RewardInput<'_>]) -> Vec<Result<f64, RewardError>> {
        match self.score_group(inputs) {
            Ok(scores) => scores.into_iter().map(Ok).collect(),
            Err(_) => inputs.iter().map(|input| self.score(input)).collect(),
        }
    }
}

/// A closure as a [`Reward`]; see [`from_fn`].
#[derive(Clone)]
pub struct FnReward<F> {
    name: String,
    score: F,
}

impl<F> fmt::Debug for FnReward<F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("FnReward").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<F> Reward for FnReward<F>
where
    F: Fn(&RewardInput<'_>) -> f64 + Send + Sync,
{
    fn name(&self) -> &str {
        &self.name
    }

    fn scores_apart(&self) -> bool {
        true
    }

    fn score(&self, input: &RewardInput<'_>) -> Result<f64, RewardError> {
        Ok((self.score)(input))
    }
}

/// Turns a closure into a [`Reward`].
///
/// # Examples
///
/// ```
/// use hint_reward::{Reward, RewardInput, from_fn};
///
/// let reward = from_fn("ends_with_answer", |input| {
///     f64::from(u8::from(input.completion.trim_end().ends_with(input.reference)))
/// });
/// assert_eq!(reward.score(&RewardInput::new("It is 4", "4"))?, 1.0);
/// # Ok::<(), hint_reward::RewardError>(())
/// ```
pub fn from_fn<F>(name: impl Into<String>, score: F) -> FnReward<F>
where
    F: Fn(&RewardInput<'_>) -> f64 + Send + Sync,
{
    FnReward { name: name.into(), score }
}

macro_rules! forward_reward {
    ($pointer:ty) => {
        impl<R: Reward + ?Sized> Reward for $pointer {
            fn name(&self) -> &str {
                (**self).name()
            }

            fn description(&self) -> String {
                (**self).description()
            }

            fn score(&self, input: &RewardInput<'_>) -> Result<f64, RewardError> {
                (**self).score(input)
            }

            fn score_group(&self, inputs: &[RewardInput<'_>]) -> Result<Vec<f64>, RewardError> {
                (**self).score_group(inputs)
            }

            fn scores_apart(&self) -> bool {
                (**self).scores_apart()
            }

            fn score_each(&self, inputs: &[RewardInput<'_>]) -> Vec<Result<f64, RewardError>> {
                (**self).score_each(inputs)
            }
        }
    };
}

forward_reward!(&R);
forward_reward!(Box<R>);
forward_reward!(Arc<R>);
