//! Texts that are nearly the same.

use crate::error::RewardError;
use crate::extract::Extraction;
use crate::input::RewardInput;
use crate::math::answer::unwrapped;
use crate::verifier::contract::Verifier;
use crate::verifier::extracted::{compared, judged, no_answer, unusable};
use crate::verifier::verdict::Judgment;

/// Characters beyond which two texts are not compared: the time is the product of both lengths.
const MAX_CHARS: usize = 4096;

/// A verifier for short texts: a least similarity to the reference.
///
/// ```text
/// similarity = 1 − d(answer, reference) / max(|answer|, |reference|)
/// ```
///
/// with `d` the distance of Levenshtein in characters. Case and white space at both ends do not matter.
///
/// # Examples
///
/// ```
/// use hint_reward::{RewardInput, Verdict, Verifier, verifier::TextDistance};
///
/// let verifier = TextDistance::new(0.8)?;
/// let verdict = |completion| verifier.verify(&RewardInput::new(completion, "photosynthesis")).verdict;
/// assert_eq!(verdict(r"\boxed{\text{Photosyntesis}}"), Verdict::Correct);
/// assert_eq!(verdict(r"\boxed{\text{photograph}}"), Verdict::Incorrect);
/// # Ok::<(), hint_reward::RewardError>(())
/// ```
#[derive(Debug, Clone)]
pub struct TextDistance {
    min_similarity: f64,
    extraction: Extraction,
}

impl TextDistance {
    /// Returns the verifier with this least similarity.
    ///
    /// # Errors
    ///
    /// [`RewardError::Setting`] unless it is in `(0, 1]`.
    pub fn new(min_similarity: f64) -> Result<Self, RewardError> {
        if !(min_similarity > 0.0 && min_similarity <= 1.0) {
            return Err(RewardError::Setting {
                name: "min_similarity",
                found: min_similarity.to_string(),
                expected: "a number in (0, 1]",
            });
        }
        Ok(Self { min_similarity, extraction: Extraction::default() })
    }

    /// Sets where the answer is looked for.
    #[must_use]
    pub fn with_extraction(mut self, extraction: Extraction) -> Self {
        self.extraction = extraction;
        self
    }
}

impl Verifier for TextDistance {
    fn name(&self) -> String {
        format!("{self:?}")
    }

    fn verify(&self, input: &RewardInput<'_>) -> Judgment {
        judged(&self.extraction, input, |answer, reference| {
            let expected = plain(reference);
            if expected.is_empty() || expected.chars().count() > MAX_CHARS {
                return unusable("the reference is empty or too long");
            }
            let Some(answer) = answer else {
                return no_answer(input, "no answer was found");
            };
            let found = plain(answer);
            if found.chars().count() > MAX_CHARS {
                return compared(false, answer, reference, "the answer is too long");
            }
            let similarity = strsim::normalized_levenshtein(&found, &expected);
            let reason = format!("the similarity is {similarity:.3}");
            compared(similarity >= self.min_similarity, answer, reference, &reason)
        })
    }
}

fn plain(text: &str) -> String {
    unwrapped(text.trim()).trim().trim_end_matches('.').to_lowercase()
}
