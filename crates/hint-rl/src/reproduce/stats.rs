//! Intervals over seeds and problems, and paired tests over the same problems and seeds.

use hint_rollout::Seed;
use serde::Serialize;

/// A mean over seeds and problems, with its 95 % interval.
///
/// The interval is a percentile bootstrap that draws seeds and problems together, each with replacement (Owen 2007). It
/// cannot leave the range of the values. With few seeds it is too narrow. With one seed it is over problems alone.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Interval {
    pub(super) mean: f64,
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) seeds: usize,
}

/// Resamples of an interval.
const RESAMPLES: u64 = 1000;
/// Resamples on each side of a 95 % interval.
const TAIL: usize = 25;

impl Interval {
    /// Each row is a seed, with a value per problem. `None` without a value.
    pub(super) fn of(rows: &[Vec<f64>]) -> Option<Self> {
        let problems = rows.iter().map(Vec::len).min().filter(|count| *count > 0)?;
        let mean = rows.iter().map(|row| average(&row[..problems])).sum::<f64>();
        let (mean, seeds) = (mean / rows.len() as f64, rows.len());
        if seeds * problems == 1 {
            return Some(Self { mean, low: mean, high: mean, seeds });
        }
        let resample = |at: u64| {
            let (mut problem, seed) = (vec![0.0; problems], Seed::new(at));
            for draw in 0..seeds as u64 {
                let row = &rows[pick(seed.named("seed").child(draw), seeds)];
                problem.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
            }
            let seed = seed.named("problem");
            let drawn = (0..problems as u64).map(|draw| problem[pick(seed.child(draw), problems)]);
            drawn.sum::<f64>() / (seeds * problems) as f64
        };
        let mut means = (0..RESAMPLES).map(resample).collect::<Vec<_>>();
        means.sort_by(f64::total_cmp);
        let (low, high) = (means[TAIL], means[means.len() - 1 - TAIL]);
        Some(Self { mean, low: low.min(mean), high: high.max(mean), seeds })
    }

    /// The same with one value per seed.
    pub(super) fn over(values: &[f64]) -> Option<Self> {
        Self::of(&values.iter().map(|value| vec![*value]).collect::<Vec<_>>())
    }
}

/// A uniform index below `len`.
pub(super) fn pick(seed: Seed, len: usize) -> usize {
    let scaled = (u128::from(seed.value()) * len as u128) >> 64;
    usize::try_from(scaled).unwrap_or_default()
}

pub(super) fn average(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// Difference of one arm from another on the same problems and seeds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Paired {
    pub(super) difference: Interval,
    /// Probability of a difference as large, if the sign of each problem's difference were a coin's. A two-sided
    /// sign-flip test over problems, whose values are means over the seeds. It generalizes over problems, not over seeds.
    pub(super) p_problems: f64,
    /// Two-sided p of Student's paired t over seeds, whose values are means over the problems. It generalizes over seeds.
    /// `None` with one seed, and where all seeds have the same difference.
    pub(super) p_seeds: Option<f64>,
}

/// Flips of the test; the smallest p is one over one more than them.
const FLIPS: u64 = 9999;

impl Paired {
    /// Each pair is a seed: the values of an arm and of the one that it is compared with, one per problem. `None`
    /// without seeds or problems.
    pub(super) fn of(pairs: &[(Vec<f64>, Vec<f64>)]) -> Option<Self> {
        let differ = |(one, other): &(Vec<f64>, Vec<f64>)| -> Vec<f64> {
            one.iter().zip(other).map(|(one, other)| one - other).collect()
        };
        let rows = pairs.iter().map(differ).collect::<Vec<_>>();
        let difference = Interval::of(&rows)?;
        let problems = rows.iter().map(Vec::len).min()?;
        let of_problem =
            |at: usize| rows.iter().map(|row| row[at]).sum::<f64>() / rows.len() as f64;
        let by_problem = (0..problems).map(of_problem).collect::<Vec<_>>();
        let by_seed = rows.iter().map(|row| average(row)).collect::<Vec<_>>();
        Some(Self { difference, p_problems: flip_test(&by_problem), p_seeds: t_test(&by_seed) })
    }
}

/// Two-sided p of a sign-flip test of the values.
fn flip_test(values: &[f64]) -> f64 {
    let values = values.iter().copied().filter(|value| *value != 0.0).collect::<Vec<_>>();
    let observed = values.iter().sum::<f64>().abs() - 1e-12;
    let as_large = |flip: &u64| {
        let seed = Seed::new(*flip);
        let blocks = values.chunks(64).zip(0..);
        let sum = blocks.map(|(block, at)| {
            let signs = seed.child(at).value();
            // The sign is the highest bit of a float. A branch would be mispredicted half of the time.
            let flip = |(value, bit): (&f64, u32)| {
                f64::from_bits(value.to_bits() ^ (((signs >> bit) & 1) << 63))
            };
            let flipped = block.iter().zip(0..).map(flip);
            flipped.sum::<f64>()
        });
        sum.sum::<f64>().abs() >= observed
    };
    let count = (0..FLIPS).filter(as_large).count();
    (count + 1) as f64 / (FLIPS + 1) as f64
}

/// Two-sided p of Student's t test that the mean is 0. `None` for fewer than two values, and for equal ones.
fn t_test(values: &[f64]) -> Option<f64> {
    let (count, mean) = (values.len() as f64, average(values));
    let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
    let error = (squares / (count - 1.0) / count).sqrt();
    (values.len() > 1 && error > 1e-12).then(|| two_sided(mean / error, values.len() - 1))
}

