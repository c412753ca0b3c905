//! Names and shapes of the parameters of a model.

use crate::config::ModelConfig;
use crate::config::architecture::{Architecture, HeadNorm};
use crate::tensor::{len, size};

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

impl ParameterSpec {
    /// How many values it has.
    pub(crate) fn values(&self) -> usize {
        self.shape.iter().map(|&size| len(size)).product()
    }
}

/// Every parameter of a model in checkpoint order.
pub(crate) fn layout(config: &ModelConfig) -> Vec<ParameterSpec> {
    let (hidden, inner) = (size(config.hidden_size), size(config.intermediate_size));
    let head = size(config.head_dim);
    let query = size(config.num_attention_heads) * head;
    let key = size(config.num_key_value_heads) * head;
    let vocab = size(config.vocab_size);
    // Weights of norms are what is added to the offset, and norms start as the identity.
    let norm = if config.norm().offset() == 0.0 { Init::Ones } else { Init::Zeros };
    let family = config.architecture.family();
    let widths: &[_] = if family.joint { &[query + 2 * key] } else { &[query, key, key] };
    let of_inputs = inputs(config.architecture).iter().zip(widths);
    let widths: &[_] = if family.joint { &[2 * inner] } else { &[inner, inner] };
    let of_gates = gates(config.architecture).iter().zip(widths);
    let shapes: Vec<(&str, i64, i64, bool)> = of_inputs
        .map(|(name, &rows)| (*name, rows, hidden, config.qkv_bias))
        .chain([(OUTPUT, hidden, query, config.output_bias)])
        .chain(of_gates.map(|(name, &rows)| (*name, rows, hidden, config.mlp_bias)))
        .chain([(DOWN, hidden, inner, config.mlp_bias)])
        .collect();
    let mut specs = Vec::new();
    let mut add =
        |name: String, shape: Vec<i64>, init| specs.push(ParameterSpec { name, shape, init });
    add("model.embed_tokens.weight".into(), vec![vocab, hidden], Init::Normal);
    for layer in 0..config.num_hidden_layers {
        let prefix = format!("model.layers.{layer}");
        for &(name, rows, columns, bias) in &shapes {
            add(format!("{prefix}.{name}.weight"), vec![rows, columns], Init::Normal);
            if bias {
                add(format!("{prefix}.{name}.bias"), vec![rows], Init::Zeros);
            }
        }
        let head_norms = match family.head_norm {
            HeadNorm::None => None,
            HeadNorm::Heads => Some([head, head]),
            HeadNorm::Projections => Some([query, key]),
        };
        for (name, width) in ["q_norm", "k_norm"].into_iter().zip(head_norms.into_iter().flatten())
        {
            add(format!("{prefix}.self_attn.{name}.weight"), vec![width], norm);
        }
        for name in family.norms.names().into_iter().flatten() {
            add(format!("{prefix}.{name}.weight"), vec![hidden], norm);
        }
    }
    add("model.norm.weight".into(), vec![hidden], norm);
    if !config.tie_word_embeddings {
        add(HEAD.into(), vec![vocab, hidden], Init::Normal);
    }
    specs
}

/// The projection behind attention, as its path ends.
pub(crate) const OUTPUT: &str = "self_attn.o_proj";

/// The last projection of a block.
pub(crate) const DOWN: &str = "mlp.down_proj";

/// The projections to queries, keys and values.
pub(crate) fn inputs(architecture: Architecture) -> &'static [&'static str] {
    if architecture.family().joint {
        &["self_attn.qkv_proj"]
    } else {
        &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]
    }
}

/// The projections to gate and up.
pub(crate) fn gates(architecture: Architecture) -> &'static [&'static str] {
    if architecture.family().joint {
        &["mlp.gate_up_proj"]
    } else {
        &["mlp.gate_proj", "mlp.up_proj"]
    }
}

/// The projections of a transformer block, in the order of a checkpoint.
pub(crate) fn projections(architecture: Architecture) -> Vec<&'static str> {
    let (inputs, gates) = (inputs(architecture), gates(architecture));
    inputs.iter().copied().chain([OUTPUT]).chain(gates.iter().copied()).chain([DOWN]).collect()
}

/// Path of a projection in the model.
pub(crate) fn projection_path(layer: usize, projection: &str) -> String {
    format!("model.layers.{layer}.{projection}")
}
