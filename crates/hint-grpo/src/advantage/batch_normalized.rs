//! Rewards centered within their group and scaled over the batch.

use super::{STD_EPSILON, all_equal, at_least_two, mean, sample_std};
use crate::advantage::{AdvantageEstimator, Baseline, ScoredGroup};
use crate::error::GrpoError;

/// Rewards centered on the mean of their group and divided by the standard deviation of the rewards of
/// the whole batch.
///
/// ```text
/// Â_i = (R_i − mean_group) / (std_batch + ε)                                           (ADV-4)
/// ```
///
/// A nearly solved and a nearly hopeless group are not blown up to the scale of a mixed one. The mean
/// covers the [`Baseline`]'s rewards, the sample standard deviation (`n − 1`) all completions that train.
/// Source: (ADV-4) in [the book](../../../book/math.html#advantages). `ε = 1e-4`.
///
/// ```
/// use hint_grpo::AdvantageEstimator;
/// use hint_grpo::advantage::{Baseline, BatchNormalized, ScoredGroup};
///
/// let groups = [ScoredGroup::new("p1", &[1.0, 0.0]), ScoredGroup::new("p2", &[1.0, 1.0])];
/// let advantages = BatchNormalized::new(Baseline::Group).estimate_batch(&groups)?;
/// assert!(advantages[0][0] > 0.99 && advantages[1] == [0.0, 0.0]);
/// # Ok::<(), hint_grpo::GrpoError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BatchNormalized {
    baseline: Baseline,
}

impl BatchNormalized {
    /// Centers hinted groups on the rewards of `baseline`.
    pub const fn new(baseline: Baseline) -> Self {
        Self { baseline }
    }
}

impl AdvantageEstimator for BatchNormalized {
    fn name(&self) -> String {
        format!("{self:?}")
    }

    /// A batch of one group.
    fn estimate(&mut self, group: &ScoredGroup<'_>) -> Result<Vec<f64>, GrpoError> {
        Ok(self.estimate_batch(std::slice::from_ref(group))?.concat())
    }

    fn estimate_batch(&mut self, groups: &[ScoredGroup<'_>]) -> Result<Vec<Vec<f64>>, GrpoError> {
        let all = groups.iter().flat_map(|group| group.rewards).copied().collect::<Vec<_>>();
        let scale = sample_std(&all) + STD_EPSILON;
        let advantages = groups.iter().map(|group| {
            at_least_two(group)?;
            let baseline = self.baseline.rewards(group);
            if all_equal(&baseline) {
                return Ok(vec![0.0; group.rewards.len()]);
            }
            let mean = mean(&baseline);
            Ok(group.rewards.iter().map(|reward| (reward - mean) / scale).collect())
        });
        advantages.collect()
    }
}
