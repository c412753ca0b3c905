//! A penalty for repeating oneself.

use std::collections::HashSet;

use crate::error::RewardError;
use crate::input::RewardInput;
use crate::reward::contract::Reward;

/// Minus the share of word n-grams that occurred before: 0 for no repetition, toward −1 for one phrase over and
/// over.
///
/// ```text
/// score = −(1 − distinct n-grams / n-grams)
/// ```
///
/// # Examples
///
/// ```
/// use hint_reward::{Reward, RewardInput, reward::RepetitionPenalty};
///
/// let penalty = RepetitionPenalty::new(2)?;
/// assert_eq!(penalty.score(&RewardInput::new("one two three four", ""))?, 0.0);
/// assert_eq!(penalty.score(&RewardInput::new("so so so so so", ""))?, -0.75);
/// # Ok::<(), hint_reward::RewardError>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct RepetitionPenalty {
    words: usize,
}

impl RepetitionPenalty {
    /// Returns the penalty on n-grams of this many words.
    ///
    /// # Errors
    ///
    /// [`RewardError::Setting`] if `words` is 0.
    pub fn new(words: usize) -> Result<Self, RewardError> {
        if words == 0 {
            return Err(RewardError::Setting {
                name: "words",
                found: "0".into(),
                expected: "at least 1",
            });
        }
        Ok(Self { words })
    }
}

impl Reward for RepetitionPenalty {
    fn name(&self) -> &'static str {
        "repetition"
    }

    fn description(&self) -> String {
        format!("{self:?}")
    }

    fn scores_apart(&self) -> bool {
        true
    }

    fn score(&self, input: &RewardInput<'_>) -> Result<f64, RewardError> {
        let words: Vec<&str> = input.completion.split_whitespace().collect();
        let total = words.len().saturating_sub(self.words - 1);
        if total == 0 {
            return Ok(0.0);
        }
        let distinct: HashSet<&[&str]> = words.windows(self.words).collect();
        Ok(distinct.len() as f64 / total as f64 - 1.0)
    }
}
