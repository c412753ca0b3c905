//! The models of this crate.
//!
//! [`CausalLm`] joins the modules of this crate: a [configuration](crate::config), weights, the two forward
//! passes and the decoder. [`io`](crate::io) reads and writes it. It implements [`Policy`]. [`LoadedModel`]
//! adds the tokenizer and the stop tokens of a folder; [`LoadReport`] describes the result.

mod adapted;
pub(crate) mod loaded;
mod refusals;
pub(crate) mod report;

use std::cell::RefCell;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use tch::{Device, Kind, Tensor};

use crate::config::lora::LoraConfig;
use crate::config::{ModelConfig, RopeScaling};
use crate::decode::cached::CachedDecoder;
use crate::decode::fused::FusedWeights;
use crate::error::PolicyError;
use crate::forward::autograd;
use crate::forward::pass::Pass;
use crate::io::load::{self, LoadOptions, ModelFiles};
use crate::io::progress::{LoadProgress, LoadedFiles};
use crate::io::{generation, save};
use crate::policy::stage_weights::StageCell;
use crate::policy::{
    Decoder, DecoderOptions, ForwardPass, Parameter, Policy, SaveOptions, ScoreOptions,
    StageWeights, TokenBatch, TokenScores, logprobs,
};
use crate::runtime::catch_out_of_memory;
use crate::tensor::grad_is_enabled;
use crate::weights::{Weights, init};

pub use loaded::LoadedModel;
pub use report::LoadReport;

/// Work of writing a model, for its errors.
const SAVE: &str = "save the model";

/// A model of one of the families of [`Architecture`](crate::config::Architecture), with `Float` master weights.
///
/// The forward pass runs in the compute kind chosen at creation (`Float`, `BFloat16` or `Double`).
/// Weights are cast at use, on a CPU once until the parameters change. Norms, rotations and softmax statistics stay in
/// `Float` at least.
/// Decoding uses a key-value cache and fused copies of the weights, which are made once and dropped
/// when the parameters change.
///
/// # Examples
///
/// ```
/// use hint_policy::config::Architecture;
/// use hint_policy::{CausalLm, ModelConfig, Policy, ScoreOptions, TokenBatch, TokenRow};
/// use tch::Device;
///
/// let config = ModelConfig::small(Architecture::Llama, 60);
/// let policy = CausalLm::init(&config, 1, Device::Cpu)?;
/// let rows = [TokenRow { prompt: &[1, 2, 3], completion: &[4, 5] }];
/// let batch = TokenBatch::new(&rows, Device::Cpu)?;
/// let scores = policy.score(&batch, &ScoreOptions::default())?;
/// assert_eq!(scores.logprobs.size(), [1, 5]);
/// # Ok::<(), hint_policy::PolicyError>(())
/// ```
#[derive(Debug)]
pub struct CausalLm {
    config: ModelConfig,
    weights: Weights,
    device: Device,
    compute: Kind,
    /// Fused weights for decoding, with the version of the parameters they were made from.
    fused: RefCell<Option<(i64, FusedWeights)>>,
    /// Brings weights that are not there.
    stage_weights: StageCell,
    /// Whether recordings keep only the inputs of transformer blocks.
    gradient_checkpointing: bool,
    /// Shape of the adapters.
    lora: Option<LoraConfig>,
    /// Path that the model was loaded from.
    source: Option<PathBuf>,
    /// Files that were read there.
    files: LoadedFiles,
    /// Its `generation_config.json`.
    generation: Map<String, Value>,
    /// Tokens that end a completion, sorted.
    stop_tokens: Vec<u32>,
}

