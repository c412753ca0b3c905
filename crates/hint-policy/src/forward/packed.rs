//! Causal attention of packed rows by flash attention, where a GPU has it: no padding, and no groups.

use tch::{Kind, Tensor};

use crate::config::plan::AttentionPlan;
use crate::forward::attention::Heads;
use crate::forward::ragged::RaggedLayout;
use crate::kernels::fast_path::FastPath;
use crate::kernels::fused::{self, PackedRows};
use crate::tensor::size;

pub(crate) use crate::kernels::fused::ForBackward;

/// Attention of the rows of a layout, whose tokens lie one after the other.
#[derive(Debug)]
pub(crate) struct PackedAttention<'a> {
    rows: PackedRows<'a>,
    head_dim: i64,
}

impl<'a> PackedAttention<'a> {
    /// If the kernels do what `plan` asks for, for tensors like this one.
    pub(crate) fn of(plan: &AttentionPlan, rows: &'a RaggedLayout, like: &Tensor) -> Option<Self> {
        let path = FastPath::PackedAttention;
        let fits = misfit(plan, like.kind()).is_none();
        (fits && path.is_taken(like.device())).then(|| Self {
            rows: PackedRows {
                ends: rows.ends(),
                longest: size(rows.longest),
                scale: plan.scale,
                window: plan.window.map(size),
            },
            head_dim: size(plan.head_dim),
        })
    }

    /// `[tokens, heads · head_dim]` from heads `[tokens, ..]`, and what the backward pass needs, no gradient.
    pub(crate) fn apply(&self, heads: &Heads) -> (Tensor, ForBackward) {
        let (attended, kept) =
            fused::attend(&self.rows, &self.by_head(heads)).expect("it was tried");
        (attended.flatten(1, 2), kept)
    }

    /// The gradients of the heads, given the result, what was kept, and the gradient of the result.
    pub(super) fn backward(
        &self,
        heads: &Heads,
        attended: &Tensor,
        kept: &ForBackward,
        dy: &Tensor,
    ) -> Heads {
        let split = |tensor: &Tensor| tensor.view([tensor.size()[0], -1, self.head_dim]);
        let heads = self.by_head(heads);
        let gradients =
            fused::attend_backward(&self.rows, &heads, &split(attended), kept, &split(dy));
        let [query, key, value] =
            gradients.expect("it was tried").map(|gradient| gradient.flatten(1, 2));
        Heads { query, key, value }
    }

    /// Queries, keys and values, `[tokens, heads, head_dim]`.
    fn by_head(&self, heads: &Heads) -> [Tensor; 3] {
        [&heads.query, &heads.key, &heads.value]
            .map(|tensor| tensor.reshape([tensor.size()[0], -1, self.head_dim]))
    }
}

/// Widest head that is given to flash attention: some cards refuse wider ones.
const MAX_HEAD_DIM: usize = 128;

/// The reason of what computes with 16 bits alone.
pub(crate) const FOR_BF16: &str = "it is for bf16";

/// Why flash attention does not do what a plan asks for in this kind, if so. It knows no bound on scores, takes heads of
/// whole vectors, and numbers of 16 bits.
pub(crate) fn misfit(plan: &AttentionPlan, kind: Kind) -> Option<&'static str> {
    if kind != Kind::BFloat16 {
        Some(FOR_BF16)
    } else if plan.softcap.is_some() {
        Some("the model bounds its scores")
    } else if plan.head_dim > MAX_HEAD_DIM {
        Some("the model's heads are wider than 128")
    } else if !plan.head_dim.is_multiple_of(8) {
        Some("the width of the model's heads is no multiple of 8")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Architecture, ModelConfig};

    #[test]
    fn a_plan_that_flash_attention_cannot_do_has_a_reason() {
        let plan = ModelConfig::small(Architecture::Llama, 60).attention(0);
        for head_dim in [8, 64, MAX_HEAD_DIM] {
            let fitting = AttentionPlan { head_dim, window: Some(4), ..plan };
            assert_eq!(misfit(&fitting, Kind::BFloat16), None, "{head_dim}");
            for kind in [Kind::Float, Kind::Double] {
                assert_eq!(misfit(&fitting, kind), Some(FOR_BF16), "{head_dim}");
            }
        }
        let reason = |plan| misfit(&plan, Kind::BFloat16).expect("it does not fit");
        let wide = reason(AttentionPlan { head_dim: MAX_HEAD_DIM + 8, ..plan });
        assert!(wide.contains(&format!("wider than {MAX_HEAD_DIM}")), "{wide}");
        let odd = reason(AttentionPlan { head_dim: 60, ..plan });
        assert!(odd.contains("no multiple of 8"), "{odd}");
        let bounded = reason(AttentionPlan { softcap: Some(50.0), ..plan });
        assert!(bounded.contains("bounds its scores"), "{bounded}");
    }
}
