//! Verifiers and rewards by pattern, by choice and by numeric tolerance.

use regex::Regex;

use crate::error::RewardError;
use crate::extract::Extraction;
use crate::input::RewardInput;
use crate::math::answer::constant_value;
use crate::math::fuel::DEFAULT_FUEL;
use crate::math::fuel::Fuel;
use crate::math::parse::choice::named_choice;
use crate::reward::Reward;
use crate::verifier::contract::Verifier;
use crate::verifier::verdict::{Judgment, Verdict};

/// 1 if the completion matches a regular expression, else 0.
///
/// # Examples
///
/// ```
/// use hint_reward::{RegexMatch, Reward, RewardInput};
///
/// let cites = RegexMatch::new("cites", r"\[\d+\]")?;
/// assert_eq!(cites.score(&RewardInput::new("as shown in [3]", ""))?, 1.0);
/// # Ok::<(), hint_reward::RewardError>(())
/// ```
#[derive(Debug, Clone)]
pub struct RegexMatch {
    name: String,
    pattern: Regex,
}

impl RegexMatch {
    /// Returns the reward of this name for this pattern, in the syntax of the `regex` crate: it takes time linear in
    /// the text whatever the pattern.
    ///
    /// # Errors
    ///
    /// [`RewardError::Setting`] if the pattern is malformed.
    pub fn new(name: impl Into<String>, pattern: &str) -> Result<Self, RewardError> {
        let pattern = Regex::new(pattern).map_err(|_| RewardError::Setting {
            name: "pattern",
            got: pattern.to_owned(),
            expected: "a valid regular expression",
        })?;
        Ok(Self { name: name.into(), pattern })
    }
}

impl Reward for RegexMatch {
    fn name(&self) -> &str {
        &self.name
    }

    fn score(&self, input: &RewardInput<'_>) -> Result<f64, RewardError> {
        Ok(f64::from(u8::from(self.pattern.is_match(input.completion))))
    }
}

/// A verifier for multiple choice: the extracted answer names one letter, which is compared without case.
///
/// `B`, `(b)`, `\text{B}`, `B.`, `B) 12` and `Option B` all name B.
///
/// # Examples
///
/// ```
/// use hint_reward::{ChoiceMatch, RewardInput, Verdict, Verifier};
///
/// let verdict = |completion| ChoiceMatch::default().verify(&RewardInput::new(completion, "B")).verdict;
/// assert_eq!(verdict("The answer is (B) 12."), Verdict::Correct);
/// assert_eq!(verdict(r"\boxed{C}"), Verdict::Incorrect);
/// assert_eq!(verdict(r"\boxed{12}"), Verdict::NoAnswer);
/// ```
#[derive(Debug, Clone, Default)]
pub struct ChoiceMatch {
    extraction: Extraction,
}

impl ChoiceMatch {
    /// Sets where the answer is looked for.
    #[must_use]
    pub fn with_extraction(mut self, extraction: Extraction) -> Self {
        self.extraction = extraction;
        self
    }
}

impl Verifier for ChoiceMatch {
    fn verify(&self, input: &RewardInput<'_>) -> Judgment {
        let Some(expected) = choice(input.reference) else {
            return Judgment::new(Verdict::ReferenceUnparseable)
                .with_reason("the reference names no choice");
        };
        let extracted = extracted(&self.extraction, input);
        // "The answer is (B) 12." does not read as one answer, but its end still names a choice.
        let found = extracted.as_deref().and_then(choice).or_else(|| {
            let at = input.completion.to_ascii_lowercase().rfind("answer is")? + "answer is".len();
            choice(input.completion[at..].trim_start_matches([':', ' ', '*']))
        });
        let Some(found) = found else {
            let verdict = if input.truncated { Verdict::Truncated } else { Verdict::NoAnswer };
            return Judgment::new(verdict)
                .with_compared(expected)
                .with_reason("no choice was named");
        };
        let judgment =
            |verdict| Judgment::new(verdict).with_extracted(found).with_compared(expected);
        if found == expected {
            judgment(Verdict::Correct)
        } else {
            judgment(Verdict::Incorrect).with_reason("another choice was named")
        }
    }
}

