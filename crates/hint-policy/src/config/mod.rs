//! The shape of a model, its constants, and the names and shapes of its parameters.
//!
//! [`ModelConfig`] is what the rest of the crate computes by. It serializes as the `config.json` of
//! Hugging Face transformers, through `hf`, which knows the keys of each family and refuses every option
//! that would change the result and is not implemented. What differs between the families of
//! [`Architecture`] is asked of `ModelConfig`'s methods, so that the forward passes never name a family.
//! `layout` lists the parameters in the order of a checkpoint. [`LoraConfig`]
//! describes adapters on them.

pub(crate) mod architecture;
pub(crate) mod hf;
pub(crate) mod hf_layers;
pub(crate) mod layout;
pub(crate) mod lora;
pub(crate) mod rope;

use half::bf16;
use serde::{Deserialize, Serialize};
use tch::Kind;

use crate::config::hf::HfConfig;
use crate::config::layout::layout;
use crate::error::PolicyError;
use crate::tensor::len;

pub use architecture::Architecture;
pub use lora::LoraConfig;
pub use rope::RopeScaling;

/// More blocks than any model has.
pub(crate) const MAX_LAYERS: usize = 1 << 14;

/// The activation of a feed-forward gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activation {
    /// `x · sigmoid(x)`.
    Silu,
    /// `gelu` by its approximation with `tanh`.
    GeluTanh,
}

/// The shape of a model and the constants of its forward pass.
///
/// Deserializes from and serializes to the `config.json` of Hugging Face transformers.
///
/// # Examples
///
/// ```
/// use hint_policy::config::Architecture;
/// use hint_policy::ModelConfig;
///
/// let config = ModelConfig { num_hidden_layers: 2, ..ModelConfig::small(Architecture::Llama, 60) };
/// config.validate()?;
/// assert_eq!(config.head_dim, 32);
/// # Ok::<(), hint_policy::PolicyError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "HfConfig", into = "HfConfig")]
#[expect(clippy::struct_excessive_bools, reason = "independent options of the architectures")]
pub struct ModelConfig {
    /// Model family.
    pub architecture: Architecture,
    /// Number of token ids, `vocab`.
    pub vocab_size: usize,
    /// Model width, `hidden`.
    pub hidden_size: usize,
    /// Width of the gated feed-forward layer.
    pub intermediate_size: usize,
    /// Number of transformer blocks, `layers`.
    pub num_hidden_layers: usize,
    /// Query heads, `heads`. A multiple of `num_key_value_heads`.
    pub num_attention_heads: usize,
    /// Key and value heads, `kv_heads`.
    pub num_key_value_heads: usize,
    /// Width of one head. Even; need not be `hidden / heads`.
    pub head_dim: usize,
    /// Constant inside the root of every RMS normalization.
    pub rms_norm_eps: f64,
    /// Longest row the model supports, in tokens.
    pub max_position_embeddings: usize,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// How rotary frequencies are stretched for long rows.
    pub rope_scaling: RopeScaling,
    /// Base of the rotary frequencies of layers with a sliding window, which are not stretched;
    /// `None` where all layers share the frequencies above. Gemma 3 only.
    pub rope_local_theta: Option<f64>,
    /// Attention scores are divided by the root of this; `None` is `head_dim`. Gemma 3 only.
    pub query_pre_attn_scalar: Option<f64>,
    /// Biases on the query, key and value projections.
    pub qkv_bias: bool,
    /// Bias on the attention output projection.
    pub output_bias: bool,
    /// Biases on the three feed-forward projections.
    pub mlp_bias: bool,
    /// Whether the LM head is the transposed embedding.
    pub tie_word_embeddings: bool,
    /// For each layer, how many latest positions it attends to (itself included); `None` is all.
    /// Length `layers`.
    pub sliding_windows: Vec<Option<usize>>,
    /// Standard deviation of freshly initialized weights.
    pub initializer_range: f64,
    /// Token that starts a text, if any.
    pub bos_token_id: Option<u32>,
    /// Tokens that end a text.
    pub eos_token_ids: Vec<u32>,
    /// Token that pads batches elsewhere; unused here.
    pub pad_token_id: Option<u32>,
}

impl ModelConfig {
    /// A model of 4 layers, 128 wide, for tests and demonstrations; change what you need with
    /// struct update syntax. (With another number of layers, `sliding_windows` may stay shorter
    /// than `num_hidden_layers`: missing entries are `None`.)
    pub fn small(architecture: Architecture, vocab_size: usize) -> Self {
        let gemma = architecture == Architecture::Gemma3;
        Self {
            architecture,
            vocab_size,
            hidden_size: 128,
            intermediate_size: 384,
            num_hidden_layers: 4,
            num_attention_heads: 4,
            num_key_value_heads: 4,
            head_dim: 32,
            rms_norm_eps: 1e-5,
            max_position_embeddings: 512,
            rope_theta: 10_000.0,
            rope_scaling: RopeScaling::Default {},
            rope_local_theta: gemma.then_some(1_000.0),
            query_pre_attn_scalar: gemma.then_some(32.0),
            qkv_bias: architecture == Architecture::Qwen2,
            output_bias: false,
            mlp_bias: false,
            tie_word_embeddings: true,
            sliding_windows: Vec::new(),
            initializer_range: 0.02,
            bos_token_id: None,
            eos_token_ids: Vec::new(),
            pad_token_id: None,
        }
    }

