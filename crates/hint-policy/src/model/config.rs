//! The shape of a model, read from and written to Hugging Face's `config.json`.

use serde::{Deserialize, Serialize};

use super::hf_config::HfConfig;
use super::rope::RopeScaling;
use crate::PolicyError;

/// More blocks than any model has.
pub(super) const MAX_LAYERS: usize = 1 << 14;

/// Model families this crate implements. They share one decoder block and differ in options.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Architecture {
    /// `LlamaForCausalLM`.
    Llama,
    /// `Qwen2ForCausalLM`: biases on queries, keys and values.
    Qwen2,
    /// `Qwen3ForCausalLM`: RMS normalization of each query and key head.
    Qwen3,
    /// `MistralForCausalLM`: Llama with an optional sliding window.
    Mistral,
}

impl Architecture {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Llama, Self::Qwen2, Self::Qwen3, Self::Mistral];

    /// The `model_type` of `config.json`.
    pub const fn model_type(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::Mistral => "mistral",
        }
    }

    /// The class name that `config.json` lists under `architectures`.
    pub const fn class_name(self) -> &'static str {
        match self {
            Self::Llama => "LlamaForCausalLM",
            Self::Qwen2 => "Qwen2ForCausalLM",
            Self::Qwen3 => "Qwen3ForCausalLM",
            Self::Mistral => "MistralForCausalLM",
        }
    }

    /// Finds an architecture by its `model_type`.
    ///
    /// # Errors
    ///
    /// [`PolicyError::Unsupported`] with the list of supported types.
    pub fn from_model_type(name: &str) -> Result<Self, PolicyError> {
        Self::ALL.into_iter().find(|known| known.model_type() == name).ok_or_else(|| {
            PolicyError::Unsupported {
                option: "model_type".into(),
                value: name.into(),
                supported: Self::ALL.map(Self::model_type).join(", "),
            }
        })
    }
}

/// The shape of a model and the constants of its forward pass.
///
/// Deserializes from and serializes to the `config.json` of Hugging Face transformers.
///
/// # Examples
///
/// ```
/// use hint_policy::{Architecture, ModelConfig};
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
        self.architecture == Architecture::Qwen3
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
            Err(PolicyError::InvalidConfig { field: field.into(), value, expected })
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
        let constants = [("rms_norm_eps", self.rms_norm_eps), ("rope_theta", self.rope_theta)];
        for (field, value) in constants {
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
        super::weights::layout(self)
            .iter()
            .map(|spec| spec.shape.iter().map(|&n| crate::batch::len(n)).product::<usize>())
            .sum()
    }
}
