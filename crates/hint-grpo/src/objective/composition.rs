//! Composition of a loss from its parts.

use tch::Tensor;

use super::flags::add_masked_with_extremes;
use super::{ImportanceCorrection, RatioLevel, add_masked};
use crate::error::GrpoError;
use crate::metrics;
use crate::objective::{
    Aggregation, KlConfig, KlGroups, LossInput, LossMetrics, PolicyLoss, StepTotals, TokenLoss,
};

/// Composition of a loss from its parts.
///
/// ```text
/// token loss  = objective · token_weight_t · w_t + β · KL_t
/// step loss   = aggregate( row_weight_i · token loss )
/// ```
///
/// ```
/// use hint_grpo::objective::{Aggregation, ClippedSurrogate, LossComposition, LossInput, StepTotals};
/// use tch::Tensor;
///
/// let now = Tensor::from_slice2(&[[-0.5, -1.0]]).set_requires_grad(true);
/// let [old, advantages] = [[-0.5, -1.0], [1.0, 1.0]].map(|row| Tensor::from_slice2(&[row]));
/// let mask = Tensor::from_slice2(&[[true, true]]);
/// let input = LossInput::new(&now, &old, &advantages, &mask);
///
/// let objective = ClippedSurrogate::new(0.2, 0.2);
/// let composition = LossComposition::new(&objective, Aggregation::TokenMean);
/// let (loss, _metrics) = composition.loss(&input, None, StepTotals::new(1, 2))?;
/// loss.backward();
/// assert!((loss.double_value(&[]) + 1.0).abs() < 1e-9);
/// # Ok::<(), hint_grpo::GrpoError>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct LossComposition<'a> {
    /// The objective.
    pub objective: &'a dyn PolicyLoss,
    /// Whether its ratio is one of tokens or of sequences.
    pub ratio_level: RatioLevel,
    /// The KL term.
    pub kl: KlConfig,
    /// The correction for the mismatch between trainer and engine.
    pub importance: ImportanceCorrection,
    /// The reduction.
    pub aggregation: Aggregation,
}

impl std::fmt::Debug for dyn PolicyLoss + '_ {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PolicyLoss")
    }
}

impl<'a> LossComposition<'a> {
    /// `objective` on token ratios, without KL term and correction.
    pub fn new(objective: &'a dyn PolicyLoss, aggregation: Aggregation) -> Self {
        Self {
            objective,
            ratio_level: RatioLevel::Token,
            kl: KlConfig::default(),
            importance: ImportanceCorrection::Off,
            aggregation,
        }
    }

    /// The share of the step's loss that these rows contribute (a scalar, differentiable in
    /// `input.logprobs`), and numbers to log. The ratio level of `input` must equal that of the
    /// composition.
    ///
    /// `row_weights` are factors of whole samples, such as Affinity weights (`[batch]`, no grad).
    ///
    /// # Errors
    ///
    /// [`GrpoError::Shape`] for tensors that do not fit together. [`GrpoError::MissingInput`] when a
    /// part needs a tensor that the input lacks. Errors of the objective.
    pub fn loss(
        &self,
        input: &LossInput<'_>,
        row_weights: Option<&Tensor>,
        totals: StepTotals,
    ) -> Result<(Tensor, LossMetrics), GrpoError> {
        input.check()?;
        let padding = input.mask.logical_not();
        // What is outside the mask may be anything, and the gradient of an overflow there would be NaN
        // even where the loss is masked.
        let clear = |tensor: &Tensor| tensor.masked_fill(&padding, 0.0);
        let (logprobs, old) = (clear(input.logprobs), clear(input.old_logprobs));
        let behavior = input.behavior_logprobs.map(clear);
        let drawn = input.drawn_logprobs.map(clear);
        let reference = input.ref_logprobs.map(clear);
        let input = &LossInput {
            logprobs: &logprobs,
            old_logprobs: &old,
            behavior_logprobs: behavior.as_ref(),
            drawn_logprobs: drawn.as_ref(),
            ref_logprobs: reference.as_ref(),
            ratio_level: self.ratio_level,
            ..*input
        };
        let TokenLoss { mut values, mut metrics } = self.objective.token_loss(input)?;
        if values.size() != input.logprobs.size() {
            return Err(GrpoError::Shape {
                name: "token_loss",
                like: "logprobs",
                found: values.size(),
                expected: input.logprobs.size(),
            });
        }
        if let Some(weights) = input.token_weights {
            values *= weights;
        }
        if let Some(weights) = self.importance_weights(input, &mut metrics)? {
            values *= weights;
        }
        if self.kl.coef != 0.0 {
            values += self.kl_term(input, &mut metrics)? * self.kl.coef;
        }
        if let Some(weights) = row_weights {
            values *= weights.unsqueeze(-1);
        }
        let values = clear(&values);
        Ok((self.aggregation.reduce(&values, input.mask, totals), metrics))
    }

    fn importance_weights(
        &self,
        input: &LossInput<'_>,
        metrics: &mut LossMetrics,
    ) -> Result<Option<Tensor>, GrpoError> {
        if self.importance == (ImportanceCorrection::Off) {
            return Ok(None);
        }
        let behavior = input.behavior_logprobs.ok_or(GrpoError::MissingInput {
            name: "behavior_logprobs",
            fix: "give them with `LossInput::with_behavior`",
        })?;
        // Under one prompt: a weight of the hint would take away what the hint taught.
        let drawn = input.drawn_logprobs.unwrap_or(input.old_logprobs);
        let weights = self.importance.weights(drawn, behavior, input.mask);
        if let Some(weights) = &weights {
            let names = [
                metrics::IMPORTANCE_WEIGHT,
                metrics::IMPORTANCE_WEIGHT_MIN,
                metrics::IMPORTANCE_WEIGHT_MAX,
            ];
            add_masked_with_extremes(metrics, names, weights, input.mask);
        }
        Ok(weights)
    }

    /// The KL estimate of each token, `[batch, seq]`.
    fn kl_term(
        &self,
        input: &LossInput<'_>,
        metrics: &mut LossMetrics,
    ) -> Result<Tensor, GrpoError> {
        let reference = input.ref_logprobs.ok_or(GrpoError::MissingInput {
            name: "ref_logprobs",
            fix: "give the trainer a reference policy, or set `loss.kl.coef` to 0",
        })?;
        let mut kl = self.kl.estimator.per_token(input.logprobs, reference);
        if self.kl.importance_weighted {
            kl *= input.log_ratio().exp();
        }
        add_masked(metrics, metrics::KL, &kl, input.mask);
        if self.kl.groups == KlGroups::Varied {
            let rows = input.zero_variance.ok_or(GrpoError::MissingInput {
                name: "zero_variance",
                fix: "give it with `LossInput::with_zero_variance`",
            })?;
            kl = kl.masked_fill(&rows.unsqueeze(-1), 0.0);
        }
        Ok(kl)
    }
}
