//! One transformer block, forward and backward.

use tch::Tensor;

use crate::config::plan::{LayerPlan, MixerPlan};
use crate::forward::delta_net::DeltaNet;
use crate::forward::norm::Norm;
use crate::forward::packed::ForBackward;
use crate::forward::ragged::RaggedLayout;
use crate::forward::rope::Rotations;
use crate::forward::self_attention::SelfAttention;
use crate::weights::{LayerWeights, MixerWeights};

#[cfg(test)]
impl SavedBlock {
    /// Numbers that are kept, except those of norms, of which a token has one.
    pub(super) fn numbers(&self) -> usize {
        let Self { input, projected, mixed, attention, middle, gate, up, mlp, .. } = self;
        let own = [input, mixed, middle, gate, up].into_iter();
        own.chain(projected).chain(attention).chain(mlp).map(Tensor::numel).sum()
    }
}

/// A block with its inputs.
#[derive(Debug)]
pub(super) struct Block<'a> {
    pub(super) plan: LayerPlan,
    pub(super) layer: &'a LayerWeights,
    pub(super) rows: &'a RaggedLayout,
    /// Cosines and sines of the tokens' angles, `[tokens, 1, rotary / 2]`.
    pub(super) angles: &'a Rotations<(Tensor, Tensor)>,
    pub(super) dropout_seed: Option<u64>,
}

/// Mixing of the tokens of a row in a block.
enum Mixer<'a> {
    Attention(SelfAttention<'a>),
    DeltaNet(DeltaNet<'a>),
}

/// Tensors that a block keeps for the backward pass, all `[tokens, ..]`.
#[derive(Debug)]
pub(super) struct SavedBlock {
    input: Tensor,
    input_scale: Option<Tensor>,
    /// The results of the input projections.
    projected: Vec<Tensor>,
    /// The result of the mixer, and what else its backward pass can use.
    mixed: Tensor,
    kept: Option<ForBackward>,
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
    /// The block's result for `x` `[tokens, hidden]`, and the tensors for the backward pass.
    pub(super) fn apply(&self, x: Tensor) -> (Tensor, SavedBlock) {
        let (layer, seed) = (self.layer, self.dropout_seed);
        let norms = &layer.norms;
        let (normed, input_scale) = self.before(norms.before_attention.as_ref(), &x);
        let projected = layer.inputs.apply(&normed, seed);
        let (mixed, kept) = self.mix(&projected);
        let output = layer.output.apply(&mixed, seed);
        let (change, attention) = self.after(norms.after_attention.as_ref(), output);
        let middle = self.residual(change).g_add_(&x);
        let (normed, middle_scale) = self.before(norms.before_mlp.as_ref(), &middle);
        let [gate, up] = two(layer.gates.apply(&normed, seed));
        let gated = self.plan.activation.gate(&gate, &up);
        let (change, mlp) = self.after(norms.after_mlp.as_ref(), layer.down.apply(&gated, seed));
        let y = self.residual(change).g_add_(&middle);
        let saved = SavedBlock {
            input: x,
            input_scale,
            projected,
            mixed,
            kept,
            attention,
            middle,
            middle_scale,
            gate,
            up,
            mlp,
        };
        (y, saved)
    }

    /// The gradient of the block's input, given the gradient of its result. Adds to those of its
    /// parameters.
    pub(super) fn backward(&self, saved: &SavedBlock, dy: &Tensor) -> Tensor {
        let (layer, seed) = (self.layer, self.dropout_seed);
        let norms = &layer.norms;
        // The feed-forward layer.
        let of_mlp = self.after_backward(norms.after_mlp.as_ref(), saved.mlp.as_ref(), dy);
        let activation = self.plan.activation;
        let gated = activation.gate(&saved.gate, &saved.up);
        let of_gated = layer.down.backward(&gated, &of_mlp, seed);
        let (of_gate, of_up) = activation.gate_backward(&saved.gate, &saved.up, of_gated);
        let of_middle = self
            .before_backward(
                norms.before_mlp.as_ref(),
                &saved.middle,
                saved.middle_scale.as_ref(),
                |normed| layer.gates.backward(normed, &[&of_gate, &of_up], seed),
            )
            .g_add_(dy);
        // The mixer.
        let of_attention = self.after_backward(
            norms.after_attention.as_ref(),
            saved.attention.as_ref(),
            &of_middle,
        );
        let of_mixed = layer.output.backward(&saved.mixed, &of_attention, seed);
        let of_projected = self.mix_backward(saved, of_mixed);
        let of_projected: Vec<&Tensor> = of_projected.iter().collect();
        self.before_backward(
            norms.before_attention.as_ref(),
            &saved.input,
            saved.input_scale.as_ref(),
            |normed| layer.inputs.backward(normed, &of_projected, seed),
        )
        .g_add_(&of_middle)
    }

    /// The input of the output projection, from the results of the input projections, and what else the backward pass can
    /// use.
    fn mix(&self, projected: &[Tensor]) -> (Tensor, Option<ForBackward>) {
        match self.mixer() {
            Mixer::Attention(attention) => attention.apply(projected),
            Mixer::DeltaNet(delta_net) => (delta_net.apply(projected).0, None),
        }
    }

    /// The gradients of the results of the input projections; adds to those of the mixer's parameters.
    fn mix_backward(&self, saved: &SavedBlock, dy: Tensor) -> Vec<Tensor> {
        match self.mixer() {
            Mixer::Attention(attention) => {
                attention.backward(&saved.projected, &saved.mixed, saved.kept.as_ref(), &dy)
            }
            Mixer::DeltaNet(delta_net) => delta_net.backward(&saved.projected, dy),
        }
    }

    fn mixer(&self) -> Mixer<'_> {
        let rows = self.rows;
        match (self.plan.mixer, &self.layer.mixer) {
            (MixerPlan::Attention(plan), MixerWeights::Attention { head_norms }) => {
                let angles = self.angles.of(&plan);
                let head_norms = head_norms.as_ref();
                Mixer::Attention(SelfAttention { plan, head_norms, rows, angles })
            }
            (MixerPlan::DeltaNet(plan), MixerWeights::DeltaNet(weights)) => {
                Mixer::DeltaNet(DeltaNet { plan, weights, rows })
            }
            _ => unreachable!("weights are arranged by the plan"),
        }
    }

    fn norm<'b>(&self, weight: &'b Tensor) -> Norm<'b> {
        Norm { plan: self.plan.norm, weight }
    }

    /// `x` after the norm before a part, and its scale for the backward pass, if there is one.
    fn before(&self, norm: Option<&Tensor>, x: &Tensor) -> (Tensor, Option<Tensor>) {
        let Some(norm) = norm.map(|weight| self.norm(weight)) else {
            return (x.shallow_clone(), None);
        };
        let (normed, scale) = norm.normalized(x);
        (normed, Some(scale))
    }

    /// The gradient of the inputs of [`Self::before`], given the gradient that `of_normed` makes of its
    /// result.
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
            Some(norm) => (norm.normalized(&x).0, Some(x)),
            None => (x, None),
        }
    }

    /// The gradient of the inputs of [`Self::after`], given the gradient of the residual sum.
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

    /// Addend of the residual stream, which may take its place.
    fn residual(&self, mut change: Tensor) -> Tensor {
        match self.plan.residual {
            Some(factor) => change.g_mul_scalar_(factor),
            None => change,
        }
    }
}

fn two(parts: Vec<Tensor>) -> [Tensor; 2] {
    parts.try_into().expect("there are two projections")
}
