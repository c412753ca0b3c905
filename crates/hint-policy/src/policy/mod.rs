//! Interface of a model to trainer and sampler.
//!
//! [`Policy`] is the trait: logits, scores of a [`TokenBatch`], parameters, and a [`Decoder`]. Only `logits`
//! computes anything that a new policy must write; the rest has defaults, slow and right. A trainer calls
//! [`Policy::forward`], takes a loss of the scores of the [`ForwardPass`] and passes it back to
//! [`ForwardPass::backward`]. So a policy may replace autograd by a backward pass of its own. A sampler
//! calls [`Policy::decoder`]. [`SharedPolicy`] lets both have the same policy.

pub(crate) mod batch;
pub(crate) mod decoder;
pub(crate) mod forward_pass;
pub(crate) mod logprobs;
pub(crate) mod recompute;
pub(crate) mod save_options;
pub(crate) mod scores;
pub(crate) mod shared;
pub(crate) mod stage_weights;

use std::ops::Range;
use std::path::Path;

use tch::{Device, Tensor};

use crate::config::LoraConfig;
use crate::error::PolicyError;

pub use batch::{TokenBatch, TokenRow};
pub use decoder::{Decoder, DecoderOptions, Prefill, PrefixId};
pub use forward_pass::ForwardPass;
pub use recompute::RecomputeDecoder;
pub use save_options::SaveOptions;
pub use scores::{Alternatives, ScoreGradients, ScoreOptions, TokenScores};
pub use shared::SharedPolicy;
pub use stage_weights::StageWeights;

/// One trainable tensor of a policy.
#[derive(Debug)]
pub struct Parameter {
    /// Its name in the checkpoint.
    pub name: String,
    /// The master weights, kind `Float`, requiring grad: a shallow handle on the policy's storage,
    /// so that an in-place update changes the policy.
    pub tensor: Tensor,
}

/// A causal language model that can be trained: it scores tokens and owns parameters.
///
/// `Send` but not `Sync`, because `tch::Tensor` is `Send` and not `Sync`. Share one through
/// [`SharedPolicy`].
///
/// # Contract
///
/// Row `b` of a result depends only on row `b` of the batch and not on padding, up to float noise.
/// [`Policy::parameters`] returns the same tensors in the same order every time.
///
/// # Examples
///
/// A policy that predicts every token from the previous one:
///
/// ```
/// use std::path::Path;
/// use hint_policy::{Parameter, Policy, PolicyError, ScoreOptions, TokenBatch, TokenRow};
/// use tch::{Device, Kind, Tensor};
///
/// struct Bigram(Tensor); // [vocab, vocab]
///
/// impl Policy for Bigram {
///     fn logits(&self, tokens: &TokenBatch) -> Result<Tensor, PolicyError> {
///         tokens.check(self.vocab_size(), self.max_positions())?;
///         Ok(Tensor::embedding(&self.0, tokens.tokens(), -1, false, false))
///     }
///     fn parameters(&self) -> Vec<Parameter> {
///         vec![Parameter { name: "table".into(), tensor: self.0.shallow_clone() }]
///     }
///     fn vocab_size(&self) -> usize { 4 }
///     fn max_positions(&self) -> usize { 1024 }
///     fn save(&self, _dir: &Path) -> Result<(), PolicyError> { Ok(()) }
/// }
///
/// let policy = Bigram(Tensor::zeros([4, 4], (Kind::Float, Device::Cpu)).set_requires_grad(true));
/// let batch = TokenBatch::new(&[TokenRow { prompt: &[0], completion: &[3] }], Device::Cpu)?;
/// let scores = policy.score(&batch, &ScoreOptions::default())?;
/// assert!((scores.logprobs.double_value(&[0, 1]) - 0.25_f64.ln()).abs() < 1e-6);
/// # Ok::<(), PolicyError>(())
/// ```
pub trait Policy: Send {
    /// Next-token logits. Shape `[batch, seq, vocab]`, kind `Float` (`Double` when the policy
    /// computes in `Double`), differentiable.
    ///
    /// # Errors
    ///
    /// A token id or row length outside the model's range.
    fn logits(&self, tokens: &TokenBatch) -> Result<Tensor, PolicyError>;

