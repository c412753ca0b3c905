//! The mathematical verifier.

use crate::error::RewardError;
use crate::extract::{AnswerSource, Extraction, Level, bare_reference};
use crate::input::RewardInput;
use crate::math::Strictness;
use crate::math::answer::{Answer, compare};
use crate::math::compare::text::same_wording;
use crate::math::fuel::{DEFAULT_FUEL, Stop};
use crate::math::reader::Reader;
use crate::verifier::contract::Verifier;
use crate::verifier::extracted::{no_answer, stopped, unusable};
use crate::verifier::verdict::{Judgment, Verdict};

/// A verifier by mathematical equivalence.
///
/// The answer is found by an [`Extraction`], read as LaTeX, plain text or both, and compared with the reference.
/// Numbers are compared exactly, and expressions as formulas. Lists, tuples, sets, intervals, equations,
/// inequalities, matrices, choices and words have their own rules. [`Strictness`] lists the differences that are
/// forgiven, none by default. A comparison is symmetric and gives the same verdict every time. Its budget is a work
/// counter, not a clock, and holds in any thread.
///
/// A truncated completion is judged by its answer, in a closed box or tag or in a sentence with text behind it.
/// [`Verdict::Truncated`] means it gave none.
///
/// # Equality of expressions
///
/// 1. Values that are rational are computed and compared exactly.
/// 2. Other expressions are evaluated at random points of two finite fields above 2⁶¹. π and e are unknowns there,
///    and roots of positive numbers are exact. Equal values there mean equal expressions, with an error below 1e-12
///    (Schwartz and Zippel). Different values mean different expressions, unless a function or a symbolic power
///    occurs: a field lacks its laws.
/// 3. Then both are evaluated in double-double arithmetic with error bounds, at several real points where there are
///    variables. They are different if they differ beyond the bounds anywhere. They are equal if they agree to 20
///    digits everywhere both have a value. Variables are real; complex numbers are tried if no real value exists.
///
/// # Examples
///
/// ```
/// use hint_reward::{MathVerifier, RewardInput, Verdict, Verifier};
///
/// let verifier = MathVerifier::new();
/// let verdict = |completion, reference| verifier.verify(&RewardInput::new(completion, reference)).verdict;
/// assert_eq!(verdict(r"Hence \boxed{x^2 - 1}.", "(x-1)(x+1)"), Verdict::Correct);
/// assert_eq!(verdict(r"\boxed{[0, 1]}", "[0, 1)"), Verdict::Incorrect);
/// assert_eq!(verdict("I do not know.", "4"), Verdict::NoAnswer);
/// ```
#[derive(Debug, Clone)]
pub struct MathVerifier {
    extraction: Extraction,
    strictness: Strictness,
    relative_tolerance: f64,
    fuel: u64,
}

impl MathVerifier {
    /// Returns the verifier with strict rules of comparison that looks for the answer everywhere.
    pub fn new() -> Self {
        Self {
            extraction: Extraction::default(),
            strictness: Strictness::default(),
            relative_tolerance: 1e-12,
            fuel: DEFAULT_FUEL,
        }
    }

    /// Returns the verifier for training, which takes only boxed and announced answers.
    ///
    /// ```
    /// use hint_reward::{MathVerifier, RewardInput, Verdict, Verifier};
    ///
    /// let verdict = |completion| MathVerifier::strict().verify(&RewardInput::new(completion, "12")).verdict;
    /// assert_eq!(verdict("so \\boxed{12}"), Verdict::Correct);
    /// assert_eq!(verdict("I count 12 of them."), Verdict::NoAnswer);
    /// ```
    pub fn strict() -> Self {
        Self::new().with_level(Level::Strict)
    }

    /// Sets the level: where the answer is looked for.
    #[must_use]
    pub fn with_level(self, level: Level) -> Self {
        self.with_extraction(Extraction::of_level(level))
    }

    /// Sets where the answer is looked for.
    #[must_use]
    pub fn with_extraction(mut self, extraction: Extraction) -> Self {
        self.extraction = extraction;
        self
    }

    /// Sets the differences that are forgiven.
    #[must_use]
    pub fn with_strictness(mut self, strictness: Strictness) -> Self {
        self.strictness = strictness;
        self
    }

    /// Sets how far, relative to its size, a value may be from a decimal that stands for it. Default 1e-12.
    ///
    /// The tolerance is never looser than one unit in the last digit written. Two decimals are only equal when
    /// they are the same number.
    ///
    /// # Errors
    ///
    /// [`RewardError::Setting`] unless the tolerance is in `[0, 0.1]`.
    pub fn with_relative_tolerance(mut self, tolerance: f64) -> Result<Self, RewardError> {
        if !(0.0..=0.1).contains(&tolerance) {
            let found = tolerance.to_string();
            return Err(RewardError::Setting {
                name: "relative_tolerance",
                found,
                expected: "a number in [0, 0.1]",
            });
        }
        self.relative_tolerance = tolerance;
        Ok(self)
    }

    /// Sets the budget of one judgment, in work units of about ten nanoseconds. Beyond it the verdict is
    /// [`Verdict::Timeout`].
    #[must_use]
    pub fn with_fuel(mut self, units: u64) -> Self {
        self.fuel = units;
        self
    }