    /// Whether queries and keys are normalized per head.
    pub fn qk_norm(&self) -> bool {
        matches!(self.architecture, Architecture::Qwen3 | Architecture::Gemma3)
    }

    /// Whether norms also follow attention and the feed-forward layer, before the residual sums.
    pub(crate) fn sandwich_norms(&self) -> bool {
        self.architecture == Architecture::Gemma3
    }

    /// What is added to the weights of every norm: their checkpoints hold the difference from it.
    pub(crate) fn norm_offset(&self) -> f64 {
        if self.architecture == Architecture::Gemma3 { 1.0 } else { 0.0 }
    }

    /// Factor on the embeddings in kind `compute`, if any.
    pub(crate) fn embedding_scale(&self, compute: Kind) -> Option<f64> {
        let root = (self.hidden_size as f64).sqrt();
        // The published models were trained with the root rounded to the kind of the activations.
        let rounded = if compute == Kind::BFloat16 { bf16::from_f64(root).to_f64() } else { root };
        (self.architecture == Architecture::Gemma3).then_some(rounded)
    }

    /// Factor on the attention scores; `None` is `1 / sqrt(head_dim)`.
    pub(crate) fn attention_scale(&self) -> Option<f64> {
        self.query_pre_attn_scalar.map(|scalar| 1.0 / scalar.sqrt())
    }

    /// The activation of the feed-forward gate.
    pub(crate) fn activation(&self) -> Activation {
        match self.architecture {
            Architecture::Gemma3 => Activation::GeluTanh,
            _ => Activation::Silu,
        }
    }

    /// Whether `layer` rotates by [`Self::rope_local_theta`].
    pub(crate) fn is_local(&self, layer: usize) -> bool {
        self.rope_local_theta.is_some() && self.sliding_window(layer).is_some()
    }

    /// The configuration whose rotary frequencies are those of the local layers.
    pub(crate) fn local(&self) -> Option<Self> {
        let rope_theta = self.rope_local_theta?;
        Some(Self { rope_theta, rope_scaling: RopeScaling::Default {}, ..self.clone() })
    }

    /// Window of `layer`, `None` when it attends to everything.
    pub fn sliding_window(&self, layer: usize) -> Option<usize> {
        self.sliding_windows.get(layer).copied().flatten()
    }

    /// Checks that the sizes fit together.
    ///
    /// # Errors
    ///
    /// [`PolicyError::InvalidConfig`] naming the field.
    pub fn validate(&self) -> Result<(), PolicyError> {
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.num_key_value_heads),
            ("head_dim", self.head_dim),
            ("max_position_embeddings", self.max_position_embeddings),
        ];
        let invalid = |field: &str, value: String, expected: String| {
            Err(PolicyError::config(field, &value, expected))
        };
        for (field, value) in sizes {
            // 2^31 bounds every product of two sizes below i64::MAX.
            if value == 0 || value > 1 << 31 {
                return invalid(field, value.to_string(), "a positive size".into());
            }
        }
        // A corrupt file must not make us list billions of parameter names.
        if self.num_hidden_layers > MAX_LAYERS {
            let expected = format!("at most {MAX_LAYERS}");
            return invalid("num_hidden_layers", self.num_hidden_layers.to_string(), expected);
        }
        if !self.num_attention_heads.is_multiple_of(self.num_key_value_heads) {
            let expected = format!("a divisor of num_attention_heads {}", self.num_attention_heads);
            return invalid("num_key_value_heads", self.num_key_value_heads.to_string(), expected);
        }
        if !self.head_dim.is_multiple_of(2) {
            return invalid("head_dim", self.head_dim.to_string(), "an even number".into());
        }
        let constants = [
            ("rms_norm_eps", Some(self.rms_norm_eps)),
            ("rope_theta", Some(self.rope_theta)),
            ("rope_local_base_freq", self.rope_local_theta),
            ("query_pre_attn_scalar", self.query_pre_attn_scalar),
        ];
        for (field, value) in constants {
            let Some(value) = value else { continue };
            if !(value.is_finite() && value > 0.0) {
                return invalid(field, value.to_string(), "a positive number".into());
            }
        }
        if !(self.initializer_range.is_finite() && self.initializer_range >= 0.0) {
            let value = self.initializer_range.to_string();
            return invalid("initializer_range", value, "a number of at least 0".into());
        }
        if self.sliding_windows.len() > self.num_hidden_layers {
            let expected = format!("at most {} entries", self.num_hidden_layers);
            return invalid("sliding_windows", self.sliding_windows.len().to_string(), expected);
        }
        if self.sliding_windows.contains(&Some(0)) {
            return invalid("sliding_window", "0".into(), "a positive size".into());
        }
        self.rope_scaling.validate()
    }

    /// Trainable values of the model.
    pub fn num_parameters(&self) -> usize {
        layout(self).iter().map(|spec| spec.shape.iter().map(|&n| len(n)).product::<usize>()).sum()
    }
}
