//! Unbiased estimators of the success of `k` completions of a problem, from `n` of them.

use serde::{Deserialize, Serialize};

/// The votes of a problem's completions. A completion without an answer abstains.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Votes {
    /// Votes for the correct answer.
    pub correct: usize,
    /// Votes for each wrong answer, most first.
    pub wrong: Vec<usize>,
    /// Completions that gave no answer, or could not be judged.
    pub abstained: usize,
}

impl Votes {
    /// Number of completions.
    pub fn total(&self) -> usize {
        self.correct + self.wrong.iter().sum::<usize>() + self.abstained
    }
}

/// Probability that at least one of `k` completions, drawn without replacement from `total` of which
/// `correct` are correct, is correct. (EVAL-1)
///
/// ```text
/// pass@k = 1 − C(n − c, k) / C(n, k) = 1 − Π_{i = n−c+1..n} (1 − k / i)                 (EVAL-1)
/// ```
///
/// Its mean over independent completions is the true probability (Chen et al. 2021,
/// arXiv 2107.03374). The product has no large factorials. `k` above `total` counts as `total`.
///
/// ```
/// use hint_rollout::evaluate::pass_at_k;
///
/// // One of four is correct: two draws miss it with probability 3/4 · 2/3.
/// assert!((pass_at_k(4, 1, 2) - 0.5).abs() < 1e-15);
/// ```
pub fn pass_at_k(total: usize, correct: usize, k: usize) -> f64 {
    let wrong = total.saturating_sub(correct);
    if correct == 0 || k == 0 {
        return 0.0;
    }
    if wrong < k {
        return 1.0;
    }
    let missed = (wrong + 1..=total).map(|i| 1.0 - k as f64 / i as f64).product::<f64>();
    1.0 - missed
}

/// Probability that the correct answer wins a vote of `k` completions, drawn without replacement
/// from those that voted. (EVAL-2)
///
/// ```text
/// maj@k = Σ_S  [ correct is among the winners of S ] / |winners of S|  /  C(n, k)         (EVAL-2)
/// ```
///
/// over the subsets `S` of `k` completions, where the winners are the answers with most votes. A tie
/// counts in expectation, as if a fair draw broke it. Subsets in which everybody abstains have no
/// winner. `k` above the number of completions counts as that number.
///
/// ```
/// use hint_rollout::evaluate::{Votes, maj_at_k};
///
/// // Two votes against one and one: all four together are right.
/// let votes = Votes { correct: 2, wrong: vec![1, 1], abstained: 0 };
/// assert!((maj_at_k(&votes, 4) - 1.0).abs() < 1e-12);
/// // A single vote is right as often as a completion is.
/// assert!((maj_at_k(&votes, 1) - 0.5).abs() < 1e-12);
/// ```
pub fn maj_at_k(votes: &Votes, k: usize) -> f64 {
    let total = votes.total();
    let k = k.min(total);
    let factorials = LogFactorials::new(total);
    let mut probability = 0.0;
    for won in 1..=votes.correct.min(k) {
        let drawn = factorials.hypergeometric(total, votes.correct, k, won);
        if drawn > 0.0 {
            probability += drawn * wins(votes, &factorials, total - votes.correct, k - won, won);
        }
    }
    // Rounding may lead a hair beyond 1.
    probability.min(1.0)
}

/// Expected share of the win of an answer with `won` votes, when `rest` completions are drawn from
/// the `population` of the others.
fn wins(
    votes: &Votes,
    factorials: &LogFactorials,
    population: usize,
    rest: usize,
    won: usize,
) -> f64 {
    // Probability of each number of draws left and of wrong answers that tie, over those in which no
    // wrong answer has more votes. A tie takes `won` draws, so there are few.
    let ties = rest / won;
    let mut states = vec![vec![0.0; ties + 1]; rest + 1];
    states[rest][0] = 1.0;
    let mut population = population;
    for &size in &votes.wrong {
        let mut next = vec![vec![0.0; ties + 1]; rest + 1];
        for (left, row) in states.iter().enumerate() {
            for drawn in 0..=size.min(won).min(left) {
                let share = factorials.hypergeometric(population, size, left, drawn);
                let tie = usize::from(drawn == won);
                for (tied, probability) in row.iter().enumerate() {
                    if *probability > 0.0 && share > 0.0 {
                        next[left - drawn][tied + tie] += probability * share;
                    }
                }
            }
        }
        states = next;
        population -= size;
    }
    // What is left to draw falls on those that abstain.
    let shared = |row: &Vec<f64>| {
        row.iter().zip(1_u32..).map(|(share, winners)| share / f64::from(winners)).sum::<f64>()
    };
    states.iter().map(shared).sum()
}

/// Logarithms of factorials, so that binomials of any size can be divided.
struct LogFactorials(Vec<f64>);

impl LogFactorials {
    fn new(largest: usize) -> Self {
        let mut values = vec![0.0];
        let mut sum = 0.0;
        for i in 1..=largest {
            sum += (i as f64).ln();
            values.push(sum);
        }
        Self(values)
    }

