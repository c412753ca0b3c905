//! The trait of trainable models, and sharing one between trainer and sampler.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tch::{Device, Tensor};

use crate::{
    Decoder, DecoderOptions, PolicyError, RecomputeDecoder, SaveOptions, TokenBatch,
    catch_out_of_memory, logprobs,
};

/// One trainable tensor of a policy.
#[derive(Debug)]
pub struct Parameter {
    /// Its name in the checkpoint.
    pub name: String,
    /// The master weights, kind `Float`, requiring grad: a shallow handle on the policy's storage,
    /// so that an in-place update changes the policy.
    pub tensor: Tensor,
}

/// What [`Policy::score`] computes besides log-probabilities, and at which temperature.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScoreOptions {
    /// The logits are divided by this before the softmax. Positive; 1 is the model's own
    /// distribution.
    pub temperature: f64,
    /// Whether to return the entropy of the distribution that predicts each completion token.
    pub entropy: bool,
    /// Lets adapters drop inputs, by masks that are a function of this seed: for training. `None`
    /// drops nothing: for evaluation. Policies without dropout ignore it.
    pub dropout_seed: Option<u64>,
}

impl Default for ScoreOptions {
    fn default() -> Self {
        Self { temperature: 1.0, entropy: false, dropout_seed: None }
    }
}

impl ScoreOptions {
    /// Checks the ranges.
    ///
    /// # Errors
    ///
    /// [`PolicyError::InvalidOption`] for a temperature that is not positive and finite.
    pub fn validate(&self) -> Result<(), PolicyError> {
        if self.temperature.is_finite() && self.temperature > 0.0 {
            return Ok(());
        }
        Err(PolicyError::option("temperature", &self.temperature, "a positive number"))
    }
}

/// What [`Policy::score`] returns.
#[derive(Debug)]
pub struct TokenScores {
    /// At position `t`, `log π(y_t | y_<t)` of the tempered distribution, in nats; 0 where the
    /// completion mask is false. Shape `[batch, seq]`, kind `Float` (`Double` when the policy
    /// computes in `Double`), differentiable.
    pub logprobs: Tensor,
    /// At position `t`, the entropy in nats of the tempered distribution that predicted position
    /// `t`; 0 where the completion mask is false. Shape and kind as `logprobs`, no grad.
    pub entropy: Option<Tensor>,
}

/// Adds to the gradients of parameters, given that of log-probabilities.
type Pull<'a> = Box<dyn FnOnce(&Tensor) + 'a>;

/// Scores on their way to a loss, and the way back to the parameters.
///
/// # Examples
///
/// ```
/// use hint_policy::{Architecture, CausalLm, ModelConfig, Policy, ScoreOptions, TokenBatch, TokenRow};
/// use tch::{Device, Kind};
///
/// let policy = CausalLm::init(&ModelConfig::small(Architecture::Llama, 60), 1, Device::Cpu)?;
/// let rows = [TokenRow { prompt: &[1, 2, 3], completion: &[4, 5] }];
/// let batch = TokenBatch::new(&rows, Device::Cpu)?;
/// let recording = policy.record(&batch, &ScoreOptions::default())?;
/// let loss = -recording.scores().logprobs.sum(Kind::Float);
/// recording.backward(&loss)?;
/// assert!(policy.parameters()[0].tensor.grad().defined());
/// # Ok::<(), hint_policy::PolicyError>(())
/// ```
pub struct Recording<'a> {
    scores: TokenScores,
    pull: Option<Pull<'a>>,
}

impl<'a> Recording<'a> {
    /// Of scores whose log-probabilities are a leaf that requires grad. `pull` gets the gradient of
    /// a loss with respect to them, shape `[batch, seq]`, and adds to those of the parameters.
    pub fn new(scores: TokenScores, pull: impl FnOnce(&Tensor) + 'a) -> Self {
        Self { scores, pull: Some(Box::new(pull)) }
    }

    /// Of scores that autograd follows to the parameters.
    pub fn by_autograd(scores: TokenScores) -> Self {
        Self { scores, pull: None }
    }

    /// The scores. A loss is a function of their log-probabilities.
    pub fn scores(&self) -> &TokenScores {
        &self.scores
    }

