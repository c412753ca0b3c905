//! The shape of a model, its constants, and the names and shapes of its parameters.
//!
//! [`ModelConfig`] is the input of all computations of the crate. It serializes as the `config.json` of Hugging Face
//! transformers, through `hf`, which has the keys of each family. It refuses every option that would change the result
//! and is not implemented. The common properties of the models of an [`Architecture`] are described in `architecture`,
//! by the options in `family`. `plan` makes of both a description of each block, which the forward passes interpret.
//! `layout` lists the parameters in the order of a checkpoint. [`LoraConfig`] describes adapters on them.

pub(crate) mod architecture;
mod delta_net;
pub(crate) mod family;
pub(crate) mod hf;
pub(crate) mod hf_file;
pub(crate) mod hf_layers;
pub(crate) mod layout;
pub(crate) mod lora;
pub(crate) mod plan;
pub(crate) mod rope;

use serde::{Deserialize, Serialize};

use crate::config::family::{AttentionBias, DeltaNets, LocalRotation, Unrotated};
use crate::config::hf_file::HfConfig;
use crate::config::layout::{ParameterSpec, layout};
use crate::error::PolicyError;

pub use architecture::Architecture;
pub use delta_net::DeltaNet;
pub use lora::LoraConfig;
pub use rope::RopeScaling;

/// More blocks than any model has.
pub(crate) const MAX_LAYERS: usize = 1 << 14;

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
    /// Stretching of rotary frequencies for long rows.
    pub rope_scaling: RopeScaling,
    /// Whether rows of every length have `LongRoPE`'s divisors for long rows. Files do not say: in transformers the
    /// longest row of a batch decides.
    pub long_factors: bool,
    /// Base of the rotary frequencies of layers with a sliding window, which are not stretched.
    /// `None` where all layers share the frequencies above. Gemma 3 only.
    pub rope_local_theta: Option<f64>,
    /// For each layer, whether queries and keys are rotated; entries that are missing are true.
    pub rotary_layers: Vec<bool>,
    /// Share of each head that is rotated: its first dimensions.
    pub partial_rotary_factor: f64,
    /// Attention scores are divided by the root of this; `None` is `head_dim`.
    pub query_pre_attn_scalar: Option<f64>,
    /// Factor on the attention scores in place of that divisor.
    pub attention_multiplier: Option<f64>,
    /// Attention scores `s` become `cap · tanh(s / cap)`.
    pub attn_logit_softcapping: Option<f64>,
    /// Factor on the embeddings.
    pub embedding_multiplier: Option<f64>,
    /// Factor on the results of attention and of the feed-forward layer.
    pub residual_multiplier: Option<f64>,
    /// Divisor of logits.
    pub logits_scaling: Option<f64>,
    /// Logits `l` become `cap · tanh(l / cap)`.
    pub final_logit_softcapping: Option<f64>,
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
    /// The gated delta-nets that replace attention in some layers.
    pub delta_net: Option<DeltaNet>,
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
    /// A model of 4 layers, 128 wide, for tests and demonstrations; change fields with struct
    /// update syntax. (With another number of layers, `sliding_windows` may stay shorter than
    /// `num_hidden_layers`: missing entries are `None`.)
    pub fn small(architecture: Architecture, vocab_size: usize) -> Self {
        let family = architecture.family();
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
            rope_scaling: RopeScaling::Default,
            long_factors: false,
            rope_local_theta: match family.local_rotation {
                LocalRotation::Base { .. } => Some(1_000.0),
                LocalRotation::Shared | LocalRotation::Unscaled => None,
            },
            rotary_layers: match family.unrotated {
                Unrotated::Listed { period } => hf_layers::all_but_every_nth(period, 4),
                Unrotated::Never | Unrotated::WithoutWindow => Vec::new(),
            },
            partial_rotary_factor: family.defaults.rotary_share,
            query_pre_attn_scalar: family.defaults.query_pre_attn_scalar.map(|_| 32.0),
            attention_multiplier: family.multiplied.then_some(0.2),
            attn_logit_softcapping: family.defaults.score_cap,
            embedding_multiplier: family.multiplied.then_some(12.0),
            residual_multiplier: family.multiplied.then_some(0.22),
            logits_scaling: family.multiplied.then_some(8.0),
            final_logit_softcapping: family.defaults.logit_cap,
            qkv_bias: matches!(
                family.biases.attention,
                AttentionBias::Inputs | AttentionBias::Apart { default: true }
            ),
            output_bias: false,
            mlp_bias: false,
            tie_word_embeddings: true,
            sliding_windows: Vec::new(),
            delta_net: match family.delta_nets {
                DeltaNets::Never => None,
                DeltaNets::Pattern { period } => Some(DeltaNet {
                    layers: hf_layers::all_but_every_nth(period, 4),
                    key_heads: 2,
                    value_heads: 4,
                    key_head_dim: 16,
                    value_head_dim: 24,
                    conv_kernel: 4,
                }),
            },
            initializer_range: 0.02,
            bos_token_id: None,
            eos_token_ids: Vec::new(),
            pad_token_id: None,
        }
    }

    /// The configuration with the rotary frequencies of the local layers.
    pub(crate) fn local(&self) -> Option<Self> {
        let rope_theta = self.rope_local_theta?;
        Some(Self { rope_theta, rope_scaling: RopeScaling::Default, ..self.clone() })
    }

    /// Longest row that can be computed, in tokens. Shorter than `max_position_embeddings` where longer rows would
    /// need other rotary frequencies.
    pub fn max_positions(&self) -> usize {
        match self.rope_scaling {
            RopeScaling::LongRope { original_max_position_embeddings, .. }
                if !self.long_factors =>
            {
                self.max_position_embeddings.min(original_max_position_embeddings)
            }
            _ => self.max_position_embeddings,
        }
    }

    /// Dimensions of a head that are rotated.
    pub(crate) fn rotary_dim(&self) -> usize {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "`validate` keeps the share within 0 and 1"
        )]
        let dim = (self.head_dim as f64 * self.partial_rotary_factor) as usize;
        dim
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
            ("partial_rotary_factor", Some(self.partial_rotary_factor)),
            ("query_pre_attn_scalar", self.query_pre_attn_scalar),
            ("attention_multiplier", self.attention_multiplier),
            ("attn_logit_softcapping", self.attn_logit_softcapping),
            ("embedding_multiplier", self.embedding_multiplier),
            ("residual_multiplier", self.residual_multiplier),
            ("logits_scaling", self.logits_scaling),
            ("final_logit_softcapping", self.final_logit_softcapping),
        ];
        for (field, value) in constants {
            let Some(value) = value else { continue };
            if !(value.is_finite() && value > 0.0) {
                return invalid(field, value.to_string(), "a positive number".into());
            }
        }
        let rotary = if self.partial_rotary_factor <= 1.0 { self.rotary_dim() } else { 1 };
        if rotary == 0 || !rotary.is_multiple_of(2) {
            let expected = format!("an even number of dimensions of a head of {}", self.head_dim);
            let value = self.partial_rotary_factor.to_string();
            return invalid("partial_rotary_factor", value, expected);
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
        if let Some(delta_net) = &self.delta_net {
            delta_net.validate()?;
        }
        self.rope_scaling.validate(self)
    }

    /// Trainable values of the model.
    pub fn num_parameters(&self) -> usize {
        layout(self).iter().map(ParameterSpec::values).sum()
    }
}
