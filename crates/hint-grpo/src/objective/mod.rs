//! The loss and all its parts.
//!
//! A [`PolicyLoss`] defines the loss of one token, as a function of the log-probabilities in its
//! [`LossInput`]. It neither reduces nor sees the prompt that they condition on. A [`LossComposition`]
//! multiplies it by weights, adds the KL term ([`KlConfig`]) and reduces it ([`Aggregation`]). Hinted samples
//! have further weights ([`HintedWeight`]) and may have another shape ([`RatioShaping`]). Samples that a hint
//! teaches share their advantage over tokens in another way ([`Credit`]). [`LossConfig`] names all of it in a
//! configuration. Each idea is one short file, its equation labeled as in [the book](../../../book/math.html).

use tch::Tensor;

use crate::error::GrpoError;

mod aggregation;
mod cispo;
mod clipped;
mod composition;
mod config;
mod credit;
mod divergence;
mod flags;
mod geometric;
mod hinted_weight;
mod importance;
mod input;
mod kl;
mod loss_metrics;
mod old_logprobs;
mod ratio_scheme;
mod reinforce;
mod sapo;
mod shaped;

pub use aggregation::{Aggregation, StepTotals};
pub use cispo::Cispo;
pub use clipped::ClippedSurrogate;
pub use composition::LossComposition;
pub use config::{AffinityBand, LossConfig, ObjectiveConfig, SftTerm};
pub use credit::{Credit, CreditConfig, CreditForm, CreditInput, CreditTeacher};
pub use divergence::{Divergence, DivergenceKind, Support, Tail};
pub(crate) use flags::{add_masked, masked_sum};
pub use geometric::GeometricMean;
pub use hinted_weight::{
    HintedFactors, HintedSample, HintedWeight, HintedWeightConfig, RatioShaping, WeightContext,
    WeightNeeds,
};
pub use importance::{ImportanceCorrection, ImportanceLevel};
pub use input::{LossInput, RatioLevel};
pub use kl::{KlConfig, KlEstimator, KlGroups};
pub use loss_metrics::LossMetrics;
pub use old_logprobs::OldLogprobs;
pub use ratio_scheme::RatioScheme;
pub use reinforce::Reinforce;
pub use sapo::Sapo;
pub(crate) use shaped::ByRow;
pub use shaped::ShapedRatio;

/// Result of a loss.
#[derive(Debug)]
pub struct TokenLoss {
    /// Unreduced loss, `[batch, seq]`.
    pub values: Tensor,
    /// Numbers to log, as sums over the mask with their weights. They stay on the device until the learner reads them.
    pub metrics: LossMetrics,
}

/// A token-level policy objective, to be minimized. It does **not** reduce. Summation and the
/// denominator belong to [`Aggregation`], so that every objective works with every denominator and
/// with gradient accumulation.
///
/// ```
/// use hint_grpo::objective::{LossInput, LossMetrics, TokenLoss};
/// use hint_grpo::{GrpoError, PolicyLoss};
///
/// /// Importance-weighted policy gradient with a squared log-ratio penalty of strength `tau`.
/// struct Squared {
///     tau: f64,
/// }
///
/// impl PolicyLoss for Squared {
///     fn name(&self) -> String {
///         format!("squared with tau {}", self.tau)
///     }
///
///     fn token_loss(&self, input: &LossInput<'_>) -> Result<TokenLoss, GrpoError> {
///         let log_ratio = input.log_ratio();
///         let values = -(log_ratio.exp() * input.advantages) + log_ratio.square() * self.tau;
///         Ok(TokenLoss { values, metrics: LossMetrics::new() })
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no objective",
    note = "a closure of log-ratios and advantages becomes one through `hint_grpo::loss_from_fn(\"name\", closure)`"
)]
pub trait PolicyLoss: Send + Sync {
    /// Its name and its settings, for the record of a run: a run is not resumed with others. By default the name of
    /// its type: a part with settings writes them too.
    fn name(&self) -> String {
        std::any::type_name::<Self>().to_owned()
    }

    /// Unreduced loss, `[batch, seq]`, differentiable in `input.logprobs` only. Values outside the
    /// mask are ignored.
    ///
    /// # Errors
    ///
    /// [`GrpoError::MissingInput`], or a user's own error through [`GrpoError::other`].
    fn token_loss(&self, input: &LossInput<'_>) -> Result<TokenLoss, GrpoError>;

    /// Whether tokens with an advantage of 0 have neither loss nor gradient. The trainer then
    /// leaves such rows out of the forward pass (they still count in the denominators). The default is right for
    /// every loss: one with a penalty of its own trains such rows as well.
    fn ignores_zero_advantage(&self) -> bool {
        false
    }
}

impl<L: PolicyLoss + ?Sized> PolicyLoss for Box<L> {
    fn name(&self) -> String {
        (**self).name()
    }

    fn token_loss(&self, input: &LossInput<'_>) -> Result<TokenLoss, GrpoError> {
        (**self).token_loss(input)
    }

    fn ignores_zero_advantage(&self) -> bool {
        (**self).ignores_zero_advantage()
    }
}

/// Turns a closure from log-ratios and advantages (both `[batch, seq]`) to token losses into a
/// [`PolicyLoss`]. The name goes into the record of a run.
pub fn loss_from_fn<F>(name: impl Into<String>, loss: F) -> FnLoss<F>
where
    F: Fn(&Tensor, &Tensor) -> Tensor + Send + Sync,
{
    FnLoss { name: name.into(), loss }
}

/// A closure as a [`PolicyLoss`]; made by [`loss_from_fn`].
pub struct FnLoss<F> {
    name: String,
    loss: F,
}

impl<F> std::fmt::Debug for FnLoss<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FnLoss").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<F> PolicyLoss for FnLoss<F>
where
    F: Fn(&Tensor, &Tensor) -> Tensor + Send + Sync,
{
    fn name(&self) -> String {
        self.name.clone()
    }

    fn token_loss(&self, input: &LossInput<'_>) -> Result<TokenLoss, GrpoError> {
        let values = (self.loss)(&input.log_ratio(), input.advantages);
        Ok(TokenLoss { values, metrics: LossMetrics::new() })
    }
}
