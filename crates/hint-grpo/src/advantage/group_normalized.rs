//! Rewards centered, and optionally scaled, within their group.

use super::{STD_EPSILON, all_equal, at_least_two, mean, sample_std};
use crate::advantage::{AdvantageEstimator, Baseline, ScoredGroup};
use crate::error::GrpoError;

/// Rewards centered on a mean and, optionally, scaled by a standard deviation.
///
/// ```text
/// Â_i = (R_i − mean) / (std + ε)                                                       (ADV-1)
/// Â_i =  R_i − mean                                                                    (ADV-2)
/// ```
///
/// Mean and sample standard deviation (`n − 1`) are taken over the [`Baseline`]'s rewards. Source: (ADV-1), (ADV-2) in
/// [the book](../../../book/math.html#advantages); HINT and GRPO scale, Dr. GRPO does not. `ε = 1e-4`.
///
/// ```
/// use hint_grpo::AdvantageEstimator;
/// use hint_grpo::advantage::{Baseline, GroupNormalized, ScoredGroup};
///
/// let group = ScoredGroup::new("p1", &[1.0, 0.0, 0.0, 0.0]);
/// let advantages = GroupNormalized::mean_only(Baseline::Group).estimate(&group)?;
/// assert_eq!(advantages, [0.75, -0.25, -0.25, -0.25]);
/// # Ok::<(), hint_grpo::GrpoError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GroupNormalized {
    baseline: Baseline,
    scale: bool,
}

impl GroupNormalized {
    /// Centered and scaled, (ADV-1).
    pub const fn new(baseline: Baseline) -> Self {
        Self { baseline, scale: true }
    }

    /// Centered only, (ADV-2).
    pub const fn mean_only(baseline: Baseline) -> Self {
        Self { baseline, scale: false }
    }
}

impl AdvantageEstimator for GroupNormalized {
    fn name(&self) -> String {
        format!("{self:?}")
    }

    fn estimate(&mut self, group: &ScoredGroup<'_>) -> Result<Vec<f64>, GrpoError> {
        at_least_two(group)?;
        let baseline = self.baseline.rewards(group);
        if all_equal(&baseline) {
            return Ok(vec![0.0; group.rewards.len()]);
        }
        let mean = mean(&baseline);
        let scale = if self.scale { sample_std(&baseline) + STD_EPSILON } else { 1.0 };
        Ok(group.rewards.iter().map(|reward| (reward - mean) / scale).collect())
    }
}
