//! The level axis: how much of a hint, and how that is searched for.

use serde::{Deserialize, Serialize};

use crate::collect::hinted::from_fn::from_closure;
use crate::data::HintLevel;
use crate::error::Violations;
use crate::run::{RunProgress, Seed, ValueSchedule, state};

/// Hint levels that a group is tried at, and the attempt that counts.
///
/// [`LevelSearch`] holds the ones that a configuration can name. An implementation of your own goes to
/// [`Collector::with_levels`](crate::collect::Collector::with_levels); it may be a closure, see
/// [`from_fn`](crate::collect::hinted::from_fn).
///
/// ```
/// use hint_rollout::Levels;
/// use hint_rollout::collect::hinted::{LevelInput, from_fn};
/// use hint_rollout::data::HintLevel;
///
/// // Half of the hint, then all of it.
/// let levels = from_fn("half_then_all", |input: &LevelInput<'_>| {
///     [0.5, 1.0].get(input.tried.len()).map(|share| HintLevel::new(*share))
/// });
/// assert_eq!(levels.next(&LevelInput::new(None, &[])), Some(HintLevel::new(0.5)));
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no level search",
    note = "a closure becomes one through `hint_rollout::collect::hinted::from_fn(\"name\", closure)`"
)]
pub trait Levels: Send + Sync {
    /// Its name and its settings, for the record of a run: a run is not resumed with others. By default the name of its
    /// type: a part with settings writes them too.
    fn name(&self) -> String {
        std::any::type_name::<Self>().to_owned()
    }

