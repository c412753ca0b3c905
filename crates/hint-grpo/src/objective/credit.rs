//! The axis of credit: how the tokens of a plain completion share its advantage, by a hint that teaches.

use std::path::PathBuf;

use hint_rollout::error::Violations;
use hint_rollout::run::no_fields;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::divergence::{Divergence, DivergenceKind, Support, Tail};
use crate::error::GrpoError;

/// Inputs of a [`Credit`] from a micro-batch. All tensors are `[batch, seq]`, on one device and without
/// gradient, and 0 where `mask` is false. They have one floating kind unless documented otherwise.
///
/// ```
/// use hint_grpo::Credit;
/// use hint_grpo::objective::{CreditForm, CreditInput};
/// use tch::Tensor;
///
/// // The hint makes the first of two tokens likelier, and the second one less likely.
/// let [advantages, delta] = [[1.0, 1.0], [0.8, -0.4]].map(|row| Tensor::from_slice2(&[row]));
/// let mask = Tensor::from_slice2(&[[true, true]]);
/// let credit = CreditForm::Advantage { mix: 0.5, max: None };
/// let credited = credit.advantages(CreditInput::new(&advantages, &delta, &mask))?;
/// assert!((credited.double_value(&[0, 0]) - 0.9).abs() < 1e-9);
/// assert!((credited.double_value(&[0, 1]) - 0.3).abs() < 1e-9);
/// # Ok::<(), hint_grpo::GrpoError>(())
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct CreditInput<'a> {
    /// `Â`, the advantage of the completion at each of its tokens.
    pub advantages: &'a Tensor,
    /// `Δ_t`, how much more likely the hint makes the token, in nats. (CREDIT-1)
    pub delta: &'a Tensor,
    /// True on the completion tokens that train. `Bool`.
    pub mask: &'a Tensor,
}

impl<'a> CreditInput<'a> {
    /// An input of these tensors.
    pub const fn new(advantages: &'a Tensor, delta: &'a Tensor, mask: &'a Tensor) -> Self {
        Self { advantages, delta, mask }
    }
}

/// Gives the tokens of taught completions advantages of their own.
///
/// A completion that no hint teaches keeps its advantage, for any result of this. [`CreditForm`] holds the ones that
/// a configuration can name.
///
/// ```
/// use hint_grpo::GrpoError;
/// use hint_grpo::objective::{Credit, CreditInput};
/// use tch::Tensor;
///
/// /// Only tokens that the hint makes more likely count.
/// struct Supported;
///
/// impl Credit for Supported {
///     fn advantages(&self, input: CreditInput<'_>) -> Result<Tensor, GrpoError> {
///         Ok(input.advantages * input.delta.gt(0.0).to_kind(input.advantages.kind()))
///     }
///
///     fn ignores_zero_advantage(&self) -> bool {
///         true
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` credits no tokens",
    note = "implement its method `advantages`; `hint_grpo::objective::CreditForm` holds known ones"
)]
pub trait Credit: Send + Sync {
    /// Its name and its settings, for the record of a run: a run is not resumed with others. By default the name of its
    /// type: a part with settings writes them too.
    fn name(&self) -> String {
        std::any::type_name::<Self>().to_owned()
    }

    /// The advantage of each token, `[batch, seq]`, in the kind of `input.advantages`. Values outside the mask are
    /// ignored.
    ///
    /// # Errors
    ///
    /// A user's own error through [`GrpoError::other`].
    fn advantages(&self, input: CreditInput<'_>) -> Result<Tensor, GrpoError>;

    /// A term of the loss of taught completions beside their advantages: how far the policy is from the teacher. None
    /// by default.
    fn divergence(&self) -> Option<Divergence> {
        None
    }

    /// Whether the tokens of a completion with an advantage of 0 have no loss at all. The learner then leaves such rows
    /// out of the passes.
    fn ignores_zero_advantage(&self) -> bool {
        false
    }
}

impl<C: Credit + ?Sized> Credit for Box<C> {
    fn name(&self) -> String {
        (**self).name()
    }

    fn advantages(&self, input: CreditInput<'_>) -> Result<Tensor, GrpoError> {
        (**self).advantages(input)
    }

    fn divergence(&self) -> Option<Divergence> {
        (**self).divergence()
    }

    fn ignores_zero_advantage(&self) -> bool {
        (**self).ignores_zero_advantage()
    }
}

/// Credit of the tokens of taught completions: `loss.credit` of a configuration. Completions that no hint teaches keep
/// their advantages.
///
/// ```text
/// Δ_t = log π_T(y_t | x⊕h, y_<t) − log π_old(y_t | x, y_<t)                             (CREDIT-1)
/// ```
///
/// `π_T` is the teacher. With [`Contrast::Placebo`](hint_rollout::collect::hinted::Contrast) the second term is
/// `log π_T(y_t | x⊕h', y_<t)`, where `h'` is the hint of another problem. Nothing of it is differentiated. It costs
/// one pass without gradient over the taught completions, two with a contrast or with the engine's log-probabilities
/// as denominators. In a single optimizer step without a contrast, `π_old` is taken from the pass with gradient. It
/// then includes the dropout of adapters.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CreditConfig {
    /// The form of the credit.
    pub form: CreditForm,
    /// Log-probabilities that teach.
    pub teacher: CreditTeacher,
}

