//! Judging completions.

use hint_reward::{RewardInput, Rubric, Score};

use crate::data::Problem;
use crate::engine::{Completion, StopReason};
use crate::error::RolloutError;
use crate::prompt::PromptFormat;

/// Decodes and scores the completions of one problem, each of which continues `prefix`.
pub(crate) fn score_completions(
    format: &dyn PromptFormat,
    rubric: &Rubric,
    problem: &Problem,
    prefix: &str,
    completions: &[Completion],
) -> Result<(Vec<String>, Vec<Score>), RolloutError> {
    let texts = completions
        .iter()
        .map(|completion| Ok(format!("{prefix}{}", format.decode(&completion.tokens)?)))
        .collect::<Result<Vec<_>, RolloutError>>()?;
    let inputs = completions
        .iter()
        .zip(&texts)
        .map(|(completion, text)| {
            RewardInput::new(text, &problem.answer)
                .with_prompt(&problem.question)
                .with_problem_id(&problem.id)
                .with_truncated(completion.stop == StopReason::Length)
                .with_completion_tokens(completion.tokens.len())
                .with_columns(&problem.columns)
        })
        .collect::<Vec<_>>();
    let scores = rubric
        .score_group(&inputs)
        .map_err(|source| RolloutError::Reward { problem: problem.id.clone(), source })?;
    Ok((texts, scores))
}

/// Completions that could not be judged, and the last of them for the error message.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    count: usize,
    last: Option<(String, &'static str, Option<String>)>,
}

impl Failures {
    pub(crate) fn record(&mut self, problem: &Problem, score: &Score) {
        self.count += 1;
        let reason = score.judgment.reason.clone();
        self.last = Some((problem.id.clone(), score.verdict.name(), reason));
    }

    pub(crate) fn check(self, limit_frac: f64, judged: usize) -> Result<(), RolloutError> {
        let Some((problem, verdict, reason)) = self.last else { return Ok(()) };
        if self.count as f64 <= limit_frac * judged as f64 {
            return Ok(());
        }
        Err(RolloutError::TooManyFailures {
            failed: self.count,
            judged,
            limit_frac,
            problem,
            verdict,
            reason,
        })
    }
}
