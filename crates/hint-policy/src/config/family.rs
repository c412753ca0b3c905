//! The options that describe a model family.

/// Common properties of the models of a family.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "independent options")]
pub(crate) struct Family {
    /// The `model_type` of `config.json`.
    pub(crate) model_type: &'static str,
    /// The classes that `config.json` may list under `architectures`. The first is written.
    pub(crate) class_names: &'static [&'static str],
    /// Models of several kinds of input whose language model is one of the family.
    pub(crate) whole: Option<WholeFamily>,
    /// The architecture of its GGUF files.
    pub(crate) gguf: Option<GgufFamily>,
    // The block.
    pub(crate) norms: BlockNorms,
    pub(crate) norm_factor: NormFactor,
    pub(crate) head_norm: HeadNorm,
    /// Whether the query projection also makes a gate of the result of attention, beside each head.
    pub(crate) output_gate: bool,
    /// Whether query, key and value are one projection, and gate and up another.
    pub(crate) joint: bool,
    pub(crate) activation: Activation,
    /// Whether embeddings are multiplied by the root of the width.
    pub(crate) embedding_root: bool,
    // What `config.json` may say.
    pub(crate) biases: Biases,
    pub(crate) windows: Windows,
    pub(crate) delta_nets: DeltaNets,
    pub(crate) local_rotation: LocalRotation,
    pub(crate) unrotated: Unrotated,
    /// Whether the scores of attention and the logits may have a bound.
    pub(crate) bounded: bool,
    /// Whether embeddings, residual sums, scores and logits have factors.
    pub(crate) multiplied: bool,
    /// Whether a share of each head may stay unchanged where the rest is rotated.
    pub(crate) partly_rotated: bool,
    /// Whether `alpha` of dynamic rotary frequencies stretches their base, for rows of every length.
    pub(crate) stretched_base: bool,
    pub(crate) defaults: Defaults,
}

/// Norms of a block over the width of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BlockNorms {
    /// Before attention and before the feed-forward layer.
    Before,
    /// After attention and after the feed-forward layer.
    After,
    /// Before and after each.
    Around,
}

impl BlockNorms {
    /// Parameters of the norms before and after attention, before and after the feed-forward layer.
    pub(crate) const fn names(self) -> [Option<&'static str>; 4] {
        match self {
            Self::Before => [Some("input_layernorm"), None, Some("post_attention_layernorm"), None],
            Self::After => {
                [None, Some("post_attention_layernorm"), None, Some("post_feedforward_layernorm")]
            }
            Self::Around => [
                Some("input_layernorm"),
                Some("post_attention_layernorm"),
                Some("pre_feedforward_layernorm"),
                Some("post_feedforward_layernorm"),
            ],
        }
    }
}

/// Factor of `x / rms(x)` in a norm, and the order of its roundings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NormFactor {
    /// The quotient is rounded, then multiplied by the weight.
    Weight,
    /// The weight, rounded once.
    WideWeight,
    /// `1 + weight`, rounded once.
    OnePlusWeight,
}

/// Norms of queries and keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeadNorm {
    None,
    /// Over each head.
    Heads,
    /// Over each head, once it is rotated.
    RotatedHeads,
    /// Over all heads of a projection.
    Projections,
}

impl HeadNorm {
    /// The parameters of the norms of queries and keys.
    pub(crate) const fn names(self) -> Option<[&'static str; 2]> {
        match self {
            Self::None => None,
            Self::Heads | Self::Projections => {
                Some(["self_attn.q_norm.weight", "self_attn.k_norm.weight"])
            }
            Self::RotatedHeads => {
                Some(["self_attn.query_layernorm.weight", "self_attn.key_layernorm.weight"])
            }
        }
    }
}

/// The activation of a feed-forward gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activation {
    /// `x · sigmoid(x)`.
    Silu,
    /// `gelu` by its approximation with `tanh`.
    GeluTanh,
}

impl Activation {
    /// As transformers calls it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Silu => "silu",
            Self::GeluTanh => "gelu_pytorch_tanh",
        }
    }

    /// Other names of the same function.
    pub(crate) const fn other_names(self) -> &'static [&'static str] {
        match self {
            Self::Silu => &["swish"],
            Self::GeluTanh => &[],
        }
    }

    /// The key of `config.json` that holds the name. Gemma's configurations carry the other one too, for the
    /// sake of older readers.
    pub(crate) const fn key(self) -> &'static str {
        match self {
            Self::Silu => "hidden_act",
            Self::GeluTanh => "hidden_activation",
        }
    }
}