/// Log-probabilities, under the hinted prompt, that teach.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum CreditTeacher {
    /// The policy itself, before the first optimizer step of the batch. For a divergence, its state at each step.
    #[default]
    #[serde(deserialize_with = "no_fields")]
    Live,
    /// The frozen reference policy.
    #[serde(deserialize_with = "no_fields")]
    Reference,
    /// An exponential moving average of the policy's weights, which starts with the run's weights and moves after
    /// every optimizer step. It is in the checkpoint. (CREDIT-6)
    Average {
        /// The share of the average that a step keeps. In `[0, 1)`. (SDPO: 0.95)
        decay: f64,
    },
    /// Another model with the same tokenizer.
    Model {
        /// Its folder or file; a program may take a name.
        path: PathBuf,
    },
}

impl CreditTeacher {
    /// Whether it is a policy of its own, besides the one that is trained and the reference.
    pub const fn is_further(&self) -> bool {
        matches!(self, Self::Average { .. } | Self::Model { .. })
    }
}

/// The forms of [`Credit`] that a configuration can name.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum CreditForm {
    /// An additive token advantage:
    ///
    /// ```text
    /// A_t = λ Â + (1 − λ) clamp(Δ_t, −max, max)                                         (CREDIT-2)
    /// ```
    ///
    /// With `λ = 0` it is the gradient of the reverse KL divergence to the teacher at the sampled tokens (OPSD, SDPO).
    Advantage {
        /// `λ`. In `[0, 1]`.
        #[serde(default = "half")]
        mix: f64,
        /// Bound of `Δ_t`, in nats. Positive; no bound if it is not given.
        #[serde(default)]
        max: Option<f64>,
    },
    /// A token weight, whose direction comes from the verifier and whose size from the hint:
    ///
    /// ```text
    /// A_t = Â · clamp( exp(sign(Â) Δ_t), min, max )                                     (CREDIT-3)
    /// ```
    ///
    /// (RLSD; its inverse, `exp(−sign(Â) Δ_t)`, is RLRT.)
    Weight {
        /// Lower bound. Not negative.
        min: f64,
        /// Upper bound. Not below `min`.
        max: f64,
        /// Whether tokens that the hint makes likely get less instead of more.
        #[serde(default)]
        inverse: bool,
    },
    /// A divergence from the teacher over the likeliest tokens, (CREDIT-4), as a term of the loss beside the advantage:
    ///
    /// ```text
    /// A_t = λ Â,   L_t = … + coef · D_t                                                  (CREDIT-5)
    /// ```
    ///
    /// The teacher is scored in every optimizer step, with the weights that it then has. See [`Divergence`].
    Divergence {
        /// `λ`, the part of the advantage that remains. In `[0, 1]`.
        #[serde(default)]
        mix: f64,
        /// Factor of the divergence. Not negative.
        #[serde(default = "one")]
        coef: f64,
        /// The divergence.
        kind: DivergenceKind,
        /// Tokens of the support. At least 1.
        top_k: usize,
        /// Distribution whose likeliest tokens are the support.
        #[serde(default)]
        support: Support,
        /// The treatment of all other tokens.
        #[serde(default)]
        tail: Tail,
    },
}

const fn one() -> f64 {
    1.0
}

const fn half() -> f64 {
    0.5
}

impl Default for CreditForm {
    /// Half of the advantage by the verifier, half by the hint.
    fn default() -> Self {
        Self::Advantage { mix: half(), max: None }
    }
}

