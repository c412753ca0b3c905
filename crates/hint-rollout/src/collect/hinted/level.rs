//! The level axis: how much of a hint, and how that is searched for.

use serde::{Deserialize, Serialize};

use crate::data::HintLevel;
use crate::run::{RunProgress, Seed, ValueSchedule};

/// Which hint levels a group is tried at, and which attempt counts.
///
/// A level is a share of what the source can give; see [`HintLevel`]. A share of 0 is no hint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum LevelSearch {
    /// One level, which may change over the run (and be annealed to 0).
    One {
        /// Share of the hint, in `[0, 1]`.
        #[serde(default = "full")]
        level: ValueSchedule,
    },
    /// The lowest level first; stops at the first level with a correct completion.
    Ladder {
        /// Shares in ascending order, each in `(0, 1]`; without them every level of the source.
        #[serde(default)]
        shares: Option<Vec<f64>>,
    },
    /// Bisection for the smallest share whose success rate is at least `target_rate`. If no attempt
    /// reaches it, the one with the highest success rate counts.
    BinarySearch {
        /// HintSearch. At least 1.
        rounds: usize,
        /// Success rate to reach, in `(0, 1]`.
        target_rate: f64,
    },
    /// A share of `k / count` with `k` drawn from a binomial distribution for each group.
    Binomial {
        /// Number of draws. At least 1.
        count: usize,
        /// Probability of each, in `[0, 1]`.
        probability: ValueSchedule,
    },
}

const fn full() -> ValueSchedule {
    ValueSchedule::constant(1.0)
}

impl Default for LevelSearch {
    /// One level: the whole hint.
    fn default() -> Self {
        Self::One { level: full() }
    }
}

impl LevelSearch {
    /// Starts the search for one group. `levels` is the number of distinct levels of the source,
    /// `None` if it can give any share.
    pub(crate) fn start(&self, levels: Option<usize>, progress: RunProgress, seed: Seed) -> Search {
        let plan = match self {
            Self::One { level } => Plan::Fixed(vec![HintLevel::new(level.at(progress))]),
            Self::Ladder { shares: Some(shares) } => {
                Plan::Fixed(shares.iter().map(|&share| HintLevel::new(share)).collect())
            }
            Self::Ladder { shares: None } => {
                // A source of any share has no rungs of its own.
                let count = levels.unwrap_or(DEFAULT_RUNGS);
                Plan::Fixed((1..=count).map(|number| HintLevel::number(number, count)).collect())
            }
            Self::BinarySearch { rounds, target_rate } => {
                Plan::Bisect { low: 0.0, high: 1.0, rounds: *rounds, target_rate: *target_rate }
            }
            Self::Binomial { count, probability } => {
                let probability = probability.at(progress);
                let draws = (0..*count as u64).filter(|&i| seed.child(i).unit() < probability);
                Plan::Fixed(vec![HintLevel::number(draws.count(), *count)])
            }
        };
        Search { plan, round: 0, done: false }
    }

    /// Reports every violated constraint.
    pub(crate) fn check(&self, check: &mut dyn FnMut(&'static str, bool, &'static str, String)) {
        match self {
            Self::One { level } => {
                let holds = level.all(|value| (0.0..=1.0).contains(&value));
                check("level.level", holds, "must be in [0, 1]", format!("{level:?}"));
            }
            Self::Ladder { shares: Some(shares) } => {
                let in_range = shares.iter().all(|share| *share > 0.0 && *share <= 1.0);
                let holds = !shares.is_empty() && in_range && shares.is_sorted();
                let expected = "must hold ascending shares in (0, 1]";
                check("level.shares", holds, expected, format!("{shares:?}"));
            }
            Self::Ladder { shares: None } => {}
            Self::BinarySearch { rounds, target_rate } => {
                check("level.rounds", *rounds >= 1, "must be at least 1", rounds.to_string());
                let holds = *target_rate > 0.0 && *target_rate <= 1.0;
                check("level.target_rate", holds, "must be in (0, 1]", target_rate.to_string());
            }
            Self::Binomial { count, probability } => {
                check("level.count", *count >= 1, "must be at least 1", count.to_string());
                let holds = probability.all(|value| (0.0..=1.0).contains(&value));
                check("level.probability", holds, "must be in [0, 1]", format!("{probability:?}"));
            }
        }
    }
}

/// Rungs of a ladder over a source that can give any share.
const DEFAULT_RUNGS: usize = 4;

/// The levels still to be tried for one group.
#[derive(Debug, Clone)]
pub(crate) struct Search {
    plan: Plan,
    round: usize,
    done: bool,
}

