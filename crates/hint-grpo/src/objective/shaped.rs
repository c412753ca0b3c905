//! A shaped ratio as the objective of hinted samples.

use crate::error::GrpoError;
use crate::objective::{LossInput, LossMetrics, PolicyLoss, TokenLoss};
use crate::tensor::upload;

/// The shaped ratio without a clip.
///
/// ```text
/// ℓ_t = −Â_t r_t / (r_t + γ)                                                          (HINTED-2)
/// ```
///
/// Source: (HINTED-2) in [the book](../../../book/math.html#hinted-completions); LUFFY (γ = 0.1) and Guide-GRPO (γ a quantile).
///
/// ```
/// use hint_grpo::PolicyLoss;
/// use hint_grpo::objective::{LossInput, ShapedRatio};
/// use tch::Tensor;
///
/// // One token of a good completion, ten times as likely as it was.
/// let [now, old, advantage] = [0.5_f64.ln(), 0.05_f64.ln(), 1.0].map(|value| Tensor::from_slice2(&[[value]]));
/// let mask = Tensor::from_slice2(&[[true]]);
/// let loss = ShapedRatio::new(0.1).token_loss(&LossInput::new(&now, &old, &advantage, &mask))?;
/// assert!((loss.values.double_value(&[0, 0]) + 10.0 / 10.1).abs() < 1e-9);
/// # Ok::<(), hint_grpo::GrpoError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ShapedRatio {
    log_gamma: f64,
}

impl ShapedRatio {
    /// With `γ = gamma`, which must be positive.
    pub fn new(gamma: f64) -> Self {
        Self { log_gamma: gamma.ln() }
    }
}

impl PolicyLoss for ShapedRatio {
    fn name(&self) -> String {
        format!("{self:?}")
    }

    fn token_loss(&self, input: &LossInput<'_>) -> Result<TokenLoss, GrpoError> {
        // r / (r + γ) = σ(log r − log γ), which cannot overflow.
        let shaped = (input.log_ratio() - self.log_gamma).sigmoid();
        Ok(TokenLoss { values: -(shaped * input.advantages), metrics: LossMetrics::new() })
    }

    fn ignores_zero_advantage(&self) -> bool {
        true
    }
}

/// One objective for plain rows, another for hinted ones.
pub(crate) struct ByRow<'a> {
    pub(crate) plain: &'a dyn PolicyLoss,
    pub(crate) hinted: &'a dyn PolicyLoss,
    /// Whether each row is hinted. Length `batch`.
    pub(crate) is_hinted: Vec<bool>,
}

impl PolicyLoss for ByRow<'_> {
    fn token_loss(&self, input: &LossInput<'_>) -> Result<TokenLoss, GrpoError> {
        let TokenLoss { values, metrics } = self.plain.token_loss(input)?;
        let hinted = self.hinted.token_loss(input)?.values;
        let rows = upload(&self.is_hinted, values.device()).unsqueeze(-1);
        Ok(TokenLoss { values: hinted.where_self(&rows, &values), metrics })
    }
}
