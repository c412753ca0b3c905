//! Token-level objectives, and the one place where a loss is put together.

use tch::{Kind, Tensor};

use crate::{Aggregation, GrpoError, KlConfig, Metrics, StepTotals, metrics};

mod cispo;
mod clipped;
mod reinforce;
mod sapo;
mod sequence;

pub use cispo::Cispo;
pub use clipped::ClippedSurrogate;
pub use reinforce::Reinforce;
pub use sapo::Sapo;
pub use sequence::SequenceSurrogate;

/// Everything a loss may read. All tensors are `[batch, seq]` on one device and of one floating
/// kind, except `mask`.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct LossInput<'a> {
    /// `log π_θ(y_t | c, y_<t)`, where [`RatioScheme`](crate::RatioScheme) chose the context `c`
    /// (plain prompt or prompt with hint). Requires grad. Nats.
    pub logprobs: &'a Tensor,
    /// `log π_old(y_t | c', y_<t)`, with the context that the scheme chose for the denominator. No
    /// grad. Nats.
    pub old_logprobs: &'a Tensor,
    /// `log μ(y_t | sampling prompt, y_<t)`: the distribution that drew the tokens. No grad. Nats.
    pub behavior_logprobs: Option<&'a Tensor>,
    /// `log π_ref(y_t | c, y_<t)` of the frozen reference, context as in `logprobs`. No grad. Nats.
    pub ref_logprobs: Option<&'a Tensor>,
    /// `Â_t`, already spread over tokens; 0 where `mask` is false. No grad.
    pub advantages: &'a Tensor,
    /// True on the completion tokens that train. `Bool`.
    pub mask: &'a Tensor,
}

impl<'a> LossInput<'a> {
    /// An input without behavior and reference log-probabilities.
    pub const fn new(
        logprobs: &'a Tensor,
        old_logprobs: &'a Tensor,
        advantages: &'a Tensor,
        mask: &'a Tensor,
    ) -> Self {
        let (behavior_logprobs, ref_logprobs) = (None, None);
        Self { logprobs, old_logprobs, behavior_logprobs, ref_logprobs, advantages, mask }
    }

    /// Adds the log-probabilities of the distribution that drew the tokens.
    #[must_use]
    pub const fn with_behavior(mut self, behavior_logprobs: &'a Tensor) -> Self {
        self.behavior_logprobs = Some(behavior_logprobs);
        self
    }

    /// Adds the log-probabilities of the reference policy.
    #[must_use]
    pub const fn with_reference(mut self, ref_logprobs: &'a Tensor) -> Self {
        self.ref_logprobs = Some(ref_logprobs);
        self
    }

    /// `log π_θ − log π_old`, `[batch, seq]`, differentiable in `logprobs`; exactly 0 outside the
    /// mask, so that padding can never overflow the exponential.
    pub fn log_ratio(&self) -> Tensor {
        (self.logprobs - self.old_logprobs).masked_fill(&self.mask.logical_not(), 0.0)
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
            ("ref_logprobs", self.ref_logprobs),
            ("advantages", Some(self.advantages)),
            ("mask", Some(self.mask)),
        ];
        for (name, tensor) in tensors {
            let Some(tensor) = tensor else { continue };
            if tensor.size() != expected {
                let got = tensor.size();
                return Err(GrpoError::Shape { name, like: "logprobs", got, expected });
            }
        }
        Ok(())
    }
}

/// What a loss returns.
#[derive(Debug)]
pub struct TokenLoss {
    /// Unreduced loss, `[batch, seq]`.
    pub values: Tensor,
    /// Numbers to log, as sums over the mask with their weights.
    pub metrics: Metrics,
}

/// A token-level policy objective, to be minimised. It does **not** reduce: summation and the
/// denominator belong to [`Aggregation`], so that every objective works with every denominator
/// and with gradient accumulation.
///
/// ```
/// use hint_grpo::{GrpoError, LossInput, Metrics, PolicyLoss, TokenLoss};
///
/// /// Importance-weighted policy gradient with a squared log-ratio penalty of strength `tau`.
/// struct Squared {
///     tau: f64,
/// }
///
/// impl PolicyLoss for Squared {
///     fn token_loss(&self, input: &LossInput<'_>) -> Result<TokenLoss, GrpoError> {
///         let log_ratio = input.log_ratio();
///         let values = -(log_ratio.exp() * input.advantages) + log_ratio.square() * self.tau;
///         Ok(TokenLoss { values, metrics: Metrics::new() })
///     }
/// }
/// ```
pub trait PolicyLoss: Send + Sync {
    /// Unreduced loss, `[batch, seq]`, differentiable in `input.logprobs` only. Values outside the
    /// mask are ignored.
    ///
    /// # Errors
    ///
    /// [`GrpoError::MissingInput`], or a user's own error through [`GrpoError::other`].
    fn token_loss(&self, input: &LossInput<'_>) -> Result<TokenLoss, GrpoError>;

    /// Whether tokens with an advantage of 0 have neither loss nor gradient. The trainer then
    /// leaves such rows out of the forward pass (they still count in the denominators).
    fn ignores_zero_advantage(&self) -> bool {
        false
    }
}

impl<L: PolicyLoss + ?Sized> PolicyLoss for Box<L> {
    fn token_loss(&self, input: &LossInput<'_>) -> Result<TokenLoss, GrpoError> {
        (**self).token_loss(input)
    }

