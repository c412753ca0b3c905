//! Attention between the projections of a block, forward and backward.

use tch::Tensor;

use crate::config::family::HeadNorm;
use crate::config::plan::AttentionPlan;
use crate::forward::attention::{Attention, Heads};
use crate::forward::norm::Norm;
use crate::forward::packed::{ForBackward, PackedAttention};
use crate::forward::ragged::RaggedLayout;
use crate::forward::rope;
use crate::kernels;
use crate::tensor::size;

/// Attention with its inputs for rows.
#[derive(Debug)]
pub(super) struct SelfAttention<'a> {
    pub(super) plan: AttentionPlan,
    /// Norms of queries and keys.
    pub(super) head_norms: Option<&'a (Tensor, Tensor)>,
    pub(super) rows: &'a RaggedLayout,
    /// Cosines and sines of the tokens' angles, `[tokens, 1, rotary / 2]`.
    pub(super) angles: Option<&'a (Tensor, Tensor)>,
}

impl SelfAttention<'_> {
    /// The input of the output projection, `[tokens, heads · head_dim]`, from queries, keys and values `[tokens, ..]`. With
    /// what the backward pass can use, if there is something.
    pub(super) fn apply(&self, projected: &[Tensor]) -> (Tensor, Option<ForBackward>) {
        let (query, gate) = self.split(&projected[0]);
        let (mut attended, kept) = self.attend(&query, &projected[1], &projected[2]);
        match gate {
            // The result of attention itself is gone.
            Some(gate) => (attended.g_mul_(&gate.sigmoid()), None),
            None => (attended, kept),
        }
    }

    /// The gradients of the projections, given [`Self::apply`]'s results `mixed` and `kept` and the gradient of the first.
    pub(super) fn backward(
        &self,
        projected: &[Tensor],
        mixed: &Tensor,
        kept: Option<&ForBackward>,
        dy: &Tensor,
    ) -> Vec<Tensor> {
        let (query, gate) = self.split(&projected[0]);
        let Some(gate) = gate else {
            let forward = kept.map(|kept| (mixed, kept));
            let Heads { query, key, value } = self.attend_backward(&query, projected, forward, dy);
            return vec![query, key, value];
        };
        let mut open = gate.sigmoid();
        let of_attended = dy * &open;
        let Heads { query, key, value } =
            self.attend_backward(&query, projected, None, &of_attended);
        // sigmoid' = sigmoid · (1 − sigmoid), and `mixed` has been multiplied by sigmoid.
        let of_gate = open.neg_().g_add_scalar_(1.0).g_mul_(mixed).g_mul_(dy);
        let parts = [self.by_head(&query), self.by_head(&of_gate)];
        vec![Tensor::cat(&parts, -1).view(projected[0].size().as_slice()), key, value]
    }

    /// Queries, and the gates of the heads that lie behind each.
    fn split(&self, projected: &Tensor) -> (Tensor, Option<Tensor>) {
        if !self.plan.gated {
            return (projected.shallow_clone(), None);
        }
        let tokens = projected.size()[0];
        let pairs = projected.view([tokens, -1, 2, size(self.plan.head_dim)]);
        let part = |index| pairs.select(2, index).reshape([tokens, -1]);
        (part(0), Some(part(1)))
    }

    /// Attention of projections `[tokens, ..]`.
    fn attend(
        &self,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
    ) -> (Tensor, Option<ForBackward>) {
        let (query_norm, key_norm) = self.head_norms();
        let query = self.rotated(query, query_norm);
        let key = self.rotated(key, key_norm);
        if let Some(packed) = PackedAttention::of(&self.plan, self.rows, &query) {
            let (attended, kept) =
                packed.apply(&Heads { query, key, value: value.shallow_clone() });
            return (attended, Some(kept));
        }
        let attention = Attention::new(&self.plan);
        let parts = self.rows.groups.iter().map(|group| {
            let heads =
                Heads { query: group.pad(&query), key: group.pad(&key), value: group.pad(value) };
            group.unpad(&attention.apply(&heads))
        });
        (joined(parts.collect()), None)
    }

    /// The gradients of the projections, given the gradient of their attention, and its results if they are kept.
    fn attend_backward(
        &self,
        projected_query: &Tensor,
        projected: &[Tensor],
        forward: Option<(&Tensor, &ForBackward)>,
        dy: &Tensor,
    ) -> Heads {
        let (query_norm, key_norm) = self.head_norms();
        let query = self.rotated(projected_query, query_norm);
        let key = self.rotated(&projected[1], key_norm);
        let unrotated = |of: Heads| Heads {
            query: self.rotated_backward(projected_query, query_norm, &of.query),
            key: self.rotated_backward(&projected[1], key_norm, &of.key),
            value: of.value,
        };
        if let Some(packed) = PackedAttention::of(&self.plan, self.rows, &query) {
            let heads = Heads { query, key, value: projected[2].shallow_clone() };
            let again;
            let (attended, kept) = if let Some(forward) = forward {
                forward
            } else {
                again = packed.apply(&heads);
                (&again.0, &again.1)
            };
            return unrotated(packed.backward(&heads, attended, kept, dy));
        }
        let attention = Attention::new(&self.plan);
        let (mut queries, mut keys, mut values) = (Vec::new(), Vec::new(), Vec::new());
        for group in &self.rows.groups {
            let heads = Heads {
                query: group.pad(&query),
                key: group.pad(&key),
                value: group.pad(&projected[2]),
            };
            let of_heads = attention.backward(&heads, &group.pad_zero(dy));
            // Queries of borrowed tokens have no gradient.
            queries.push(group.unpad(&of_heads.query));
            keys.push(of_heads.key);
            values.push(of_heads.value);
        }
        let (key, value) = (self.gathered(&keys), self.gathered(&values));
        unrotated(Heads { query: joined(queries), key, value })
    }

    /// Gradients of all places of the groups, `[rows, seq, width]` each, by token.
    fn gathered(&self, by_group: &[Tensor]) -> Tensor {
        let parts = self.rows.groups.iter().zip(by_group).map(|(group, of)| group.unpad(of));
        let mut own = joined(parts.collect());
        if self.rows.shares {
            self.rows.add_borrowed(&mut own, by_group);
        }
        own
    }

    fn head_norms(&self) -> (Option<Norm<'_>>, Option<Norm<'_>>) {
        let norm = |weight| Norm { plan: self.plan.norm, weight };
        self.head_norms.map(|(query, key)| (norm(query), norm(key))).unzip()
    }

    /// `[tokens, heads, head_dim]`.
    fn by_head(&self, projected: &Tensor) -> Tensor {
        projected.view([projected.size()[0], -1, size(self.plan.head_dim)])
    }

    /// Dimension of a norm of queries or keys: its last one.
    fn normed_by(&self, projected: &Tensor) -> Tensor {
        match self.plan.head_norm {
            HeadNorm::None | HeadNorm::Heads | HeadNorm::RotatedHeads => self.by_head(projected),
            HeadNorm::Projections => projected.shallow_clone(),
        }
    }

    /// The heads of a projection, normalized and rotated to their positions, side by side.
    fn rotated(&self, projected: &Tensor, norm: Option<Norm<'_>>) -> Tensor {
        let Some(norm) = norm else { return self.turned(projected) };
        let normed = |x: &Tensor| {
            let values = self.normed_by(x);
            norm.normalized(&values).0.view(x.size().as_slice())
        };
        match self.plan.head_norm {
            HeadNorm::RotatedHeads => normed(&self.turned(projected)),
            HeadNorm::None | HeadNorm::Heads | HeadNorm::Projections => {
                self.turned(&normed(projected))
            }
        }
    }

    /// The gradient of a projection, given the gradient of its rotated heads.
    fn rotated_backward(&self, projected: &Tensor, norm: Option<Norm<'_>>, dy: &Tensor) -> Tensor {
        let Some(norm) = norm else { return self.turned_back(dy) };
        let of_normed = |x: &Tensor, dy: &Tensor| {
            let values = self.normed_by(x);
            let of_values = norm.backward(&values, &norm.scale(&values), &self.normed_by(dy));
            of_values.view(x.size().as_slice())
        };
        match self.plan.head_norm {
            HeadNorm::RotatedHeads => self.turned_back(&of_normed(&self.turned(projected), dy)),
            HeadNorm::None | HeadNorm::Heads | HeadNorm::Projections => {
                of_normed(projected, &self.turned_back(dy))
            }
        }
    }

    /// The heads of a projection rotated to their positions, side by side.
    fn turned(&self, x: &Tensor) -> Tensor {
        let Some((cos, sin)) = self.angles else { return x.shallow_clone() };
        rotate(&self.by_head(x), cos, sin).view(x.size().as_slice())
    }

    /// The gradient of the input of [`Self::turned`] from that of its result. A rotation is undone by that of the
    /// opposite angle, which is also its transpose.
    fn turned_back(&self, dy: &Tensor) -> Tensor {
        let Some((cos, sin)) = self.angles else { return dy.shallow_clone() };
        rotate(&self.by_head(dy), cos, &sin.neg()).view(dy.size().as_slice())
    }
}

/// Rotates `heads` `[tokens, heads, head_dim]` by the angles of the tokens.
fn rotate(heads: &Tensor, cos: &Tensor, sin: &Tensor) -> Tensor {
    if kernels::work_for(heads) {
        return kernels::block::rotate(heads, cos, sin);
    }
    rope::rotate(heads, cos, sin)
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