impl CausalLm {
    /// A model with random weights: normal with deviation `initializer_range`, norms 1, biases 0.
    /// The same seed gives the same weights on every device.
    ///
    /// # Errors
    ///
    /// [`PolicyError::InvalidConfig`] if the sizes do not fit together.
    pub fn init(config: &ModelConfig, seed: u64, device: Device) -> Result<Self, PolicyError> {
        config.validate()?;
        catch_out_of_memory("initialize the model", || {
            let tensors = init::tensors(config, seed, device);
            Ok(Self::from_tensors(config.clone(), tensors, device, Kind::Float))
        })
    }

    /// Loads a Hugging Face folder (`config.json` and safetensors), a `.gguf` file, or a folder with
    /// an adapter in PEFT's format. The adapter's configuration names the path of its base model.
    ///
    /// # Errors
    ///
    /// An unreadable, truncated or corrupt file, an unsupported configuration, or a tensor that is
    /// missing, of the wrong shape or not finite. Each error names file and tensor.
    pub fn load(path: impl AsRef<Path>, options: &LoadOptions) -> Result<Self, PolicyError> {
        Self::load_with(path, options, |_| {})
    }

    /// As [`CausalLm::load`], telling `observer` how far it has come: at the start, after each
    /// tensor and at the end.
    ///
    /// # Errors
    ///
    /// As [`CausalLm::load`].
    pub fn load_with(
        path: impl AsRef<Path>,
        options: &LoadOptions,
        mut observer: impl FnMut(LoadProgress),
    ) -> Result<Self, PolicyError> {
        catch_out_of_memory("load the model", || {
            Self::from_files(load::load(path.as_ref(), options, &mut observer)?, options)
        })
    }

    fn from_tensors(
        config: ModelConfig,
        tensors: Vec<Tensor>,
        device: Device,
        compute: Kind,
    ) -> Self {
        let weights = Weights::new(&config, tensors);
        let fused = RefCell::new(None);
        let stop_tokens = load::sorted([&config.eos_token_ids, &[]]);
        Self {
            config,
            weights,
            device,
            compute,
            fused,
            stage_weights: StageCell::default(),
            gradient_checkpointing: false,
            lora: None,
            source: None,
            files: LoadedFiles::default(),
            generation: Map::new(),
            stop_tokens,
        }
    }

    /// The model of files that were read with these options.
    fn from_files(read: ModelFiles, options: &LoadOptions) -> Result<Self, PolicyError> {
        let mut model =
            Self::from_tensors(read.config, read.tensors, options.device, options.compute);
        model.source = Some(read.path);
        model.files = read.files;
        model.generation = read.generation;
        model.stop_tokens = read.stop_tokens;
        match read.adapter {
            Some(dir) => model.with_adapter(dir),
            None => Ok(model),
        }
    }

    /// The same model computing in `compute`: `Float`, `BFloat16` or `Double`. The master weights
    /// stay `Float`.
    ///
    /// # Errors
    ///
    /// [`PolicyError::InvalidOption`] for any other kind.
    pub fn with_compute(mut self, compute: Kind) -> Result<Self, PolicyError> {
        load::check_compute(compute)?;
        self.compute = compute;
        self.fused = RefCell::new(None);
        Ok(self)
    }

    /// The same model; if `checkpointing`, it keeps only the inputs of its transformer blocks
    /// between [`Policy::forward`] and the backward pass. The memory of a token shrinks by an order
    /// of magnitude, and the forward pass is computed twice. The gradient is the same, on a CPU to
    /// the last bit.
    #[must_use]
    pub fn with_gradient_checkpointing(mut self, checkpointing: bool) -> Self {
        self.gradient_checkpointing = checkpointing;
        self
    }

    /// Path that the model was loaded from; with adapters, the path of its base.
    pub fn source(&self) -> Option<&Path> {
        self.source.as_deref()
    }

    /// Shape and constants of the model.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Tokens that end a completion, sorted, from the model's files, adapter and base alike. The tokenizer
    /// may name more, see [`LoadedModel::stop_tokens`].
    pub fn stop_tokens(&self) -> &[u32] {
        &self.stop_tokens
    }

