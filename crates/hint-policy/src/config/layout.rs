//! Names and shapes of the parameters of a model.

use crate::config::ModelConfig;
use crate::tensor::size;

/// The LM head where it is not the embedding.
pub(crate) const HEAD: &str = "lm_head.weight";

/// What a freshly initialized parameter holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Init {
    /// Normal numbers with the configured deviation.
    Normal,
    /// Ones, for norms.
    Ones,
    /// Zeros, for biases.
    Zeros,
}

/// Name and shape of one parameter.
#[derive(Debug, Clone)]
pub(crate) struct ParameterSpec {
    pub(crate) name: String,
    pub(crate) shape: Vec<i64>,
    pub(crate) init: Init,
}

/// Every parameter of a model in checkpoint order.
pub(crate) fn layout(config: &ModelConfig) -> Vec<ParameterSpec> {
    let (hidden, inner) = (size(config.hidden_size), size(config.intermediate_size));
    let head = size(config.head_dim);
    let query = size(config.num_attention_heads) * head;
    let key = size(config.num_key_value_heads) * head;
    let vocab = size(config.vocab_size);
    // Weights of norms are what is added to the offset, and norms start as the identity.
    let norm = if config.norm_offset() == 0.0 { Init::Ones } else { Init::Zeros };
    let mut specs = Vec::new();
    let mut add =
        |name: String, shape: Vec<i64>, init| specs.push(ParameterSpec { name, shape, init });
    add("model.embed_tokens.weight".into(), vec![vocab, hidden], Init::Normal);
    for layer in 0..config.num_hidden_layers {
        let prefix = format!("model.layers.{layer}");
        let projections = [
            ("self_attn.q_proj", query, hidden, config.qkv_bias),
            ("self_attn.k_proj", key, hidden, config.qkv_bias),
            ("self_attn.v_proj", key, hidden, config.qkv_bias),
            ("self_attn.o_proj", hidden, query, config.output_bias),
            ("mlp.gate_proj", inner, hidden, config.mlp_bias),
            ("mlp.up_proj", inner, hidden, config.mlp_bias),
            ("mlp.down_proj", hidden, inner, config.mlp_bias),
        ];
        for (name, rows, columns, bias) in projections {
            add(format!("{prefix}.{name}.weight"), vec![rows, columns], Init::Normal);
            if bias {
                add(format!("{prefix}.{name}.bias"), vec![rows], Init::Zeros);
            }
        }
        if config.qk_norm() {
            add(format!("{prefix}.self_attn.q_norm.weight"), vec![head], norm);
            add(format!("{prefix}.self_attn.k_norm.weight"), vec![head], norm);
        }
        let mut norms = vec!["input_layernorm", "post_attention_layernorm"];
        if config.sandwich_norms() {
            norms.extend(["pre_feedforward_layernorm", "post_feedforward_layernorm"]);
        }
        for name in norms {
            add(format!("{prefix}.{name}.weight"), vec![hidden], norm);
        }
    }
    add("model.norm.weight".into(), vec![hidden], norm);
    if !config.tie_word_embeddings {
        add(HEAD.into(), vec![vocab, hidden], Init::Normal);
    }
    specs
}

/// The projections of a transformer block, as their paths end.
pub(crate) const PROJECTIONS: [&str; 7] = [
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
];

/// Path of a projection in the model.
pub(crate) fn projection_path(layer: usize, projection: usize) -> String {
    format!("model.layers.{layer}.{}", PROJECTIONS[projection])
}
