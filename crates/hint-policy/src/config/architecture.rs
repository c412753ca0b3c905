//! The model families, as data.
//!
//! A [`Family`] describes the common properties of the models of one family. They are the transformer
//! block, the names of its parameters, and the reading of their `config.json` and GGUF files. The
//! forward passes interpret that description layer by layer, as
//! [`LayerPlan`](crate::config::plan::LayerPlan), and never name a family.

use crate::config::family::{
    Activation, AttentionBias, Biases, BlockNorms, Defaults, DeltaNets, Family, GgufFamily,
    HeadNorm, LocalRotation, NormFactor, Sizes, Unrotated, WholeFamily, Windows,
};
use crate::error::PolicyError;

/// Model families this crate implements. They share one decoder block and differ in options.
///
/// ```
/// use hint_policy::config::Architecture;
///
/// let found = Architecture::from_model_type("qwen2")?;
/// assert_eq!((found, found.class_name()), (Architecture::Qwen2, "Qwen2ForCausalLM"));
/// # Ok::<(), hint_policy::PolicyError>(())
/// ```
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
    /// `Gemma3ForCausalLM`, text only: scaled embeddings, norms before and after each part, norms of
    /// queries and keys. Sliding windows have a rotary base of their own, and the gate is GELU.
    Gemma3,
    /// `SmolLM3ForCausalLM`: Llama with layers that do not rotate queries and keys.
    SmolLm3,
    /// `Olmo2ForCausalLM`: norms after each part alone, and over whole projections of queries and keys.
    Olmo2,
    /// `GraniteForCausalLM`: Llama with factors on embeddings, residual sums, scores and logits.
    Granite,
    /// `Phi3ForCausalLM`: joint projections, and heads of which a part may stay unrotated.
    Phi3,
    /// `Gemma2ForCausalLM`: Gemma 3 without norms of queries and keys, with bounds on scores and logits.
    Gemma2,
    /// `Olmo3ForCausalLM`: `Olmo2` with sliding windows, whose layers have unscaled rotary frequencies.
    Olmo3,
    /// `Exaone4ForCausalLM`: norms only after each part and of query and key heads. If some layers have a
    /// sliding window, the others do not rotate.
    Exaone4,
    /// `SeedOssForCausalLM`: Llama with biases on queries, keys and values.
    SeedOss,
    /// `HunYuanDenseV1ForCausalLM`: Llama with norms of query and key heads behind their rotation.
    HunYuan,
    /// `InternLM3ForCausalLM`: Llama.
    InternLm3,
    /// `MiMoForCausalLM`: `Qwen2`, with further layers that predict several tokens and are not used.
    MiMo,
    /// `Qwen3_5ForCausalLM`, dense and text only (Qwen 3.5 and 3.6): gated delta-nets in place of most attention.
    /// Results of attention have gates, and a quarter of each head is rotated.
    Qwen35,
}

const DEFAULTS: Defaults = Defaults {
    sizes: None,
    max_positions: None,
    original_positions: None,
    head_dim: None,
    kv_heads: None,
    rms_norm_eps: 1e-6,
    rope_theta: 10_000.0,
    rotary_share: 1.0,
    tied: false,
    query_pre_attn_scalar: None,
    score_cap: None,
    logit_cap: None,
    window: None,
    bos: None,
    eos: None,
    pad: None,
    tokenizer: None,
};

const GGUF: GgufFamily = GgufFamily { name: "", paired: false, middle_norm: "ffn_norm" };

const LLAMA: Family = Family {
    model_type: "llama",
    class_names: &["LlamaForCausalLM"],
    whole: None,
    gguf: Some(GgufFamily { name: "llama", paired: true, ..GGUF }),
    norms: BlockNorms::Before,
    norm_factor: NormFactor::Weight,
    head_norm: HeadNorm::None,
    output_gate: false,
    joint: false,
    activation: Activation::Silu,
    embedding_root: false,
    biases: Biases { attention: AttentionBias::Key, mlp: true, renamed: false },
    windows: Windows::Never,
    delta_nets: DeltaNets::Never,
    local_rotation: LocalRotation::Shared,
    unrotated: Unrotated::Never,
    bounded: false,
    multiplied: false,
    partly_rotated: false,
    stretched_base: false,
    defaults: Defaults {
        bos: Some(1),
        eos: Some(2),
        tokenizer: Some("LlamaTokenizer"),
        ..DEFAULTS
    },
};

