//! Scores on their way to a loss, and the way back to the parameters.

use std::ops::Range;

use tch::Tensor;

use crate::error::PolicyError;
use crate::policy::Parameter;
use crate::policy::scores::{ScoreGradients, TokenScores};
use crate::runtime::catch_out_of_memory;

/// Adds to the gradients of parameters, given the gradients of scores. Announces the stages that run next.
type Backward<'a> =
    Box<dyn FnOnce(&ScoreGradients, &mut dyn FnMut(Range<usize>)) -> Result<(), PolicyError> + 'a>;

/// Work of a backward pass, for its errors.
const ACTION: &str = "take the gradient of the loss";

/// Of a pass that has no stages.
const ALL_STAGES: Range<usize> = 0..usize::MAX;

/// Scores on their way to a loss, and the way back to the parameters.
///
/// # Examples
///
/// ```
/// use hint_policy::config::Architecture;
/// use hint_policy::{CausalLm, ForwardPass, ModelConfig, Policy, ScoreOptions, TokenBatch, TokenRow};
/// use tch::{Device, Kind};
///
/// let policy = CausalLm::init(&ModelConfig::small(Architecture::Llama, 60), 1, Device::Cpu)?;
/// let rows = [TokenRow { prompt: &[1, 2, 3], completion: &[4, 5] }];
/// let batch = TokenBatch::new(&rows, Device::Cpu)?;
/// let pass: ForwardPass<'_> = policy.forward(&batch, &ScoreOptions::default())?;
/// let loss = -pass.scores().logprobs.sum(Kind::Float);
/// pass.backward(&loss)?;
/// assert!(policy.parameters()[0].tensor.grad().defined());
/// # Ok::<(), hint_policy::PolicyError>(())
/// ```
pub struct ForwardPass<'a> {
    scores: TokenScores,
    backward: Option<Backward<'a>>,
    /// The parameters, where they are known.
    parameters: Option<Box<dyn FnOnce() -> Vec<Parameter> + 'a>>,
}

impl<'a> ForwardPass<'a> {
    /// Made of scores whose log-probabilities, and the alternatives' ones, are leaves that require grad. `backward`
    /// gets the gradients of a loss with respect to them, and adds to the parameters' gradients.
    pub fn new(scores: TokenScores, backward: impl FnOnce(&ScoreGradients) + 'a) -> Self {
        Self::in_stages(scores, move |gradients, announce| {
            announce(ALL_STAGES);
            backward(gradients);
        })
    }

    /// As [`ForwardPass::new`], with a `backward` that announces the stages of
    /// [`Policy::gradient_stages`](crate::Policy::gradient_stages). It calls its second argument before each of them, in
    /// order, with the stages that run next.
    pub fn in_stages(
        scores: TokenScores,
        backward: impl FnOnce(&ScoreGradients, &mut dyn FnMut(Range<usize>)) + 'a,
    ) -> Self {
        Self::in_stages_or_fail(scores, move |gradients, announce| {
            backward(gradients, announce);
            Ok(())
        })
    }

    /// As [`ForwardPass::in_stages`], with a `backward` that may fail.
    pub(crate) fn in_stages_or_fail(
        scores: TokenScores,
        backward: impl FnOnce(&ScoreGradients, &mut dyn FnMut(Range<usize>)) -> Result<(), PolicyError>
        + 'a,
    ) -> Self {
        Self { scores, backward: Some(Box::new(backward)), parameters: None }
    }

    /// Of scores that autograd follows to the parameters.
    pub fn by_autograd(scores: TokenScores) -> Self {
        Self { scores, backward: None, parameters: None }
    }

    /// With the parameters that [`ForwardPass::backward`] gives room for their gradients.
    pub(crate) fn with_parameters(self, parameters: impl FnOnce() -> Vec<Parameter> + 'a) -> Self {
        Self { parameters: Some(Box::new(parameters)), ..self }
    }

    /// The scores. A loss is a function of their log-probabilities.
    pub fn scores(&self) -> &TokenScores {
        &self.scores
    }

    /// Adds the gradient of `loss`, a scalar, to the parameters' gradients.
    ///
    /// A run that several workers share leaves gradients of size `[0]` behind. Those of a `CausalLm`, and
    /// of a policy with the default [`forward`](crate::Policy::forward), become zeros of the size of their parameters first.
    ///
    /// # Errors
    ///
    /// [`PolicyError::Torch`] if `loss` does not depend on the log-probabilities;
    /// [`PolicyError::OutOfMemory`] and [`PolicyError::Gather`], after which gradients are incomplete.
    pub fn backward(self, loss: &Tensor) -> Result<(), PolicyError> {
        let Self { scores, backward, parameters } = self;
        if let Some(parameters) = parameters {
            catch_out_of_memory(ACTION, || {
                tch::no_grad(|| parameters().iter().for_each(make_room));
                Ok::<_, PolicyError>(())
            })?;
        }
        Self { scores, backward, parameters: None }.backward_in_stages(loss, &mut |_| {})
    }

    /// As [`ForwardPass::backward`], stage by [stage](crate::Policy::gradient_stages).
    ///
    /// Calls `announce` with the stages that run next, in order. Only from then on must their parameters have room for a
    /// gradient. Gradients whose last stage lies before these are complete. A pass without stages announces all of them at
    /// once. Where nothing is announced, no gradient changes.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn backward_in_stages(
        self,
        loss: &Tensor,
        announce: &mut dyn FnMut(Range<usize>),
    ) -> Result<(), PolicyError> {
        catch_out_of_memory(ACTION, || {
            if self.backward.is_none() {
                announce(ALL_STAGES);
            }
            loss.f_backward().map_err(|source| PolicyError::torch(ACTION, source))?;
            if let Some(backward) = self.backward {
                let of = |leaf: &Tensor| Some(leaf.grad()).filter(Tensor::defined);
                let logprobs = of(&self.scores.logprobs);
                let alternatives = self.scores.alternatives.as_ref();
                let alternatives = alternatives.and_then(|scored| of(&scored.logprobs));
                if logprobs.is_some() || alternatives.is_some() {
                    let logprobs = logprobs.unwrap_or_else(|| self.scores.logprobs.zeros_like());
                    backward(&ScoreGradients { logprobs, alternatives }, announce)?;
                }
            }
            Ok(())
        })
    }
}

/// Gives the gradient of a parameter its size again, where another one was lent and taken back.
fn make_room(parameter: &Parameter) {
    let tensor = &parameter.tensor;
    let mut grad = tensor.grad();
    if grad.defined() && grad.numel() != tensor.numel() {
        grad.set_data(&tensor.detach().zeros_like());
    }
}

impl std::fmt::Debug for ForwardPass<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ForwardPass").field("scores", &self.scores).finish_non_exhaustive()
    }
}
