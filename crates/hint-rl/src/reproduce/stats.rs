//! Intervals over seeds, and paired tests over the same problems and seeds.

use hint_rollout::Seed;
use serde::Serialize;

/// A mean over seeds, with its 95 % interval by Student's t; without width where there is one seed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Interval {
    pub(super) mean: f64,
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) seeds: usize,
}

/// The 97.5 % quantiles of Student's t with 1 to 30 degrees of freedom.
const T: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
    2.052, 2.048, 2.045, 2.042,
];

impl Interval {
    /// `None` without values.
    pub(super) fn over(values: &[f64]) -> Option<Self> {
        let seeds = values.len();
        let count = seeds as f64;
        let mean = values.iter().sum::<f64>() / count;
        let width = match seeds {
            0 => return None,
            1 => 0.0,
            _ => {
                let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
                let quantile = T.get(seeds - 2).copied().unwrap_or(T[T.len() - 1]);
                quantile * (squares / (count - 1.0) / count).sqrt()
            }
        };
        Some(Self { mean, low: mean - width, high: mean + width, seeds })
    }
}

/// Difference of one arm from another on the same problems and seeds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Paired {
    /// Mean difference, with its interval over seeds.
    pub(super) difference: Interval,
    /// Probability of a difference as large, if the sign of each problem's difference were a coin's. A two-sided
    /// sign-flip test over problems, whose values are means over the seeds.
    pub(super) p: f64,
}

/// Flips of the test; the smallest p is one over one more than them.
const FLIPS: u64 = 9999;

impl Paired {
    /// Each pair is a seed: the values of an arm and of the one that it is compared with, one per problem. `None`
    /// without seeds or problems.
    pub(super) fn of(pairs: &[(&[f64], &[f64])]) -> Option<Self> {
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
        let by_seed = pairs.iter().map(|(one, other)| mean(one) - mean(other));
        let difference = Interval::over(&by_seed.collect::<Vec<_>>())?;
        let problems = pairs.iter().map(|(one, _)| one.len()).min().filter(|count| *count > 0)?;
        let of_problem = |at: usize| {
            pairs.iter().map(|(one, other)| one[at] - other[at]).sum::<f64>() / pairs.len() as f64
        };
        let values = (0..problems).map(of_problem).filter(|value| *value != 0.0);
        let values = values.collect::<Vec<_>>();
        let observed = values.iter().sum::<f64>().abs() - 1e-12;
        let as_large = |flip: &u64| {
            let seed = Seed::new(*flip);
            let signs = (0_u64..).map(|at| seed.child(at).value() & 1 == 0);
            let flipped = values.iter().zip(signs);
            let sum = flipped.map(|(value, keep)| if keep { *value } else { -value }).sum::<f64>();
            sum.abs() >= observed
        };
        let count = (0..FLIPS).filter(as_large).count();
        Some(Self { difference, p: (count + 1) as f64 / (FLIPS + 1) as f64 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_over_seeds_is_that_of_student() {
        // scipy.stats.t.interval(0.95, 4, loc=mean, scale=sem) of 0.1, 0.2, 0.3, 0.4, 0.5.
        let interval = Interval::over(&[0.1, 0.2, 0.3, 0.4, 0.5]).unwrap();
        assert!((interval.mean - 0.3).abs() < 1e-12);
        assert!((interval.low - 0.103_68).abs() < 1e-4 && (interval.high - 0.496_32).abs() < 1e-4);
        assert_eq!(Interval::over(&[]), None);
        let one = Interval { mean: 0.5, low: 0.5, high: 0.5, seeds: 1 };
        assert_eq!(Interval::over(&[0.5]), Some(one));
    }

    #[test]
    fn the_test_is_the_exact_one_for_few_problems() {
        // Five problems, each better by one: 2 of the 2⁵ sign patterns are as large.
        let (one, other) = ([1.0; 5], [0.0; 5]);
        let p = Paired::of(&[(&one, &other), (&one, &other)]).unwrap().p;
        assert!((p - 2.0 / 32.0).abs() < 0.01, "{p}");
        let same = Paired::of(&[(&one, &one)]).unwrap();
        assert_eq!((same.difference.mean, same.p), (0.0, 1.0));
        assert_eq!(Paired::of(&[]), None);
    }

    #[test]
    fn problems_that_differ_both_ways_are_no_difference() {
        let one = (0..40).map(|at| f64::from(at % 2)).collect::<Vec<_>>();
        let other = (0..40).map(|at| f64::from((at + 1) % 2)).collect::<Vec<_>>();
        let paired = Paired::of(&[(&one, &other)]).unwrap();
        assert!(paired.difference.mean == 0.0 && paired.p > 0.9, "{}", paired.p);
    }
}
