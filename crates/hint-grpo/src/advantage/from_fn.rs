//! Closures as advantage estimators.

use super::{AdvantageEstimator, ScoredGroup};
use crate::error::GrpoError;

/// Turns a closure from a group to one advantage per completion into an [`AdvantageEstimator`]. The name goes into the
/// record of a run.
///
/// ```
/// use hint_grpo::advantage::{ScoredGroup, from_fn};
/// use hint_grpo::AdvantageEstimator;
///
/// let mut no_baseline = from_fn("rewards", |group: &ScoredGroup<'_>| group.rewards.to_vec());
/// assert_eq!(no_baseline.estimate(&ScoredGroup::new("p", &[1.0, 0.0])).unwrap(), [1.0, 0.0]);
/// ```
pub fn from_fn<F>(name: impl Into<String>, estimate: F) -> FnAdvantage<F>
where
    F: FnMut(&ScoredGroup<'_>) -> Vec<f64> + Send,
{
    FnAdvantage { name: name.into(), estimate }
}

/// A closure as an [`AdvantageEstimator`]; made by [`from_fn`].
pub struct FnAdvantage<F> {
    name: String,
    estimate: F,
}

impl<F> std::fmt::Debug for FnAdvantage<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FnAdvantage").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<F> AdvantageEstimator for FnAdvantage<F>
where
    F: FnMut(&ScoredGroup<'_>) -> Vec<f64> + Send,
{
    fn name(&self) -> String {
        self.name.clone()
    }

    fn estimate(&mut self, group: &ScoredGroup<'_>) -> Result<Vec<f64>, GrpoError> {
        Ok((self.estimate)(group))
    }
}
