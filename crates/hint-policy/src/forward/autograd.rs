//! The differentiable forward pass over right-padded rows.

use tch::{Kind, Tensor};

use crate::config::ModelConfig;
use crate::config::family::HeadNorm;
use crate::config::plan::{AttentionPlan, DeltaNetPlan, LogitPlan, MixerPlan, NormPlan};
use crate::forward::delta_net::unit;
use crate::forward::rope::{self, Rotations};
use crate::tensor::{at_least_float, len, size, statistics_kind};
use crate::weights::{DeltaNetWeights, MixerWeights, Weights};

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
    let rotations = Rotations::new(config, |config| {
        rope::tables(config, seq, statistics_kind(compute), tokens.device())
    });
    let mut x = Tensor::embedding(&weights.embedding, tokens, -1, false, false).to_kind(compute);
    if let Some(scale) = config.embedding_scale(compute) {
        x = x * scale;
    }
    for (layer, plan) in weights.layers.iter().zip(config.layers()) {
        let norms = &layer.norms;
        let norm = |norm: &Option<Tensor>, x: Tensor| match norm {
            Some(norm) => rms_norm(plan.norm, &x, norm),
            None => x,
        };
        let residual = |x: Tensor| plan.residual.map_or(x.shallow_clone(), |factor| x * factor);
        let normed = norm(&norms.before_attention, x.shallow_clone());
        let projected = layer.inputs.forward(&normed, dropout_seed);
        let mixed = match (&plan.mixer, &layer.mixer) {
            (MixerPlan::Attention(plan), MixerWeights::Attention { head_norms }) => {
                attention(plan, head_norms.as_ref(), &projected, rotations.of(plan))
            }
            (MixerPlan::DeltaNet(plan), MixerWeights::DeltaNet(weights)) => {
                delta_net(plan, weights, &projected)
            }
            _ => unreachable!("weights are arranged by the plan"),
        };
        let attended = layer.output.forward(&mixed, dropout_seed);
        x = x + residual(norm(&norms.after_attention, attended));
        let normed = norm(&norms.before_mlp, x.shallow_clone());
        let gates = layer.gates.forward(&normed, dropout_seed);
        let gated = plan.activation.apply(&gates[0]) * &gates[1];
        x = x + residual(norm(&norms.after_mlp, layer.down.forward(&gated, dropout_seed)));
    }
    rms_norm(config.norm(), &x, &weights.norm)
}

/// Logits of hidden rows `[rows, hidden]`: `[rows, vocab]`, `Float` or `Double`.
pub(crate) fn head(config: &ModelConfig, weights: &Weights, hidden: &Tensor) -> Tensor {
    let logits = hidden.linear(&weights.head().to_kind(hidden.kind()), None::<&Tensor>);
    finish(config.logits(), &at_least_float(&logits))
}

/// Logits from products with the head.
pub(crate) fn finish(plan: LogitPlan, products: &Tensor) -> Tensor {
    let logits = plan.divisor.map_or(products.shallow_clone(), |divisor| products / divisor);
    plan.softcap.map_or(logits.shallow_clone(), |cap| (logits / cap).tanh() * cap)
}

/// `x / sqrt(mean(x²) + eps) · (offset + weight)` over the last dimension, in the kind of `x`.
fn rms_norm(plan: NormPlan, x: &Tensor, weight: &Tensor) -> Tensor {
    let kind = x.kind();
    // bf16 has 8 bits: a mean of squares over the width needs more.
    let wide = x.to_kind(statistics_kind(kind));
    let mean = wide.square().mean_dim([-1_i64].as_slice(), true, None::<Kind>);
    let unit = wide * (mean + plan.eps).rsqrt();
    if plan.rounds() {
        return unit.to_kind(kind) * weight.to_kind(kind);
    }
    // `1 + weight` needs more than the 8 bits of bf16.
    let weight = weight.to_kind(unit.kind()) + plan.offset();
    (unit * weight).to_kind(kind)
}