const QWEN2: Family = Family {
    model_type: "qwen2",
    class_names: &["Qwen2ForCausalLM"],
    gguf: Some(GgufFamily { name: "qwen2", ..GGUF }),
    biases: Biases { attention: AttentionBias::Inputs, mlp: false, renamed: false },
    windows: Windows::Flagged,
    defaults: Defaults { window: Some(4096), ..DEFAULTS },
    ..LLAMA
};

const QWEN3: Family = Family {
    model_type: "qwen3",
    class_names: &["Qwen3ForCausalLM"],
    gguf: Some(GgufFamily { name: "qwen3", ..GGUF }),
    head_norm: HeadNorm::Heads,
    biases: Biases { attention: AttentionBias::Key, mlp: false, renamed: false },
    windows: Windows::Flagged,
    defaults: Defaults { head_dim: Some(128), window: Some(4096), ..DEFAULTS },
    ..LLAMA
};

const MISTRAL: Family = Family {
    model_type: "mistral",
    class_names: &["MistralForCausalLM"],
    whole: Some(WholeFamily {
        model_type: "mistral3",
        class_name: "Mistral3ForConditionalGeneration",
    }),
    // Its files call themselves `llama`.
    gguf: None,
    biases: Biases { attention: AttentionBias::Never, mlp: false, renamed: false },
    windows: Windows::Everywhere,
    defaults: Defaults { window: Some(4096), ..LLAMA.defaults },
    ..LLAMA
};

const GEMMA3: Family = Family {
    model_type: "gemma3_text",
    class_names: &["Gemma3ForCausalLM"],
    whole: Some(WholeFamily { model_type: "gemma3", class_name: "Gemma3ForConditionalGeneration" }),
    gguf: Some(GgufFamily { name: "gemma3", ..GGUF }),
    norms: BlockNorms::Around,
    norm_factor: NormFactor::OnePlusWeight,
    head_norm: HeadNorm::Heads,
    activation: Activation::GeluTanh,
    embedding_root: true,
    biases: Biases { attention: AttentionBias::Key, mlp: false, renamed: false },
    windows: Windows::Pattern { period: 6 },
    local_rotation: LocalRotation::Base { default: 10_000.0 },
    bounded: true,
    defaults: Defaults {
        sizes: Some(Sizes { vocab: 262_208, hidden: 2304, inner: 9216, layers: 26, heads: 8 }),
        max_positions: Some(131_072),
        head_dim: Some(256),
        kv_heads: Some(4),
        rope_theta: 1_000_000.0,
        tied: true,
        query_pre_attn_scalar: Some(256.0),
        window: Some(4096),
        bos: Some(2),
        eos: Some(1),
        pad: Some(0),
        tokenizer: Some("GemmaTokenizer"),
        ..DEFAULTS
    },
    ..LLAMA
};

const SMOLLM3: Family = Family {
    model_type: "smollm3",
    class_names: &["SmolLM3ForCausalLM"],
    gguf: Some(GgufFamily { name: "smollm3", paired: true, ..GGUF }),
    windows: Windows::Flagged,
    unrotated: Unrotated::Listed { period: 4 },
    defaults: Defaults {
        max_positions: Some(32_768),
        kv_heads: Some(4),
        rope_theta: 2_000_000.0,
        tied: true,
        bos: Some(128_000),
        eos: Some(128_001),
        pad: Some(128_004),
        ..DEFAULTS
    },
    ..LLAMA
};

const OLMO2: Family = Family {
    model_type: "olmo2",
    class_names: &["Olmo2ForCausalLM"],
    gguf: Some(GgufFamily { name: "olmo2", ..GGUF }),
    norms: BlockNorms::After,
    norm_factor: NormFactor::WideWeight,
    head_norm: HeadNorm::Projections,
    biases: Biases { attention: AttentionBias::Key, mlp: false, renamed: false },
    defaults: Defaults {
        max_positions: Some(2048),
        rms_norm_eps: 1e-5,
        eos: Some(50_279),
        pad: Some(1),
        tokenizer: Some("GPTNeoXTokenizer"),
        ..DEFAULTS
    },
    ..LLAMA
};

const GRANITE: Family = Family {
    model_type: "granite",
    class_names: &["GraniteForCausalLM"],
    gguf: Some(GgufFamily { name: "granite", paired: true, ..GGUF }),
    multiplied: true,
    defaults: Defaults { max_positions: Some(2048), bos: Some(1), eos: Some(2), ..DEFAULTS },
    ..LLAMA
};

