//! Parts of attention that decoding computes in its own way.

use tch::{Device, Tensor};

use crate::config::ModelConfig;
use crate::config::family::HeadNorm;
use crate::config::plan::AttentionPlan;
use crate::decode::unit::Unit;
use crate::forward::attention::{Attention, Heads};
use crate::forward::autograd::sliding_mask;
use crate::forward::packed::PackedAttention;
use crate::forward::ragged::RaggedLayout;
use crate::tensor::{size, statistics_kind};

/// Attention of prompts to themselves. `all` holds the query, key and value heads of their tokens,
/// `[tokens, heads + 2 * kv_heads, head_dim]`; returns `[tokens, heads * head_dim]`.
pub(super) fn attend_prompts(plan: &AttentionPlan, rows: &RaggedLayout, all: &Tensor) -> Tensor {
    let (heads, kv_heads, head_dim) = (size(plan.heads), size(plan.kv_heads), size(plan.head_dim));
    if let Some(packed) = PackedAttention::of(plan, rows, all) {
        let part = |start, heads| all.narrow(1, start, heads);
        let query = part(0, heads);
        let (key, value) = (part(heads, kv_heads), part(heads + kv_heads, kv_heads));
        return packed.apply(&Heads { query, key, value }).0;
    }
    let flat = all.reshape([all.size()[0], -1]);
    joined(rows.groups.iter().map(|group| {
        let (count, seq) = (size(group.rows), size(group.seq));
        let padded = group.pad(&flat);
        if all.device() != Device::Cpu || plan.softcap.is_some() {
            let parts = [heads, kv_heads, kv_heads].map(|heads| heads * head_dim);
            let [query, key, value] = <[Tensor; 3]>::try_from(padded.split_with_sizes(parts, -1))
                .expect("there are three parts");
            let heads = Heads { query, key, value };
            return group.unpad(&Attention::new(plan).apply(&heads));
        }
        let split = padded.view([count, seq, -1, head_dim]).transpose(1, 2);
        let window = plan.window.filter(|&window| window < group.seq);
        let mask = window.map(|window| sliding_mask(seq, window, all));
        let attended = Tensor::scaled_dot_product_attention(
            &split.narrow(1, 0, heads),
            &split.narrow(1, heads, kv_heads),
            &split.narrow(1, heads + kv_heads, kv_heads),
            mask.as_ref(),
            0.0,
            mask.is_none(),
            plan.scale,
            heads != kv_heads,
        );
        group.unpad(&attended.transpose(1, 2))
    }))
}

/// The parts one below the other.
pub(super) fn joined(parts: impl Iterator<Item = Tensor>) -> Tensor {
    let mut parts: Vec<Tensor> = parts.collect();
    match parts.pop() {
        Some(only) if parts.is_empty() => only,
        last => {
            parts.extend(last);
            Tensor::cat(&parts, 0)
        }
    }
}

/// The norms of queries and keys, without their factors.
pub(super) enum HeadUnits {
    /// Of each head.
    Heads(Unit),
    /// Of all query heads and all key heads, with their numbers.
    Projections([(i64, Unit); 2]),
}

impl HeadUnits {
    /// `unit` makes a norm over so many numbers.
    pub(super) fn new(config: &ModelConfig, unit: impl Fn(usize) -> Unit) -> Self {
        match config.architecture.family().head_norm {
            HeadNorm::Projections => {
                let heads = [config.num_attention_heads, config.num_key_value_heads];
                Self::Projections(heads.map(|heads| (size(heads), unit(heads * config.head_dim))))
            }
            HeadNorm::None | HeadNorm::Heads | HeadNorm::RotatedHeads => {
                Self::Heads(unit(config.head_dim))
            }
        }
    }

    /// The normalized heads `[rows, heads, head_dim]`.
    fn of(&self, heads: &Tensor) -> Tensor {
        match self {
            Self::Heads(unit) => unit.of(heads),
            Self::Projections(parts) => {
                let counts = parts.each_ref().map(|(count, _)| *count);
                let split = heads.split_with_sizes(counts, 1);
                let units = split.iter().zip(parts).map(|(part, (_, unit))| {
                    unit.of(&part.flatten(1, 2)).view(part.size().as_slice())
                });
                Tensor::cat(&units.collect::<Vec<_>>(), 1)
            }
        }
    }
}

/// Rotates query and key heads `[rows, heads, head_dim]` in place, and applies their norms if there are any.
pub(super) fn rotate(
    plan: &AttentionPlan,
    heads: &Tensor,
    angles: Option<&Tensor>,
    norm: Option<(&Tensor, &HeadUnits)>,
) {
    let pairs = |heads: &Tensor| {
        let shape = heads.size();
        heads.view([shape[0], shape[1], shape[2] / 2, 2]).view_as_complex()
    };
    let turn = |heads: &Tensor| {
        if let Some(angles) = angles {
            let _ = pairs(heads).g_mul_(angles);
        }
    };
    let kind = statistics_kind(heads.kind());
    let mut heads = heads.shallow_clone();
    if norm.is_none() && (heads.kind() == kind || angles.is_none()) {
        turn(&heads);
        return;
    }
    let mut wide = heads.to_kind(kind);
    // A rotation keeps the length of a head, so that the factor alone comes before or after it.
    let comes_last = plan.head_norm == HeadNorm::RotatedHeads;
    if let Some((factor, units)) = norm {
        let unit = units.of(&wide);
        wide = if comes_last { unit } else { unit * factor };
    }
    let mut wide = wide.contiguous();
    turn(&wide);
    if let Some((factor, _)) = norm.filter(|_| comes_last) {
        wide *= factor;
    }
    heads.copy_(&wide);
}
