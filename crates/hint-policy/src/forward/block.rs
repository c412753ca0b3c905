//! One transformer block, forward and backward.

use tch::Tensor;

use crate::config::{Activation, ModelConfig};
use crate::forward::attention::{Attention, Heads};
use crate::forward::norm::Norm;
use crate::forward::ragged::RaggedLayout;
use crate::forward::rope;
use crate::kernels;
use crate::tensor::size;
use crate::weights::LayerWeights;

/// A block with what it needs to be applied.
#[derive(Debug)]
pub(super) struct Block<'a> {
    pub(super) config: &'a ModelConfig,
    pub(super) layer: &'a LayerWeights,
    pub(super) index: usize,
    pub(super) rows: &'a RaggedLayout,
    /// Cosines and sines of the tokens' angles, `[tokens, 1, head_dim / 2]`.
    pub(super) angles: &'a (Tensor, Tensor),
    pub(super) dropout_seed: Option<u64>,
}

/// What a block keeps for the backward pass; everything is `[tokens, ..]`.
#[derive(Debug)]
pub(super) struct SavedBlock {
    input: Tensor,
    input_scale: Tensor,
    /// Projections, before norms of heads and rotation.
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attended: Tensor,
    /// The result of the output projection, where a norm follows.
    attention: Option<Tensor>,
    middle: Tensor,
    middle_scale: Tensor,
    gate: Tensor,
    up: Tensor,
    /// The result of the feed-forward layer, where a norm follows.
    mlp: Option<Tensor>,
}

