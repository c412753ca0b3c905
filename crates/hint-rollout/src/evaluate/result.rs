//! Result of an evaluation.

use std::collections::BTreeMap;

use hint_reward::Verdict;
use hint_reward::extract::AnswerSource;
use serde::{Deserialize, Serialize};

use crate::engine::Sampling;
use crate::evaluate::estimators::{Votes, maj_at_k, pass_at_k};
use crate::evaluate::interval::{Estimate, quantile};
use crate::evaluate::options::EvaluationOptions;
use crate::run::Seed;
use crate::sample::{RolloutGroup, SuccessCount};

/// Result of an evaluation: over all problems, by column, and for each problem.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Evaluation {
    /// Completions sampled per problem.
    pub completions_per_problem: usize,
    /// Sampling of the completions.
    pub sampling: Sampling,
    /// The seed of completions and intervals.
    pub seed: u64,
    /// Resamples behind each interval.
    pub resamples: usize,
    /// Over all problems.
    pub overall: EvaluationScores,
    /// By column and value, such as `level` and `5`, over the problems that have one.
    pub by: BTreeMap<String, BTreeMap<String, EvaluationScores>>,
    /// Each problem, in input order.
    pub problems: Vec<ProblemOutcome>,
    /// Ids of the problems that are left out because their prompts are longer than the engine holds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
    /// The first [completions](EvaluationOptions::kept_completions) of each problem. They are not serialized.
    #[serde(skip)]
    pub groups: Vec<RolloutGroup>,
}

/// Scores over some problems.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct EvaluationScores {
    /// Number of problems.
    pub problems: usize,
    /// Number of completions.
    pub completions: usize,
    /// avg@k: share of correct completions, `k` being the completions per problem. Completions that
    /// could not be judged count as wrong, so that it can only be too low.
    pub avg: Estimate,
    /// pass@k, by `k`. (EVAL-1)
    pub pass_at: BTreeMap<usize, Estimate>,
    /// maj@k, by `k`. (EVAL-2) Empty when the verifier extracts no answers to vote on.
    pub maj_at: BTreeMap<usize, Estimate>,
    /// Lengths of the completions, in tokens, the stop token included. Tokens that others wrote in them do not count.
    pub lengths: Lengths,
    /// Share of completions cut off at the token limit.
    pub truncated_frac: f64,
    /// Completions per verdict.
    pub verdicts: BTreeMap<Verdict, usize>,
    /// Completions by the rule that found their answer, and how many of them were correct. Completions
    /// without an answer are under `none`.
    #[serde(default)]
    pub extracted_by: BTreeMap<String, SuccessCount>,
}

/// Lengths of completions, in tokens. All 0 without completions.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Lengths {
    /// Sum.
    pub tokens: usize,
    /// Mean.
    pub mean: f64,
    /// Sample deviation.
    pub std: f64,
    /// Shortest.
    pub min: usize,
    /// Median.
    pub median: f64,
    /// 95th percentile.
    pub p95: f64,
    /// Longest.
    pub max: usize,
    /// Mean of the correct ones, where there are any.
    pub mean_correct: Option<f64>,
    /// Mean of the others, where there are any.
    pub mean_not_correct: Option<f64>,
}

/// Result of one problem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ProblemOutcome {
    /// Id of the problem.
    pub id: String,
    /// Correct completions.
    pub correct: usize,
    /// The votes; `None` when a judged completion has no extracted answer to vote for.
    pub votes: Option<Votes>,
    /// The verdict of each completion.
    pub verdicts: Vec<Verdict>,
    /// The extracted answer of each completion, as it stands there.
    pub answers: Vec<Option<String>>,
    /// The rule that found the answer of each completion.
    #[serde(default)]
    pub sources: Vec<Option<AnswerSource>>,
    /// The length of each completion, in tokens.
    pub lengths: Vec<usize>,
    /// Completions cut off at the token limit.
    pub truncated: usize,
}

impl Evaluation {
    /// Share of correct completions.
    pub const fn accuracy(&self) -> f64 {
        self.overall.avg.value
    }

