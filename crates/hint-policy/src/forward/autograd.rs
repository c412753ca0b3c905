//! The differentiable forward pass over right-padded rows.

use tch::{Kind, Tensor};

use crate::config::ModelConfig;
use crate::forward::rope;
use crate::tensor::{at_least_float, len, size, statistics_kind};
use crate::weights::{LayerWeights, Weights};

/// Final hidden states (after the last norm) of `tokens` `[batch, seq]`: `[batch, seq, hidden]` of
/// kind `compute`. Adapters drop inputs only when given a seed.
#[expect(clippy::assign_op_pattern, reason = "in-place sums would destroy what backward needs")]
pub(crate) fn hidden_states(
    config: &ModelConfig,
    weights: &Weights,
    tokens: &Tensor,
    compute: Kind,
    dropout_seed: Option<u64>,
) -> Tensor {
    let seq = len(tokens.size()[1]);
    let tables = |config| rope::tables(config, seq, statistics_kind(compute), tokens.device());
    let global = tables(config);
    let local = config.local().as_ref().map(tables);
    let mut x = Tensor::embedding(&weights.embedding, tokens, -1, false, false).to_kind(compute);
    if let Some(scale) = config.embedding_scale(compute) {
        x = x * scale;
    }
    let sandwich = |x: Tensor, norm: Option<&Tensor>| match norm {
        Some(norm) => rms_norm(config, &x, norm),
        None => x,
    };
    for (index, layer) in weights.layers.iter().enumerate() {
        let (after_attention, after_mlp) =
            layer.sandwich.as_ref().map(|(attention, mlp)| (attention, mlp)).unzip();
        let rotation = local.as_ref().filter(|_| config.is_local(index)).unwrap_or(&global);
        let normed = rms_norm(config, &x, &layer.input_norm);
        let attended =
            attention(config, layer, &normed, rotation, config.sliding_window(index), dropout_seed);
        x = x + sandwich(attended, after_attention);
        let normed = rms_norm(config, &x, &layer.mlp_norm);
        let gated = config.activation().apply(&layer.gate.forward(&normed, dropout_seed))
            * layer.up.forward(&normed, dropout_seed);
        x = x + sandwich(layer.down.forward(&gated, dropout_seed), after_mlp);
    }
    rms_norm(config, &x, &weights.norm)
}

/// Logits of hidden rows `[rows, hidden]`: `[rows, vocab]`, `Float` or `Double`.
pub(crate) fn head(weights: &Weights, hidden: &Tensor) -> Tensor {
    let logits = hidden.linear(&weights.head().to_kind(hidden.kind()), None::<&Tensor>);
    at_least_float(&logits)
}

/// `x / sqrt(mean(x²) + eps) · (offset + weight)` over the last dimension, in the kind of `x`.
fn rms_norm(config: &ModelConfig, x: &Tensor, weight: &Tensor) -> Tensor {
    let kind = x.kind();
    // bf16 has 8 bits: a mean of squares over the width needs more.
    let wide = x.to_kind(statistics_kind(kind));
    let mean = wide.square().mean_dim([-1_i64].as_slice(), true, None::<Kind>);
    let unit = wide * (mean + config.rms_norm_eps).rsqrt();
    if config.norm_offset() == 0.0 {
        return unit.to_kind(kind) * weight.to_kind(kind);
    }
    // `1 + weight` needs more than the 8 bits of bf16.
    let weight = weight.to_kind(unit.kind()) + config.norm_offset();
    (unit * weight).to_kind(kind)
}

/// Causal grouped-query attention over `x` `[batch, seq, hidden]`.
fn attention(
    config: &ModelConfig,
    layer: &LayerWeights,
    x: &Tensor,
    (cos, sin): &(Tensor, Tensor),
    window: Option<usize>,
    dropout_seed: Option<u64>,
) -> Tensor {
    let (batch, seq) = (x.size()[0], x.size()[1]);
    let head_dim = size(config.head_dim);
    let heads = |projected: Tensor| projected.view([batch, seq, -1, head_dim]);
    let mut query = heads(layer.query.forward(x, dropout_seed));
    let mut key = heads(layer.key.forward(x, dropout_seed));
    let value = heads(layer.value.forward(x, dropout_seed)).transpose(1, 2);
    if let Some((query_norm, key_norm)) = &layer.head_norms {
        query = rms_norm(config, &query, query_norm);
        key = rms_norm(config, &key, key_norm);
    }
    let query = rope::rotate(&query.transpose(1, 2), cos, sin);
    let key = rope::rotate(&key.transpose(1, 2), cos, sin);
    let mask =
        window.filter(|&window| size(window) < seq).map(|window| sliding_mask(seq, window, x));
    let attended = Tensor::scaled_dot_product_attention(
        &query,
        &key,
        &value,
        mask.as_ref(),
        0.0,
        mask.is_none(),
        config.attention_scale(),
        config.num_key_value_heads != config.num_attention_heads,
    );
    layer.output.forward(&attended.transpose(1, 2).reshape([batch, seq, -1]), dropout_seed)
}

/// Which keys each query sees: itself and the `window - 1` before it. `[seq, seq]`, `Bool`.
pub(crate) fn sliding_mask(seq: i64, window: usize, like: &Tensor) -> Tensor {
    let positions = Tensor::arange(seq, (Kind::Int64, like.device()));
    let distance = positions.unsqueeze(1) - positions.unsqueeze(0);
    distance.ge(0).logical_and(&distance.lt(size(window)))
}
