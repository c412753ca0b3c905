//! SAPO: a soft gate in place of the clip.

use crate::error::GrpoError;
use crate::objective::{LossInput, LossMetrics, PolicyLoss, TokenLoss};

/// The soft-adaptive surrogate.
///
/// ```text
/// ℓ_t = −σ( τ (r_t − 1) ) · 4/τ · Â_t,   τ = τ₊ where Â_t > 0, else τ₋                 (SAPO-1)
/// ```
///
/// Source: (SAPO-1) in [the book](../../../book/math.html#objectives).
///
/// ```
/// use hint_grpo::PolicyLoss;
/// use hint_grpo::objective::{LossInput, Sapo};
/// use tch::Tensor;
///
/// // One token of a good completion, ten times as likely as it was.
/// let [now, old, advantage] = [0.5_f64.ln(), 0.05_f64.ln(), 1.0].map(|value| Tensor::from_slice2(&[[value]]));
/// let mask = Tensor::from_slice2(&[[true]]);
/// let loss = Sapo::new(1.0, 1.05).token_loss(&LossInput::new(&now, &old, &advantage, &mask))?;
/// assert!(loss.values.double_value(&[0, 0]) > -4.0, "the gate is bounded by 4/τ");
/// # Ok::<(), hint_grpo::GrpoError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sapo {
    temperature_positive: f64,
    temperature_negative: f64,
}

impl Sapo {
    /// The gate's temperatures for positive and for other advantages. (Published: 1.0 and 1.05)
    pub const fn new(temperature_positive: f64, temperature_negative: f64) -> Self {
        Self { temperature_positive, temperature_negative }
    }
}

impl PolicyLoss for Sapo {
    fn name(&self) -> String {
        format!("{self:?}")
    }

    fn token_loss(&self, input: &LossInput<'_>) -> Result<TokenLoss, GrpoError> {
        let ratio = input.log_ratio().exp();
        let gate = |tau: f64| ((&ratio - 1.0) * tau).sigmoid() * (4.0 / tau);
        let gate = gate(self.temperature_positive)
            .where_self(&input.advantages.gt(0.0), &gate(self.temperature_negative));
        Ok(TokenLoss { values: -(gate * input.advantages), metrics: LossMetrics::new() })
    }

    fn ignores_zero_advantage(&self) -> bool {
        true
    }
}
