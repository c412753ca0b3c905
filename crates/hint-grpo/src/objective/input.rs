//! Inputs of a loss.

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::error::GrpoError;

/// Whether the importance ratio is one of tokens or one of whole sequences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RatioLevel {
    /// `r_t = exp(log_ratio_t)`.
    #[default]
    Token,
    /// Every token of a completion has the geometric mean of the token ratios (GSPO):
    ///
    /// ```text
    /// s_i = exp( Σ_t m_it log r_it / |y_i| )                                           (GSPO-1)
    /// ```
    ///
    /// Source: (GSPO-1) in [the book](../../../book/math.html#objectives). GSPO clips it at 3e-4 and 4e-4.
    Sequence,
}

/// Everything a loss may read. All tensors are `[batch, seq]` on one device and of one floating
/// kind, unless documented otherwise.
///
/// ```
/// use hint_grpo::objective::LossInput;
/// use tch::Tensor;
///
/// // Two tokens, and one of padding, which the mask leaves out.
/// let now = Tensor::from_slice2(&[[-0.5, -1.0, 0.0]]).set_requires_grad(true);
/// let old = Tensor::from_slice2(&[[-0.7, -1.0, 0.0]]);
/// let advantages = Tensor::from_slice2(&[[1.0, 1.0, 0.0]]);
/// let mask = Tensor::from_slice2(&[[true, true, false]]);
/// let input = LossInput::new(&now, &old, &advantages, &mask);
/// input.check()?;
/// assert!((input.log_ratio().double_value(&[0, 0]) - 0.2).abs() < 1e-9);
/// # Ok::<(), hint_grpo::GrpoError>(())
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct LossInput<'a> {
    /// `log π_θ(y_t | c, y_<t)`, where [`RatioScheme`](crate::objective::RatioScheme) chose the context `c`
    /// (plain prompt or prompt with hint). Requires grad. Nats.
    pub logprobs: &'a Tensor,
    /// `log π_old(y_t | c', y_<t)`, with the context that the scheme chose for the denominator. No
    /// grad. Nats.
    pub old_logprobs: &'a Tensor,
    /// `log μ(y_t | sampling prompt, y_<t)`: the distribution that drew the tokens. No grad. Nats.
    pub behavior_logprobs: Option<&'a Tensor>,
    /// `log π_old(y_t | sampling prompt, y_<t)`, which the importance correction compares with
    /// `behavior_logprobs`: `old_logprobs` where it is not given. No grad. Nats.
    pub drawn_logprobs: Option<&'a Tensor>,
    /// `log π_ref(y_t | c, y_<t)` of the frozen reference, context as in `logprobs`. No grad. Nats.
    pub ref_logprobs: Option<&'a Tensor>,
    /// `Â_t`, already spread over tokens; 0 where `mask` is false. No grad.
    pub advantages: &'a Tensor,
    /// Weights of the objective, per token, not of the KL term; 1 where there are none. No grad.
    pub token_weights: Option<&'a Tensor>,
    /// True for the rows of a group whose rewards are all equal. `[batch]`, `Bool`.
    pub zero_variance: Option<&'a Tensor>,
    /// True on the completion tokens that train. `Bool`.
    pub mask: &'a Tensor,
    /// Result of [`LossInput::log_ratio`].
    pub ratio_level: RatioLevel,
}

impl<'a> LossInput<'a> {
    /// An input of token ratios without any of the optional tensors.
    pub const fn new(
        logprobs: &'a Tensor,
        old_logprobs: &'a Tensor,
        advantages: &'a Tensor,
        mask: &'a Tensor,
    ) -> Self {
        Self {
            logprobs,
            old_logprobs,
            behavior_logprobs: None,
            drawn_logprobs: None,
            ref_logprobs: None,
            advantages,
            token_weights: None,
            zero_variance: None,
            mask,
            ratio_level: RatioLevel::Token,
        }
    }