/// What an extraction finds in the completion of an input.
fn extracted(extraction: &Extraction, input: &RewardInput<'_>) -> Option<String> {
    let found = extraction.find_in(input, &mut Fuel::new(DEFAULT_FUEL)).ok().flatten();
    found.map(|(answer, _)| answer)
}

/// The value of a text that is one real number.
fn number(text: &str) -> Option<f64> {
    constant_value(text, &mut Fuel::new(DEFAULT_FUEL))
}

/// The letter a text names, in upper case.
fn choice(text: &str) -> Option<char> {
    let text = text.trim();
    named_choice(text)
        .or_else(|| {
            // With a choice asked for, a small letter is one too.
            let bare = text.trim_matches(['$', '*', '.', ' ']);
            (bare.len() == 1)
                .then(|| bare.chars().next())
                .flatten()
                .filter(char::is_ascii_alphabetic)
        })
        .map(|letter| letter.to_ascii_uppercase())
}

/// A verifier for measured numbers: the extracted number is within a tolerance of the reference.
///
/// # Examples
///
/// ```
/// use hint_reward::{NumericTolerance, RewardInput, Verdict, Verifier};
///
/// let verifier = NumericTolerance::new(0.01, 0.0)?;
/// let verdict = |completion| verifier.verify(&RewardInput::new(completion, "9.81")).verdict;
/// assert_eq!(verdict("It is 9.8"), Verdict::Correct);
/// assert_eq!(verdict("It is 9.5"), Verdict::Incorrect);
/// # Ok::<(), hint_reward::RewardError>(())
/// ```
#[derive(Debug, Clone)]
pub struct NumericTolerance {
    relative: f64,
    absolute: f64,
    extraction: Extraction,
}

impl NumericTolerance {
    /// Returns the verifier that accepts `|x − reference| <= max(relative·|reference|, absolute)`.
    ///
    /// # Errors
    ///
    /// [`RewardError::Setting`] unless both tolerances are finite and at least 0.
    pub fn new(relative: f64, absolute: f64) -> Result<Self, RewardError> {
        for (name, value) in [("relative", relative), ("absolute", absolute)] {
            if !(value >= 0.0 && value.is_finite()) {
                return Err(RewardError::Setting {
                    name,
                    got: value.to_string(),
                    expected: "a finite number >= 0",
                });
            }
        }
        Ok(Self { relative, absolute, extraction: Extraction::default() })
    }

    /// Sets where the answer is looked for.
    #[must_use]
    pub fn with_extraction(mut self, extraction: Extraction) -> Self {
        self.extraction = extraction;
        self
    }
}

impl Verifier for NumericTolerance {
    fn verify(&self, input: &RewardInput<'_>) -> Judgment {
        let Some(expected) = number(input.reference) else {
            return Judgment::new(Verdict::ReferenceUnparseable)
                .with_reason("the reference is no number");
        };
        let Some(extracted) = extracted(&self.extraction, input) else {
            let verdict = if input.truncated { Verdict::Truncated } else { Verdict::NoAnswer };
            return Judgment::new(verdict)
                .with_compared(input.reference)
                .with_reason("no answer was found");
        };
        let near = number(&extracted).map(|value| {
            let tolerance = (self.relative * expected.abs()).max(self.absolute);
            (value - expected).abs() <= tolerance
        });
        let verdict = if near == Some(true) { Verdict::Correct } else { Verdict::Incorrect };
        let judgment =
            Judgment::new(verdict).with_extracted(extracted).with_compared(input.reference);
        match near {
            Some(true) => judgment,
            Some(false) => judgment.with_reason("the number is outside the tolerance"),
            None => judgment.with_reason("the answer is no number"),
        }
    }
}
