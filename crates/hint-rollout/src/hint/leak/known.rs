//! The facts that a problem states, and those that its solution adds.

use std::collections::BTreeSet;

use hint_reward::{
    Extraction, MathVerifier, RewardInput, Verifier,
    extract::{AnswerSource, extract_boxed},
    number::{ExactNumber, NumberMention, NumberRole, numbers_in},
};

use crate::data::Problem;
use crate::hint::leak::expression;
use crate::hint::leak::expression::compact;

/// Steps beyond which further values are not looked for.
const MAX_STEPS: usize = 200;

/// Answers that any text contains by chance.
const COMMON: [&str; 10] =
    ["yes", "no", "true", "false", "none", "all", "both", "even", "odd", "or"];

/// Counterpart of a hint in the comparison.
pub(super) struct Known<'v> {
    verifier: &'v MathVerifier,
    /// Comparison with the answer, where that is no mathematics.
    answers: Option<&'v dyn Verifier>,
    /// The reference answer without the text around it.
    pub(super) answer: String,
    /// The answer as a number, if it states one.
    answer_readings: Vec<ExactNumber>,
    /// Whether the answer counts only where it is announced. That is so if the problem states it, or
    /// if it is 0 or 1, which any text has.
    pub(super) answer_is_given: bool,
    /// Whether the problem asks to write a formula in another way, so that all forms of it are equal.
    rewrites: bool,
    /// Values of steps that the problem does not state.
    pub(super) steps: BTreeSet<ExactNumber>,
    question: String,
}

impl<'v> Known<'v> {
    pub(super) fn new(
        verifier: &'v MathVerifier,
        answers: Option<&'v dyn Verifier>,
        problem: &Problem,
    ) -> Self {
        let announced = vec![AnswerSource::Boxed, AnswerSource::AnswerTag, AnswerSource::Hashes];
        let answer = Extraction { sources: announced }.extract(&problem.answer);
        let boxed = || extract_boxed(&problem.answer).map(str::to_owned);
        let answer = answer.or_else(boxed).unwrap_or_else(|| problem.answer.clone());
        let answer = answer.trim().to_owned();
        let answer_readings = sole_number(&answer);
        let mut known = Self {
            verifier,
            answers,
            answer,
            answer_readings,
            answer_is_given: false,
            rewrites: false,
            steps: BTreeSet::new(),
            question: problem.question.clone(),
        };
        let stated = numbers_in(&problem.question);
        known.answer_is_given = stated.iter().any(|mention| known.is_answer_number(mention))
            || !words_of(&problem.question, &known.answer).is_empty()
            || known.answer_readings.iter().any(is_common);
        let formulas = expression::expressions_in(&problem.question);
        known.rewrites = formulas.iter().any(|formula| known.equals_answer(formula.text));
        if let Some(solution) = &problem.solution {
            known.steps = steps(solution, &stated);
            let is_answer = |value: &ExactNumber| known.equals_answer(&value.to_string());
            let steps = known.steps.iter().filter(|value| !is_answer(value)).cloned();
            known.steps = steps.take(MAX_STEPS).collect();
        }
        known
    }

    /// Whether a number is the answer.
    pub(super) fn is_answer_number(&self, mention: &NumberMention) -> bool {
        if !matches!(mention.role, NumberRole::Quantity | NumberRole::Fraction | NumberRole::Year) {
            return false;
        }
        mention.readings.iter().any(|reading| {
            self.answer_readings.contains(reading) || self.equals_answer(&reading.to_string())
        })
    }

    /// Whether the verifier finds `candidate` equal to the answer.
    pub(super) fn equals_answer(&self, candidate: &str) -> bool {
        let candidate = candidate.trim();
        candidate.eq_ignore_ascii_case(&self.answer)
            || match self.answers {
                None => self.verifier.compare(candidate, &self.answer).verdict.is_correct(),
                Some(verifier) => {
                    let boxed = format!("\\boxed{{{candidate}}}");
                    verifier.verify(&RewardInput::new(&boxed, &self.answer)).verdict.is_correct()
                }
            }
    }

    /// The step whose value an expression of numbers has.
    pub(super) fn step_equal_to(&self, expression: &str) -> Option<&ExactNumber> {
        let equal = |step: &&ExactNumber| {
            self.verifier.compare(expression, &step.to_string()).verdict.is_correct()
        };
        self.steps.iter().find(equal)
    }

    /// Whether an expression that is equal to the answer gives it away. It does not if the problem
    /// writes it itself, or if the problem asks to rewrite an expression that equals it.
    pub(super) fn is_given_away_by(&self, expression: &str) -> bool {
        let expression = compact(expression);
        !compact(&self.question).contains(&expression)
            && (!self.rewrites || expression == compact(&self.answer))
    }

    /// Places where `text` has the answer as words. Answers of one letter, and those that any text
    /// has, occur by chance and are not searched.
    pub(super) fn answer_words_in(&self, text: &str) -> Vec<std::ops::Range<usize>> {
        let letters = self.answer.chars().filter(|c| c.is_alphabetic()).count();
        let common = COMMON.iter().any(|word| self.answer.eq_ignore_ascii_case(word));
        let is_math = self.answers.is_none() && expression::is_math(&self.answer);
        if letters < 2 || common || is_math {
            return Vec::new();
        }
        words_of(text, &self.answer)
    }
}

