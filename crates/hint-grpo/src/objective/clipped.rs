//! The clipped surrogate of PPO and GRPO.

use super::flags::add_clip_ratios;
use crate::error::GrpoError;
use crate::objective::{LossInput, LossMetrics, PolicyLoss, TokenLoss};

/// The clipped surrogate.
///
/// ```text
/// ℓ_t = −min( r_t Â_t, clip(r_t, 1 − ε_low, 1 + ε_high) Â_t )                          (GRPO-1)
/// ```
///
/// With `max_ratio = δ`, the unclipped ratio is replaced by `min(r_t, δ)`, which bounds the loss of
/// negative advantages too (two-sided clipping). With `dual_clip = c`, the loss of a negative advantage
/// is at most `−c Â` (dual clip):
///
/// ```text
/// ℓ_t = min( ℓ_t, −c Â_t ) where Â_t < 0                                               (GRPO-2)
/// ```
///
/// If `δ = c > 1 + ε_high`, the two are the same function. On sequence ratios this is GSPO. Source:
/// (GRPO-1), (GRPO-2) in [the book](../../../book/math.html#objectives).
///
/// ```
/// use hint_grpo::PolicyLoss;
/// use hint_grpo::objective::{ClippedSurrogate, LossInput};
/// use tch::Tensor;
///
/// // One token of a good completion, ten times as likely as it was.
/// let [now, old, advantage] = [0.5_f64.ln(), 0.05_f64.ln(), 1.0].map(|value| Tensor::from_slice2(&[[value]]));
/// let mask = Tensor::from_slice2(&[[true]]);
/// let loss = ClippedSurrogate::new(0.2, 0.28).token_loss(&LossInput::new(&now, &old, &advantage, &mask))?;
/// assert!((loss.values.double_value(&[0, 0]) + 1.28).abs() < 1e-9);
/// # Ok::<(), hint_grpo::GrpoError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClippedSurrogate {
    clip_low: f64,
    clip_high: f64,
    max_ratio: Option<f64>,
    dual_clip: Option<f64>,
}

impl ClippedSurrogate {
    /// Keeps the ratio in `[1 − clip_low, 1 + clip_high]`.
    pub const fn new(clip_low: f64, clip_high: f64) -> Self {
        Self { clip_low, clip_high, max_ratio: None, dual_clip: None }
    }

    /// Caps the ratio at `max_ratio` where it is not clipped.
    #[must_use]
    pub const fn with_max_ratio(mut self, max_ratio: f64) -> Self {
        self.max_ratio = Some(max_ratio);
        self
    }

    /// Bounds the loss of a negative advantage at `dual_clip`, more than 1, times its size.
    #[must_use]
    pub const fn with_dual_clip(mut self, dual_clip: f64) -> Self {
        self.dual_clip = Some(dual_clip);
        self
    }
}

impl PolicyLoss for ClippedSurrogate {
    fn name(&self) -> String {
        format!("{self:?}")
    }

    fn token_loss(&self, input: &LossInput<'_>) -> Result<TokenLoss, GrpoError> {
        let advantages = input.advantages;
        let ratio = input.log_ratio().exp();
        let clipped = ratio.clamp(1.0 - self.clip_low, 1.0 + self.clip_high);
        let unclipped = match self.max_ratio {
            Some(max_ratio) => ratio.clamp_max(max_ratio),
            None => ratio.shallow_clone(),
        };
        let mut values = -(unclipped * advantages).minimum(&(clipped * advantages));
        if let Some(dual_clip) = self.dual_clip {
            let bounded = values.minimum(&(advantages * -dual_clip));
            values = bounded.where_self(&advantages.lt(0.0), &values);
        }

        let mut metrics = LossMetrics::new();
        let ratio = ratio.detach();
        let low = ratio.lt(1.0 - self.clip_low).logical_and(&advantages.lt(0.0));
        let high = ratio.gt(1.0 + self.clip_high).logical_and(&advantages.gt(0.0));
        add_clip_ratios(&mut metrics, &low, &high, input);
        Ok(TokenLoss { values, metrics })
    }

    fn ignores_zero_advantage(&self) -> bool {
        true
    }
}
