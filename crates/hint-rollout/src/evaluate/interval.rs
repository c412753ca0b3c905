//! Means over problems, with bootstrap intervals.

use serde::{Deserialize, Serialize};

use crate::run::Seed;

/// The share of the bootstrap distribution on each side of a 95 % interval.
const TAIL: f64 = 0.025;

/// A mean over problems, with its 95 % interval.
///
/// The interval is the percentile bootstrap over problems (Efron 1979, (EVAL-3)). Problems are drawn with replacement,
/// and the mean is taken again. The interval runs from the 2.5th to the 97.5th percentile of the means. It estimates
/// the change of the mean with other problems of the same kind. If no problem is solved, or every one, all resamples
/// are equal. Then the interval is the exact one for that many trials (Clopper and Pearson 1934, (EVAL-4)).
///
/// ```
/// use hint_rollout::Seed;
/// use hint_rollout::evaluate::Estimate;
///
/// // Of ten problems, seven were solved.
/// let solved = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0];
/// let accuracy = Estimate::over(&solved, 1000, Seed::new(0));
/// assert!((accuracy.value - 0.7).abs() < 1e-12);
/// assert!(accuracy.low < 0.7 && 0.7 < accuracy.high);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Estimate {
    /// The mean.
    pub value: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

impl Estimate {
    /// The mean of one value per problem; `resamples` 0 gives an interval without width. The same
    /// seed draws the same problems for any values, so estimates over the same problems are paired.
    /// Without problems all three are 0.
    pub fn over(values: &[f64], resamples: usize, seed: Seed) -> Self {
        if values.is_empty() {
            return Self { value: 0.0, low: 0.0, high: 0.0 };
        }
        let len = values.len() as f64;
        let value = values.iter().sum::<f64>() / len;
        if resamples > 0 && (value == 0.0 || value == 1.0) {
            // 1 − (α/2)^(1/n) (EVAL-4)
            let width = 1.0 - TAIL.powf(1.0 / len);
            let (low, high) = if value == 0.0 { (0.0, width) } else { (1.0 - width, 1.0) };
            return Self { value, low, high };
        }
        let mut means = (0..resamples as u64)
            .map(|resample| {
                let seed = seed.child(resample);
                let drawn = (0..values.len() as u64)
                    .map(|draw| values[pick(seed.child(draw), values.len())]);
                drawn.sum::<f64>() / len
            })
            .collect::<Vec<_>>();
        means.sort_by(f64::total_cmp);
        let low = quantile(&means, TAIL).unwrap_or(value);
        let high = quantile(&means, 1.0 - TAIL).unwrap_or(value);
        Self { value, low, high }
    }
}

/// A uniform index below `len`.
fn pick(seed: Seed, len: usize) -> usize {
    let scaled = (u128::from(seed.value()) * len as u128) >> 64;
    usize::try_from(scaled).expect("an index below a length fits")
}

/// The `q`-quantile of sorted values, with linear interpolation between neighbors (the default of `numpy.quantile`).
/// `None` without values.
pub(super) fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let position = q * last as f64;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a position below a length"
    )]
    let below = (position.floor() as usize).min(last);
    let above = (below + 1).min(last);
    Some(sorted[below] + (sorted[above] - sorted[below]) * (position - below as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_interpolate_as_numpy_does() {
        // np.quantile([1, 2, 4, 8], [0, 0.25, 0.5, 0.9, 1])
        let sorted = [1.0, 2.0, 4.0, 8.0];
        let found = [0.0, 0.25, 0.5, 0.9, 1.0].map(|q| quantile(&sorted, q).unwrap());
        for (found, expected) in found.iter().zip([1.0, 1.75, 3.0, 6.8, 8.0]) {
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn the_interval_has_the_width_of_the_standard_error() {
        // 400 fair coins: the mean of a resample is normal with deviation 0.5 / 20 = 0.025, so the
        // interval is 0.5 ± 1.96 · 0.025 = 0.5 ± 0.049.
        let values = (0..400).map(|index| f64::from(index % 2)).collect::<Vec<_>>();
        let Estimate { value, low, high } = Estimate::over(&values, 2000, Seed::new(3));
        assert_eq!(value, 0.5);
        assert!((low - 0.451).abs() < 0.006 && (high - 0.549).abs() < 0.006, "{low} {high}");
    }

    #[test]
    fn the_interval_of_two_problems_is_the_exact_bootstrap_distribution() {
        // Means 0, 1/2, 1 with probabilities 1/4, 1/2, 1/4.
        let estimate = Estimate::over(&[0.0, 1.0], 1000, Seed::new(0));
        assert_eq!(estimate, Estimate { value: 0.5, low: 0.0, high: 1.0 });
    }

    #[test]
    fn all_or_nothing_has_an_exact_interval() {
        // scipy.stats.binomtest(0, 20).proportion_ci().high
        let Estimate { value, low, high } = Estimate::over(&[0.0; 20], 100, Seed::new(0));
        assert!((value, low) == (0.0, 0.0) && (high - 0.168_433_470_983_085_36).abs() < 1e-12);
        let Estimate { value, low, high } = Estimate::over(&[1.0; 20], 100, Seed::new(0));
        assert!(
            (value, high) == (1.0, 1.0) && (low - (1.0 - 0.168_433_470_983_085_36)).abs() < 1e-12
        );
        let none = Estimate { value: 0.0, low: 0.0, high: 0.0 };
        assert_eq!(Estimate::over(&[0.0; 20], 0, Seed::new(0)), none);
    }

    #[test]
    fn intervals_are_functions_of_the_seed() {
        let values = [0.1, 0.7, 0.2, 0.9, 0.4];
        let first = Estimate::over(&values, 200, Seed::new(1));
        assert_eq!(first, Estimate::over(&values, 200, Seed::new(1)));
        assert_ne!(first, Estimate::over(&values, 200, Seed::new(2)));
    }

    #[test]
    fn equal_problems_have_no_width() {
        let estimate = Estimate::over(&[0.25; 7], 100, Seed::new(1));
        assert_eq!(estimate, Estimate { value: 0.25, low: 0.25, high: 0.25 });
    }
}
