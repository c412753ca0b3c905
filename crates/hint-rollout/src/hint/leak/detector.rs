//! Finds the leaks of a hint.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use hint_reward::{
    Extraction, MathVerifier, RewardError, Verifier,
    extract::{AnswerSource, BoxedAnswer},
    math::{Rule, Strictness},
    number::{NumberRole, numbers_in},
    verifier::{Equality, VerifierConfig},
};

use crate::data::{AllowedLeak, Hint, Problem};
use crate::hint::leak::expression::expressions_in;
use crate::hint::leak::finding::{Leak, LeakKind};
use crate::hint::leak::known::Known;

/// Work units of one comparison; comparisons in a hint are short.
const FUEL: u64 = 100_000;

/// Finds the answer and the values of solution steps in a hint.
///
/// The answer leaks where the hint
/// - announces it (in a box or a tag, behind `####`, as "the answer is …");
/// - writes a formula that the verifier finds equal to it, unless the problem writes it or asks to
///   rewrite an equal one;
/// - states it as a number or in words, unless the problem states it too.
///
/// A step leaks where the hint states its value, or writes a formula of numbers that has it. The values
/// of steps are the numbers that the solution reaches and that the problem does not state. A number
/// that it only puts in (`3 * 60`, `4ac`) is none.
///
/// Numbers that state no value never count. They are places in an order (`the third term`), numbers
/// of list items and steps, counts of steps and cases. They are numbers of known things
/// (`the two ends`), coefficients and exponents. They are also moduli, `one`, and words of
/// operations (`twice`, `halve`). 0 and 1 count only where they are announced as the answer.
/// Fractions in words (`half`) and years count as the answer alone.
///
/// Content that a hint [reveals by design](AllowedLeak) does not count. Of a solution's prefix only the
/// answer counts, of a demonstration nothing.
///
/// ```
/// use hint_rollout::{Hint, Problem};
/// use hint_rollout::hint::leak::{LeakDetector, LeakKind};
///
/// let problem = Problem::new("p", "A shelf has 6 boards with 22 books each; 100 are lent. Rest?", "32")
///     .with_solution("There are 6*22 = 132 books. 132 - 100 = 32 are left.");
/// let leaks = |text: &str| LeakDetector::new().leaks(&problem, &Hint::new(text));
/// assert_eq!(leaks("Step 2: subtract the 100 lent books."), []);
/// assert_eq!(leaks("There are 132 books.")[0].kind, LeakKind::Step);
/// assert_eq!(leaks("Thirty-two are left.")[0].kind, LeakKind::Answer);
/// assert_eq!(leaks("It is 2^5.")[0].text, "2^5");
/// ```
#[derive(Clone)]
pub struct LeakDetector {
    /// Compares values.
    verifier: MathVerifier,
    /// Compares with the answer, where that is no mathematics.
    answers: Option<Arc<dyn Verifier>>,
}

impl fmt::Debug for LeakDetector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let answers = self.answers.as_ref().map(Verifier::name);
        let mut debug = formatter.debug_struct("LeakDetector");
        debug.field("verifier", &self.verifier).field("answers", &answers).finish()
    }
}

impl Default for LeakDetector {
    fn default() -> Self {
        Self::new()
    }
}

impl LeakDetector {
    /// Compares as [`MathVerifier`] does, with units and percent signs forgiven.
    pub fn new() -> Self {
        let strictness =
            Strictness { units: Rule::Lenient, percent: Rule::Lenient, ..Strictness::default() };
        let verifier = MathVerifier::new().with_strictness(strictness).with_fuel(FUEL);
        Self { verifier, answers: None }
    }

    /// Compares with answers as the configured verifier does: where it compares texts, a formula in another form is
    /// another answer.
    ///
    /// # Errors
    ///
    /// As [`VerifierConfig::build`].
    ///
    /// ```
    /// use hint_reward::verifier::{Equality, VerifierConfig};
    /// use hint_rollout::hint::leak::LeakDetector;
    /// use hint_rollout::{Hint, Problem};
    ///
    /// let (problem, hint) = (Problem::new("p", "Factor?", "x+1"), Hint::new(r"\boxed{1+x}"));
    /// let exact = VerifierConfig { equality: Equality::Exact, ..VerifierConfig::default() };
    /// assert_eq!(LeakDetector::new().leaks(&problem, &hint).len(), 1);
    /// assert_eq!(LeakDetector::of(&exact)?.leaks(&problem, &hint), []);
    /// # Ok::<(), hint_reward::RewardError>(())
    /// ```
    pub fn of(config: &VerifierConfig) -> Result<Self, RewardError> {
        let answers = config.build()?;
        let Self { verifier, .. } = Self::new();
        Ok(match config.equality {
            Equality::Math { relative_tolerance, .. } => {
                let verifier = verifier.with_relative_tolerance(relative_tolerance)?;
                Self { verifier, answers: None }
            }
            _ => Self { verifier, answers: Some(answers.into()) },
        })
    }