/// Places where `words` stand in `text` as whole words, in any case. ASCII case only, so that offsets
/// into `text` stay the same.
fn words_of(text: &str, words: &str) -> Vec<std::ops::Range<usize>> {
    if words.chars().filter(|c| c.is_alphabetic()).count() < 2 {
        return Vec::new();
    }
    let (lower, wanted) = (text.to_ascii_lowercase(), words.to_ascii_lowercase());
    let bounded = |span: &std::ops::Range<usize>| {
        let before = text[..span.start].chars().next_back();
        let behind = text[span.end..].chars().next();
        ![before, behind].into_iter().flatten().any(char::is_alphanumeric)
    };
    let spans = lower.match_indices(&wanted).map(|(at, found)| at..at + found.len());
    spans.filter(bounded).collect()
}

/// The readings of the only number of a text without further mathematics: `$18`, `18 dollars`, `50%`.
fn sole_number(text: &str) -> Vec<ExactNumber> {
    match &numbers_in(text)[..] {
        [only] => {
            let rest = [&text[..only.span.start], &text[only.span.end..]].concat();
            let plain = !rest.contains(['+', '*', '/', '^', '=', '\\', '(', ',', '<', '>']);
            if plain { only.readings.clone() } else { Vec::new() }
        }
        _ => Vec::new(),
    }
}

/// The values that a solution arrives at and that the problem does not state.
///
/// A number that occurs in it only as an operand or within a formula is a constant. Examples are the
/// 60 of `3 * 60` and the 4 of `b^2-4ac`. Words of an operation (`twice`, `half`) do not count as
/// its values. 0 and 1 are too common to count.
fn steps(solution: &str, stated: &[NumberMention]) -> BTreeSet<ExactNumber> {
    let mut given = BTreeSet::new();
    for mention in stated {
        for value in mention.readings.iter().chain(&mention.parts) {
            given.extend([value.clone(), value.magnitude()]);
        }
    }
    let solution = without_calculations(solution);
    let formulas = expression::expressions_in(&solution);
    let mentions = numbers_in(&solution);
    let results = mentions.iter().filter(|mention| {
        // A fraction is a formula of its own.
        let inside = formulas
            .iter()
            .any(|formula| formula.holds(&mention.span) && formula.span.len() > mention.span.len());
        mention.role == NumberRole::Quantity && !inside && !is_operand(&solution, mention)
    });
    let values = results.flat_map(|mention| &mention.readings);
    values.filter(|value| !is_common(value) && !given.contains(*value)).cloned().collect()
}

/// Whether a value is one that any text has.
fn is_common(value: &ExactNumber) -> bool {
    [0, 1].map(ExactNumber::whole).contains(&value.magnitude())
}

/// Whether a number of a solution is put in, and not arrived at.
fn is_operand(solution: &str, mention: &NumberMention) -> bool {
    const OPERATORS: [char; 6] = ['+', '*', '/', '×', '÷', '^'];
    let before = solution[..mention.span.start].trim_end_matches([' ', '$', '(', '{', '€', '£']);
    let is_result = before.ends_with(['=', '≈']);
    let word = before.rsplit(|c: char| !c.is_alphabetic()).next().unwrap_or_default();
    let operated = before.ends_with(OPERATORS)
        || before.ends_with(" -")
        || before.ends_with("\\times")
        || before.ends_with("\\cdot")
        || ["by", "times", "plus", "minus", "over"].contains(&word.to_ascii_lowercase().as_str());
    if operated && !is_result {
        return true;
    }
    // `60 minutes * 3`: up to two words of a unit stand before the operator.
    let mut behind = solution[mention.span.end..].trim_start_matches([' ', ')', '}', '$', '%']);
    for _ in 0..2 {
        let letters = behind.trim_start_matches(char::is_alphabetic);
        behind = letters.trim_start_matches(' ');
    }
    let continues = behind.starts_with(OPERATORS)
        || behind.starts_with("\\times")
        || behind.starts_with("\\cdot")
        || behind.strip_prefix('-').is_some_and(|rest| {
            rest.trim_start().starts_with(|c: char| c.is_ascii_digit() || c == '$' || c == '(')
        });
    continues && !is_result
}

/// A worked solution without the calculator marks of GSM8K: `6*2 = <<6*2=12>>12` becomes `6*2 = 12`.
pub fn without_calculations(solution: &str) -> String {
    let mut plain = String::with_capacity(solution.len());
    let mut rest = solution;
    while let Some((before, after)) = rest.split_once("<<") {
        plain.push_str(before);
        rest = after.split_once(">>").map_or("", |(_, after)| after);
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(question: &str, solution: &str, expected: &[&str]) {
        let found = steps(solution, &numbers_in(question));
        let found = found.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(found, expected, "{solution}");
    }

    #[test]
    fn steps_are_what_the_solution_arrives_at() {
        check(
            "6 boards, 22 books each",
            "6*22=<<6*22=132>>132 books. 132 - 100 = 32.",
            &["32", "132"],
        );
        check("3 hours", "That is 3 * 60 = 180 minutes, or 60 minutes * 3.", &["180"]);
        check("a and b", "Divide by 2. The sum is 45, so we get 1 or 0.", &["45"]);
        check(
            "two hundred",
            r"Then $\frac{3}{4}$ of it is left: $200 \times 5 = 1000$.",
            &["3/4", "1000"],
        );
        check("x", "Step 2: in 2015, twice the third term.", &[]);
        check("x", "By b^2-4ac≥0 and pairs (3, 4), modulo 5, we get x=7.", &["7"]);
    }

    #[test]
    fn calculations_are_left_out() {
        assert_eq!(without_calculations("6*2 = <<6*2=12>>12 feet"), "6*2 = 12 feet");
        assert_eq!(without_calculations("a << b"), "a ");
    }
}