#[derive(Debug, Clone)]
enum Plan {
    /// These levels in order, until one has a success.
    Fixed(Vec<HintLevel>),
    /// The share between `low`, which is too little, and `high`, which is enough.
    Bisect { low: f64, high: f64, rounds: usize, target_rate: f64 },
}

impl Search {
    /// The next level to try, or `None` when the search is over.
    pub(crate) fn next(&self) -> Option<HintLevel> {
        if self.done {
            return None;
        }
        match &self.plan {
            Plan::Fixed(levels) => levels.get(self.round).copied(),
            Plan::Bisect { low, high, rounds, .. } => {
                (self.round < *rounds).then(|| HintLevel::new(f64::midpoint(*low, *high)))
            }
        }
    }

    /// Number of attempts so far.
    pub(crate) const fn round(&self) -> usize {
        self.round
    }

    /// Tells the search how the last level went: its success rate.
    pub(crate) fn observe(&mut self, rate: f64) {
        let tried = self.next();
        self.round += 1;
        match &mut self.plan {
            Plan::Fixed(_) => self.done = rate > 0.0,
            Plan::Bisect { low, high, target_rate, .. } => {
                let share = tried.map_or(*high, HintLevel::share);
                *(if rate >= *target_rate { high } else { low }) = share;
            }
        }
    }

    /// There is no hint at the last level; the search is over.
    pub(crate) fn give_up(&mut self) {
        self.done = true;
    }

    /// Whether an attempt with success rate `rate`, made after another with `best`, takes its place.
    pub(crate) fn prefers(&self, rate: f64, best: f64) -> bool {
        match &self.plan {
            // The search stops at the first success, so the last attempt is the one that counts.
            Plan::Fixed(_) => true,
            // HintSearch that reach the target get shorter; of the others the likeliest one counts.
            Plan::Bisect { target_rate, .. } => {
                rate >= *target_rate || (best < *target_rate && rate > best)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The shares that are tried when `solves` says with which the group succeeds.
    fn tried(search: &LevelSearch, levels: Option<usize>, rate: impl Fn(f64) -> f64) -> Vec<f64> {
        let mut search = search.start(levels, RunProgress::new(0, 10), Seed::new(3));
        let mut shares = Vec::new();
        while let Some(level) = search.next() {
            shares.push(level.share());
            search.observe(rate(level.share()));
        }
        shares
    }

    fn at_least(needed: f64) -> impl Fn(f64) -> f64 {
        move |share| f64::from(share >= needed)
    }

    #[test]
    fn a_ladder_stops_at_the_first_success() {
        let ladder = LevelSearch::Ladder { shares: Some(vec![0.25, 0.5, 0.75]) };
        assert_eq!(tried(&ladder, None, at_least(0.4)), [0.25, 0.5]);
        assert_eq!(tried(&ladder, None, at_least(2.0)), [0.25, 0.5, 0.75]);
        let every = LevelSearch::Ladder { shares: None };
        assert_eq!(tried(&every, Some(2), at_least(2.0)), [0.5, 1.0]);
    }

    #[test]
    fn bisection_closes_in_on_the_shortest_share_that_is_enough() {
        let search = LevelSearch::BinarySearch { rounds: 4, target_rate: 0.5 };
        assert_eq!(tried(&search, None, at_least(0.3)), [0.5, 0.25, 0.375, 0.3125]);
        assert_eq!(tried(&search, None, at_least(2.0)), [0.5, 0.75, 0.875, 0.9375]);
    }

    #[test]
    fn bisection_keeps_the_shortest_attempt_that_reaches_the_target() {
        let search = LevelSearch::BinarySearch { rounds: 4, target_rate: 0.5 }.start(
            None,
            RunProgress::default(),
            Seed::new(0),
        );
        assert!(search.prefers(0.5, 1.0), "later attempts that reach the target are shorter");
        assert!(!search.prefers(0.4, 0.5));
        assert!(search.prefers(0.4, 0.3), "none reached it: the best one counts");
    }

    #[test]
    fn binomial_shares_follow_the_schedule() {
        let search = |probability| {
            let probability = ValueSchedule::constant(probability);
            LevelSearch::Binomial { count: 5, probability }
        };
        assert_eq!(tried(&search(0.0), None, at_least(0.0)), [0.0]);
        assert_eq!(tried(&search(1.0), None, at_least(0.0)), [1.0]);
        let mean = (0..400)
            .map(|index| {
                let start = search(0.3).start(None, RunProgress::default(), Seed::new(index));
                start.next().expect("one level").share()
            })
            .sum::<f64>()
            / 400.0;
        // Standard error sqrt(0.3 · 0.7 / 5 / 400) ≈ 0.010.
        assert!((mean - 0.3).abs() < 0.04, "{mean}");
    }
}
