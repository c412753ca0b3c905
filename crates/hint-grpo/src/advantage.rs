//! From the rewards of a group to advantages. Plain arithmetic on slices, no tensors.

use serde::{Deserialize, Serialize};

use crate::GrpoError;

/// The rewards of one group.
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

/// Turns the rewards of one group into advantages.
///
/// ```
/// use hint_grpo::{AdvantageEstimator, GrpoError, ScoredGroup};
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
pub trait AdvantageEstimator: Send {
    /// One finite advantage per completion, in group order. `&mut self` because some baselines are
    /// running averages.
    ///
    /// # Errors
    ///
    /// [`GrpoError::GroupTooSmall`], or a user's own error through [`GrpoError::other`].
    fn estimate(&mut self, group: &ScoredGroup<'_>) -> Result<Vec<f64>, GrpoError>;

    /// State to checkpoint, such as a running baseline. Stateless estimators keep the default.
    fn state(&self) -> Vec<f64> {
        Vec::new()
    }

    /// Restores what [`AdvantageEstimator::state`] returned.
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
    fn estimate(&mut self, group: &ScoredGroup<'_>) -> Result<Vec<f64>, GrpoError> {
        (**self).estimate(group)
    }

    fn state(&self) -> Vec<f64> {
        (**self).state()
    }

    fn load_state(&mut self, state: &[f64]) -> Result<(), GrpoError> {
        (**self).load_state(state)
    }
}

/// Whose rewards centre (and scale) the advantages of a hinted group. A plain group is its own
/// baseline either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Baseline {
    /// The hinted group's own rewards, as published. What all its completions share, such as
    /// choosing the strategy at all, then gets no gradient, since the advantages sum to zero.
    Group {},
    /// The union of the hinted group and the plain group it replaced. What the hinted completions
    /// share and the plain ones lack gets a positive weight.
    Union {},
}

/// Rewards centred on a mean and, optionally, scaled by a standard deviation.
///
/// ```text
/// Â_i = (R_i − mean) / (std + ε)                                                       (ADV-1)
/// Â_i =  R_i − mean                                                                    (ADV-2)
/// ```
///
/// Mean and sample standard deviation (`n − 1`) are those of the [`Baseline`]'s rewards. Source:
/// (ADV-1), (ADV-2) in `docs/math.md`; HINT and GRPO scale, Dr. GRPO does not. `ε = 1e-4`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GroupNormalized {
    baseline: Baseline,
    scale: bool,
}

/// Keeps the division finite where rewards hardly differ. Source: TRL and the HINT reference code.
const STD_EPSILON: f64 = 1e-4;

impl GroupNormalized {
    /// Centred and scaled, (ADV-1).
    pub const fn new(baseline: Baseline) -> Self {
        Self { baseline, scale: true }
    }

    /// Centred only, (ADV-2).
    pub const fn mean_only(baseline: Baseline) -> Self {
        Self { baseline, scale: false }
    }
}

impl AdvantageEstimator for GroupNormalized {
    fn estimate(&mut self, group: &ScoredGroup<'_>) -> Result<Vec<f64>, GrpoError> {
        at_least_two(group)?;
        let baseline = match self.baseline {
            Baseline::Group {} => group.rewards.to_vec(),
            Baseline::Union {} => [group.rewards, group.replaced].concat(),
        };
        // Equal rewards must give exactly 0, whatever the mean of n copies of them rounds to.
        if baseline.iter().all(|reward| *reward == baseline[0]) {
            return Ok(vec![0.0; group.rewards.len()]);
        }
        let mean = mean(&baseline);
        // Sample deviation (n − 1), as `torch.std` defaults to in the reference; NumPy uses n.
        let squares = baseline.iter().map(|reward| (reward - mean).powi(2)).sum::<f64>();
        let std = (squares / (baseline.len() as f64 - 1.0)).sqrt();
        let scale = if self.scale { std + STD_EPSILON } else { 1.0 };
        Ok(group.rewards.iter().map(|reward| (reward - mean) / scale).collect())
    }
}

/// Leave-one-out baseline: the mean of the *other* rewards of the group.
///
/// ```text
/// Â_i = R_i − Σ_{j≠i} R_j / (n − 1)                                                    (ADV-3)
/// ```
///
/// Source: (ADV-3) in `docs/math.md` (RLOO).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LeaveOneOut;

impl AdvantageEstimator for LeaveOneOut {
    fn estimate(&mut self, group: &ScoredGroup<'_>) -> Result<Vec<f64>, GrpoError> {
        at_least_two(group)?;
        let total: f64 = group.rewards.iter().sum();
        let others = group.rewards.len() as f64 - 1.0;
        Ok(group.rewards.iter().map(|reward| reward - (total - reward) / others).collect())
    }
}

fn at_least_two(group: &ScoredGroup<'_>) -> Result<(), GrpoError> {
    if group.rewards.len() >= 2 {
        return Ok(());
    }
    Err(GrpoError::GroupTooSmall {
        problem: group.problem_id.to_owned(),
        got: group.rewards.len(),
        min: 2,
    })
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}
