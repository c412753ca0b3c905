//! From rewards to advantages: plain arithmetic on slices, no tensors.
//!
//! An [`AdvantageEstimator`] gets the rewards of each group as a [`ScoredGroup`] and returns one number per
//! completion. Most of them look at one group at a time ([`GroupNormalized`], [`LeaveOneOut`],
//! [`QuantileBaseline`]), some at the whole batch ([`BatchNormalized`], [`Whitened`]). A [`Baseline`]
//! chooses the rewards that center a hinted group. [`AdvantageConfig`] names them in a configuration.

use crate::error::GrpoError;

mod baseline;
mod batch_normalized;
mod config;
mod from_fn;
mod group_normalized;
mod leave_one_out;
mod quantile;
mod whitened;

pub use baseline::Baseline;
pub use batch_normalized::BatchNormalized;
pub use config::AdvantageConfig;
pub use from_fn::{FnAdvantage, from_fn};
pub use group_normalized::GroupNormalized;
pub use leave_one_out::LeaveOneOut;
pub use quantile::QuantileBaseline;
pub use whitened::Whitened;

/// The rewards of one group.
///
/// ```
/// use hint_grpo::AdvantageEstimator;
/// use hint_grpo::advantage::{Baseline, GroupNormalized, ScoredGroup};
///
/// // Two hinted completions are right; the two plain ones whose place they took were wrong.
/// let group = ScoredGroup::new("p1", &[1.0, 1.0]).with_replaced(&[0.0, 0.0]);
/// let advantages = GroupNormalized::mean_only(Baseline::Union).estimate(&group)?;
/// assert_eq!(advantages, [0.5, 0.5]);
/// # Ok::<(), hint_grpo::GrpoError>(())
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct ScoredGroup<'a> {
    /// Problem id, for error messages.
    pub problem_id: &'a str,
    /// Reward of each completion that trains, in group order.
    pub rewards: &'a [f64],
    /// Rewards of the plain completions that a hinted group replaced; empty for a plain group.
    pub replaced: &'a [f64],
}

impl<'a> ScoredGroup<'a> {
    /// A plain group.
    pub const fn new(problem_id: &'a str, rewards: &'a [f64]) -> Self {
        Self { problem_id, rewards, replaced: &[] }
    }

    /// Adds the rewards of the plain completions that this group replaced.
    #[must_use]
    pub const fn with_replaced(mut self, replaced: &'a [f64]) -> Self {
        self.replaced = replaced;
        self
    }
}

/// Turns rewards into advantages. Implement [`AdvantageEstimator::estimate`]; override
/// [`AdvantageEstimator::estimate_batch`] only when groups must see each other.
///
/// ```
/// use hint_grpo::advantage::ScoredGroup;
/// use hint_grpo::{AdvantageEstimator, GrpoError};
///
/// /// Rewards themselves: REINFORCE without a baseline.
/// struct NoBaseline;
///
/// impl AdvantageEstimator for NoBaseline {
///     fn estimate(&mut self, group: &ScoredGroup<'_>) -> Result<Vec<f64>, GrpoError> {
///         Ok(group.rewards.to_vec())
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no advantage estimator",
    note = "a closure from a group to its advantages becomes one through `hint_grpo::advantage::from_fn(\"name\", closure)`"
)]
pub trait AdvantageEstimator: Send {
    /// Its name and its settings, for the record of a run: a run is not resumed with others. By default the name of
    /// its type: a part with settings writes them too.
    fn name(&self) -> String {
        std::any::type_name::<Self>().to_owned()
    }

    /// One finite advantage per completion, in group order. `&mut self` because some baselines are
    /// running averages.
    ///
    /// # Errors
    ///
    /// [`GrpoError::GroupTooSmall`], or a user's own error through [`GrpoError::other`].
    fn estimate(&mut self, group: &ScoredGroup<'_>) -> Result<Vec<f64>, GrpoError>;

    /// The advantages of all groups of a rollout batch, in order. The trainer calls this once a step.
    /// The default estimates one group after the other.
    ///
    /// # Errors
    ///
    /// As [`AdvantageEstimator::estimate`].
    fn estimate_batch(&mut self, groups: &[ScoredGroup<'_>]) -> Result<Vec<Vec<f64>>, GrpoError> {
        groups.iter().map(|group| self.estimate(group)).collect()
    }

    /// State to checkpoint, such as a running baseline. Stateless estimators keep the default.
    fn state(&self) -> Vec<f64> {
        Vec::new()
    }

    /// Restores a value of [`AdvantageEstimator::state`].
    ///
    /// # Errors
    ///
    /// A user's own error through [`GrpoError::other`] when the state does not fit.
    fn load_state(&mut self, state: &[f64]) -> Result<(), GrpoError> {
        let _ = state;
        Ok(())
    }
}

impl<E: AdvantageEstimator + ?Sized> AdvantageEstimator for Box<E> {
    fn name(&self) -> String {
        (**self).name()
    }

    fn estimate(&mut self, group: &ScoredGroup<'_>) -> Result<Vec<f64>, GrpoError> {
        (**self).estimate(group)
    }

    fn estimate_batch(&mut self, groups: &[ScoredGroup<'_>]) -> Result<Vec<Vec<f64>>, GrpoError> {
        (**self).estimate_batch(groups)
    }

    fn state(&self) -> Vec<f64> {
        (**self).state()
    }

    fn load_state(&mut self, state: &[f64]) -> Result<(), GrpoError> {
        (**self).load_state(state)
    }
}

/// Keeps a division by a standard deviation finite where rewards hardly differ. Source: TRL and the
/// HINT reference code.
const STD_EPSILON: f64 = 1e-4;

fn at_least_two(group: &ScoredGroup<'_>) -> Result<(), GrpoError> {
    if group.rewards.len() >= 2 {
        return Ok(());
    }
    Err(GrpoError::GroupTooSmall {
        problem: group.problem_id.to_owned(),
        found: group.rewards.len(),
        min: 2,
    })
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Sample deviation (`n − 1`), as `torch.std` has it by default; 0 for fewer
/// than two values.
fn sample_std(values: &[f64]) -> f64 {
    if values.len() < 2 {
        return 0.0;
    }
    let mean = mean(values);
    let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
    (squares / (values.len() as f64 - 1.0)).sqrt()
}

/// Equal rewards must give exactly 0, for any rounding of the mean of n copies of them.
fn all_equal(values: &[f64]) -> bool {
    values.iter().all(|value| *value == values[0])
}
