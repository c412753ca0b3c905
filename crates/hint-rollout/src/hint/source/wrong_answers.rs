//! The policy's own wrong answers as a hint.

use crate::data::{AllowedLeak, Hint};
use crate::error::RolloutError;
use crate::hint::provider::{HintProvider, HintRequest};

/// Lists the different wrong answers of the plain completions, in their order. Completions without an
/// answer are left out; if there is none with one, there is no hint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WrongAnswers;

impl HintProvider for WrongAnswers {
    fn name(&self) -> String {
        format!("{self:?}")
    }

    fn hint(&self, request: &HintRequest<'_>) -> Result<Option<Hint>, RolloutError> {
        let mut answers: Vec<&str> = Vec::new();
        for rollout in request.failed.iter().filter(|rollout| !rollout.is_correct()) {
            if let Some(answer) = rollout.score.judgment.extracted.as_deref()
                && !answers.contains(&answer)
            {
                answers.push(answer);
            }
        }
        let list = answers.join(", ");
        // What the policy said itself is nothing revealed, even if it is the value of a step.
        let hint = || Hint::new(format!("These answers are wrong: {list}."));
        Ok((!answers.is_empty()).then(|| hint().allowing(AllowedLeak::Steps)))
    }
}
