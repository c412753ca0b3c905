//! The geometric-mean surrogate of GMPO.

use tch::Kind;

use super::flags::add_clip_ratios;
use super::input::sum_of_rows;
use crate::error::GrpoError;
use crate::objective::{LossInput, LossMetrics, PolicyLoss, TokenLoss};

/// The geometric mean of token ratios, each clipped first.
///
/// ```text
/// c_t = min(log r_t, ln(1 + ε_high)) where Â > 0, else max(log r_t, ln(1 − ε_low))
/// ℓ_t = −exp( Σ_t m_t c_t / |y| ) Â                                                    (GMPO-1)
/// ```
///
/// An outlier among the ratios weighs less than in an arithmetic mean, so wider clip ranges are
/// stable. Source: (GMPO-1) in [the book](../../../book/math.html#objectives). Published: a range of `(e^−0.4, e^0.4)`, that is
/// `clip_low` 0.3297 and `clip_high` 0.4918.
///
/// ```
/// use hint_grpo::PolicyLoss;
/// use hint_grpo::objective::{GeometricMean, LossInput};
/// use tch::Tensor;
///
/// // One token of a good completion, ten times as likely as it was.
/// let [now, old, advantage] = [0.5_f64.ln(), 0.05_f64.ln(), 1.0].map(|value| Tensor::from_slice2(&[[value]]));
/// let mask = Tensor::from_slice2(&[[true]]);
/// let loss = GeometricMean::new(0.3297, 0.4918).token_loss(&LossInput::new(&now, &old, &advantage, &mask))?;
/// assert!((loss.values.double_value(&[0, 0]) + 1.4918).abs() < 1e-9);
/// # Ok::<(), hint_grpo::GrpoError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GeometricMean {
    clip_low: f64,
    clip_high: f64,
}

impl GeometricMean {
    /// Keeps each ratio in `[1 − clip_low, 1 + clip_high]`.
    pub const fn new(clip_low: f64, clip_high: f64) -> Self {
        Self { clip_low, clip_high }
    }
}

impl PolicyLoss for GeometricMean {
    fn name(&self) -> String {
        format!("{self:?}")
    }

    fn token_loss(&self, input: &LossInput<'_>) -> Result<TokenLoss, GrpoError> {
        let advantages = input.advantages;
        let log_ratio = input.log_ratio();
        let (least, most) = ((-self.clip_low).ln_1p(), self.clip_high.ln_1p());
        let rising = advantages.gt(0.0);
        let clipped = log_ratio.clamp_max(most).where_self(&rising, &log_ratio.clamp_min(least));
        let clipped = clipped.masked_fill(&input.mask.logical_not(), 0.0);
        let mean = sum_of_rows(&clipped) / input.lens(clipped.kind());
        let values = -(mean.exp() * advantages);

        let mut metrics = LossMetrics::new();
        let log_ratio = log_ratio.detach().to_kind(Kind::Double);
        let low = log_ratio.lt(least).logical_and(&advantages.lt(0.0));
        let high = log_ratio.gt(most).logical_and(&rising);
        add_clip_ratios(&mut metrics, &low, &high, input);
        Ok(TokenLoss { values, metrics })
    }

    fn ignores_zero_advantage(&self) -> bool {
        true
    }
}