/// Projections with biases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Biases {
    pub(crate) attention: AttentionBias,
    /// Whether `mlp_bias` is read.
    pub(crate) mlp: bool,
    /// Whether files may call them `qkv_bias` and `bias`; they are equal then.
    pub(crate) renamed: bool,
}

/// Biases of attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AttentionBias {
    Never,
    /// On queries, keys and values, always.
    Inputs,
    /// On all projections, with `attention_bias`.
    Key,
    /// On queries, keys and values with `attention_bias`, behind attention with `attention_out_bias`.
    Apart {
        /// The default of `attention_bias`.
        default: bool,
    },
}

/// Layers with a sliding window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Windows {
    Never,
    /// All, if `sliding_window` is set.
    Everywhere,
    /// The layers of `layer_types`, or from `max_window_layers` on, if `use_sliding_window` is
    /// true.
    Flagged,
    /// The layers of `layer_types`, or all but every `period`-th. They have one in each model.
    Pattern {
        period: usize,
    },
    /// The layers of `layer_types`, or all but every `period`-th, if `sliding_window` is set.
    Listed {
        period: usize,
    },
}

/// Layers with a gated delta-net in place of attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeltaNets {
    Never,
    /// The layers of `layer_types`, or all but every `period`-th.
    Pattern {
        /// The default of `full_attention_interval`.
        period: usize,
    },
}

/// Rotary frequencies of layers with a sliding window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum LocalRotation {
    /// Those of the other layers.
    Shared,
    /// Unscaled.
    Unscaled,
    /// Unscaled, by `rope_local_base_freq`.
    Base { default: f64 },
}

/// Layers whose queries and keys are not rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unrotated {
    Never,
    /// Layers with a 0 in `no_rope_layers`, or every `period`-th.
    Listed {
        /// The default of `no_rope_layer_interval`.
        period: usize,
    },
    /// Layers without a window, where `sliding_window` is set.
    WithoutWindow,
}

/// Default of a key that a `config.json` lacks; `None` where the key is required, or absent values mean none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Defaults {
    pub(crate) sizes: Option<Sizes>,
    pub(crate) max_positions: Option<usize>,
    /// `original_max_position_embeddings`, which counts for `LongRoPE`.
    pub(crate) original_positions: Option<usize>,
    /// Else the width by the heads.
    pub(crate) head_dim: Option<usize>,
    /// Else as many as query heads.
    pub(crate) kv_heads: Option<usize>,
    pub(crate) rms_norm_eps: f64,
    pub(crate) rope_theta: f64,
    /// `partial_rotary_factor`.
    pub(crate) rotary_share: f64,
    pub(crate) tied: bool,
    pub(crate) query_pre_attn_scalar: Option<f64>,
    /// `attn_logit_softcapping`.
    pub(crate) score_cap: Option<f64>,
    /// `final_logit_softcapping`.
    pub(crate) logit_cap: Option<f64>,
    /// `sliding_window`.
    pub(crate) window: Option<usize>,
    pub(crate) bos: Option<u32>,
    pub(crate) eos: Option<u32>,
    pub(crate) pad: Option<u32>,
    /// The tokenizer's class in transformers 4.57 for folders that name none, without `Fast`, if it adds tokens to texts.
    pub(crate) tokenizer: Option<&'static str>,
}

/// Sizes of a family that some of its files leave out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) vocab: usize,
    pub(crate) hidden: usize,
    pub(crate) inner: usize,
    pub(crate) layers: usize,
    pub(crate) heads: usize,
}

/// Files of a model of several kinds of input, which hold one of a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WholeFamily {
    /// The `model_type` of `config.json`.
    pub(crate) model_type: &'static str,
    /// The class that `config.json` lists under `architectures`.
    pub(crate) class_name: &'static str,
}

/// The GGUF files of a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GgufFamily {
    /// `general.architecture`.
    pub(crate) name: &'static str,
    /// Whether the two rows of a rotary pair are neighbors there.
    pub(crate) paired: bool,
    /// The norm before the feed-forward layer.
    pub(crate) middle_norm: &'static str,
}
