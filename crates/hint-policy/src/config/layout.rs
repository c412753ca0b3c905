//! Names and shapes of the parameters of a model.

use crate::config::ModelConfig;
use crate::config::family::HeadNorm;
use crate::config::plan::MixerPlan;
use crate::tensor::{len, size};

/// The LM head where it is not the embedding.
pub(crate) const HEAD: &str = "lm_head.weight";

/// Content of a freshly initialized parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Init {
    /// Normal numbers with the configured deviation.
    Normal,
    /// Ones, for norms.
    Ones,
    /// Zeros, for biases.
    Zeros,
    /// Logarithms of numbers between 0.01 and 16, for the decays of gated delta-nets.
    Decay,
}

/// Name and shape of one parameter.
#[derive(Debug, Clone)]
pub(crate) struct ParameterSpec {
    pub(crate) name: String,
    pub(crate) shape: Vec<i64>,
    pub(crate) init: Init,
}

impl ParameterSpec {
    /// Number of its values.
    pub(crate) fn values(&self) -> usize {
        self.shape.iter().map(|&size| len(size)).product()
    }
}

/// Every parameter of a model in checkpoint order.
pub(crate) fn layout(config: &ModelConfig) -> Vec<ParameterSpec> {
    let (vocab, hidden) = (size(config.vocab_size), size(config.hidden_size));
    // Weights of norms are what is added to the offset, and norms start as the identity.
    let norm = if config.norm().offset() == 0.0 { Init::Ones } else { Init::Zeros };
    let mut specs = Vec::new();
    let mut add =
        |name: String, shape: Vec<i64>, init| specs.push(ParameterSpec { name, shape, init });
    add("model.embed_tokens.weight".into(), vec![vocab, hidden], Init::Normal);
    for layer in 0..config.num_hidden_layers {
        let prefix = format!("model.layers.{layer}");
        for Matrix { name, rows, columns, bias } in matrices(config, layer) {
            add(format!("{prefix}.{name}.weight"), vec![rows, columns], Init::Normal);
            if bias {
                add(format!("{prefix}.{name}.bias"), vec![rows], Init::Zeros);
            }
        }
        match config.layer(layer).mixer {
            MixerPlan::Attention(plan) => {
                let widths = match plan.head_norm {
                    HeadNorm::Projections => [plan.queries(), plan.keys()],
                    HeadNorm::None | HeadNorm::Heads | HeadNorm::RotatedHeads => [plan.head_dim; 2],
                };
                let names = plan.head_norm.names().into_iter().flatten();
                for (name, width) in names.zip(widths) {
                    add(format!("{prefix}.{name}"), vec![size(width)], norm);
                }
            }
            MixerPlan::DeltaNet(plan) => {
                let heads = vec![size(plan.value_heads)];
                let conv = vec![size(plan.channels()), 1, size(plan.kernel)];
                add(format!("{prefix}.{CONV}"), conv, Init::Normal);
                add(format!("{prefix}.{DECAY}"), heads.clone(), Init::Decay);
                add(format!("{prefix}.{DECAY_BIAS}"), heads, Init::Ones);
                add(format!("{prefix}.{DELTA_NORM}"), vec![size(plan.value_dim)], Init::Ones);
            }
        }
        for name in config.architecture.family().norms.names().into_iter().flatten() {
            add(format!("{prefix}.{name}.weight"), vec![hidden], norm);
        }
    }
    add("model.norm.weight".into(), vec![hidden], norm);
    if !config.tie_word_embeddings {
        add(HEAD.into(), vec![vocab, hidden], Init::Normal);
    }
    specs
}

/// Parameters of a gated delta-net: kernels of its convolution, logarithms and biases of its decays, and the norm of each
/// head's result.
pub(crate) const CONV: &str = "linear_attn.conv1d.weight";
pub(crate) const DECAY: &str = "linear_attn.A_log";
pub(crate) const DECAY_BIAS: &str = "linear_attn.dt_bias";
pub(crate) const DELTA_NORM: &str = "linear_attn.norm.weight";

/// The last projection of a block.
pub(crate) const DOWN: &str = "mlp.down_proj";

