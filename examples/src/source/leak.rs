//! Does a hint give away what it should not?

use std::collections::BTreeSet;

use super::number::Number;
use super::numeral::numbers_in;
use super::problem::SourceProblem;

/// What a hint gives away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leak {
    /// The answer, in digits or words.
    Answer {
        /// As the hint writes it.
        text: String,
    },
    /// A value that the solution computes on its way.
    Intermediate {
        /// As the hint writes it.
        text: String,
    },
    /// Arithmetic on numbers.
    Expression {
        /// As the hint writes it.
        text: String,
    },
}

/// Everything that `hint` gives away of `answer` and `solution`. Numbers that `question` itself
/// mentions are no leak, except for the answer.
pub fn leaks(hint: &str, answer: &str, solution: &str, question: &str) -> Vec<Leak> {
    let given: BTreeSet<Number> = numbers_in(question).into_iter().map(|m| m.value).collect();
    let computed: BTreeSet<Number> = numbers_in(solution)
        .into_iter()
        .map(|mention| mention.value)
        .filter(|value| !given.contains(value))
        .collect();
    let mut leaks = Vec::new();
    let number = Number::parse(answer.trim().trim_start_matches(['$', '€', '£']));
    for mention in numbers_in(hint) {
        if Some(mention.value) == number {
            leaks.push(Leak::Answer { text: mention.text });
        } else if computed.contains(&mention.value) {
            leaks.push(Leak::Intermediate { text: mention.text });
        }
    }
    // An answer that is an expression is looked for as text; a single letter occurs by chance.
    let compact = |text: &str| text.split_whitespace().collect::<String>();
    let wanted = compact(answer);
    if number.is_none() && wanted.chars().count() > 1 && compact(hint).contains(&wanted) {
        leaks.push(Leak::Answer { text: answer.to_owned() });
    }
    leaks.extend(expressions_in(hint).map(|text| Leak::Expression { text: text.to_owned() }));
    leaks
}

/// Share of the problems with a hint whose hint gives anything away, in `[0, 1]`; 0 if none has one.
pub fn leak_share(problems: &[SourceProblem]) -> f64 {
    let (mut hinted, mut leaking) = (0_usize, 0_usize);
    for problem in problems {
        let Some(hint) = &problem.hint else { continue };
        let solution = problem.solution.as_deref().unwrap_or_default();
        hinted += 1;
        let found = leaks(hint, &problem.answer, solution, &problem.question);
        leaking += usize::from(!found.is_empty());
    }
    if hinted == 0 { 0.0 } else { leaking as f64 / hinted as f64 }
}

/// Runs of numbers and operators with at least two numbers.
fn expressions_in(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_ascii_digit() || c.is_whitespace() || "+-*/=×÷.^()".contains(c)))
        .map(str::trim)
        .filter(|run| {
            let numbers = run.split(|c: char| !c.is_ascii_digit()).filter(|n| !n.is_empty());
            numbers.count() > 1 && run.contains(|c: char| "+-*/=×÷^".contains(c))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUESTION: &str = "A shelf has 6 boards with twenty-two books each; 100 are lent. Rest?";
    const SOLUTION: &str = "There are 6*22=<<6*22=132>>132 books. So 132-100=<<132-100=32>>32.";

    #[track_caller]
    fn check(hint: &str, expected: &[Leak]) {
        assert_eq!(leaks(hint, "32", SOLUTION, QUESTION), expected, "{hint}");
    }

    #[test]
    fn answer_leaks_in_digits_and_in_words() {
        check("It is 32.", &[Leak::Answer { text: "32".into() }]);
        check("It is thirty-two.", &[Leak::Answer { text: "thirty two".into() }]);
    }

    #[test]
    fn computed_values_and_arithmetic_leak() {
        check("First get 132.", &[Leak::Intermediate { text: "132".into() }]);
        check("Take 6 * 22 first.", &[Leak::Expression { text: "6 * 22".into() }]);
    }

    #[test]
    fn given_numbers_and_plain_guidance_do_not_leak() {
        check("Multiply to find how many books there are; then subtract the lent ones.", &[]);
        check("There are 6 boards.", &[]);
    }

    #[test]
    fn answer_that_is_no_number_is_found_as_text() {
        let found = leaks("Note that n(n + 1) occurs.", "n(n+1)", "", "");
        assert_eq!(found, [Leak::Answer { text: "n(n+1)".into() }]);
        assert_eq!(leaks("Let n be odd.", "n", "", ""), []);
    }
}
