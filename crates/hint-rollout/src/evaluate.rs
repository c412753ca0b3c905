//! Accuracy on problems, without hints.

use std::collections::BTreeMap;

use hint_reward::Rubric;

use crate::collector::{check_contract, score_completions};
use crate::{
    GenerationRequest, Problem, PromptFormat, RolloutEngine, RolloutError, Sampling, Seed,
    StopReason, SuccessCount,
};

/// Accuracy of a policy on problems, without hints.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Evaluation {
    /// Correct completions out of all.
    pub all: SuccessCount,
    /// The same by difficulty level, where problems have one.
    pub by_level: BTreeMap<String, SuccessCount>,
    /// Completions that could not be judged. They count as wrong here, so that the share of correct
    /// completions can only be too low.
    pub failures: usize,
    /// Completions cut off at the token limit.
    pub truncated: usize,
    /// Completion tokens sampled.
    pub tokens: usize,
}

impl Evaluation {
    /// Share of correct completions; 0 when there were no problems.
    pub fn accuracy(&self) -> f64 {
        self.all.rate().unwrap_or(0.0)
    }
}

/// Samples `completions_per_problem` completions of each plain prompt and judges them.
///
/// # Errors
///
/// Errors of the engine, the format and the rubric.
pub fn evaluate(
    engine: &mut dyn RolloutEngine,
    format: &dyn PromptFormat,
    rubric: &Rubric,
    problems: &[Problem],
    options: &EvaluationOptions,
) -> Result<Evaluation, RolloutError> {
    let seed = Seed::new(options.seed).named("evaluate");
    let requests = (0_u64..)
        .zip(problems)
        .map(|(index, problem)| {
            let prompt = format.encode(problem, None)?;
            let seed = seed.child(index).value();
            let (count, sampling) = (options.completions_per_problem, options.sampling.clone());
            Ok(GenerationRequest::new(prompt, count, seed, sampling))
        })
        .collect::<Result<Vec<_>, RolloutError>>()?;
    let references = problems.iter().collect::<Vec<_>>();
    let sampled = engine.generate(&requests)?;
    check_contract(&references, &requests, &sampled)?;
    let mut evaluation = Evaluation::default();
    for (problem, completions) in problems.iter().zip(sampled) {
        let (_, scores) = score_completions(format, rubric, problem, "", &completions)?;
        let correct = scores.iter().filter(|score| score.verdict.is_correct()).count();
        let count = SuccessCount { correct, total: completions.len() };
        evaluation.all = evaluation.all + count;
        if let Some(level) = &problem.level {
            let entry = evaluation.by_level.entry(level.clone()).or_default();
            *entry = *entry + count;
        }
        evaluation.failures += scores.iter().filter(|score| score.verdict.is_failure()).count();
        for completion in &completions {
            evaluation.tokens += completion.tokens.len();
            evaluation.truncated += usize::from(completion.stop == StopReason::Length);
        }
    }
    Ok(evaluation)
}

/// How to evaluate.
#[derive(Debug, Clone, PartialEq)]
pub struct EvaluationOptions {
    /// Completions sampled per problem. 1 for greedy sampling.
    pub completions_per_problem: usize,
    /// How completions are sampled.
    pub sampling: Sampling,
    /// Seed.
    pub seed: u64,
}
