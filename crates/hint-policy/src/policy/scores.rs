//! Scores of a batch of tokens.

use tch::Tensor;

use crate::error::PolicyError;

/// Results of [`Policy::score`](crate::Policy::score) besides log-probabilities, and its temperature.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScoreOptions {
    /// The logits are divided by this before the softmax. Positive; 1 is the model's own
    /// distribution.
    pub temperature: f64,
    /// Whether to return the entropy of the distribution that predicts each completion token.
    pub entropy: bool,
    /// Number of the likeliest tokens that are scored at each place of a completion besides its own token; 0 for
    /// none. For a batch that names its [alternatives](crate::TokenBatch::with_alternatives), these are scored
    /// instead.
    pub top_k: usize,
    /// Lets adapters drop inputs, by masks that are a function of this seed: for training. `None`
    /// drops nothing: for evaluation. Policies without dropout ignore it.
    pub dropout_seed: Option<u64>,
}

impl Default for ScoreOptions {
    fn default() -> Self {
        Self { temperature: 1.0, entropy: false, top_k: 0, dropout_seed: None }
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

/// Result of [`Policy::score`](crate::Policy::score).
#[derive(Debug)]
pub struct TokenScores {
    /// At position `t`, `log π(y_t | y_<t)` of the tempered distribution, in nats; 0 where the
    /// completion mask is false. Shape `[batch, seq]`, kind `Float` (`Double` when the policy
    /// computes in `Double`), differentiable.
    pub logprobs: Tensor,
    /// At position `t`, the entropy in nats of the tempered distribution that predicted position
    /// `t`; 0 where the completion mask is false. Shape and kind as `logprobs`, no grad.
    pub entropy: Option<Tensor>,
    /// Tokens that could stand in place of the completions' tokens, if any were asked for.
    pub alternatives: Option<Alternatives>,
}

/// Tokens that could stand in place of a completion's own, with their scores. Row `i` belongs to the `i`-th completion
/// token of the batch, row after row and without padding.
#[derive(Debug)]
pub struct Alternatives {
    /// Token ids. Shape `[completion tokens, k]`, kind `Int64`.
    pub tokens: Tensor,
    /// Their log-probabilities under the tempered distribution, in nats. Shape as `tokens`, kind as
    /// [`TokenScores::logprobs`], differentiable.
    pub logprobs: Tensor,
}

impl Alternatives {
    /// The same without gradient.
    #[must_use]
    pub fn detach(&self) -> Self {
        Self { tokens: self.tokens.shallow_clone(), logprobs: self.logprobs.detach() }
    }
}

/// The gradients of a loss with respect to [`TokenScores`].
#[derive(Debug)]
pub struct ScoreGradients {
    /// Of the log-probabilities. Shape `[batch, seq]`.
    pub logprobs: Tensor,
    /// Of those of the alternatives, if the loss depends on them. Shape `[completion tokens, k]`.
    pub alternatives: Option<Tensor>,
}