    /// The same model with other tokens that end a completion, which its checkpoints remember.
    #[must_use]
    pub fn with_stop_tokens(mut self, stop_tokens: &[u32]) -> Self {
        self.stop_tokens = load::sorted([stop_tokens, &[]]);
        self
    }

    /// The same model with `LongRoPE`'s divisors for long rows, for rows of every length. Then it takes rows of up to
    /// `max_position_embeddings` tokens. Rows that are longer than in pre-training are computed as in transformers,
    /// which gives shorter ones the other divisors. Files do not remember it.
    ///
    /// # Errors
    ///
    /// [`PolicyError::Unsupported`] for a model without `LongRoPE`.
    pub fn with_long_factors(mut self) -> Result<Self, PolicyError> {
        if !matches!(self.config.rope_scaling, RopeScaling::LongRope { .. }) {
            let supported = "models with LongRoPE, such as Phi-3 128k and Phi-4-mini";
            let found = self.config.architecture.class_name();
            return Err(PolicyError::unsupported("long_factors", found, supported));
        }
        self.config.long_factors = true;
        Ok(self)
    }

    /// Kind of the forward pass.
    pub fn compute(&self) -> Kind {
        self.compute
    }

    /// Writes `config.json`, `generation_config.json` and `model.safetensors` into `dir`; of a model with adapters only
    /// these, as [`CausalLm::save_adapter`], unless they are to be merged.
    ///
    /// # Errors
    ///
    /// [`PolicyError::Write`] naming the file, [`PolicyError::Gather`] for weights that are missing.
    pub fn save_with(&self, dir: &Path, options: &SaveOptions) -> Result<(), PolicyError> {
        if self.lora.is_some() && !options.merged {
            return self.save_adapter(dir);
        }
        catch_out_of_memory(SAVE, || {
            self.gather_all()?;
            save::save(&self.config, &self.weights, dir, *options)
        })?;
        self.write_generation(dir, &self.stop_tokens)
    }

    /// Writes `generation_config.json`.
    fn write_generation(&self, dir: &Path, stop_tokens: &[u32]) -> Result<(), PolicyError> {
        generation::write(dir, &self.generation, &self.config, stop_tokens)
    }

    fn hidden_states(
        &self,
        tokens: &TokenBatch,
        dropout_seed: Option<u64>,
    ) -> Result<Tensor, PolicyError> {
        tokens.check(self.vocab_size(), self.max_positions())?;
        let ids = tokens.tokens().to_device(self.device);
        let (config, weights) = (&self.config, &self.weights);
        Ok(autograd::hidden_states(config, weights, &ids, self.compute, dropout_seed))
    }

    /// A pass of `tokens` that does not go through autograd.
    fn pass(&self, tokens: &TokenBatch, options: &ScoreOptions) -> Result<Pass<'_>, PolicyError> {
        tokens.check(self.vocab_size(), self.max_positions())?;
        Ok(Pass::new(&self.config, &self.weights, tokens, self.compute, options)
            .with_checkpoints(self.gradient_checkpointing)
            .with_stage_weights(&self.stage_weights))
    }

    /// Brings all weights.
    fn gather_all(&self) -> Result<(), PolicyError> {
        self.stage_weights.gather(0..usize::MAX)
    }

    pub(crate) fn cached_decoder(&self, options: &DecoderOptions) -> CachedDecoder<'_> {
        CachedDecoder::new(&self.config, self.fused(), options)
    }

    /// Fused decoding weights for the current parameters.
    fn fused(&self) -> FusedWeights {
        let version = self.weights.version();
        // Sampling needs the memory of copies that serve the backward pass.
        self.weights.drop_casts();
        let mut cached = self.fused.borrow_mut();
        match &*cached {
            Some((made_from, fused)) if *made_from == version => fused.shallow_clone(),
            _ => {
                let fused = FusedWeights::new(&self.config, &self.weights, self.compute);
                let handle = fused.shallow_clone();
                *cached = Some((version, fused));
                handle
            }
        }
    }
}