    fn ignores_zero_advantage(&self) -> bool {
        (**self).ignores_zero_advantage()
    }
}

/// Turns a closure from log-ratios and advantages (both `[batch, seq]`) to token losses into a
/// [`PolicyLoss`].
pub fn loss_from_fn<F>(loss: F) -> FnLoss<F>
where
    F: Fn(&Tensor, &Tensor) -> Tensor + Send + Sync,
{
    FnLoss { loss }
}

/// A closure as a [`PolicyLoss`]; made by [`loss_from_fn`].
pub struct FnLoss<F> {
    loss: F,
}

impl<F> std::fmt::Debug for FnLoss<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FnLoss").finish_non_exhaustive()
    }
}

impl<F> PolicyLoss for FnLoss<F>
where
    F: Fn(&Tensor, &Tensor) -> Tensor + Send + Sync,
{
    fn token_loss(&self, input: &LossInput<'_>) -> Result<TokenLoss, GrpoError> {
        let values = (self.loss)(&input.log_ratio(), input.advantages);
        Ok(TokenLoss { values, metrics: Metrics::new() })
    }
}

/// Truncated importance sampling between the trainer's old policy and the distribution that drew
/// the tokens.
///
/// ```text
/// w_t = min(π_old(y_t) / μ(y_t), C)                                                     (TIS-1)
/// ```
///
/// Not differentiated. Source: (TIS-1) in `docs/math.md`.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TruncatedImportance {
    /// The cap `C`. Positive. (TRL: 2)
    pub max_weight: f64,
}

/// How the parts of a loss are put together.
///
/// ```text
/// token loss  = objective · w_t + β · KL_t
/// step loss   = aggregate( affinity_weight_i · token loss )
/// ```
#[derive(Debug, Clone, Copy)]
pub struct LossComposition<'a> {
    /// The objective.
    pub objective: &'a dyn PolicyLoss,
    /// The KL term.
    pub kl: KlConfig,
    /// The correction for the mismatch between trainer and engine.
    pub truncated_importance: Option<TruncatedImportance>,
    /// The reduction.
    pub aggregation: Aggregation,
}

impl std::fmt::Debug for dyn PolicyLoss + '_ {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PolicyLoss")
    }
}

impl LossComposition<'_> {
    /// The share of the step's loss that these rows contribute (a scalar, differentiable in
    /// `input.logprobs`), and numbers to log.
    ///
    /// `row_weights` are the Affinity weights, one per row (`[batch]`, no grad); 1 for plain rows.
    ///
    /// # Errors
    ///
    /// [`GrpoError::Shape`] for tensors that do not fit together, [`GrpoError::MissingInput`] when a
    /// part needs log-probabilities that the input lacks, and what the objective returns.
    pub fn loss(
        &self,
        input: &LossInput<'_>,
        row_weights: Option<&Tensor>,
        totals: StepTotals,
    ) -> Result<(Tensor, Metrics), GrpoError> {
        input.check()?;
        let TokenLoss { mut values, mut metrics } = self.objective.token_loss(input)?;
        if values.size() != input.logprobs.size() {
            return Err(GrpoError::Shape {
                name: "token_loss",
                like: "logprobs",
                got: values.size(),
                expected: input.logprobs.size(),
            });
        }
        if let Some(correction) = self.truncated_importance {
            let behavior = input.behavior_logprobs.ok_or(GrpoError::MissingInput {
                name: "behavior_logprobs",
                fix: "give them with `LossInput::with_behavior`",
            })?;
            let weight = (input.old_logprobs - behavior).exp().clamp_max(correction.max_weight);
            values *= weight.detach();
        }
        if self.kl.coef != 0.0 {
            let reference = input.ref_logprobs.ok_or(GrpoError::MissingInput {
                name: "ref_logprobs",
                fix: "give the trainer a reference policy, or set `kl.coef` to 0",
            })?;
            let mut kl = self.kl.estimator.per_token(input.logprobs, reference);
            if self.kl.importance_weighted {
                kl *= input.log_ratio().exp();
            }
            add_masked(&mut metrics, metrics::KL, &kl, input.mask);
            values += kl * self.kl.coef;
        }
        if let Some(weights) = row_weights {
            values *= weights.unsqueeze(-1);
        }
        // A masked position may hold anything, and 0 · ∞ is not 0.
        let values = values.masked_fill(&input.mask.logical_not(), 0.0);
        Ok((self.aggregation.reduce(&values, input.mask, totals), metrics))
    }
}

/// Adds the mean of `values` over `mask` to `metrics`. Both are `[batch, seq]`.
pub(crate) fn add_masked(metrics: &mut Metrics, name: &str, values: &Tensor, mask: &Tensor) {
    let values = values.detach().to_kind(Kind::Double).masked_fill(&mask.logical_not(), 0.0);
    let sum = values.sum(Kind::Double).double_value(&[]);
    metrics.add(name, sum, mask.sum(Kind::Double).double_value(&[]));
}
