//! CISPO: clipped importance-sampling weights instead of clipped updates.

use super::flags::add_share;
use crate::error::GrpoError;
use crate::metrics;
use crate::objective::{LossInput, LossMetrics, PolicyLoss, TokenLoss};

/// The REINFORCE objective with a capped, detached ratio as its weight.
///
/// ```text
/// ℓ_t = −sg( min(r_t, ε_max) ) Â_t log π_θ(y_t)                                       (CISPO-1)
/// ```
///
/// No token loses its gradient. Source: (CISPO-1) in [the book](../../../book/math.html#objectives).
///
/// ```
/// use hint_grpo::PolicyLoss;
/// use hint_grpo::objective::{Cispo, LossInput};
/// use tch::Tensor;
///
/// // One token of a good completion, ten times as likely as it was.
/// let [now, old, advantage] = [0.5_f64.ln(), 0.05_f64.ln(), 1.0].map(|value| Tensor::from_slice2(&[[value]]));
/// let mask = Tensor::from_slice2(&[[true]]);
/// let loss = Cispo::new(5.0).token_loss(&LossInput::new(&now, &old, &advantage, &mask))?;
/// assert!((loss.values.double_value(&[0, 0]) + 5.0 * 0.5_f64.ln()).abs() < 1e-9);
/// # Ok::<(), hint_grpo::GrpoError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cispo {
    max_ratio: f64,
}

impl Cispo {
    /// Caps the ratio at `max_ratio`, `ε_max`.
    pub const fn new(max_ratio: f64) -> Self {
        Self { max_ratio }
    }
}

impl PolicyLoss for Cispo {
    fn name(&self) -> String {
        format!("{self:?}")
    }

    fn token_loss(&self, input: &LossInput<'_>) -> Result<TokenLoss, GrpoError> {
        let ratio = input.log_ratio().exp().detach();
        let values = -(ratio.clamp_max(self.max_ratio) * input.advantages * input.logprobs);
        let mut metrics = LossMetrics::new();
        let capped = ratio.gt(self.max_ratio).logical_and(&input.advantages.gt(0.0));
        add_share(&mut metrics, metrics::CISPO_CLIP_RATIO, &capped, input);
        Ok(TokenLoss { values, metrics })
    }

    fn ignores_zero_advantage(&self) -> bool {
        true
    }
}