impl CreditConfig {
    /// Whether the reference policy is needed.
    pub(crate) fn needs_reference(&self) -> bool {
        self.teacher == CreditTeacher::Reference
    }

    pub(crate) fn check(&self, at: &mut Violations) {
        at.within("teacher", |at| match &self.teacher {
            CreditTeacher::Average { decay } => {
                at.require((0.0..1.0).contains(decay), "decay", "must be in [0, 1)", decay);
            }
            CreditTeacher::Model { path } => {
                let found = format_args!("`{}`", path.display());
                at.require(!path.as_os_str().is_empty(), "path", "must name a model", found);
            }
            CreditTeacher::Live | CreditTeacher::Reference => {}
        });
        at.within("form", |at| match self.form {
            CreditForm::Advantage { mix, max } => {
                at.share("mix", mix);
                if let Some(max) = max {
                    at.positive("max", max);
                }
            }
            CreditForm::Weight { min, max, .. } => at.bounds(min, max),
            CreditForm::Divergence { mix, .. } => {
                at.share("mix", mix);
                if let Some(divergence) = self.form.divergence() {
                    divergence.check(at);
                }
            }
        });
    }
}

impl Credit for CreditForm {
    fn name(&self) -> String {
        format!("{self:?}")
    }

    fn advantages(&self, input: CreditInput<'_>) -> Result<Tensor, GrpoError> {
        let CreditInput { advantages, delta, .. } = input;
        Ok(match *self {
            Self::Advantage { mix, max } => {
                let max = max.unwrap_or(f64::INFINITY);
                advantages * mix + delta.clamp(-max, max) * (1.0 - mix)
            }
            Self::Weight { min, max, inverse } => {
                let sign = advantages.sign() * if inverse { -1.0 } else { 1.0 };
                advantages * (sign * delta).exp().clamp(min, max)
            }
            Self::Divergence { mix, .. } => advantages * mix,
        })
    }

    fn divergence(&self) -> Option<Divergence> {
        match *self {
            Self::Divergence { coef, kind, top_k, support, tail, .. } => {
                Some(Divergence { coef, kind, top_k, support, tail })
            }
            _ => None,
        }
    }

    fn ignores_zero_advantage(&self) -> bool {
        match self {
            Self::Weight { .. } => true,
            Self::Advantage { mix, .. } => *mix == 1.0,
            Self::Divergence { coef, .. } => *coef == 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credited(form: CreditForm, advantages: &[f64], delta: &[f64]) -> Vec<f64> {
        let [advantages, delta] =
            [advantages, delta].map(|values| Tensor::from_slice(values).view([1, -1]));
        let mask = advantages.ones_like().to_kind(tch::Kind::Bool);
        let input = CreditInput::new(&advantages, &delta, &mask);
        let credited = form.advantages(input).expect("no error").view([-1]);
        Vec::try_from(credited).expect("a dense row")
    }

    #[test]
    fn an_additive_advantage_mixes_verifier_and_hint() {
        let form = CreditForm::Advantage { mix: 0.25, max: Some(2.0) };
        let found = credited(form, &[1.0, 1.0, -2.0, 0.0], &[0.5, -8.0, 0.0, 3.0]);
        assert_eq!(found, [0.625, -1.25, -0.5, 1.5]);
        let form = CreditForm::Advantage { mix: 0.0, max: None };
        assert_eq!(credited(form, &[5.0, 5.0], &[0.5, -8.0]), [0.5, -8.0]);
    }

    #[test]
    fn a_weight_keeps_the_direction_and_takes_its_size_from_the_hint() {
        let log = 2.0_f64.ln();
        let form = CreditForm::Weight { min: 0.25, max: 3.0, inverse: false };
        let found =
            credited(form, &[1.0, 1.0, -1.0, -1.0, 0.0, 1.0], &[log, -log, log, -log, 9.0, 9.0]);
        let expected = [2.0, 0.5, -0.5, -2.0, 0.0, 3.0];
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12, "{found} instead of {expected}");
        }
        let form = CreditForm::Weight { min: 0.25, max: 3.0, inverse: true };
        let found = credited(form, &[1.0, -1.0], &[log, log]);
        assert!((found[0] - 0.5).abs() < 1e-12 && (found[1] + 2.0).abs() < 1e-12, "{found:?}");
    }
}