    /// Adds the gradient of `loss`, a scalar, to those of the parameters.
    ///
    /// # Errors
    ///
    /// [`PolicyError::Torch`] if `loss` does not depend on the log-probabilities;
    /// [`PolicyError::OutOfMemory`], after which gradients are incomplete.
    pub fn backward(self, loss: &Tensor) -> Result<(), PolicyError> {
        const ACTION: &str = "take the gradient of the loss";
        catch_out_of_memory(ACTION, || {
            loss.f_backward().map_err(|source| PolicyError::torch(ACTION, source))?;
            if let Some(pull) = self.pull {
                let gradient = self.scores.logprobs.grad();
                if gradient.defined() {
                    pull(&gradient);
                }
            }
            Ok(())
        })
    }
}

impl std::fmt::Debug for Recording<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recording").field("scores", &self.scores).finish_non_exhaustive()
    }
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
///     fn device(&self) -> Device { Device::Cpu }
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

    /// Log-probabilities of the completion tokens, and their entropies if asked for.
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

    /// Scores for one backward pass, which [`Recording::backward`] runs.
    ///
    /// The default lets autograd record [`Policy::score`]; override it to keep less.
    ///
    /// # Errors
    ///
    /// As [`Policy::score`].
    fn record(
        &self,
        tokens: &TokenBatch,
        options: &ScoreOptions,
    ) -> Result<Recording<'_>, PolicyError> {
        Ok(Recording::by_autograd(self.score(tokens, options)?))
    }

    /// Every trainable tensor, in a stable order, under its checkpoint name.
    fn parameters(&self) -> Vec<Parameter>;

    /// Device of the parameters.
    fn device(&self) -> Device;

    /// Number of token ids.
    fn vocab_size(&self) -> usize;

    /// The longest row, in tokens.
    fn max_positions(&self) -> usize;

    /// Starts incremental decoding with the parameters as they are now.
    ///
    /// The default re-runs [`Policy::logits`] at each step: correct and slow; override it with a
    /// key-value cache.
    ///
    /// # Errors
    ///
    /// What preparing the weights for decoding may meet.
    fn decoder(&self, options: &DecoderOptions) -> Result<Box<dyn Decoder + '_>, PolicyError> {
        Ok(Box::new(RecomputeDecoder::new(self, options)))
    }

    /// Tells the policy that its parameters were changed in place, so that it drops whatever it
    /// derived from them. Trainers call it after each optimizer step.
    fn parameters_changed(&self) {}

    /// Writes the configuration and the weights into the folder `dir`, creating it if needed.
    ///
    /// # Errors
    ///
    /// [`PolicyError::Write`] naming the file.
    fn save(&self, dir: &Path) -> Result<(), PolicyError>;

    /// As [`Policy::save`], in another layout. The default knows the default layout alone, in which
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
    fn record(
        &self,
        tokens: &TokenBatch,
        options: &ScoreOptions,
    ) -> Result<Recording<'_>, PolicyError> {
        (**self).record(tokens, options)
    }
    fn parameters(&self) -> Vec<Parameter> {
        (**self).parameters()
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
    fn parameters_changed(&self) {
        (**self).parameters_changed();
    }
    fn save(&self, dir: &Path) -> Result<(), PolicyError> {
        (**self).save(dir)
    }
    fn save_as(&self, dir: &Path, options: &SaveOptions) -> Result<(), PolicyError> {
        (**self).save_as(dir, options)
    }
}

/// One policy used by both the trainer and a local rollout engine.
#[derive(Clone)]
pub struct SharedPolicy(Arc<Mutex<Box<dyn Policy>>>);

impl SharedPolicy {
    /// Shares `policy`.
    pub fn new(policy: impl Policy + 'static) -> Self {
        Self(Arc::new(Mutex::new(Box::new(policy))))
    }

    /// Waits until nobody else uses the policy, and borrows it.
    ///
    /// A thread that panicked while holding the lock does not poison it: no method of [`Policy`]
    /// leaves a policy half changed.
    pub fn lock(&self) -> MutexGuard<'_, Box<dyn Policy>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for SharedPolicy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedPolicy").finish_non_exhaustive()
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