/// Projections of one input.
pub(crate) struct ProjectionGroup {
    /// Paths: one for each result, or one for all of them together.
    pub(crate) names: &'static [&'static str],
    /// Width of each result.
    pub(crate) widths: Vec<usize>,
}

impl ProjectionGroup {
    fn new(names: &'static [&'static str], widths: impl Into<Vec<usize>>) -> Self {
        Self { names, widths: widths.into() }
    }

    /// Output width of each path.
    fn rows(&self) -> Vec<usize> {
        if self.names.len() == self.widths.len() {
            self.widths.clone()
        } else {
            vec![self.widths.iter().sum()]
        }
    }
}

/// The input projections of a block: to queries, keys and values. A gated delta-net has one for all three, and others for
/// gates, rates and decays.
pub(crate) fn inputs(config: &ModelConfig, layer: usize) -> ProjectionGroup {
    match config.layer(layer).mixer {
        MixerPlan::Attention(plan) => {
            let query = if plan.gated { 2 * plan.queries() } else { plan.queries() };
            let names: &[_] = if config.architecture.family().joint {
                &["self_attn.qkv_proj"]
            } else {
                &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]
            };
            ProjectionGroup::new(names, [query, plan.keys(), plan.keys()])
        }
        MixerPlan::DeltaNet(plan) => ProjectionGroup::new(
            &[
                "linear_attn.in_proj_qkv",
                "linear_attn.in_proj_z",
                "linear_attn.in_proj_b",
                "linear_attn.in_proj_a",
            ],
            [plan.channels(), plan.values(), plan.value_heads, plan.value_heads],
        ),
    }
}

/// The projection behind the mixer of a block, and its input width.
pub(crate) fn output(config: &ModelConfig, layer: usize) -> (&'static str, usize) {
    match config.layer(layer).mixer {
        MixerPlan::Attention(plan) => ("self_attn.o_proj", plan.queries()),
        MixerPlan::DeltaNet(plan) => ("linear_attn.out_proj", plan.values()),
    }
}

/// The projections to gate and up.
pub(crate) fn gates(config: &ModelConfig) -> ProjectionGroup {
    let names: &[_] = if config.architecture.family().joint {
        &["mlp.gate_up_proj"]
    } else {
        &["mlp.gate_proj", "mlp.up_proj"]
    };
    ProjectionGroup::new(names, [config.intermediate_size; 2])
}

/// A projection of a block.
struct Matrix {
    name: &'static str,
    rows: i64,
    columns: i64,
    bias: bool,
}

/// The projections of a block, in the order of a checkpoint.
fn matrices(config: &ModelConfig, layer: usize) -> Vec<Matrix> {
    let (hidden, inner) = (config.hidden_size, config.intermediate_size);
    let matrix =
        |name, rows, columns, bias| Matrix { name, rows: size(rows), columns: size(columns), bias };
    let group = |group: ProjectionGroup, bias| {
        let rows = group.rows();
        group.names.iter().zip(rows).map(move |(name, rows)| matrix(name, rows, hidden, bias))
    };
    let is_attention = matches!(config.layer(layer).mixer, MixerPlan::Attention(_));
    let (name, width) = output(config, layer);
    group(inputs(config, layer), config.qkv_bias && is_attention)
        .chain([matrix(name, hidden, width, config.output_bias && is_attention)])
        .chain(group(gates(config), config.mlp_bias))
        .chain([matrix(DOWN, hidden, inner, config.mlp_bias)])
        .collect()
}

/// The projections of a block, in the order of a checkpoint.
pub(crate) fn projections(config: &ModelConfig, layer: usize) -> Vec<&'static str> {
    matrices(config, layer).into_iter().map(|matrix| matrix.name).collect()
}

/// The names of all projections, as their paths end.
pub(crate) fn projection_names(config: &ModelConfig) -> Vec<&'static str> {
    let paths = (0..config.num_hidden_layers).flat_map(|layer| projections(config, layer));
    let mut names = Vec::new();
    for path in paths {
        let name = path.rsplit('.').next().unwrap_or(path);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// Path of a projection in the model.
pub(crate) fn projection_path(layer: usize, projection: &str) -> String {
    format!("model.layers.{layer}.{projection}")
}