    /// The next level to try, or `None` when the search is over. A level of 0 ends it as well.
    fn next(&self, input: &LevelInput<'_>) -> Option<HintLevel>;

    /// Whether a new attempt with success rate `new` replaces the one that counts so far, with
    /// `best`. By default the last attempt counts.
    fn prefers(&self, new: f64, best: f64) -> bool {
        let _ = (new, best);
        true
    }

    /// Whether the plain prompt is sampled a second time before the first hint, and a success there ends the search.
    fn samples_plain_first(&self) -> bool {
        false
    }

    /// The memory of a problem until its next visit, from the former one and a success rate. The rate is the one of its
    /// hinted completions, or of the plain ones without a hint. The memory is in the checkpoint. None by default.
    fn remember(&self, memory: Option<f64>, rate: f64) -> Option<f64> {
        let _ = (memory, rate);
        None
    }
}

from_closure!(Levels: next(input: &LevelInput<'_>) -> Option<HintLevel>);

/// Inputs of a level search.
///
/// ```
/// use hint_rollout::collect::hinted::{LevelInput, LevelSearch};
/// use hint_rollout::Levels;
///
/// // The source has four levels. The first one was tried, and nothing was solved.
/// let search = LevelSearch::Ladder { shares: None, plain_first: false };
/// let first = search.next(&LevelInput::new(Some(4), &[])).expect("a first level");
/// let tried = [(first, 0.0)];
/// let second = search.next(&LevelInput::new(Some(4), &tried)).expect("a second level");
/// assert_eq!((first.share(), second.share()), (0.25, 0.5));
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct LevelInput<'a> {
    /// Number of distinct levels of the source; `None` if it can give any share.
    pub levels: Option<usize>,
    /// The levels that were tried for this group, in order, each with its success rate.
    pub tried: &'a [(HintLevel, f64)],
    /// The result of [`Levels::remember`] at the last visit of the problem.
    pub memory: Option<f64>,
    /// Progress of the run.
    pub progress: RunProgress,
    /// Seed of the group; the same in every round.
    pub seed: Seed,
}

impl<'a> LevelInput<'a> {
    /// A group of a source with `levels` levels, for which `tried` was tried, outside a run.
    pub const fn new(levels: Option<usize>, tried: &'a [(HintLevel, f64)]) -> Self {
        Self { levels, tried, memory: None, progress: RunProgress::new(0, 0), seed: Seed::new(0) }
    }

    /// Sets the memory of the problem.
    #[must_use]
    pub const fn with_memory(mut self, memory: Option<f64>) -> Self {
        self.memory = memory;
        self
    }

    /// Sets how far the run is.
    #[must_use]
    pub const fn with_progress(mut self, progress: RunProgress) -> Self {
        self.progress = progress;
        self
    }

    /// Sets the seed.
    #[must_use]
    pub const fn with_seed(mut self, seed: Seed) -> Self {
        self.seed = seed;
        self
    }
}

/// The level searches that a configuration can name.
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
        /// Whether the first rung is the plain prompt once more.
        #[serde(default)]
        plain_first: bool,
    },
    /// Bisection for the smallest share whose success rate is at least `target_rate`. If no attempt
    /// reaches it, the one with the highest success rate counts.
    BinarySearch {
        /// Attempts. At least 1.
        rounds: usize,
        /// Success rate to reach, in `(0, 1]`.
        target_rate: f64,
    },
    /// A share for each problem, which follows its success from visit to visit:
    ///
    /// ```text
    /// s ← clamp( s + gain · (target_rate − rate), 0, 1 )                                 (LEVEL-1)
    /// ```
    ///
    /// `rate` is the success rate of the hinted completions, or of the plain ones without a hint. The share that is given
    /// is `s` times `annealing`. Source: (LEVEL-1) in [the book](../../../../book/math.html#hinted-completions).
    Steered {
        /// `s` at the first visit. In `[0, 1]`.
        start: f64,
        /// Success rate to hold, in `(0, 1]`.
        target_rate: f64,
        /// Gain with which `s` follows. Positive.
        gain: f64,
        /// Factor over the run, in `[0, 1]`.
        #[serde(default = "full")]
        annealing: ValueSchedule,
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

/// Rungs of a ladder over a source that can give any share.
const DEFAULT_RUNGS: usize = 4;

impl Levels for LevelSearch {
    fn name(&self) -> String {
        state::described(self)
    }

    fn next(&self, input: &LevelInput<'_>) -> Option<HintLevel> {
        let LevelInput { levels, tried, memory, progress, seed } = *input;
        let round = tried.len();
        if let Self::BinarySearch { rounds, target_rate } = self {
            // The share between `low`, which is too little, and `high`, which is enough.
            let (mut low, mut high) = (0.0, 1.0);
            for (level, rate) in tried {
                *(if rate >= target_rate { &mut high } else { &mut low }) = level.share();
            }
            return (round < *rounds).then(|| HintLevel::new(f64::midpoint(low, high)));
        }
        if tried.last().is_some_and(|(_, rate)| *rate > 0.0) {
            return None;
        }
        match self {
            Self::One { level } => (round == 0).then(|| HintLevel::new(level.at(progress))),
            Self::Steered { start, annealing, .. } => (round == 0)
                .then(|| HintLevel::new(memory.unwrap_or(*start) * annealing.at(progress))),
            Self::Ladder { shares: Some(shares), .. } => {
                shares.get(round).map(|share| HintLevel::new(*share))
            }
            Self::Ladder { shares: None, .. } => {
                // A source of any share has no rungs of its own.
                let count = levels.unwrap_or(DEFAULT_RUNGS);
                (round < count).then(|| HintLevel::number(round + 1, count))
            }
            Self::Binomial { count, probability } => (round == 0).then(|| {
                let probability = probability.at(progress);
                let draws = (0..*count as u64).filter(|&i| seed.child(i).unit() < probability);
                HintLevel::number(draws.count(), *count)
            }),
            Self::BinarySearch { .. } => None,
        }
    }

    fn prefers(&self, new: f64, best: f64) -> bool {
        match self {
            // Attempts that reach the target get shorter; of the others the likeliest one counts.
            Self::BinarySearch { target_rate, .. } => {
                new >= *target_rate || (best < *target_rate && new > best)
            }
            // The search stops at the first success, so the last attempt is the one that counts.
            _ => true,
        }
    }

    fn samples_plain_first(&self) -> bool {
        matches!(self, Self::Ladder { plain_first: true, .. })
    }

    fn remember(&self, memory: Option<f64>, rate: f64) -> Option<f64> {
        let Self::Steered { start, target_rate, gain, .. } = self else { return None };
        Some((memory.unwrap_or(*start) + gain * (target_rate - rate)).clamp(0.0, 1.0))
    }
}

impl LevelSearch {
    pub(crate) fn check(&self, at: &mut Violations) {
        match self {
            Self::One { level } => level.check(at, "level"),
            Self::Steered { start, target_rate, gain, annealing } => {
                at.share("start", *start);
                at.positive_share("target_rate", *target_rate);
                at.positive("gain", *gain);
                annealing.check(at, "annealing");
            }
            Self::Ladder { shares: Some(shares), .. } => {
                let in_range = shares.iter().all(|share| *share > 0.0 && *share <= 1.0);
                let holds = !shares.is_empty() && in_range && shares.is_sorted();
                let expected = "must hold ascending shares in (0, 1]";
                at.require(holds, "shares", expected, format_args!("{shares:?}"));
            }
            Self::Ladder { shares: None, .. } => {}
            Self::BinarySearch { rounds, target_rate } => {
                at.at_least("rounds", *rounds, 1);
                at.positive_share("target_rate", *target_rate);
            }
            Self::Binomial { count, probability } => {
                at.at_least("count", *count, 1);
                probability.check(at, "probability");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The shares that `search` tries when a level of share `s` has success rate `rate(s)`.
    fn tried(search: &LevelSearch, levels: Option<usize>, rate: impl Fn(f64) -> f64) -> Vec<f64> {
        let mut tried = Vec::new();
        loop {
            let input = LevelInput::new(levels, &tried)
                .with_progress(RunProgress::new(0, 10))
                .with_seed(Seed::new(3));
            let Some(level) = search.next(&input) else { break };
            tried.push((level, rate(level.share())));
        }
        tried.into_iter().map(|(level, _)| level.share()).collect()
    }

    fn at_least(needed: f64) -> impl Fn(f64) -> f64 {
        move |share| f64::from(share >= needed)
    }

    #[test]
    fn a_ladder_stops_at_the_first_success() {
        let shares = Some(vec![0.25, 0.5, 0.75]);
        let ladder = LevelSearch::Ladder { shares, plain_first: false };
        assert_eq!(tried(&ladder, None, at_least(0.4)), [0.25, 0.5]);
        assert_eq!(tried(&ladder, None, at_least(2.0)), [0.25, 0.5, 0.75]);
        let every = LevelSearch::Ladder { shares: None, plain_first: false };
        assert_eq!(tried(&every, Some(2), at_least(2.0)), [0.5, 1.0]);
    }

    #[test]
    fn a_steered_share_follows_the_success_of_its_problem_and_is_annealed() {
        let over = crate::run::RunPoint::Fraction { fraction: 0.8 };
        let annealing = ValueSchedule::Linear { from: 1.0, to: 0.0, over, afterwards: None };
        let search = LevelSearch::Steered { start: 0.5, target_rate: 0.5, gain: 0.4, annealing };
        let share = |memory, step| {
            let input = LevelInput::new(None, &[]).with_memory(memory);
            search
                .next(&input.with_progress(RunProgress::new(step, 10)))
                .expect("one level")
                .share()
        };
        assert_eq!(share(None, 0), 0.5);
        // Nothing was solved: more help. Everything was: less, but never below none.
        let more = search.remember(None, 0.0);
        assert_eq!((more, share(more, 0)), (Some(0.7), 0.7));
        assert_eq!(search.remember(Some(0.1), 1.0), Some(0.0));
        assert_eq!(search.remember(Some(0.9), 0.5), Some(0.9));
        assert!((share(Some(1.0), 4) - 0.5).abs() < 1e-12);
        assert_eq!(share(Some(1.0), 8), 0.0);
        assert_eq!(LevelSearch::default().remember(Some(0.5), 0.0), None);
    }

    #[test]
    fn bisection_closes_in_on_the_shortest_share_that_is_enough() {
        let search = LevelSearch::BinarySearch { rounds: 4, target_rate: 0.5 };
        assert_eq!(tried(&search, None, at_least(0.3)), [0.5, 0.25, 0.375, 0.3125]);
        assert_eq!(tried(&search, None, at_least(2.0)), [0.5, 0.75, 0.875, 0.9375]);
    }

    #[test]
    fn bisection_keeps_the_shortest_attempt_that_reaches_the_target() {
        let search = LevelSearch::BinarySearch { rounds: 4, target_rate: 0.5 };
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
                let input = LevelInput::new(None, &[]).with_seed(Seed::new(index));
                search(0.3).next(&input).expect("one level").share()
            })
            .sum::<f64>()
            / 400.0;
        // Standard error sqrt(0.3 · 0.7 / 5 / 400) ≈ 0.010.
        assert!((mean - 0.3).abs() < 0.04, "{mean}");
    }
}
