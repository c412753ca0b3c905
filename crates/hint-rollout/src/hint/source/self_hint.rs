//! Hints that the policy writes itself, given the reference solution.

use crate::data::{Hint, Problem};
use crate::engine::Sampling;
use crate::error::RolloutError;
use crate::hint::provider::{HintProvider, HintRequest};
use crate::hint::writer::{HintWriter, WriteRequest};

/// Asks the policy for a hint, showing it problem and reference solution. Level 1 of `levels` asks for
/// the least. A problem without a solution gets none, and an empty answer counts as none.
///
/// ```
/// use hint_rollout::hint::source::SelfHints;
/// use hint_rollout::{HintProvider, Problem, Sampling};
///
/// let hints = SelfHints::new(3, Sampling { max_completion_len: 200, ..Sampling::default() });
/// assert_eq!(hints.levels(&Problem::new("trays", "Rest?", "16")), Some(3));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct SelfHints {
    levels: usize,
    sampling: Sampling,
}

impl SelfHints {
    /// Hints of `levels` levels (at least 1), sampled by `sampling`.
    pub fn new(levels: usize, sampling: Sampling) -> Self {
        Self { levels: levels.max(1), sampling }
    }

    fn request(&self, request: &HintRequest<'_>) -> Option<WriteRequest> {
        let solution = request.problem.solution.as_ref()?;
        let (level, levels) = (request.level.of(self.levels), self.levels);
        let prompt = format!(
            "Problem:\n{}\n\nReference solution:\n{solution}\n\nWrite a hint that helps to solve the \
             problem without giving the answer away. Amount of help: {level} of {levels}, where 1 \
             names the idea alone and {levels} outlines the steps. Write the hint and nothing else.",
            request.problem.question
        );
        Some(WriteRequest::new(prompt, self.sampling.clone(), request.seed))
    }
}

impl HintProvider for SelfHints {
    fn name(&self) -> String {
        format!("{self:?}")
    }

    /// The policy is asked through [`HintProvider::hints`]; on its own this is an error.
    fn hint(&self, _request: &HintRequest<'_>) -> Result<Option<Hint>, RolloutError> {
        let message = "self-hints are written by the policy; ask through `HintProvider::hints`";
        Err(RolloutError::other("hint provider", message))
    }

    fn hints(
        &self,
        requests: &[HintRequest<'_>],
        writer: &mut dyn HintWriter,
    ) -> Result<Vec<Option<Hint>>, RolloutError> {
        let asked = requests.iter().map(|request| self.request(request)).collect::<Vec<_>>();
        let jobs = asked.iter().flatten().cloned().collect::<Vec<_>>();
        let mut texts = writer.write(&jobs)?.into_iter();
        let hint = |asked: Option<WriteRequest>| {
            asked?;
            let text = texts.next()?;
            let text = text.trim();
            (!text.is_empty()).then(|| Hint::new(text))
        };
        Ok(asked.into_iter().map(hint).collect())
    }

    fn levels(&self, _problem: &Problem) -> Option<usize> {
        Some(self.levels)
    }
}