    /// Log-probabilities of the completion tokens, and their entropies and alternatives if asked for.
    ///
    /// The default goes through [`Policy::logits`]; override it to avoid `[batch, seq, vocab]`.
    ///
    /// # Errors
    ///
    /// As [`Policy::logits`]; [`PolicyError::InvalidOption`] for a temperature that is not
    /// positive.
    fn score(
        &self,
        tokens: &TokenBatch,
        options: &ScoreOptions,
    ) -> Result<TokenScores, PolicyError> {
        options.validate()?;
        logprobs::score_logits(&self.logits(tokens)?, tokens, options)
    }

    /// Scores for one backward pass, which [`ForwardPass::backward`] runs.
    ///
    /// The default lets autograd record [`Policy::score`]; override it to keep less. A trainer takes its
    /// log-probabilities for those of `score`. Without dropout they must be the same, to the last bit on a CPU.
    ///
    /// # Errors
    ///
    /// As [`Policy::score`].
    fn forward(
        &self,
        tokens: &TokenBatch,
        options: &ScoreOptions,
    ) -> Result<ForwardPass<'_>, PolicyError> {
        let pass = ForwardPass::by_autograd(self.score(tokens, options)?);
        Ok(pass.with_parameters(move || self.parameters()))
    }

    /// Whether [`Policy::forward`] drops inputs when it has a
    /// [`dropout_seed`](ScoreOptions::dropout_seed). Otherwise its scores are those of [`Policy::score`], and a trainer
    /// may take the ones for the others. By default it is taken to: that costs a pass, and is right for every policy.
    fn drops_inputs(&self) -> bool {
        true
    }

    /// Every trainable tensor, in a stable order, under its checkpoint name.
    fn parameters(&self) -> Vec<Parameter>;

    /// The stages of a backward pass in which the gradient of each parameter changes, in the order of
    /// [`Policy::parameters`]. Stages count from 0, the first that runs.
    ///
    /// [`ForwardPass::backward_in_stages`] announces them. So a trainer can make room for a gradient when it begins. It can
    /// send the gradient to other processes while the rest is computed. By default every gradient may change until the end, which is right
    /// for every policy. A policy that wraps another one may keep the default.
    fn gradient_stages(&self) -> Vec<Range<usize>> {
        vec![0..usize::MAX; self.parameters().len()]
    }

    /// Device of the parameters. By default that of the first one, or the CPU without any.
    fn device(&self) -> Device {
        self.parameters().first().map_or(Device::Cpu, |parameter| parameter.tensor.device())
    }

    /// Number of token ids.
    fn vocab_size(&self) -> usize;

    /// The longest row, in tokens.
    fn max_positions(&self) -> usize;

    /// Starts incremental decoding with the present parameters.
    ///
    /// The default re-runs [`Policy::logits`] at each step: correct and slow; override it with a
    /// key-value cache.
    ///
    /// # Errors
    ///
    /// Errors of preparing the weights for decoding.
    fn decoder(&self, options: &DecoderOptions) -> Result<Box<dyn Decoder + '_>, PolicyError> {
        Ok(Box::new(RecomputeDecoder::new(self, options)))
    }

    /// Shape of its low-rank adapters, if these are what is trained. Then [`Policy::save`] writes them alone, in PEFT's
    /// format. By default there are none.
    fn lora(&self) -> Option<&LoraConfig> {
        None
    }

    /// Gives the policy an object that brings the weights of each stage, or takes it back. Whether the policy can use one: if
    /// so, it calls that before it reads weights. By default it cannot, and ignores the object. A policy that wraps another
    /// one may keep the default.
    fn set_stage_weights(&self, weights: Option<Box<dyn StageWeights>>) -> bool {
        drop(weights);
        false
    }

    /// Announces that the parameters were changed in place, so that the policy drops all values
    /// derived from them. Trainers call it after each optimizer step.
    fn parameters_changed(&self) {}

    /// Writes the configuration and the weights into the folder `dir`, creating it if needed.
    ///
    /// # Errors
    ///
    /// [`PolicyError::Write`] naming the file.
    fn save(&self, dir: &Path) -> Result<(), PolicyError>;

    /// As [`Policy::save`], in another layout. The default has only the default layout, in which
    /// there are no adapters to merge.
    ///
    /// # Errors
    ///
    /// [`PolicyError::Write`] naming the file; [`PolicyError::InvalidOption`] for a layout that the
    /// policy cannot write.
    fn save_as(&self, dir: &Path, options: &SaveOptions) -> Result<(), PolicyError> {
        if *options == (SaveOptions { merged: options.merged, ..SaveOptions::default() }) {
            return self.save(dir);
        }
        let expected = "the default, or a policy that implements `save_as`";
        Err(PolicyError::option("save options", &format!("{options:?}"), expected))
    }

    /// The tensors that [`Policy::save_as`] writes with merged adapters, under their names and in their order. Kinds and
    /// device are those of the policy, and some share its memory. `untied_head` is as in [`SaveOptions`]. By default
    /// there are none to be had, and others read the folder. There are none either while weights are missing that
    /// [`StageWeights`] cannot bring; `save_as` reports that error.
    fn checkpoint_tensors(&self, untied_head: bool) -> Option<Vec<Parameter>> {
        let _ = untied_head;
        None
    }
}