    /// `ln C(n, k)`, or `None` where the binomial is 0.
    fn binomial(&self, n: usize, k: usize) -> Option<f64> {
        (k <= n).then(|| self.0[n] - self.0[k] - self.0[n - k])
    }

    /// Probability that `draws` of `population` hold `drawn` of the `size` members of a class.
    fn hypergeometric(&self, population: usize, size: usize, draws: usize, drawn: usize) -> f64 {
        let others = (population - size, draws - drawn);
        let logarithm = || {
            let ways = self.binomial(size, drawn)? + self.binomial(others.0, others.1)?;
            Some(ways - self.binomial(population, draws)?)
        };
        logarithm().map_or(0.0, f64::exp)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Every subset of `k` of `0..n`, as a bit set.
    fn subsets(n: usize, k: usize) -> impl Iterator<Item = u32> {
        (0..1_u32 << n).filter(move |set| set.count_ones() as usize == k)
    }

    /// Averages `of` over the subsets of `k` ballots; ballot 0 is correct, `None` abstains.
    fn brute_force(votes: &Votes, k: usize, of: impl Fn(&[Option<usize>]) -> f64) -> f64 {
        let mut ballots = vec![Some(0); votes.correct];
        for (class, &size) in (1..).zip(&votes.wrong) {
            ballots.extend(vec![Some(class); size]);
        }
        ballots.extend(vec![None; votes.abstained]);
        let values = subsets(ballots.len(), k)
            .map(|set| {
                let drawn = (0..ballots.len()).filter(|index| set & (1 << index) != 0);
                of(&drawn.map(|index| ballots[index]).collect::<Vec<_>>())
            })
            .collect::<Vec<_>>();
        values.iter().sum::<f64>() / values.len() as f64
    }

    fn vote(ballots: &[Option<usize>]) -> f64 {
        let count = |class| ballots.iter().filter(|ballot| **ballot == Some(class)).count();
        let counts = (0..10).map(count).collect::<Vec<_>>();
        let most = counts.iter().copied().max().unwrap_or(0);
        if most == 0 || counts[0] < most {
            return 0.0;
        }
        1.0 / counts.iter().filter(|count| **count == most).count() as f64
    }

    proptest! {
        #[test]
        fn pass_at_k_is_the_share_of_subsets_with_a_success(n in 1_usize..11, c in 0_usize..11, k in 1_usize..11) {
            let (c, k) = (c.min(n), k.min(n));
            let votes = Votes { correct: c, wrong: vec![], abstained: n - c };
            let any = |ballots: &[Option<usize>]| f64::from(u8::from(ballots.contains(&Some(0))));
            prop_assert!((pass_at_k(n, c, k) - brute_force(&votes, k, any)).abs() < 1e-12);
        }

        #[test]
        fn maj_at_k_is_the_mean_over_all_subsets(
            correct in 0_usize..5,
            wrong in prop::collection::vec(1_usize..4, 0..4),
            abstained in 0_usize..3,
            k in 1_usize..13,
        ) {
            let votes = Votes { correct, wrong, abstained };
            prop_assume!((1..=12).contains(&votes.total()));
            let k = k.min(votes.total());
            prop_assert!((maj_at_k(&votes, k) - brute_force(&votes, k, vote)).abs() < 1e-10);
        }

        #[test]
        fn one_vote_is_one_completion(correct in 0_usize..200, wrong in 0_usize..200, abstained in 0_usize..200) {
            let votes = Votes { correct, wrong: vec![wrong], abstained };
            let n = votes.total();
            prop_assume!(n > 0);
            let expected = correct as f64 / n as f64;
            prop_assert!((maj_at_k(&votes, 1) - expected).abs() < 1e-10);
            prop_assert!((pass_at_k(n, correct, 1) - expected).abs() < 1e-12);
        }
    }

    #[test]
    fn a_tie_counts_in_expectation() {
        // One vote each: the correct answer shares the win with two others.
        let votes = Votes { correct: 1, wrong: vec![1, 1], abstained: 5 };
        assert!((maj_at_k(&votes, 8) - 1.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn large_counts_neither_overflow_nor_cancel() {
        // C(n − c, k) / C(n, k) = (1 − k/n) for c = 1.
        assert!((pass_at_k(100_000, 1, 10) - 1e-4).abs() < 1e-15);
        assert_eq!(pass_at_k(10, 0, 5), 0.0);
        assert_eq!(pass_at_k(10, 6, 5), 1.0);
        // 600 against 400 of 1000: a vote of 999 cannot be lost.
        let votes = Votes { correct: 600, wrong: vec![400], abstained: 0 };
        assert!((maj_at_k(&votes, 999) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn everybody_abstaining_is_no_win() {
        let votes = Votes { correct: 0, wrong: vec![], abstained: 4 };
        assert_eq!(maj_at_k(&votes, 3), 0.0);
    }
}
