//! A quantile of the group's rewards as a baseline.

use super::{STD_EPSILON, all_equal, at_least_two, sample_std};
use crate::advantage::{AdvantageEstimator, Baseline, ScoredGroup};
use crate::error::GrpoError;

/// Rewards minus a quantile of their group's rewards, optionally scaled by the standard deviation.
///
/// ```text
/// Â_i = (R_i − Q_K) / (std + ε)   or   R_i − Q_K,    Q_K = min { R : #{R_j ≤ R} ≥ K n }  (ADV-6)
/// ```
///
/// `Q_K` is the smallest reward that at least a share `K` of the rewards do not exceed; nothing is
/// interpolated. With rewards of 0 and 1 the baseline is 0 in a group with at most `1 − K` of
/// successes. Its successes are pushed up, and its failures are left alone. In an easier group the
/// baseline is 1, and failures are pushed down. `K = 1` is the maximum baseline: nothing is pushed up.
/// Source: (ADV-6) in [the book](../../../book/math.html#advantages). `ε = 1e-4`.
///
/// ```
/// use hint_grpo::AdvantageEstimator;
/// use hint_grpo::advantage::{Baseline, QuantileBaseline, ScoredGroup};
///
/// let group = ScoredGroup::new("p1", &[1.0, 0.0, 0.0, 0.0]);
/// let advantages = QuantileBaseline::new(0.5, Baseline::Group).unscaled().estimate(&group)?;
/// assert_eq!(advantages, [1.0, 0.0, 0.0, 0.0]); // Failures are left alone.
/// # Ok::<(), hint_grpo::GrpoError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QuantileBaseline {
    quantile: f64,
    baseline: Baseline,
    scale: bool,
}

impl QuantileBaseline {
    /// The quantile `K`, in `(0, 1]`, of the rewards of `baseline`; scaled by their deviation.
    pub const fn new(quantile: f64, baseline: Baseline) -> Self {
        Self { quantile, baseline, scale: true }
    }

    /// The maximum as the baseline, unscaled.
    pub const fn max(baseline: Baseline) -> Self {
        Self { quantile: 1.0, baseline, scale: false }
    }

    /// Without the division by the deviation.
    #[must_use]
    pub const fn unscaled(mut self) -> Self {
        self.scale = false;
        self
    }
}

impl AdvantageEstimator for QuantileBaseline {
    fn name(&self) -> String {
        format!("{self:?}")
    }

    fn estimate(&mut self, group: &ScoredGroup<'_>) -> Result<Vec<f64>, GrpoError> {
        at_least_two(group)?;
        let mut baseline = self.baseline.rewards(group);
        if all_equal(&baseline) {
            return Ok(vec![0.0; group.rewards.len()]);
        }
        let scale = if self.scale { sample_std(&baseline) + STD_EPSILON } else { 1.0 };
        baseline.sort_by(f64::total_cmp);
        // Rank of the quantile, from 1. The subtraction keeps 0.3 · 10 = 3.0000000000000004 at 3.
        let target = self.quantile * baseline.len() as f64 - 1e-9;
        let rank = (1..baseline.len()).find(|rank| *rank as f64 >= target);
        let quantile = baseline[rank.unwrap_or(baseline.len()) - 1];
        Ok(group.rewards.iter().map(|reward| (reward - quantile) / scale).collect())
    }
}
