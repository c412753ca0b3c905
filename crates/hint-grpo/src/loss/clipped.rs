//! The clipped surrogate of PPO and GRPO.

use crate::loss::add_masked;
use crate::{GrpoError, LossInput, Metrics, PolicyLoss, TokenLoss, metrics};

/// The clipped surrogate.
///
/// ```text
/// ℓ_t = −min( r_t Â_t, clip(r_t, 1 − ε_low, 1 + ε_high) Â_t )                          (GRPO-1)
/// ```
///
/// With `max_ratio = δ`, the unclipped ratio is replaced by `min(r_t, δ)`, which bounds the loss of
/// negative advantages too (two-sided clipping). Source: (GRPO-1) in `docs/math.md`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClippedSurrogate {
    clip_low: f64,
    clip_high: f64,
    max_ratio: Option<f64>,
}

impl ClippedSurrogate {
    /// Keeps the ratio in `[1 − clip_low, 1 + clip_high]`.
    pub const fn new(clip_low: f64, clip_high: f64) -> Self {
        Self { clip_low, clip_high, max_ratio: None }
    }

    /// Caps the ratio at `max_ratio` where it is not clipped.
    #[must_use]
    pub const fn with_max_ratio(mut self, max_ratio: f64) -> Self {
        self.max_ratio = Some(max_ratio);
        self
    }
}

impl PolicyLoss for ClippedSurrogate {
    fn token_loss(&self, input: &LossInput<'_>) -> Result<TokenLoss, GrpoError> {
        let advantages = input.advantages;
        let ratio = input.log_ratio().exp();
        let clipped = ratio.clamp(1.0 - self.clip_low, 1.0 + self.clip_high);
        let unclipped = match self.max_ratio {
            Some(max_ratio) => ratio.clamp_max(max_ratio),
            None => ratio.shallow_clone(),
        };
        let values = -(unclipped * advantages).minimum(&(clipped * advantages));

        let mut metrics = Metrics::new();
        let low = ratio.lt(1.0 - self.clip_low).logical_and(&advantages.lt(0.0));
        let high = ratio.gt(1.0 + self.clip_high).logical_and(&advantages.gt(0.0));
        add_masked(&mut metrics, metrics::CLIP_RATIO_LOW, &low, input.mask);
        add_masked(&mut metrics, metrics::CLIP_RATIO_HIGH, &high, input.mask);
        add_masked(&mut metrics, metrics::CLIP_RATIO_REGION, &low.logical_or(&high), input.mask);
        Ok(TokenLoss { values, metrics })
    }

    fn ignores_zero_advantage(&self) -> bool {
        true
    }
}