const PHI3: Family = Family {
    model_type: "phi3",
    class_names: &["Phi3ForCausalLM"],
    gguf: Some(GgufFamily { name: "phi3", ..GGUF }),
    joint: true,
    biases: Biases { attention: AttentionBias::Never, mlp: false, renamed: false },
    windows: Windows::Everywhere,
    partly_rotated: true,
    defaults: Defaults {
        max_positions: Some(4096),
        original_positions: Some(4096),
        rms_norm_eps: 1e-5,
        bos: Some(1),
        eos: Some(32_000),
        pad: Some(32_000),
        tokenizer: Some("LlamaTokenizer"),
        ..DEFAULTS
    },
    ..LLAMA
};

const GEMMA2: Family = Family {
    model_type: "gemma2",
    class_names: &["Gemma2ForCausalLM"],
    whole: None,
    gguf: Some(GgufFamily { name: "gemma2", ..GGUF }),
    head_norm: HeadNorm::None,
    windows: Windows::Pattern { period: 2 },
    local_rotation: LocalRotation::Shared,
    defaults: Defaults {
        sizes: None,
        max_positions: Some(8192),
        rope_theta: 10_000.0,
        score_cap: Some(50.0),
        logit_cap: Some(30.0),
        ..GEMMA3.defaults
    },
    ..GEMMA3
};

const OLMO3: Family = Family {
    model_type: "olmo3",
    class_names: &["Olmo3ForCausalLM"],
    // Its files call themselves `olmo2`.
    gguf: None,
    windows: Windows::Pattern { period: 4 },
    local_rotation: LocalRotation::Unscaled,
    defaults: Defaults {
        rope_theta: 500_000.0,
        window: Some(4096),
        tokenizer: None,
        ..OLMO2.defaults
    },
    ..OLMO2
};

const EXAONE4: Family = Family {
    model_type: "exaone4",
    class_names: &["Exaone4ForCausalLM"],
    gguf: Some(GgufFamily { name: "exaone4", ..GGUF }),
    norms: BlockNorms::After,
    head_norm: HeadNorm::Heads,
    biases: Biases { attention: AttentionBias::Never, mlp: false, renamed: false },
    windows: Windows::Listed { period: 4 },
    unrotated: Unrotated::WithoutWindow,
    defaults: Defaults {
        max_positions: Some(2048),
        rms_norm_eps: 1e-5,
        window: Some(4096),
        bos: Some(0),
        eos: Some(2),
        ..DEFAULTS
    },
    ..LLAMA
};

const SEED_OSS: Family = Family {
    model_type: "seed_oss",
    class_names: &["SeedOssForCausalLM"],
    gguf: Some(GgufFamily { name: "seed_oss", middle_norm: "post_attention_norm", ..GGUF }),
    biases: Biases { attention: AttentionBias::Apart { default: true }, mlp: true, renamed: false },
    defaults: Defaults {
        max_positions: Some(524_288),
        head_dim: Some(128),
        kv_heads: Some(8),
        bos: Some(0),
        eos: Some(2),
        pad: Some(1),
        ..DEFAULTS
    },
    ..LLAMA
};

const HUNYUAN: Family = Family {
    model_type: "hunyuan_v1_dense",
    class_names: &["HunYuanDenseV1ForCausalLM"],
    gguf: Some(GgufFamily { name: "hunyuan-dense", ..GGUF }),
    head_norm: HeadNorm::RotatedHeads,
    biases: Biases { attention: AttentionBias::Key, mlp: false, renamed: false },
    stretched_base: true,
    defaults: Defaults {
        max_positions: Some(2048),
        rms_norm_eps: 1e-5,
        bos: Some(1),
        eos: Some(2),
        pad: Some(0),
        ..DEFAULTS
    },
    ..LLAMA
};

const INTERNLM3: Family = Family {
    model_type: "internlm3",
    // transformers 5 computes it by Llama's class, and writes that.
    class_names: &["InternLM3ForCausalLM", "LlamaForCausalLM"],
    // Its files call themselves `llama`.
    gguf: None,
    biases: Biases { renamed: true, ..LLAMA.biases },
    defaults: Defaults {
        max_positions: Some(32_768),
        head_dim: Some(128),
        kv_heads: Some(2),
        rms_norm_eps: 1e-5,
        bos: Some(1),
        eos: Some(2),
        pad: Some(2),
        ..DEFAULTS
    },
    ..LLAMA
};