#[cfg(test)]
impl CausalLm {
    /// Numbers of the copies of matrices in the compute kind.
    pub(crate) fn kept_casts(&self) -> usize {
        self.weights.kept_casts()
    }

    /// Numbers that the blocks keep of a batch for the backward pass.
    pub(crate) fn kept_numbers(&self, tokens: &TokenBatch) -> usize {
        let pass = self.pass(tokens, &ScoreOptions::default()).expect("the batch fits the model");
        pass.forward().expect("all weights are there").1.numbers()
    }
}

impl Policy for CausalLm {
    fn logits(&self, tokens: &TokenBatch) -> Result<Tensor, PolicyError> {
        catch_out_of_memory("compute logits", || {
            self.gather_all()?;
            Ok(autograd::head(&self.config, &self.weights, &self.hidden_states(tokens, None)?))
        })
    }

    fn score(
        &self,
        tokens: &TokenBatch,
        options: &ScoreOptions,
    ) -> Result<TokenScores, PolicyError> {
        options.validate()?;
        catch_out_of_memory("score tokens", || {
            if !grad_is_enabled() {
                return self.pass(tokens, options)?.scores();
            }
            self.gather_all()?;
            let hidden = self.hidden_states(tokens, options.dropout_seed)?;
            let head = |rows: &Tensor| autograd::head(&self.config, &self.weights, rows);
            Ok(logprobs::score_hidden(&hidden, tokens, options, self.vocab_size(), head))
        })
    }

    fn forward(
        &self,
        tokens: &TokenBatch,
        options: &ScoreOptions,
    ) -> Result<ForwardPass<'_>, PolicyError> {
        options.validate()?;
        let (pass, (scores, kept)) = catch_out_of_memory("score tokens", || {
            let pass = self.pass(tokens, options)?;
            let recorded = pass.forward()?;
            Ok::<_, PolicyError>((pass, recorded))
        })?;
        let pass = ForwardPass::in_stages_or_fail(scores, move |gradients, announce| {
            pass.backward(kept, gradients, announce)
        });
        Ok(pass.with_parameters(move || self.weights.trainable()))
    }

    fn drops_inputs(&self) -> bool {
        self.weights.drops_inputs()
    }

    fn parameters(&self) -> Vec<Parameter> {
        self.weights.trainable()
    }

    fn gradient_stages(&self) -> Vec<Range<usize>> {
        self.weights.gradient_stages()
    }

    fn device(&self) -> Device {
        self.device
    }

    fn vocab_size(&self) -> usize {
        self.config.vocab_size
    }

    fn max_positions(&self) -> usize {
        self.config.max_positions()
    }

    fn decoder(&self, options: &DecoderOptions) -> Result<Box<dyn Decoder + '_>, PolicyError> {
        self.gather_all()?;
        Ok(Box::new(self.cached_decoder(options)))
    }

    fn lora(&self) -> Option<&LoraConfig> {
        self.lora.as_ref()
    }

    fn set_stage_weights(&self, weights: Option<Box<dyn StageWeights>>) -> bool {
        self.stage_weights.set(weights);
        true
    }

    fn parameters_changed(&self) {
        *self.fused.borrow_mut() = None;
        self.weights.drop_casts();
    }

    fn save(&self, dir: &Path) -> Result<(), PolicyError> {
        self.save_with(dir, &SaveOptions::default())
    }

    fn save_as(&self, dir: &Path, options: &SaveOptions) -> Result<(), PolicyError> {
        self.save_with(dir, options)
    }

    fn checkpoint_tensors(&self, untied_head: bool) -> Option<Vec<Parameter>> {
        // Whoever gets none reads the folder instead, and `save_as` reports the error.
        self.gather_all().ok()?;
        Some(save::tensors(&self.config, &self.weights, untied_head))
    }
}