    /// `columns` has the text of each of [`EvaluationOptions::by`], by problem.
    pub(super) fn new(
        columns: &[Vec<Option<String>>],
        outcomes: Vec<ProblemOutcome>,
        left_out: Vec<String>,
        groups: Vec<RolloutGroup>,
        options: &EvaluationOptions,
    ) -> Self {
        let seed = Seed::new(options.seed).named("bootstrap");
        let scores = |outcomes: &[&ProblemOutcome]| EvaluationScores::new(outcomes, options, seed);
        let mut by = BTreeMap::new();
        for (at, column) in options.by.iter().enumerate() {
            let mut slices = BTreeMap::<String, Vec<&ProblemOutcome>>::new();
            for (texts, outcome) in columns.iter().zip(&outcomes) {
                if let Some(value) = texts[at].clone() {
                    slices.entry(value).or_default().push(outcome);
                }
            }
            if !slices.is_empty() {
                let slices = slices.into_iter().map(|(value, slice)| (value, scores(&slice)));
                by.insert(column.clone(), slices.collect());
            }
        }
        Self {
            completions_per_problem: options.completions_per_problem,
            sampling: options.sampling.clone(),
            seed: options.seed,
            resamples: options.resamples,
            overall: scores(&outcomes.iter().collect::<Vec<_>>()),
            by,
            problems: outcomes,
            left_out,
            groups,
        }
    }
}

impl EvaluationScores {
    fn new(outcomes: &[&ProblemOutcome], options: &EvaluationOptions, seed: Seed) -> Self {
        let estimate = |value: &dyn Fn(&ProblemOutcome) -> f64| {
            let values = outcomes.iter().map(|outcome| value(outcome)).collect::<Vec<_>>();
            Estimate::over(&values, options.resamples, seed)
        };
        let ks = options.ks();
        let pass = |k: &usize| {
            let of =
                |outcome: &ProblemOutcome| pass_at_k(outcome.verdicts.len(), outcome.correct, *k);
            (*k, estimate(&of))
        };
        let maj = |k: &usize| {
            let of = |outcome: &ProblemOutcome| {
                outcome.votes.as_ref().map_or(0.0, |votes| maj_at_k(votes, *k))
            };
            (*k, estimate(&of))
        };
        let can_vote = outcomes.iter().all(|outcome| outcome.votes.is_some());
        let completions = outcomes.iter().map(|outcome| outcome.verdicts.len()).sum::<usize>();
        let truncated = outcomes.iter().map(|outcome| outcome.truncated).sum::<usize>();
        let mut verdicts = BTreeMap::new();
        for verdict in outcomes.iter().flat_map(|outcome| &outcome.verdicts) {
            *verdicts.entry(*verdict).or_default() += 1;
        }
        let mut extracted_by = BTreeMap::<String, SuccessCount>::new();
        let judged =
            outcomes.iter().flat_map(|outcome| outcome.sources.iter().zip(&outcome.verdicts));
        for (source, verdict) in judged {
            let rule = source.map_or("none", AnswerSource::name);
            extracted_by.entry(rule.to_owned()).or_default().count(verdict.is_correct());
        }
        Self {
            problems: outcomes.len(),
            completions,
            avg: estimate(&|outcome| outcome.correct as f64 / outcome.verdicts.len() as f64),
            pass_at: ks.iter().map(pass).collect(),
            maj_at: if can_vote { ks.iter().map(maj).collect() } else { BTreeMap::new() },
            lengths: Lengths::of(outcomes),
            truncated_frac: truncated as f64 / completions.max(1) as f64,
            verdicts,
            extracted_by,
        }
    }
}

impl Lengths {
    fn of(outcomes: &[&ProblemOutcome]) -> Self {
        let with_verdict = || {
            let all =
                outcomes.iter().flat_map(|outcome| outcome.lengths.iter().zip(&outcome.verdicts));
            all.map(|(length, verdict)| (*length, verdict.is_correct()))
        };
        let mut sorted = with_verdict().map(|(length, _)| length as f64).collect::<Vec<_>>();
        sorted.sort_by(f64::total_cmp);
        let mean_of = |wanted: bool| {
            let lengths = with_verdict().filter(|(_, correct)| *correct == wanted);
            let lengths = lengths.map(|(length, _)| length as f64).collect::<Vec<_>>();
            (!lengths.is_empty()).then(|| lengths.iter().sum::<f64>() / lengths.len() as f64)
        };
        let Some((median, p95)) = quantile(&sorted, 0.5).zip(quantile(&sorted, 0.95)) else {
            return Self::default();
        };
        let lengths = || with_verdict().map(|(length, _)| length);
        let mean = sorted.iter().sum::<f64>() / sorted.len() as f64;
        let squares = sorted.iter().map(|length| (length - mean).powi(2)).sum::<f64>();
        Self {
            tokens: lengths().sum(),
            mean,
            std: (squares / (sorted.len() as f64 - 1.0).max(1.0)).sqrt(),
            min: lengths().min().unwrap_or(0),
            median,
            p95,
            max: lengths().max().unwrap_or(0),
            mean_correct: mean_of(true),
            mean_not_correct: mean_of(false),
        }
    }
}