const MIMO: Family = Family {
    model_type: "mimo",
    class_names: &["MiMoForCausalLM"],
    // Its files call themselves `qwen2`.
    gguf: None,
    ..QWEN2
};

const QWEN3_5: Family = Family {
    model_type: "qwen3_5_text",
    class_names: &["Qwen3_5ForCausalLM"],
    whole: Some(WholeFamily {
        model_type: "qwen3_5",
        class_name: "Qwen3_5ForConditionalGeneration",
    }),
    gguf: Some(GgufFamily { name: "qwen35", middle_norm: "post_attention_norm", ..GGUF }),
    norm_factor: NormFactor::OnePlusWeight,
    head_norm: HeadNorm::Heads,
    output_gate: true,
    biases: Biases { attention: AttentionBias::Key, mlp: false, renamed: false },
    delta_nets: DeltaNets::Pattern { period: 4 },
    partly_rotated: true,
    defaults: Defaults {
        max_positions: Some(32_768),
        head_dim: Some(256),
        kv_heads: Some(4),
        rotary_share: 0.25,
        ..DEFAULTS
    },
    ..LLAMA
};

impl Architecture {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::Llama,
        Self::Qwen2,
        Self::Qwen3,
        Self::Mistral,
        Self::Gemma3,
        Self::SmolLm3,
        Self::Olmo2,
        Self::Granite,
        Self::Phi3,
        Self::Gemma2,
        Self::Olmo3,
        Self::Exaone4,
        Self::SeedOss,
        Self::HunYuan,
        Self::InternLm3,
        Self::MiMo,
        Self::Qwen35,
    ];

    /// Common properties of its models.
    pub(crate) const fn family(self) -> &'static Family {
        match self {
            Self::Llama => &LLAMA,
            Self::Qwen2 => &QWEN2,
            Self::Qwen3 => &QWEN3,
            Self::Mistral => &MISTRAL,
            Self::Gemma3 => &GEMMA3,
            Self::SmolLm3 => &SMOLLM3,
            Self::Olmo2 => &OLMO2,
            Self::Granite => &GRANITE,
            Self::Phi3 => &PHI3,
            Self::Gemma2 => &GEMMA2,
            Self::Olmo3 => &OLMO3,
            Self::Exaone4 => &EXAONE4,
            Self::SeedOss => &SEED_OSS,
            Self::HunYuan => &HUNYUAN,
            Self::InternLm3 => &INTERNLM3,
            Self::MiMo => &MIMO,
            Self::Qwen35 => &QWEN3_5,
        }
    }

    /// The `model_type` of `config.json`.
    pub const fn model_type(self) -> &'static str {
        self.family().model_type
    }

    /// The class name that `config.json` lists under `architectures`.
    pub const fn class_name(self) -> &'static str {
        self.family().class_names[0]
    }

    /// The `general.architecture` of its GGUF files, if they have one of their own.
    pub fn gguf_name(self) -> Option<&'static str> {
        self.family().gguf.map(|gguf| gguf.name)
    }

    /// The class of the tokenizer in a folder of this `model_type` that names none, if it adds tokens to texts.
    pub(crate) fn tokenizer_class(model_type: &str) -> Option<&'static str> {
        let families = Self::ALL.into_iter().map(Self::family);
        let mut families = families.filter(|family| {
            let whole = family.whole.is_some_and(|whole| whole.model_type == model_type);
            whole || family.model_type == model_type
        });
        families.next()?.defaults.tokenizer
    }

    /// Finds an architecture by its `model_type`.
    ///
    /// # Errors
    ///
    /// [`PolicyError::Unsupported`] with the list of supported types.
    pub fn from_model_type(name: &str) -> Result<Self, PolicyError> {
        Self::ALL.into_iter().find(|known| known.model_type() == name).ok_or_else(|| {
            let whole = Self::ALL.into_iter().filter_map(|known| known.family().whole);
            let whole: Vec<&str> = whole.map(|whole| whole.model_type).collect();
            let supported = format!(
                "{}, and {} with a `text_config` of one of these",
                Self::ALL.map(Self::model_type).join(", "),
                whole.join(", ")
            );
            PolicyError::unsupported("model_type", name, supported)
        })
    }
}
