//! Regular expressions, as a reward on the completion and as a verifier of the answer.

use regex::Regex;

use crate::error::RewardError;
use crate::extract::Extraction;
use crate::input::RewardInput;
use crate::reward::Reward;
use crate::verifier::contract::Verifier;
use crate::verifier::extracted::{compared, judged, no_answer, unusable};
use crate::verifier::verdict::Judgment;

/// 1 if the completion matches a regular expression, else 0.
///
/// # Examples
///
/// ```
/// use hint_reward::{Reward, RewardInput, verifier::RegexMatch};
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
    /// Returns the reward of this name for this pattern, in the syntax of the `regex` crate. It takes time linear in
    /// the text for every pattern.
    ///
    /// # Errors
    ///
    /// [`RewardError::Setting`] if the pattern is malformed.
    pub fn new(name: impl Into<String>, pattern: &str) -> Result<Self, RewardError> {
        let pattern = Regex::new(pattern).map_err(|_| RewardError::Setting {
            name: "pattern",
            found: pattern.to_owned(),
            expected: "a valid regular expression",
        })?;
        Ok(Self { name: name.into(), pattern })
    }
}

impl Reward for RegexMatch {
    fn name(&self) -> &str {
        &self.name
    }

    fn description(&self) -> String {
        format!("{} /{}/", self.name, self.pattern)
    }

    fn score(&self, input: &RewardInput<'_>) -> Result<f64, RewardError> {
        Ok(f64::from(u8::from(self.pattern.is_match(input.completion))))
    }
}

/// A verifier whose references are regular expressions: the whole extracted answer matches.
///
/// # Examples
///
/// ```
/// use hint_reward::{RewardInput, Verdict, Verifier, verifier::PatternMatch};
///
/// let verdict = |completion, pattern| PatternMatch::default().verify(&RewardInput::new(completion, pattern)).verdict;
/// assert_eq!(verdict(r"\boxed{AB-1234}", r"[A-Z]{2}-\d{4}"), Verdict::Correct);
/// assert_eq!(verdict(r"\boxed{see AB-1234}", r"[A-Z]{2}-\d{4}"), Verdict::Incorrect);
/// assert_eq!(verdict(r"\boxed{AB-1234}", "["), Verdict::ReferenceUnparseable);
/// ```
#[derive(Debug, Clone, Default)]
pub struct PatternMatch {
    extraction: Extraction,
}

impl PatternMatch {
    /// Sets where the answer is looked for.
    #[must_use]
    pub fn with_extraction(mut self, extraction: Extraction) -> Self {
        self.extraction = extraction;
        self
    }
}

impl Verifier for PatternMatch {
    fn name(&self) -> String {
        format!("{self:?}")
    }

    fn verify(&self, input: &RewardInput<'_>) -> Judgment {
        judged(&self.extraction, input, |answer, reference| {
            // Alone it must be whole too: `a)|(b` would be closed by the group around it.
            let whole = Regex::new(reference).and(Regex::new(&format!("^(?:{reference})$")));
            let Ok(pattern) = whole else {
                return unusable("the reference is no regular expression");
            };
            let Some(answer) = answer else {
                return no_answer(input, "no answer was found");
            };
            let reason = "the answer does not match the pattern";
            compared(pattern.is_match(answer), answer, reference, reason)
        })
    }
}