    /// Values of `problem` that `hint` gives away against its design, from left to right.
    pub fn leaks(&self, problem: &Problem, hint: &Hint) -> Vec<Leak> {
        if hint.allowed_leak == AllowedLeak::Answer {
            return Vec::new();
        }
        let mut leaks = self.leaks_of(problem, hint);
        // Each accepted answer gives as much away as the first.
        for answer in &problem.accepted {
            let other = Problem { answer: answer.clone(), ..problem.clone() };
            for leak in self.leaks_of(&other, hint) {
                if !leaks.iter().any(|found| found.span == leak.span) {
                    leaks.push(leak);
                }
            }
        }
        leaks.sort_by_key(|leak| leak.span.start);
        leaks
    }

    /// Leaks of the first answer and of the steps in `hint`.
    fn leaks_of(&self, problem: &Problem, hint: &Hint) -> Vec<Leak> {
        let known = Known::new(&self.verifier, self.answers.as_deref(), problem);
        let text = &hint.text;
        let mut leaks = Vec::new();
        let mut push = |kind, span: Range<usize>, value: &str| {
            let overlaps = |leak: &Leak| leak.span.start < span.end && span.start < leak.span.end;
            let wanted = kind == LeakKind::Answer || hint.allowed_leak == AllowedLeak::Nothing;
            if wanted && !leaks.iter().any(overlaps) {
                let text = text[span.clone()].to_owned();
                leaks.push(Leak { kind, text, span, value: value.to_owned() });
            }
        };
        if let Some(span) = announced(text, &known) {
            push(LeakKind::Answer, span, &known.answer);
        }
        let expressions = expressions_in(text);
        for expression in &expressions {
            let span = expression.span.clone();
            if known.equals_answer(expression.text) {
                if known.is_given_away_by(expression.text) {
                    push(LeakKind::Answer, span, &known.answer);
                }
            } else if expression.is_numeric()
                && let Some(step) = known.step_equal_to(expression.text)
            {
                push(LeakKind::Step, span, &step.to_string());
            }
        }
        // A coefficient of a formula with letters states no value.
        let symbolic = expressions.iter().filter(|expression| !expression.is_numeric());
        let symbolic = symbolic.collect::<Vec<_>>();
        let numbers = numbers_in(text).into_iter();
        let numbers = numbers.filter(|m| !symbolic.iter().any(|formula| formula.holds(&m.span)));
        for mention in numbers {
            if known.is_answer_number(&mention) {
                if !known.answer_is_given {
                    push(LeakKind::Answer, mention.span, &known.answer);
                }
            } else if mention.role == NumberRole::Quantity
                && let Some(step) = mention.readings.iter().find(|v| known.steps.contains(v))
            {
                push(LeakKind::Step, mention.span, &step.to_string());
            }
        }
        if !known.answer_is_given {
            for span in known.answer_words_in(text) {
                push(LeakKind::Answer, span, &known.answer);
            }
        }
        leaks.sort_by_key(|leak| leak.span.start);
        leaks
    }
}

/// Places where the hint announces the answer.
fn announced(text: &str, known: &Known<'_>) -> Option<Range<usize>> {
    let sources =
        [AnswerSource::Boxed, AnswerSource::AnswerTag, AnswerSource::Hashes, AnswerSource::Phrase];
    let stated =
        sources.into_iter().filter_map(|source| Extraction { sources: vec![source] }.extract(text));
    // A box gives its content away, in any sentence.
    let boxed = BoxedAnswer::all(text).into_iter().map(|found| found.content.to_owned());
    stated.chain(boxed).find_map(|found| {
        let found = found.trim();
        let equal = known.equals_answer(found)
            || numbers_in(found)
                .iter()
                .any(|m| m.span.len() == found.len() && known.is_answer_number(m));
        // A list that is spread over several boxes stands nowhere as one.
        equal.then(|| text.rfind(found).map_or(0..text.len(), |at| at..at + found.len()))
    })
}