impl Block<'_> {
    /// The block's result for `x` `[tokens, hidden]`, and what the backward pass needs.
    pub(super) fn apply(&self, x: Tensor) -> (Tensor, SavedBlock) {
        let (layer, seed) = (self.layer, self.dropout_seed);
        let (after_attention, after_mlp) = self.sandwich();
        let input_scale = self.norm(&layer.input_norm).scale(&x);
        let normed = self.norm(&layer.input_norm).apply(&x, &input_scale);
        let query = layer.query.apply(&normed, seed);
        let key = layer.key.apply(&normed, seed);
        let value = layer.value.apply(&normed, seed);
        let attended = self.attend(&query, &key, &value);
        let output = layer.output.apply(&attended, seed);
        let (mut change, attention) = applied(after_attention, output);
        let middle = change.g_add_(&x);
        let middle_scale = self.norm(&layer.mlp_norm).scale(&middle);
        let normed = self.norm(&layer.mlp_norm).apply(&middle, &middle_scale);
        let gate = layer.gate.apply(&normed, seed);
        let up = layer.up.apply(&normed, seed);
        let gated = self.gated(&gate, &up);
        let (mut change, mlp) = applied(after_mlp, layer.down.apply(&gated, seed));
        let y = change.g_add_(&middle);
        let saved = SavedBlock {
            input: x,
            input_scale,
            query,
            key,
            value,
            attended,
            attention,
            middle,
            middle_scale,
            gate,
            up,
            mlp,
        };
        (y, saved)
    }

    /// The gradient of the block's input from that of its result; adds to those of its parameters.
    pub(super) fn backward(&self, saved: &SavedBlock, dy: &Tensor) -> Tensor {
        let (layer, seed) = (self.layer, self.dropout_seed);
        let (after_attention, after_mlp) = self.sandwich();
        // The feed-forward layer.
        let of_mlp = applied_backward(after_mlp, saved.mlp.as_ref(), dy);
        let gated = self.gated(&saved.gate, &saved.up);
        let of_gated = layer.down.backward(&gated, &of_mlp, seed);
        let (of_gate, of_up) = self.gated_backward(&saved.gate, &saved.up, of_gated);
        let norm = self.norm(&layer.mlp_norm);
        let normed = norm.apply(&saved.middle, &saved.middle_scale);
        let mut of_normed = layer.gate.backward(&normed, &of_gate, seed);
        of_normed = of_normed.g_add_(&layer.up.backward(&normed, &of_up, seed));
        let of_middle = norm.backward(&saved.middle, &saved.middle_scale, &of_normed).g_add_(dy);
        // Attention.
        let of_attention = applied_backward(after_attention, saved.attention.as_ref(), &of_middle);
        let of_attended = layer.output.backward(&saved.attended, &of_attention, seed);
        let of_heads = self.attend_backward(saved, &of_attended);
        let norm = self.norm(&layer.input_norm);
        let normed = norm.apply(&saved.input, &saved.input_scale);
        let of_normed = layer
            .query
            .backward(&normed, &of_heads.query, seed)
            .g_add_(&layer.key.backward(&normed, &of_heads.key, seed))
            .g_add_(&layer.value.backward(&normed, &of_heads.value, seed));
        norm.backward(&saved.input, &saved.input_scale, &of_normed).g_add_(&of_middle)
    }

    fn norm<'b>(&'b self, weight: &'b Tensor) -> Norm<'b> {
        Norm { config: self.config, weight }
    }

    /// The norms after attention and after the feed-forward layer.
    fn sandwich(&self) -> (Option<Norm<'_>>, Option<Norm<'_>>) {
        let norms = self.layer.sandwich.as_ref();
        norms.map(|(attention, mlp)| (self.norm(attention), self.norm(mlp))).unzip()
    }

    /// The activation of `gate` times `up`.
    fn gated(&self, gate: &Tensor, up: &Tensor) -> Tensor {
        if self.has_silu() && kernels::work_for(gate) {
            return kernels::block::gated(gate, up);
        }
        self.config.activation().apply(gate).g_mul_(up)
    }

    /// The gradients of `gate` and `up` from that of [`Self::gated`].
    fn gated_backward(&self, gate: &Tensor, up: &Tensor, mut dy: Tensor) -> (Tensor, Tensor) {
        if self.has_silu() && kernels::work_for(gate) {
            return kernels::block::gated_backward(gate, up, dy);
        }
        let of_up = self.config.activation().apply(gate).g_mul_(&dy);
        let of_active = dy.g_mul_(up);
        let of_gate = self.config.activation().backward(gate, &of_active);
        (of_gate, of_up)
    }

    fn has_silu(&self) -> bool {
        self.config.activation() == Activation::Silu
    }

    fn attention(&self) -> Attention {
        let config = self.config;
        Attention {
            share: size(config.num_attention_heads / config.num_key_value_heads),
            key_heads: size(config.num_key_value_heads),
            head_dim: size(config.head_dim),
            scale: config.attention_scale().unwrap_or(1.0 / (config.head_dim as f64).sqrt()),
            window: config.sliding_window(self.index),
        }
    }

    /// Attention of projections `[tokens, ..]`.
    fn attend(&self, query: &Tensor, key: &Tensor, value: &Tensor) -> Tensor {
        let (query_norm, key_norm) = self.head_norms();
        let query = self.rotated(query, query_norm);
        let key = self.rotated(key, key_norm);
        let attention = self.attention();
        let parts = self.rows.groups.iter().map(|group| {
            let heads =
                Heads { query: group.pad(&query), key: group.pad(&key), value: group.pad(value) };
            group.unpad(&attention.apply(&heads))
        });
        joined(parts.collect())
    }

    /// The gradients of the projections from that of their attention.
    fn attend_backward(&self, saved: &SavedBlock, dy: &Tensor) -> Heads {
        let (query_norm, key_norm) = self.head_norms();
        let query = self.rotated(&saved.query, query_norm);
        let key = self.rotated(&saved.key, key_norm);
        let attention = self.attention();
        let (mut queries, mut keys, mut values) = (Vec::new(), Vec::new(), Vec::new());
        for group in &self.rows.groups {
            let heads = Heads {
                query: group.pad(&query),
                key: group.pad(&key),
                value: group.pad(&saved.value),
            };
            let of_heads = attention.backward(&heads, &group.pad_zero(dy));
            queries.push(group.unpad(&of_heads.query));
            keys.push(group.unpad(&of_heads.key));
            values.push(group.unpad(&of_heads.value));
        }
        Heads {
            query: self.rotated_backward(&saved.query, query_norm, &joined(queries)),
            key: self.rotated_backward(&saved.key, key_norm, &joined(keys)),
            value: joined(values),
        }
    }

    fn head_norms(&self) -> (Option<Norm<'_>>, Option<Norm<'_>>) {
        let norms = self.layer.head_norms.as_ref();
        norms.map(|(query, key)| (self.norm(query), self.norm(key))).unzip()
    }

    /// `[tokens, heads, head_dim]`.
    fn by_head(&self, projected: &Tensor) -> Tensor {
        projected.view([projected.size()[0], -1, size(self.config.head_dim)])
    }

    /// The heads of a projection, normalized and rotated to their positions, side by side.
    fn rotated(&self, projected: &Tensor, norm: Option<Norm<'_>>) -> Tensor {
        let mut heads = self.by_head(projected);
        if let Some(norm) = norm {
            heads = norm.apply(&heads, &norm.scale(&heads));
        }
        self.rotate(&heads, &self.angles.1).view(projected.size().as_slice())
    }

    /// Rotates `heads` `[tokens, heads, head_dim]` by the angles of the tokens, whose sines are given.
    fn rotate(&self, heads: &Tensor, sin: &Tensor) -> Tensor {
        if kernels::work_for(heads) {
            return kernels::block::rotate(heads, &self.angles.0, sin);
        }
        rope::rotate(heads, &self.angles.0, sin)
    }

    /// The gradient of a projection from that of its rotated heads.
    fn rotated_backward(&self, projected: &Tensor, norm: Option<Norm<'_>>, dy: &Tensor) -> Tensor {
        // A rotation is undone by that of the opposite angle, which is also its transpose.
        let back = self.rotate(&self.by_head(dy), &self.angles.1.neg());
        let of_heads = match norm {
            Some(norm) => {
                let heads = self.by_head(projected);
                norm.backward(&heads, &norm.scale(&heads), &back)
            }
            None => back,
        };
        of_heads.view(projected.size().as_slice())
    }
}

/// The normalized `x`, and `x` itself for the backward pass, where there is a norm.
fn applied(norm: Option<Norm<'_>>, x: Tensor) -> (Tensor, Option<Tensor>) {
    match norm {
        Some(norm) => (norm.apply(&x, &norm.scale(&x)), Some(x)),
        None => (x, None),
    }
}

/// The gradient of what [`applied`] was given.
fn applied_backward(norm: Option<Norm<'_>>, x: Option<&Tensor>, dy: &Tensor) -> Tensor {
    match norm.zip(x) {
        Some((norm, x)) => norm.backward(x, &norm.scale(x), dy),
        None => dy.shallow_clone(),
    }
}

fn joined(mut parts: Vec<Tensor>) -> Tensor {
    match (parts.pop(), parts.is_empty()) {
        (Some(only), true) => only,
        (last, _) => {
            parts.extend(last);
            Tensor::cat(&parts, 0)
        }
    }
}
