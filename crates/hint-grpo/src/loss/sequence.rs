//! The sequence-level surrogate of GSPO.

use tch::{Kind, Tensor};

use crate::{ClippedSurrogate, GrpoError, LossInput, PolicyLoss, TokenLoss};

/// The clipped surrogate on the ratio of whole sequences.
///
/// ```text
/// s_i = exp( Σ_t log r_it / |y_i| ),   ℓ_t = −min( s_i Â, clip(s_i, 1 − ε_low, 1 + ε_high) Â )   (GSPO-1)
/// ```
///
/// Source: (GSPO-1) in `docs/math.md`. GSPO's ranges are 3e-4 and 4e-4.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SequenceSurrogate {
    clipped: ClippedSurrogate,
}

impl SequenceSurrogate {
    /// Keeps the sequence ratio in `[1 − clip_low, 1 + clip_high]`.
    pub const fn new(clip_low: f64, clip_high: f64) -> Self {
        Self { clipped: ClippedSurrogate::new(clip_low, clip_high) }
    }
}

impl PolicyLoss for SequenceSurrogate {
    fn token_loss(&self, input: &LossInput<'_>) -> Result<TokenLoss, GrpoError> {
        let log_ratio = input.log_ratio();
        let lens = input.mask.to_kind(log_ratio.kind()).sum_dim_intlist(
            [-1_i64].as_slice(),
            true,
            None::<Kind>,
        );
        let mean = log_ratio.sum_dim_intlist([-1_i64].as_slice(), true, None::<Kind>)
            / lens.clamp_min(1.0);
        let mean = mean.expand_as(input.logprobs);
        let zero = Tensor::zeros_like(input.old_logprobs);
        let sequence = LossInput { logprobs: &mean, old_logprobs: &zero, ..*input };
        self.clipped.token_loss(&sequence)
    }

    fn ignores_zero_advantage(&self) -> bool {
        true
    }
}
