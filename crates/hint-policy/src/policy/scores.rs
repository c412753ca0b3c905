//! What is computed of a batch of tokens.

use tch::Tensor;

use crate::error::PolicyError;

/// What [`Policy::score`](crate::Policy::score) computes besides log-probabilities, and at which temperature.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScoreOptions {
    /// The logits are divided by this before the softmax. Positive; 1 is the model's own
    /// distribution.
    pub temperature: f64,
    /// Whether to return the entropy of the distribution that predicts each completion token.
    pub entropy: bool,
    /// Lets adapters drop inputs, by masks that are a function of this seed: for training. `None`
    /// drops nothing: for evaluation. Policies without dropout ignore it.
    pub dropout_seed: Option<u64>,
}

impl Default for ScoreOptions {
    fn default() -> Self {
        Self { temperature: 1.0, entropy: false, dropout_seed: None }
    }
}

impl ScoreOptions {
    /// Checks the ranges.
    ///
    /// # Errors
    ///
    /// [`PolicyError::InvalidOption`] for a temperature that is not positive and finite.
    pub fn validate(&self) -> Result<(), PolicyError> {
        if self.temperature.is_finite() && self.temperature > 0.0 {
            return Ok(());
        }
        Err(PolicyError::option("temperature", &self.temperature, "a positive number"))
    }
}

/// What [`Policy::score`](crate::Policy::score) returns.
#[derive(Debug)]
pub struct TokenScores {
    /// At position `t`, `log π(y_t | y_<t)` of the tempered distribution, in nats; 0 where the
    /// completion mask is false. Shape `[batch, seq]`, kind `Float` (`Double` when the policy
    /// computes in `Double`), differentiable.
    pub logprobs: Tensor,
    /// At position `t`, the entropy in nats of the tempered distribution that predicted position
    /// `t`; 0 where the completion mask is false. Shape and kind as `logprobs`, no grad.
    pub entropy: Option<Tensor>,
}
