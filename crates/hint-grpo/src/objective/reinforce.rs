//! Plain REINFORCE.

use crate::error::GrpoError;
use crate::objective::{LossInput, LossMetrics, PolicyLoss, TokenLoss};

/// The policy gradient without ratio or clip.
///
/// ```text
/// ℓ_t = −Â_t log π_θ(y_t)                                                              (PG-1)
/// ```
///
/// Source: (PG-1) in [the book](../../../book/math.html#objectives).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reinforce;

impl PolicyLoss for Reinforce {
    fn name(&self) -> String {
        format!("{self:?}")
    }

    fn token_loss(&self, input: &LossInput<'_>) -> Result<TokenLoss, GrpoError> {
        Ok(TokenLoss { values: -(input.advantages * input.logprobs), metrics: LossMetrics::new() })
    }

    fn ignores_zero_advantage(&self) -> bool {
        true
    }
}
