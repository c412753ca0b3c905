//! Options of an evaluation.

use serde::{Deserialize, Serialize};

use crate::engine::{Sampling, TooLong};
use crate::error::Violations;
use crate::sample::ScoringConfig;

/// Options of an evaluation.
///
/// ```
/// use hint_rollout::Sampling;
/// use hint_rollout::evaluate::EvaluationOptions;
///
/// let options = EvaluationOptions::sampled(8, Sampling::default());
/// assert_eq!(options.ks(), [1, 2, 4, 8]);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EvaluationOptions {
    /// Completions sampled per problem. 1 when sampling is greedy.
    pub completions_per_problem: usize,
    /// The `k` of pass@k and maj@k, each at most `completions_per_problem`. Empty: that number, and
    /// the powers of two below it.
    pub k: Vec<usize>,
    /// Sampling of completions. Greedy by default.
    pub sampling: Sampling,
    /// Columns to report by. `level` is [`Problem::level`](crate::data::Problem::level); others are text,
    /// numbers or truth values in [`Problem::columns`](crate::data::Problem::columns). Columns that no
    /// problem has are left out.
    pub by: Vec<String>,
    /// Treatment of problems whose prompts are longer than the engine holds. They are left out of the
    /// scores and named in [`Evaluation::left_out`](crate::evaluate::Evaluation::left_out), unless the
    /// evaluation is to stop for them.
    pub too_long: TooLong,
    /// Completions of each problem that [`Evaluation::groups`](crate::evaluate::Evaluation::groups) keeps, the
    /// first ones; 0 for none.
    pub kept_completions: usize,
    /// Scoring of completions.
    pub scoring: ScoringConfig,
    /// Resamples behind each interval; 0 for none.
    pub resamples: usize,
    /// Problems handed to the engine at once. Changes no result, but how often progress is reported.
    pub problems_per_call: usize,
    /// Seed. A problem's completions depend on it and on the problem's id alone.
    pub seed: u64,
}

impl Default for EvaluationOptions {
    fn default() -> Self {
        Self {
            completions_per_problem: 1,
            k: Vec::new(),
            sampling: Sampling::default().greedy(),
            by: vec!["level".to_owned(), "category".to_owned()],
            too_long: TooLong::default(),
            kept_completions: 0,
            scoring: ScoringConfig::default(),
            resamples: 2000,
            problems_per_call: 64,
            seed: 0,
        }
    }
}

impl EvaluationOptions {
    /// One greedy completion per problem, with the limits of `sampling`.
    pub fn greedy(sampling: &Sampling) -> Self {
        Self { sampling: sampling.greedy(), ..Self::default() }
    }

    /// `completions_per_problem` completions per problem, with this sampling.
    pub fn sampled(completions_per_problem: usize, sampling: Sampling) -> Self {
        Self { completions_per_problem, sampling, ..Self::default() }
    }

    /// The `k` of pass@k and maj@k, ascending.
    pub fn ks(&self) -> Vec<usize> {
        let most = self.completions_per_problem;
        let mut ks = if self.k.is_empty() {
            let powers = (0..usize::BITS).map(|power| 1_usize << power);
            powers.take_while(|k| *k < most).chain([most]).collect()
        } else {
            self.k.clone()
        };
        ks.sort_unstable();
        ks.dedup();
        ks
    }

    /// Reports every value that is out of range.
    pub fn check(&self, at: &mut Violations) {
        let count = self.completions_per_problem;
        at.at_least("completions_per_problem", count, 1);
        let expected = "must be 1 when sampling is greedy: further completions would be the same";
        let holds = self.sampling.temperature > 0.0 || count <= 1;
        at.require(holds, "completions_per_problem", expected, count);
        let holds = self.k.iter().all(|k| (1..=count).contains(k));
        let expected = "must be between 1 and completions_per_problem";
        at.require(holds, "k", expected, format_args!("{:?}", self.k));
        at.at_least("problems_per_call", self.problems_per_call, 1);
        at.within("scoring", |at| self.scoring.check(at));
        at.within("sampling", |at| self.sampling.check(at));
    }
}
