//! The beginning of the reference solution as a hint.

use serde::{Deserialize, Serialize};

use crate::data::{AllowedLeak, Hint, Problem};
use crate::error::RolloutError;
use crate::hint::provider::{HintProvider, HintRequest};
use crate::hint::writer::HintWriter;

/// Unit that a solution is cut into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrefixUnit {
    /// Words, each with the white space before it.
    #[default]
    Word,
    /// Lines, each with its line break.
    Line,
    /// Characters.
    Character,
    /// Tokens of the policy.
    Token,
}

impl PrefixUnit {
    /// Byte offsets at which `text` may be cut: the end of each unit.
    fn ends(self, text: &str) -> Vec<usize> {
        let mut ends = Vec::new();
        let mut previous = None;
        for (offset, letter) in text.char_indices() {
            let begins = match (self, previous) {
                (_, None) => false,
                (Self::Character | Self::Token, Some(_)) => true,
                (Self::Line, Some(previous)) => previous == '\n',
                (Self::Word, Some(previous)) => {
                    letter.is_whitespace() && !char::is_whitespace(previous)
                }
            };
            if begins {
                ends.push(offset);
            }
            previous = Some(letter);
        }
        ends.push(text.len());
        ends
    }
}

/// The first part of [`Problem::solution`]; the level is its share. A problem without a solution
/// gets no hint.
///
/// ```
/// use hint_rollout::{HintProvider, HintRequest, Problem};
/// use hint_rollout::data::HintLevel;
/// use hint_rollout::hint::source::{PrefixUnit, SolutionPrefix};
///
/// let problem = Problem::new("p", "1 + 2 + 3", "6").with_solution("1 + 2 = 3, 3 + 3 = 6");
/// let request = HintRequest::new(&problem).with_level(HintLevel::new(0.5));
/// let hint = SolutionPrefix::new(PrefixUnit::Word).hint(&request)?.expect("there is a solution");
/// assert_eq!(hint.text, "1 + 2 = 3,");
/// # Ok::<(), hint_rollout::RolloutError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SolutionPrefix {
    unit: PrefixUnit,
    in_prompt: bool,
}

impl SolutionPrefix {
    /// A prefix that the completion continues.
    pub const fn new(unit: PrefixUnit) -> Self {
        Self { unit, in_prompt: false }
    }

    fn prefix(self, text: &str) -> Hint {
        if self.in_prompt {
            Hint::new(text).allowing(AllowedLeak::Steps)
        } else {
            Hint::prefix(text)
        }
    }

    /// A prefix that joins the question; the completion starts from the beginning.
    #[must_use]
    pub const fn in_prompt(mut self) -> Self {
        self.in_prompt = true;
        self
    }
}

impl HintProvider for SolutionPrefix {
    fn name(&self) -> String {
        format!("{self:?}")
    }

    /// A solution is cut at tokens through [`HintProvider::hints`] alone; on its own that is an error.
    fn hint(&self, request: &HintRequest<'_>) -> Result<Option<Hint>, RolloutError> {
        let Some(solution) = &request.problem.solution else { return Ok(None) };
        if self.unit == PrefixUnit::Token {
            let message = "tokens are the policy's; ask through `HintProvider::hints`";
            return Err(RolloutError::other("hint provider", message));
        }
        let ends = self.unit.ends(solution);
        let count = request.level.of(ends.len());
        let end = count.checked_sub(1).map_or(0, |last| ends[last]);
        Ok(Some(self.prefix(&solution[..end])))
    }

    fn hints(
        &self,
        requests: &[HintRequest<'_>],
        writer: &mut dyn HintWriter,
    ) -> Result<Vec<Option<Hint>>, RolloutError> {
        let hint = |request: &HintRequest<'_>| match (&request.problem.solution, self.unit) {
            (Some(solution), PrefixUnit::Token) => {
                writer.first_tokens(solution, request.level).map(|text| Some(self.prefix(&text)))
            }
            _ => self.hint(request),
        };
        requests.iter().map(hint).collect()
    }

    fn levels(&self, _problem: &Problem) -> Option<usize> {
        None
    }
}