    /// Adds the log-probabilities of the distribution that drew the tokens.
    #[must_use]
    pub const fn with_behavior(mut self, behavior_logprobs: &'a Tensor) -> Self {
        self.behavior_logprobs = Some(behavior_logprobs);
        self
    }

    /// Adds the old policy's log-probabilities on the prompt that the tokens were drawn from. Needed where the ratio's
    /// denominator conditions on another.
    #[must_use]
    pub const fn with_drawn(mut self, drawn_logprobs: &'a Tensor) -> Self {
        self.drawn_logprobs = Some(drawn_logprobs);
        self
    }

    /// Adds the log-probabilities of the reference policy.
    #[must_use]
    pub const fn with_reference(mut self, ref_logprobs: &'a Tensor) -> Self {
        self.ref_logprobs = Some(ref_logprobs);
        self
    }

    /// Weights the objective of each token.
    #[must_use]
    pub const fn with_token_weights(mut self, token_weights: &'a Tensor) -> Self {
        self.token_weights = Some(token_weights);
        self
    }

    /// Marks the rows that belong to a group whose rewards are all equal. `[batch]`, `Bool`.
    #[must_use]
    pub const fn with_zero_variance(mut self, zero_variance: &'a Tensor) -> Self {
        self.zero_variance = Some(zero_variance);
        self
    }

    /// Makes the ratio one of tokens or of sequences.
    #[must_use]
    pub const fn with_ratio_level(mut self, ratio_level: RatioLevel) -> Self {
        self.ratio_level = ratio_level;
        self
    }

    /// `log π_θ − log π_old` at the ratio level, `[batch, seq]`, differentiable in `logprobs`; exactly
    /// 0 outside the mask, so that padding can never overflow the exponential. (GSPO-1)
    pub fn log_ratio(&self) -> Tensor {
        let padding = self.mask.logical_not();
        let tokens = (self.logprobs - self.old_logprobs).masked_fill(&padding, 0.0);
        match self.ratio_level {
            RatioLevel::Token => tokens,
            RatioLevel::Sequence => {
                let mean = sum_of_rows(&tokens) / self.lens(tokens.kind());
                mean.expand_as(&tokens).masked_fill(&padding, 0.0)
            }
        }
    }

    /// Number of tokens that train in each row, at least 1. `[batch, 1]`.
    pub(crate) fn lens(&self, kind: Kind) -> Tensor {
        // An empty completion has no token to average over; its sum is 0.
        sum_of_rows(&self.mask.to_kind(kind)).clamp_min(1.0)
    }

    /// Checks that every tensor has the shape of `logprobs`.
    ///
    /// # Errors
    ///
    /// [`GrpoError::Shape`] for the first that has not.
    pub fn check(&self) -> Result<(), GrpoError> {
        let expected = self.logprobs.size();
        let tensors = [
            ("old_logprobs", Some(self.old_logprobs)),
            ("behavior_logprobs", self.behavior_logprobs),
            ("drawn_logprobs", self.drawn_logprobs),
            ("ref_logprobs", self.ref_logprobs),
            ("advantages", Some(self.advantages)),
            ("token_weights", self.token_weights),
            ("mask", Some(self.mask)),
        ];
        for (name, tensor) in tensors {
            let Some(tensor) = tensor else { continue };
            if tensor.size() != expected {
                let found = tensor.size();
                return Err(GrpoError::Shape { name, like: "logprobs", found, expected });
            }
        }
        match self.zero_variance {
            Some(rows) if rows.size() != expected[..1] => Err(GrpoError::Shape {
                name: "zero_variance",
                like: "the rows of logprobs",
                found: rows.size(),
                expected: expected[..1].to_vec(),
            }),
            _ => Ok(()),
        }
    }
}

/// Sums over the positions of each row. `[batch, seq]` to `[batch, 1]`.
pub(crate) fn sum_of_rows(values: &Tensor) -> Tensor {
    values.sum_dim_intlist([-1_i64].as_slice(), true, None::<Kind>)
}
