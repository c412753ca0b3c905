//! The mean of the other rewards as a baseline.

use super::at_least_two;
use crate::advantage::{AdvantageEstimator, ScoredGroup};
use crate::error::GrpoError;

/// Leave-one-out baseline: the mean of the *other* rewards of the group.
///
/// ```text
/// Â_i = R_i − Σ_{j≠i} R_j / (n − 1)                                                    (ADV-3)
/// ```
///
/// Source: (ADV-3) in [the book](../../../book/math.html#advantages) (RLOO).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LeaveOneOut;

impl AdvantageEstimator for LeaveOneOut {
    fn name(&self) -> String {
        format!("{self:?}")
    }

    fn estimate(&mut self, group: &ScoredGroup<'_>) -> Result<Vec<f64>, GrpoError> {
        at_least_two(group)?;
        let total: f64 = group.rewards.iter().sum();
        let others = group.rewards.len() as f64 - 1.0;
        Ok(group.rewards.iter().map(|reward| reward - (total - reward) / others).collect())
    }
}