/// Causal grouped-query attention: from queries, keys and values `[batch, seq, ..]` to the input of the output
/// projection.
fn attention(
    plan: &AttentionPlan,
    head_norms: Option<&(Tensor, Tensor)>,
    projected: &[Tensor],
    rotation: Option<&(Tensor, Tensor)>,
) -> Tensor {
    let x = &projected[0];
    let (batch, seq) = (x.size()[0], x.size()[1]);
    let head_dim = size(plan.head_dim);
    let (query, gate) = if plan.gated {
        let halves = x.view([batch, seq, -1, 2 * head_dim]).chunk(2, -1);
        let flat = |half: &Tensor| half.reshape([batch, seq, -1]);
        (flat(&halves[0]), Some(flat(&halves[1]).sigmoid()))
    } else {
        (x.shallow_clone(), None)
    };
    let arranged = |values: &Tensor, norm: Option<&Tensor>| {
        let by_head = |values: &Tensor| values.view([batch, seq, -1, head_dim]);
        let heads = match (plan.head_norm, norm) {
            (_, None) | (HeadNorm::RotatedHeads, _) => by_head(values),
            (HeadNorm::None | HeadNorm::Heads, Some(norm)) => {
                rms_norm(plan.norm, &by_head(values), norm)
            }
            (HeadNorm::Projections, Some(norm)) => by_head(&rms_norm(plan.norm, values, norm)),
        };
        heads.transpose(1, 2)
    };
    let rotated = |heads: Tensor, norm: Option<&Tensor>| {
        let heads = match rotation {
            Some((cos, sin)) => rope::rotate(&heads, cos, sin),
            None => heads,
        };
        match norm.filter(|_| plan.head_norm == HeadNorm::RotatedHeads) {
            Some(norm) => rms_norm(plan.norm, &heads, norm),
            None => heads,
        }
    };
    let (query_norm, key_norm) = head_norms.map(|(q, k)| (q, k)).unzip();
    let query = rotated(arranged(&query, query_norm), query_norm);
    let key = rotated(arranged(&projected[1], key_norm), key_norm);
    let value = arranged(&projected[2], None);
    let window = plan.window.filter(|&window| size(window) < seq);
    let attended = if let Some(cap) = plan.softcap {
        // No kernel of libtorch bounds scores.
        let share = size(plan.heads / plan.kv_heads);
        let of_heads = |keys: &Tensor| keys.repeat_interleave_self_int(share, 1, None);
        let scores = query.matmul(&of_heads(&key).transpose(-1, -2)) * plan.scale;
        let hidden = sliding_mask(seq, window.unwrap_or(len(seq)), x).logical_not();
        let scores = ((scores / cap).tanh() * cap).masked_fill(&hidden, f64::NEG_INFINITY);
        scores.softmax(-1, None::<Kind>).matmul(&of_heads(&value))
    } else {
        let mask = window.map(|window| sliding_mask(seq, window, x));
        Tensor::scaled_dot_product_attention(
            &query,
            &key,
            &value,
            mask.as_ref(),
            0.0,
            mask.is_none(),
            plan.scale,
            plan.heads != plan.kv_heads,
        )
    };
    let attended = attended.transpose(1, 2).reshape([batch, seq, -1]);
    gate.map_or(attended.shallow_clone(), |gate| attended * gate)
}

/// A gated delta-net, token by token, from the results of its input projections `[batch, seq, ..]`.
fn delta_net(plan: &DeltaNetPlan, weights: &DeltaNetWeights, projected: &[Tensor]) -> Tensor {
    let kind = projected[0].kind();
    let wide = |x: &Tensor| x.to_kind(statistics_kind(kind));
    let (input, a, b) = (wide(&projected[0]), wide(&projected[3]), wide(&projected[2]));
    let (batch, seq) = (input.size()[0], input.size()[1]);
    let (heads, value_dim) = (size(plan.value_heads), size(plan.value_dim));
    let padded = input.constant_pad_nd([0, 0, size(plan.kernel) - 1, 0]);
    let taps = wide(&weights.conv).squeeze_dim(1);
    let convolved: Tensor =
        (0..size(plan.kernel)).map(|tap| padded.narrow(1, tap, seq) * taps.select(1, tap)).sum();
    let (keys, values) = (size(plan.keys()), size(plan.values()));
    let parts = convolved.silu().split_with_sizes([keys, keys, values], -1);
    // Key heads are shared by value heads.
    let of_keys = |part: &Tensor| {
        let by_head = unit(&part.reshape([batch, seq, size(plan.key_heads), -1]));
        by_head.repeat_interleave_self_int(heads / size(plan.key_heads), 2, None)
    };
    let query = of_keys(&parts[0]) / (plan.key_dim as f64).sqrt();
    let (key, value) = (of_keys(&parts[1]), parts[2].reshape([batch, seq, heads, value_dim]));
    let left =
        ((a + wide(&weights.decay_bias)).softplus() * wide(&weights.decay).exp().neg()).exp();
    let rate = b.sigmoid();
    let options = (input.kind(), input.device());
    let mut state = Tensor::zeros([batch, heads, size(plan.key_dim), value_dim], options);
    let mut read = Vec::new();
    for token in 0..seq {
        let at = |values: &Tensor| values.select(1, token);
        let (query, key) = (at(&query).unsqueeze(-1), at(&key).unsqueeze(-1));
        let of_state = |state: &Tensor, key: &Tensor| {
            (state * key).sum_dim_intlist([2_i64].as_slice(), false, None::<Kind>)
        };
        let kept = state * at(&left).unsqueeze(-1).unsqueeze(-1);
        let change = (at(&value) - of_state(&kept, &key)) * at(&rate).unsqueeze(-1);
        state = kept + key * change.unsqueeze(2);
        read.push(of_state(&state, &query));
    }
    let normed = rms_norm(plan.norm, &Tensor::stack(&read, 1).to_kind(kind), &weights.norm);
    normed.reshape([batch, seq, -1]) * projected[1].silu()
}

/// Keys that each query sees: itself and the `window - 1` before it. `[seq, seq]`, `Bool`.
pub(crate) fn sliding_mask(seq: i64, window: usize, like: &Tensor) -> Tensor {
    let positions = Tensor::arange(seq, (Kind::Int64, like.device()));
    let distance = positions.unsqueeze(1) - positions.unsqueeze(0);
    distance.ge(0).logical_and(&distance.lt(size(window)))
}