    /// Compares two answers directly, without looking for them in a text.
    ///
    /// # Examples
    ///
    /// ```
    /// use hint_reward::MathVerifier;
    ///
    /// let judgment = MathVerifier::new().compare(r"\{2, 1\}", r"\{1, 2\}");
    /// assert!(judgment.verdict.is_correct());
    /// ```
    pub fn compare(&self, answer: &str, reference: &str) -> Judgment {
        let mut reader = Reader::new(self.fuel);
        self.judged(answer, reference, &mut reader).unwrap_or_else(stopped)
    }

    pub(super) fn judged(
        &self,
        answer: &str,
        reference: &str,
        reader: &mut Reader,
    ) -> Result<Judgment, Stop> {
        let expected = Answer::read(reference, &self.strictness, reader)?;
        if expected.is_empty() {
            let judgment = Judgment::new(Verdict::ReferenceUnparseable);
            return Ok(judgment
                .with_extracted(answer)
                .with_reason("the reference answer is empty"));
        }
        let found = Answer::read(answer, &self.strictness, reader)?;
        let equal = compare(&found, &expected, &self.strictness, self.relative_tolerance, reader)?;
        let unknown = "it has an integral, limit or sum that cannot be computed";
        let mut unreadable = [expected.unreadable, found.unreadable];
        if !equal {
            for (answer, reason) in [&expected, &found].into_iter().zip(&mut unreadable) {
                if reason.is_none() && answer.is_uncomputable() {
                    *reason = Some(unknown);
                }
            }
        }
        let [of_reference, of_answer] = unreadable;
        let verdict = match (equal, of_reference) {
            (true, _) => Verdict::Correct,
            (false, None) => Verdict::Incorrect,
            (false, Some(_)) => Verdict::ReferenceUnparseable,
        };
        let judgment =
            Judgment::new(verdict).with_extracted(answer).with_compared(expected.rendered());
        Ok(match (verdict, of_reference, of_answer) {
            (Verdict::Correct, ..) => judgment,
            (_, Some(reason), _) => {
                judgment.with_reason(format!("the reference cannot be read: {reason}"))
            }
            (_, None, Some(reason)) => {
                judgment.with_reason(format!("the answer cannot be read: {reason}"))
            }
            _ => judgment.with_reason("the answer differs from the reference"),
        })
    }

    /// Whether a reference is words that name no value.
    pub(crate) fn is_words(&self, reference: &str) -> bool {
        let reference = bare_reference(reference);
        let answer = Answer::read(&reference, &self.strictness, &mut Reader::new(self.fuel));
        answer.is_ok_and(|answer| answer.is_words())
    }

    /// The whole completion, where it is a reference word for word and the whole text may be the answer.
    fn repeated(&self, input: &RewardInput<'_>) -> Option<String> {
        let text = input.completion.trim();
        let may_be = !input.truncated && self.extraction.sources.contains(&AnswerSource::WholeText);
        let is_one = may_be
            && input.references().any(|reference| {
                reference.trim() == text || (text.len() < 200 && same_wording(reference, text))
            });
        is_one.then(|| bare_reference(text)).filter(|answer| !answer.is_empty())
    }

    fn found_and_judged(
        &self,
        input: &RewardInput<'_>,
        reader: &mut Reader,
    ) -> Result<Judgment, Stop> {
        let found = match self.repeated(input) {
            Some(answer) => Some((answer, AnswerSource::WholeText)),
            None => self.extraction.find_in(input, reader)?,
        };
        let judgment = Judgment::over(input, |reference| {
            let reference = bare_reference(reference);
            match &found {
                // All comparisons share one budget.
                Some((answer, _)) => {
                    self.judged(answer.trim(), &reference, reader).unwrap_or_else(stopped)
                }
                None if reference.is_empty() => unusable("the reference answer is empty"),
                None => no_answer(input, "no answer was found").with_compared(reference),
            }
        });
        Ok(match found {
            Some((_, source)) => judgment.with_source(source),
            None => judgment,
        })
    }
}

impl Default for MathVerifier {
    fn default() -> Self {
        Self::new()
    }
}

impl Verifier for MathVerifier {
    fn name(&self) -> String {
        format!("{self:?}")
    }

    fn verify(&self, input: &RewardInput<'_>) -> Judgment {
        let mut reader = Reader::new(self.fuel);
        let judgment = self.found_and_judged(input, &mut reader).unwrap_or_else(stopped);
        judgment.with_level(self.extraction.level())
    }

    fn same_answer(&self, left: &str, right: &str) -> bool {
        left.trim() == right.trim() || self.compare(left, right).verdict.is_correct()
    }
}

/// Whether two answers are mathematically the same, under the strict rules.
///
/// A pair that cannot be compared within the default budget is not equivalent; [`MathVerifier::compare`]
/// distinguishes the two.
///
/// # Examples
///
/// ```
/// use hint_reward::equivalent;
///
/// assert!(equivalent(r"\frac12", "0.5"));
/// assert!(equivalent("x^2 + 2x + 1", "(x+1)^2"));
/// assert!(equivalent(r"\sqrt{8}", r"2\sqrt{2}"));
/// assert!(equivalent("5 \\le x", "x \\ge 5"));
/// assert!(!equivalent("(1, 2)", r"\{1, 2\}"));
/// assert!(!equivalent("5 cm", "5 km"));
/// ```
pub fn equivalent(a: &str, b: &str) -> bool {
    MathVerifier::new().compare(a, b).verdict.is_correct()
}
