//! The reference solution with its numbers left out.

use std::ops::Range;

use hint_reward::number::{NumberRole, numbers_in};

use crate::data::Hint;
use crate::error::RolloutError;
use crate::hint::leak::{PLACEHOLDER, without_calculations};
use crate::hint::provider::{HintProvider, HintRequest};

/// The reference solution, with a blank in the place of every number: in digits, in words, as a
/// fraction. A box, and the text behind `####`, hold the answer, and always become a blank. Numbers
/// of steps and list items, places in an order and words of operations (`twice`) stay: they describe
/// only the way. A problem without a solution gets no hint.
///
/// ```
/// use hint_rollout::{HintProvider, HintRequest, Problem};
/// use hint_rollout::hint::source::MaskedSolution;
///
/// let solution = "Step 1: half of 48 is 24.\n#### 24";
/// let problem = Problem::new("p", "She sold 48 clips, then half as many. Total?", "72")
///     .with_solution(solution);
/// let hint = MaskedSolution::new().hint(&HintRequest::new(&problem))?.expect("there is a solution");
/// assert_eq!(hint.text, "Step 1: ___ of ___ is ___.\n#### ___");
/// # Ok::<(), hint_rollout::RolloutError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaskedSolution {
    placeholder: String,
}

impl Default for MaskedSolution {
    fn default() -> Self {
        Self::new()
    }
}

impl MaskedSolution {
    /// Blanks are `___`.
    pub fn new() -> Self {
        Self { placeholder: PLACEHOLDER.to_owned() }
    }

    /// Sets the placeholder of a number. It should hold none.
    #[must_use]
    pub fn with_placeholder(mut self, placeholder: impl Into<String>) -> Self {
        self.placeholder = placeholder.into();
        self
    }

    /// `solution` with its numbers left out.
    pub fn mask(&self, solution: &str) -> String {
        let solution = without_calculations(solution);
        let hidden = |role| {
            matches!(
                role,
                NumberRole::Quantity
                    | NumberRole::Fraction
                    | NumberRole::Formula
                    | NumberRole::Year
            )
        };
        let numbers = numbers_in(&solution).into_iter().filter(|mention| hidden(mention.role));
        let mut spans = numbers.map(|mention| mention.span).collect::<Vec<_>>();
        spans.extend(answers(&solution));
        // The outer span of two that overlap comes first.
        spans.sort_by_key(|span| (span.start, std::cmp::Reverse(span.end)));
        let mut masked = String::with_capacity(solution.len());
        let mut end = 0;
        for span in spans {
            if span.start >= end {
                masked.push_str(&solution[end..span.start]);
                masked.push_str(&self.placeholder);
                end = span.end;
            }
        }
        masked + &solution[end..]
    }
}

/// Places where a solution gives its answer.
fn answers(solution: &str) -> Vec<Range<usize>> {
    let mut spans = Vec::new();
    for command in ["\\boxed{", "\\fbox{"] {
        for (at, _) in solution.match_indices(command) {
            let rest = &solution[at..];
            let start = at + command.len();
            let mut depth = 1;
            let end = rest[command.len()..].find(|c| {
                depth += match c {
                    '{' => 1,
                    '}' => -1,
                    _ => 0,
                };
                depth == 0
            });
            spans.push(start..end.map_or(solution.len(), |length| start + length));
        }
    }
    for (at, marks) in solution.match_indices("####") {
        let rest = &solution[at + marks.len()..];
        let line = rest.lines().next().unwrap_or_default();
        let answer = line.trim();
        if !answer.is_empty() {
            let start = at + marks.len() + (line.len() - line.trim_start().len());
            spans.push(start..start + answer.len());
        }
    }
    spans
}

impl HintProvider for MaskedSolution {
    fn name(&self) -> String {
        format!("{self:?}")
    }

    fn hint(&self, request: &HintRequest<'_>) -> Result<Option<Hint>, RolloutError> {
        Ok(request.problem.solution.as_ref().map(|solution| Hint::new(self.mask(solution))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(solution: &str, expected: &str) {
        assert_eq!(MaskedSolution::new().with_placeholder("_").mask(solution), expected);
    }

    #[test]
    fn numbers_in_digits_words_and_fractions_are_left_out() {
        check("6*22=<<6*22=132>>132 books", "_*_=_ books");
        check("Twenty-one of two hundred and fifty, 3/4 of it", "_ of _, _ of it");
        check(r"$\frac{3}{4}x = 1.5$, so $2x^3$ is half.", "$_x = _$, so $_x^_$ is _.");
    }

    #[test]
    fn answers_are_left_out_whatever_they_are() {
        check(r"So \boxed{\frac{a}{b} + \{c\}} it is.", r"So \boxed{_} it is.");
        check("Then\n#### north west\nEnd", "Then\n#### _\nEnd");
        check(r"\boxed{", r"\boxed{_");
    }

    #[test]
    fn what_only_orders_stays() {
        check("Step 2: double the third one.", "Step 2: double the third one.");
    }
}