impl<P: Policy + ?Sized> Policy for Box<P> {
    fn logits(&self, tokens: &TokenBatch) -> Result<Tensor, PolicyError> {
        (**self).logits(tokens)
    }
    fn score(
        &self,
        tokens: &TokenBatch,
        options: &ScoreOptions,
    ) -> Result<TokenScores, PolicyError> {
        (**self).score(tokens, options)
    }
    fn forward(
        &self,
        tokens: &TokenBatch,
        options: &ScoreOptions,
    ) -> Result<ForwardPass<'_>, PolicyError> {
        (**self).forward(tokens, options)
    }
    fn drops_inputs(&self) -> bool {
        (**self).drops_inputs()
    }
    fn parameters(&self) -> Vec<Parameter> {
        (**self).parameters()
    }
    fn gradient_stages(&self) -> Vec<Range<usize>> {
        (**self).gradient_stages()
    }
    fn device(&self) -> Device {
        (**self).device()
    }
    fn vocab_size(&self) -> usize {
        (**self).vocab_size()
    }
    fn max_positions(&self) -> usize {
        (**self).max_positions()
    }
    fn decoder(&self, options: &DecoderOptions) -> Result<Box<dyn Decoder + '_>, PolicyError> {
        (**self).decoder(options)
    }
    fn lora(&self) -> Option<&LoraConfig> {
        (**self).lora()
    }
    fn set_stage_weights(&self, weights: Option<Box<dyn StageWeights>>) -> bool {
        (**self).set_stage_weights(weights)
    }
    fn parameters_changed(&self) {
        (**self).parameters_changed();
    }
    fn save(&self, dir: &Path) -> Result<(), PolicyError> {
        (**self).save(dir)
    }
    fn save_as(&self, dir: &Path, options: &SaveOptions) -> Result<(), PolicyError> {
        (**self).save_as(dir, options)
    }
    fn checkpoint_tensors(&self, untied_head: bool) -> Option<Vec<Parameter>> {
        (**self).checkpoint_tensors(untied_head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traits_are_dyn_compatible() {
        let policy: Option<Box<dyn Policy>> = None;
        let decoder: Option<Box<dyn Decoder>> = None;
        assert!(policy.is_none() && decoder.is_none());
    }

    #[test]
    fn shared_policy_can_be_sent() {
        fn check<T: Send + Sync>() {}
        check::<SharedPolicy>();
    }

    #[test]
    fn temperature_zero_is_refused_when_scoring() {
        let options = ScoreOptions { temperature: 0.0, ..ScoreOptions::default() };
        assert!(matches!(options.validate(), Err(PolicyError::InvalidOption { .. })));
    }
}