/// Probability that Student's t with these degrees of freedom is as far from 0 (Abramowitz and Stegun, 26.7.3 and
/// 26.7.4).
fn two_sided(t: f64, freedom: usize) -> f64 {
    let angle = (t.abs() / (freedom as f64).sqrt()).atan();
    let (sin, cos) = angle.sin_cos();
    // The factors are 1/2, 3/4, … for even degrees of freedom, and 2/3, 4/5, … for odd ones.
    let odd = freedom % 2;
    let (mut term, mut sum) = (if odd == 1 { cos } else { 1.0 }, 0.0);
    for at in (odd..freedom).step_by(2) {
        sum += term;
        let step = at as f64;
        term *= cos * cos * (step + 1.0) / (step + 2.0);
    }
    let within =
        if odd == 1 { std::f64::consts::FRAC_2_PI * (angle + sin * sum) } else { sin * sum };
    (1.0 - within).clamp(0.0, 1.0)
}

/// The p-values, corrected for their number by Holm's procedure.
pub(super) fn holm(values: &[f64]) -> Vec<f64> {
    let mut order = (0..values.len()).collect::<Vec<_>>();
    order.sort_by(|one, other| values[*one].total_cmp(&values[*other]));
    let (mut corrected, mut least) = (vec![1.0; values.len()], 0.0_f64);
    for (rank, at) in order.into_iter().enumerate() {
        least = least.max(values[at] * (values.len() - rank) as f64).min(1.0);
        corrected[at] = least;
    }
    corrected
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_stays_in_the_range_of_the_values() {
        // Student's t over these three means would reach 1.1 and beyond.
        let rows = [vec![0.0, 0.6], vec![1.0, 0.4], vec![1.0, 1.0]];
        let interval = Interval::of(&rows).unwrap();
        assert!((interval.mean - 2.0 / 3.0).abs() < 1e-12 && interval.seeds == 3);
        assert!((0.0..interval.mean).contains(&interval.low), "{interval:?}");
        assert!(interval.mean < interval.high && interval.high <= 1.0, "{interval:?}");
        assert_eq!(Interval::of(&rows), Some(interval), "the same values have the same interval");
        assert_eq!(Interval::of(&[]), None);
        assert_eq!(Interval::of(&[vec![]]), None);
        let one = Interval { mean: 0.5, low: 0.5, high: 0.5, seeds: 1 };
        assert_eq!(Interval::over(&[0.5]), Some(one));
    }

    #[test]
    fn an_interval_draws_seeds_and_problems_together() {
        let width = |rows: &[Vec<f64>]| {
            let interval = Interval::of(rows).unwrap();
            interval.high - interval.low
        };
        // Seeds that agree leave the spread of the problems, problems that agree that of the seeds.
        let problems = (0..40).map(|at| f64::from(at % 2)).collect::<Vec<_>>();
        let of_problems = width(&vec![problems.clone(); 4]);
        let of_seeds = width(&[vec![0.0; 40], vec![1.0; 40], vec![0.0; 40], vec![1.0; 40]]);
        // 2 · 1.96 · 0.5 / √40, and the binomial of four draws.
        assert!((of_problems - 0.31).abs() < 0.04, "{of_problems}");
        assert!((0.75..=1.0).contains(&of_seeds), "{of_seeds}");
        // With one seed it is over problems alone.
        assert!((width(&[problems]) - 0.31).abs() < 0.04);
    }

    #[test]
    fn the_test_over_problems_is_the_exact_one_for_few_problems() {
        // Five problems, each better by one: 2 of the 2⁵ sign patterns are as large.
        let pair = (vec![1.0; 5], vec![0.0; 5]);
        let paired = Paired::of(&[pair.clone(), pair]).unwrap();
        assert!((paired.p_problems - 2.0 / 32.0).abs() < 0.01, "{paired:?}");
        assert_eq!(paired.p_seeds, None, "two equal seeds have no spread");
        let same = Paired::of(&[(vec![1.0; 5], vec![1.0; 5])]).unwrap();
        assert_eq!((same.difference.mean, same.p_problems, same.p_seeds), (0.0, 1.0, None));
        assert_eq!(Paired::of(&[]), None);
    }

    #[test]
    fn problems_that_differ_both_ways_are_no_difference() {
        let one = (0..140).map(|at| f64::from(at % 2)).collect::<Vec<_>>();
        let other = (0..140).map(|at| f64::from((at + 1) % 2)).collect::<Vec<_>>();
        let paired = Paired::of(&[(one, other)]).unwrap();
        assert!(paired.difference.mean == 0.0 && paired.p_problems > 0.9, "{paired:?}");
    }

    /// From the integral of the density of Student's t.
    #[test]
    fn the_test_over_seeds_is_that_of_student() {
        let expected = [0.261_095, 0.148_148, 0.104_988, 0.082_939, 0.069_772, 0.061_100];
        for (freedom, expected) in (1..).zip(expected) {
            let found = two_sided(-2.3, freedom);
            assert!((found - expected).abs() < 1e-6, "{freedom}: {found}");
        }
        // Mean 2, deviation 1 and three values: t = 2 √3.
        let found = t_test(&[1.0, 2.0, 3.0]).unwrap();
        assert!((found - two_sided(12.0_f64.sqrt(), 2)).abs() < 1e-12, "{found}");
    }

    #[test]
    fn p_values_are_corrected_for_their_number() {
        let corrected = holm(&[0.04, 0.01, 0.03]);
        assert!(
            corrected
                .iter()
                .zip([0.06, 0.03, 0.06])
                .all(|(one, other)| (one - other).abs() < 1e-12)
        );
        assert_eq!(holm(&[0.7, 0.9]), [1.0, 1.0]);
    }
}
