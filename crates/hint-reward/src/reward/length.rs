//! Rewards for the length of a completion.

use crate::error::RewardError;
use crate::input::RewardInput;
use crate::reward::contract::Reward;

/// The soft penalty for overlong completions of DAPO (arXiv 2503.14476, equation 13).
///
/// ```text
/// score = 0                                        if n ≤ max − buffer
///         ((max − buffer) − n) / buffer            if max − buffer < n ≤ max
///         −1                                       if max < n
/// ```
///
/// with `n` the tokens of the completion.
///
/// # Examples
///
/// ```
/// use hint_reward::{Reward, RewardInput, reward::SoftOverlong};
///
/// let penalty = SoftOverlong::new(100, 20)?;
/// let score = |tokens| penalty.score(&RewardInput::new("", "").with_completion_tokens(tokens));
/// assert_eq!(score(80)?, 0.0);
/// assert_eq!(score(90)?, -0.5);
/// assert_eq!(score(101)?, -1.0);
/// # Ok::<(), hint_reward::RewardError>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct SoftOverlong {
    max_tokens: usize,
    buffer: usize,
}

impl SoftOverlong {
    /// Returns the penalty that starts `buffer` tokens before `max_tokens` and is full there.
    ///
    /// # Errors
    ///
    /// [`RewardError::Setting`] unless `0 < buffer <= max_tokens`.
    pub fn new(max_tokens: usize, buffer: usize) -> Result<Self, RewardError> {
        if buffer == 0 || buffer > max_tokens {
            return Err(RewardError::Setting {
                name: "buffer",
                found: buffer.to_string(),
                expected: "at least 1 and at most `max_tokens`",
            });
        }
        Ok(Self { max_tokens, buffer })
    }
}

impl Reward for SoftOverlong {
    fn name(&self) -> &'static str {
        "soft_overlong"
    }

    fn description(&self) -> String {
        format!("{self:?}")
    }

    fn scores_apart(&self) -> bool {
        true
    }

    fn score(&self, input: &RewardInput<'_>) -> Result<f64, RewardError> {
        let tokens = tokens_of(input, "soft_overlong")?;
        let free = self.max_tokens - self.buffer;
        Ok(if tokens <= free {
            0.0
        } else if tokens <= self.max_tokens {
            -((tokens - free) as f64) / self.buffer as f64
        } else {
            -1.0
        })
    }
}

/// A reward that falls from 1 for an empty completion to 0 at `max_tokens` and beyond.
///
/// # Examples
///
/// ```
/// use hint_reward::{Reward, RewardInput, reward::Brevity};
///
/// let brevity = Brevity::new(200)?;
/// assert_eq!(brevity.score(&RewardInput::new("", "").with_completion_tokens(50))?, 0.75);
/// # Ok::<(), hint_reward::RewardError>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Brevity {
    max_tokens: usize,
}

impl Brevity {
    /// Returns the reward that is 0 from `max_tokens` on.
    ///
    /// # Errors
    ///
    /// [`RewardError::Setting`] if `max_tokens` is 0.
    pub fn new(max_tokens: usize) -> Result<Self, RewardError> {
        if max_tokens == 0 {
            return Err(RewardError::Setting {
                name: "max_tokens",
                found: "0".into(),
                expected: "at least 1",
            });
        }
        Ok(Self { max_tokens })
    }
}

impl Reward for Brevity {
    fn name(&self) -> &'static str {
        "brevity"
    }

    fn description(&self) -> String {
        format!("{self:?}")
    }

    fn scores_apart(&self) -> bool {
        true
    }

    fn score(&self, input: &RewardInput<'_>) -> Result<f64, RewardError> {
        let tokens = tokens_of(input, "brevity")?;
        Ok((1.0 - tokens as f64 / self.max_tokens as f64).max(0.0))
    }
}

fn tokens_of(input: &RewardInput<'_>, reward: &'static str) -> Result<usize, RewardError> {
    input.completion_tokens.ok_or(RewardError::MissingInput { reward, input: "completion_tokens" })
}
