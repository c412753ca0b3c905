//! Rewards whitened over the batch.

use super::{STD_EPSILON, all_equal, mean, sample_std};
use crate::advantage::{AdvantageEstimator, Baseline, ScoredGroup};
use crate::error::GrpoError;

/// Rewards whitened over the whole batch, optionally after their group's mean was subtracted.
///
/// ```text
/// Â_i = (B_i − mean_batch B) / (std_batch B + ε),   B_i = R_i or R_i − mean_group      (ADV-5)
/// ```
///
/// The first is REINFORCE++, the second its variant with a group baseline. Without a baseline a group of equal rewards
/// still trains: up if better than the batch, down if worse. Mean and sample standard deviation (`n − 1`) are over
/// completions (Deviation D10). Source: (ADV-5) in [the book](../../../book/math.html#advantages). `ε = 1e-4`.
///
/// ```
/// use hint_grpo::AdvantageEstimator;
/// use hint_grpo::advantage::{ScoredGroup, Whitened};
///
/// let groups = [ScoredGroup::new("p1", &[1.0, 1.0]), ScoredGroup::new("p2", &[0.0, 0.0])];
/// let advantages = Whitened::new().estimate_batch(&groups)?;
/// assert!(advantages[0][0] > 0.0 && advantages[1][0] < 0.0);
/// # Ok::<(), hint_grpo::GrpoError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Whitened {
    baseline: Option<Baseline>,
}

impl Whitened {
    /// REINFORCE++: the baseline is the batch.
    pub const fn new() -> Self {
        Self { baseline: None }
    }

    /// First subtracts the mean of `baseline`'s rewards from the rewards of each group.
    pub const fn with_group_baseline(baseline: Baseline) -> Self {
        Self { baseline: Some(baseline) }
    }

    /// The rewards that are whitened.
    fn centered(self, group: &ScoredGroup<'_>) -> Vec<f64> {
        let Some(baseline) = self.baseline else { return group.rewards.to_vec() };
        let baseline = baseline.rewards(group);
        if all_equal(&baseline) {
            return vec![0.0; group.rewards.len()];
        }
        let mean = mean(&baseline);
        group.rewards.iter().map(|reward| reward - mean).collect()
    }
}

impl AdvantageEstimator for Whitened {
    fn name(&self) -> String {
        format!("{self:?}")
    }

    /// A batch of one group.
    fn estimate(&mut self, group: &ScoredGroup<'_>) -> Result<Vec<f64>, GrpoError> {
        Ok(self.estimate_batch(std::slice::from_ref(group))?.concat())
    }

    fn estimate_batch(&mut self, groups: &[ScoredGroup<'_>]) -> Result<Vec<Vec<f64>>, GrpoError> {
        let mut values = groups.iter().map(|group| self.centered(group)).collect::<Vec<_>>();
        let all = values.concat();
        let equal = all_equal(&all);
        let (mean, scale) = (mean(&all), sample_std(&all) + STD_EPSILON);
        for value in values.iter_mut().flatten() {
            *value = if equal { 0.0 } else { (*value - mean) / scale };
        }
        Ok(values)
    }
}
