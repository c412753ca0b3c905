//! One transformer block, forward and backward.

use tch::Tensor;

use crate::config::architecture::{Activation, HeadNorm};
use crate::config::plan::LayerPlan;
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
    pub(super) plan: LayerPlan,
    pub(super) layer: &'a LayerWeights,
    pub(super) rows: &'a RaggedLayout,
    /// Cosines and sines of the tokens' angles, `[tokens, 1, rotary / 2]`.
    pub(super) angles: Option<&'a (Tensor, Tensor)>,
    pub(super) dropout_seed: Option<u64>,
}

/// What a block keeps for the backward pass; everything is `[tokens, ..]`.
#[derive(Debug)]
pub(super) struct SavedBlock {
    input: Tensor,
    input_scale: Option<Tensor>,
    /// Projections, before norms of heads and rotation.
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attended: Tensor,
    /// The result of the output projection, where a norm follows.
    attention: Option<Tensor>,
    middle: Tensor,
    middle_scale: Option<Tensor>,
    gate: Tensor,
    up: Tensor,
    /// The result of the feed-forward layer, where a norm follows.
    mlp: Option<Tensor>,
}

impl Block<'_> {
    /// The block's result for `x` `[tokens, hidden]`, and what the backward pass needs.
    pub(super) fn apply(&self, x: Tensor) -> (Tensor, SavedBlock) {
        let (layer, seed) = (self.layer, self.dropout_seed);
        let norms = &layer.norms;
        let (normed, input_scale) = self.before(norms.before_attention.as_ref(), &x);
        let [query, key, value] = three(layer.inputs.apply(&normed, seed));
        let attended = self.attend(&query, &key, &value);
        let output = layer.output.apply(&attended, seed);
        let (change, attention) = self.after(norms.after_attention.as_ref(), output);
        let middle = self.residual(change).g_add_(&x);
        let (normed, middle_scale) = self.before(norms.before_mlp.as_ref(), &middle);
        let [gate, up] = two(layer.gates.apply(&normed, seed));
        let gated = self.gated(&gate, &up);
        let (change, mlp) = self.after(norms.after_mlp.as_ref(), layer.down.apply(&gated, seed));
        let y = self.residual(change).g_add_(&middle);
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
        let norms = &layer.norms;
        // The feed-forward layer.
        let of_mlp = self.after_backward(norms.after_mlp.as_ref(), saved.mlp.as_ref(), dy);
        let gated = self.gated(&saved.gate, &saved.up);
        let of_gated = layer.down.backward(&gated, &of_mlp, seed);
        let (of_gate, of_up) = self.gated_backward(&saved.gate, &saved.up, of_gated);
        let of_middle = self
            .before_backward(
                norms.before_mlp.as_ref(),
                &saved.middle,
                saved.middle_scale.as_ref(),
                |normed| layer.gates.backward(normed, &[&of_gate, &of_up], seed),
            )
            .g_add_(dy);
        // Attention.
        let of_attention = self.after_backward(
            norms.after_attention.as_ref(),
            saved.attention.as_ref(),
            &of_middle,
        );
        let of_attended = layer.output.backward(&saved.attended, &of_attention, seed);
        let Heads { query, key, value } = self.attend_backward(saved, &of_attended);
        self.before_backward(
            norms.before_attention.as_ref(),
            &saved.input,
            saved.input_scale.as_ref(),
            |normed| layer.inputs.backward(normed, &[&query, &key, &value], seed),
        )
        .g_add_(&of_middle)
    }

    fn norm<'b>(&self, weight: &'b Tensor) -> Norm<'b> {
        Norm { plan: self.plan.norm, weight }
    }

    /// `x` after the norm before a part, and its scale for the backward pass, if there is one.
    fn before(&self, norm: Option<&Tensor>, x: &Tensor) -> (Tensor, Option<Tensor>) {
        let Some(norm) = norm.map(|weight| self.norm(weight)) else {
            return (x.shallow_clone(), None);
        };
        let scale = norm.scale(x);
        (norm.apply(x, &scale), Some(scale))
    }

    /// The gradient of what [`Self::before`] was given, from that which `of_normed` makes of its result.
    fn before_backward(
        &self,
        norm: Option<&Tensor>,
        x: &Tensor,
        scale: Option<&Tensor>,
        of_normed: impl FnOnce(&Tensor) -> Tensor,
    ) -> Tensor {
        match norm.map(|weight| self.norm(weight)).zip(scale) {
            Some((norm, scale)) => norm.backward(x, scale, &of_normed(&norm.apply(x, scale))),
            None => of_normed(x),
        }
    }

    /// `x` after the norm behind a part, and `x` itself for the backward pass, if there is one.
    fn after(&self, norm: Option<&Tensor>, x: Tensor) -> (Tensor, Option<Tensor>) {
        match norm.map(|weight| self.norm(weight)) {
            Some(norm) => (norm.apply(&x, &norm.scale(&x)), Some(x)),
            None => (x, None),
        }
    }

    /// The gradient of what [`Self::after`] was given, from that of the residual sum.
    fn after_backward(&self, norm: Option<&Tensor>, x: Option<&Tensor>, dy: &Tensor) -> Tensor {
        let scaled = match self.plan.residual {
            Some(factor) => dy * factor,
            None => dy.shallow_clone(),
        };
        match norm.map(|weight| self.norm(weight)).zip(x) {
            Some((norm, x)) => norm.backward(x, &norm.scale(x), &scaled),
            None => scaled,
        }
    }

    /// What a part adds to the residual stream, which may take its place.
    fn residual(&self, mut change: Tensor) -> Tensor {
        match self.plan.residual {
            Some(factor) => change.g_mul_scalar_(factor),
            None => change,
        }
    }

    /// The activation of `gate` times `up`.
    fn gated(&self, gate: &Tensor, up: &Tensor) -> Tensor {
        if self.has_silu() && kernels::work_for(gate) {
            return kernels::block::gated(gate, up);
        }
        self.plan.activation.apply(gate).g_mul_(up)
    }

    /// The gradients of `gate` and `up` from that of [`Self::gated`].
    fn gated_backward(&self, gate: &Tensor, up: &Tensor, mut dy: Tensor) -> (Tensor, Tensor) {
        if self.has_silu() && kernels::work_for(gate) {
            return kernels::block::gated_backward(gate, up, dy);
        }
        let of_up = self.plan.activation.apply(gate).g_mul_(&dy);
        let of_active = dy.g_mul_(up);
        let of_gate = self.plan.activation.backward(gate, &of_active);
        (of_gate, of_up)
    }

    fn has_silu(&self) -> bool {
        self.plan.activation == Activation::Silu
    }

    /// Attention of projections `[tokens, ..]`.
    fn attend(&self, query: &Tensor, key: &Tensor, value: &Tensor) -> Tensor {
        let (query_norm, key_norm) = self.head_norms();
        let query = self.rotated(query, query_norm);
        let key = self.rotated(key, key_norm);
        let attention = Attention::new(&self.plan);
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
        let attention = Attention::new(&self.plan);
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
        projected.view([projected.size()[0], -1, size(self.plan.head_dim)])
    }

    /// What a norm of queries or keys goes over: its last dimension.
    fn normed_by(&self, projected: &Tensor) -> Tensor {
        match self.plan.head_norm {
            HeadNorm::None | HeadNorm::Heads => self.by_head(projected),
            HeadNorm::Projections => projected.shallow_clone(),
        }
    }

    /// The heads of a projection, normalized and rotated to their positions, side by side.
    fn rotated(&self, projected: &Tensor, norm: Option<Norm<'_>>) -> Tensor {
        let normed = norm.map(|norm| {
            let values = self.normed_by(projected);
            norm.apply(&values, &norm.scale(&values)).view(projected.size().as_slice())
        });
        let normed = normed.as_ref().unwrap_or(projected);
        let Some((cos, sin)) = self.angles else { return normed.shallow_clone() };
        rotate(&self.by_head(normed), cos, sin).view(projected.size().as_slice())
    }

    /// The gradient of a projection from that of its rotated heads.
    fn rotated_backward(&self, projected: &Tensor, norm: Option<Norm<'_>>, dy: &Tensor) -> Tensor {
        // A rotation is undone by that of the opposite angle, which is also its transpose.
        let back = self.angles.map(|(cos, sin)| rotate(&self.by_head(dy), cos, &sin.neg()));
        let back = back.map(|back| back.view(projected.size().as_slice()));
        let back = back.unwrap_or_else(|| dy.shallow_clone());
        let Some(norm) = norm else { return back };
        let values = self.normed_by(projected);
        let of_values = norm.backward(&values, &norm.scale(&values), &self.normed_by(&back));
        of_values.view(projected.size().as_slice())
    }
}

/// Rotates `heads` `[tokens, heads, head_dim]` by the angles of the tokens.
fn rotate(heads: &Tensor, cos: &Tensor, sin: &Tensor) -> Tensor {
    if kernels::work_for(heads) {
        return kernels::block::rotate(heads, cos, sin);
    }
    rope::rotate(heads, cos, sin)
}

fn two(parts: Vec<Tensor>) -> [Tensor; 2] {
    parts.try_into().expect("there are two projections")
}

fn three(parts: Vec<Tensor>) -> [Tensor; 3] {
    parts.try_into().expect("there are three projections")
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
