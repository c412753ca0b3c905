//! Keys and values of many rows in preallocated storage.

use std::ops::Range;

use tch::{Device, Kind, TchError, Tensor};

use crate::config::ModelConfig;
use crate::config::family::HeadNorm;
use crate::config::plan::{AttentionPlan, MixerPlan};
use crate::decode::fused::FusedAttention;
use crate::decode::recurrent::RowStates;
use crate::kernels;
use crate::kernels::decode::{self, BLOCK, HeadNorms, NewestAttention, NewestTokens};
use crate::kernels::fused::{self, CachedRows};
use crate::runtime::device_memory;
use crate::tensor::{len, size};

/// Cached positions are allocated in multiples of this.
const BUCKET: usize = 32;

const _: () = assert!(BUCKET.is_multiple_of(BLOCK), "the cache ends with a block");

/// Elements that the row of a mask is a multiple of, for libtorch's memory-efficient attention.
const MASK_ROW: usize = 8;

/// Keys, values, and the pairs that hold both.
type Storage = (Tensor, Tensor, Option<Tensor>);

/// Keys and values of every layer with attention. Rows occupy the first places.
///
/// Where a kernel computes the attention of one token per row, keys are stored in its blocks of positions. In `Double`
/// on a CPU that attention is a batch of tiny products, whose time goes into rearranging the keys. Stored with
/// positions last, they need none. On a GPU they have the order that fused attention reads.
#[derive(Debug)]
pub(super) struct KeyValueCache {
    /// In blocks `[layers, places, kv_heads, positions / BLOCK, head_dim, BLOCK]`. With positions last
    /// `[layers, places, kv_heads, head_dim, positions]`. Else as `values`, where `pairs` holds both.
    keys: Tensor,
    /// `[layers, places, kv_heads, positions, head_dim]`. Both are zero where unused: a masked NaN
    /// would still poison the weighted sum of values.
    values: Tensor,
    /// `[layers, 2, places, kv_heads, positions, head_dim]`, unless on a CPU.
    pairs: Option<Tensor>,
    layers: usize,
    kv_heads: usize,
    head_dim: usize,
    places: usize,
    positions: usize,
    /// Positions that no row exceeds.
    max_positions: usize,
}

/// Keys and values of a prompt.
#[derive(Debug)]
pub(super) struct Prefix {
    /// `[layers, kv_heads, prompt, head_dim]`.
    pub(super) keys: Tensor,
    /// As `keys`.
    pub(super) values: Tensor,
    /// The states of gated delta-nets, in their place.
    pub(super) states: Option<RowStates>,
    pub(super) len: usize,
}

/// Position of the next token of each row.
#[derive(Debug)]
pub(super) struct Slots {
    /// `0..rows`.
    rows: Tensor,
    /// Position of each.
    positions: Tensor,
}

impl Slots {
    /// The places behind `lens` tokens, `[rows]`.
    pub(super) fn new(lens: &Tensor) -> Self {
        let rows = Tensor::arange(lens.size()[0], (Kind::Int64, lens.device()));
        Self { rows, positions: lens.shallow_clone() }
    }
}

impl KeyValueCache {
    /// An empty cache.
    pub(super) fn new(
        config: &ModelConfig,
        max_positions: usize,
        kind: Kind,
        device: Device,
    ) -> Self {
        Self {
            keys: Tensor::zeros([0], (kind, device)),
            values: Tensor::zeros([0], (kind, device)),
            pairs: None,
            layers: config.layers().iter().filter(|layer| is_attention(&layer.mixer)).count(),
            kv_heads: config.num_key_value_heads,
            head_dim: config.head_dim,
            places: 0,
            positions: 0,
            max_positions,
        }
    }

    /// Whether all positions of `places` rows fit into a quarter of a GPU's memory. It then has them at once: growing
    /// would leave the outgrown cache reserved there. Free memory is no measure: libtorch keeps all that it once
    /// used.
    fn fits_at_once(&self, places: usize) -> bool {
        let numbers = 2 * self.layers * places * self.kv_heads * self.head_dim * self.max_positions;
        let bytes = (numbers * self.keys.kind().elt_size_in_bytes()) as u64;
        device_memory(self.keys.device()).is_some_and(|memory| bytes <= memory.total / 4)
    }

    /// Keys, values and their pairs for `places` rows of `positions` positions.
    fn make(&self, places: usize, positions: usize) -> Result<Storage, TchError> {
        let options = (self.keys.kind(), self.keys.device());
        let [layers, places, kv_heads, positions, head_dim] =
            [self.layers, places, self.kv_heads, positions, self.head_dim].map(size);
        let zeros = |inner: &[i64]| {
            let shape = [&[layers, places, kv_heads][..], inner].concat();
            Tensor::f_zeros(shape, options)
        };
        if self.keys.device() == Device::Cpu {
            let keys = if self.in_blocks() {
                zeros(&[positions / size(BLOCK), head_dim, size(BLOCK)])?
            } else {
                zeros(&[head_dim, positions])?
            };
            return Ok((keys, zeros(&[positions, head_dim])?, None));
        }
        let shape = [layers, 2, places, kv_heads, positions, head_dim];
        let pairs = Tensor::f_zeros(shape, options)?;
        Ok((pairs.select(1, 0), pairs.select(1, 1), Some(pairs)))
    }

    /// Whether keys are stored for [`KeyValueCache::attend_newest`], and only for that.
    pub(super) fn in_blocks(&self) -> bool {
        kernels::work_for(&self.keys)
    }

    fn positions_last(&self) -> bool {
        self.keys.device() == Device::Cpu && !self.in_blocks()
    }

    /// Keys in the order of values, of all layers or of one, and how many positions are one step of theirs. In blocks
    /// it is more than one.
    fn ordered(&self, keys: &Tensor) -> (Tensor, usize) {
        if self.in_blocks() {
            (keys.shallow_clone(), BLOCK)
        } else if self.positions_last() {
            (keys.transpose(-1, -2), 1)
        } else {
            (keys.shallow_clone(), 1)
        }
    }

    /// Makes room for `rows` rows of `positions` positions, at most `max_rows` of them in the long
    /// run, keeping the first `kept_rows`.
    pub(super) fn reserve(
        &mut self,
        rows: usize,
        positions: usize,
        max_rows: usize,
        kept_rows: usize,
    ) {
        if rows <= self.places && positions <= self.positions {
            return;
        }
        // Growing by half at least keeps the number of copies logarithmic.
        let grown = |needed: usize, have: usize| {
            if needed > have { needed.max(have * 3 / 2) } else { have }
        };
        let places = grown(rows, self.places).max(max_rows.min(rows * 2));
        let bucket = |positions: usize| grown(positions, self.positions).next_multiple_of(BUCKET);
        let at_once = self.fits_at_once(places).then(|| bucket(self.max_positions));
        let at_once = at_once.and_then(|all| Some((all, self.make(places, all).ok()?)));
        let (positions, (keys, values, pairs)) = at_once.unwrap_or_else(|| {
            let positions = bucket(positions);
            (positions, self.make(places, positions).expect("there is memory"))
        });
        if kept_rows > 0 {
            let both = [
                (self.ordered(&keys), self.ordered(&self.keys).0),
                ((values.shallow_clone(), 1), self.values.shallow_clone()),
            ];
            for ((new, step), old) in both {
                let used = |cache: &Tensor| {
                    cache.narrow(1, 0, size(kept_rows)).narrow(3, 0, size(self.positions / step))
                };
                used(&new).copy_(&used(&old));
            }
        }
        (self.keys, self.values, self.pairs) = (keys, values, pairs);
        (self.places, self.positions) = (places, positions);
    }

    /// Starts `count` rows at place `row` with the keys and values of a prompt.
    pub(super) fn fill(&self, row: usize, count: usize, prefix: &Prefix) {
        let (cached, step) = self.ordered(&self.keys);
        let blocks = (step > 1).then(|| in_blocks(&prefix.keys));
        let pairs = [
            (cached, blocks.as_ref().unwrap_or(&prefix.keys)),
            (self.values.shallow_clone(), &prefix.values),
        ];
        for (cache, prefix) in pairs {
            cache
                .narrow(1, size(row), size(count))
                .narrow(3, 0, prefix.size()[2])
                .copy_(&prefix.unsqueeze(1));
        }
    }

    /// Puts the rows at places `from` to places `to`, `[moved]` each, with their first `positions`
    /// positions.
    pub(super) fn move_rows(&self, from: &Tensor, to: &Tensor, positions: usize) {
        for (cache, step) in [self.ordered(&self.keys), (self.values.shallow_clone(), 1)] {
            // Layer by layer: the copy in between may be of every row.
            for layer in 0..size(self.layers) {
                let mut used = cache.select(0, layer).narrow(2, 0, size(positions.div_ceil(step)));
                let rows = used.index_select(0, from);
                let _ = used.index_copy_(0, to, &rows);
            }
        }
    }

    /// Stores the keys and values of one new token per row, `[rows, 2 * kv_heads, head_dim]`.
    pub(super) fn write(&self, layer: usize, slots: &Slots, both: &Tensor) {
        let (layer, kv_heads) = (size(layer), size(self.kv_heads));
        let at = [Some(&slots.rows), Some(&slots.positions)];
        if let Some(pairs) = &self.pairs {
            // To [places, positions, 2, kv_heads, head_dim].
            let mut by_place = pairs.select(0, layer).permute([1, 3, 0, 2, 4]);
            let both = both.reshape([-1, 2, kv_heads, size(self.head_dim)]);
            let _ = by_place.index_put_(&at, &both.to_kind(pairs.kind()), false);
            return;
        }
        let (keys, values) = (both.narrow(1, 0, kv_heads), both.narrow(1, kv_heads, kv_heads));
        let put = |cache: &Tensor, fresh: &Tensor| {
            let fresh = fresh.to_kind(cache.kind());
            let _ = cache.transpose(1, 2).index_put_(&at, &fresh, false);
        };
        put(&self.ordered(&self.keys.select(0, layer)).0, &keys);
        put(&self.values.select(0, layer), &values);
    }

    /// The rows at the first places and the keys that each sees, `lens` `[rows]` and the newest, at most `longest`. `None`
    /// where indices need more than 32 bits.
    pub(super) fn rows(&self, lens: &Tensor, longest: usize) -> Option<CachedRows> {
        let rows = lens.size()[0];
        let step = size(self.kv_heads * self.positions);
        let last = i32::try_from((rows + 1) * step).ok()?;
        let options = (Kind::Int, lens.device());
        Some(CachedRows {
            query_ends: Tensor::arange(rows + 1, options),
            key_ends: Tensor::arange_start_step(0, i64::from(last), step, options),
            used: (lens + 1).to_kind(Kind::Int),
            longest: size(longest),
        })
    }

    /// As [`KeyValueCache::attend`], each row to the keys that [`KeyValueCache::rows`] names.
    pub(super) fn attend_rows(
        &self,
        layer: usize,
        plan: &AttentionPlan,
        query: &Tensor,
        rows: &CachedRows,
    ) -> Tensor {
        let [places, kv_heads, positions, head_dim] =
            [self.places, self.kv_heads, self.positions, self.head_dim].map(size);
        // By index: the heads of a key are as far apart as the positions of a place are long.
        let count = (places - 1) * kv_heads * positions + positions;
        let by_index = |cache: &Tensor| {
            let shape = [count, kv_heads, head_dim];
            cache.select(0, size(layer)).as_strided(
                shape,
                [head_dim, positions * head_dim, 1],
                None,
            )
        };
        let heads = [query, &by_index(&self.keys), &by_index(&self.values)];
        let attended = fused::attend_cached(rows, heads, plan.scale, plan.window.map(size));
        attended.expect("it was tried").flatten(1, 2)
    }

    /// Stores the keys and values of one new token per row, and returns its attention, `[rows, heads * head_dim]`. It takes
    /// the results of the input projections side by side, `[rows, ..]`, and the complex `angles` of their positions, which
    /// are `lens`. Keys must be stored in blocks.
    pub(super) fn attend_newest(
        &self,
        layer: &FusedAttention,
        projected: &Tensor,
        angles: Option<&Tensor>,
        lens: &[usize],
    ) -> Tensor {
        let FusedAttention { plan, slot, head_norm } = layer;
        let attention = NewestAttention {
            heads: plan.heads,
            kv_heads: plan.kv_heads,
            head_dim: plan.head_dim,
            scale: plan.scale,
            softcap: plan.softcap,
            window: plan.window,
            gated: plan.gated,
        };
        let norms = head_norm.as_ref().map(|factor| HeadNorms {
            factor,
            eps: plan.norm.eps,
            joint: plan.head_norm == HeadNorm::Projections,
            rotated: plan.head_norm == HeadNorm::RotatedHeads,
        });
        let angles = angles.map(Tensor::view_as_real);
        let tokens = NewestTokens { projected, angles: angles.as_ref(), norms, lens };
        let mut of_layer = [&self.keys, &self.values].map(|cache| cache.select(0, size(*slot)));
        let [keys, values] = &mut of_layer;
        decode::attend(&attention, &tokens, keys, values)
    }

    /// Mask of the positions `span`: 0 where a row may look and −∞ elsewhere, in the shape of
    /// [`KeyValueCache::attend`]. Each row sees its own tokens, the one at `lens` `[rows]` included,
    /// and of these the last `window` if given.
    pub(super) fn mask(&self, lens: &Tensor, span: &Range<usize>, window: Option<usize>) -> Tensor {
        let lens = lens.view([-1, 1, 1, 1]);
        let options = (self.values.kind(), lens.device());
        let (start, len) = (size(span.start), size(span.len()));
        // Attention on a GPU wants rows of whole multiples, and would pad the mask in every layer.
        let padded =
            if self.positions_last() { len } else { size(span.len().next_multiple_of(MASK_ROW)) };
        let positions = Tensor::arange_start(start, start + padded, (Kind::Int64, lens.device()));
        let mut hidden = positions.gt_tensor(&lens);
        if let Some(window) = window {
            hidden = hidden.logical_or(&positions.le_tensor(&(lens - size(window))));
        }
        let mask = Tensor::zeros(hidden.size(), options).masked_fill(&hidden, f64::NEG_INFINITY);
        if !self.positions_last() {
            return mask.narrow(-1, 0, len);
        }
        mask.repeat([1, size(self.kv_heads), 1, 1]).view([-1, 1, len])
    }

    /// Attention of one token per row, `query` `[rows, heads, head_dim]`, of the rows at the places
    /// from `place` on to the positions `span`: `[rows, heads * head_dim]`.
    pub(super) fn attend(
        &self,
        layer: usize,
        plan: &AttentionPlan,
        query: &Tensor,
        place: usize,
        span: &Range<usize>,
        mask: Option<&Tensor>,
    ) -> Tensor {
        let layer = size(layer);
        let (start, len) = (size(span.start), size(span.len()));
        let (rows, heads) = (query.size()[0], query.size()[1]);
        let (kv_heads, head_dim) = (size(self.kv_heads), size(self.head_dim));
        // The query heads that share a key head are rows of one small product.
        let group = heads / kv_heads;
        let keys = self.keys.select(0, layer).narrow(0, size(place), rows);
        let values = self.values.select(0, layer).narrow(0, size(place), rows);
        let attended = if self.positions_last() {
            let query = query.reshape([rows * kv_heads, group, head_dim]) * plan.scale;
            let keys = keys.view([rows * kv_heads, head_dim, -1]).narrow(2, start, len);
            let values = values.view([rows * kv_heads, -1, head_dim]).narrow(1, start, len);
            let scores = match (plan.softcap, mask) {
                (None, Some(mask)) => mask.baddbmm(&query, &keys, 1.0, 1.0),
                (None, None) => query.bmm(&keys),
                (Some(cap), mask) => masked(capped(query.bmm(&keys), cap), mask),
            };
            scores.softmax(-1, None::<Kind>).bmm(&values)
        } else {
            let query = query.reshape([rows, kv_heads, group, head_dim]);
            let (keys, values) = (keys.narrow(2, start, len), values.narrow(2, start, len));
            if let Some(cap) = plan.softcap {
                // No kernel of libtorch bounds scores.
                let scores = (query * plan.scale).matmul(&keys.transpose(-1, -2));
                let weights = masked(capped(scores, cap), mask).softmax(-1, None::<Kind>);
                return weights.matmul(&values).reshape([rows, heads * head_dim]);
            }
            Tensor::scaled_dot_product_attention(
                &query, &keys, &values, mask, 0.0, false, plan.scale, false,
            )
        };
        attended.reshape([rows, heads * head_dim])
    }

    /// As [`KeyValueCache::attend`], with each row alone. A row attends to its own `lens` positions,
    /// or to the last of them if there is a window.
    pub(super) fn attend_alone(
        &self,
        layer: usize,
        plan: &AttentionPlan,
        query: &Tensor,
        lens: &[usize],
    ) -> Tensor {
        let (rows, heads) = (query.size()[0], query.size()[1]);
        let (kv_heads, head_dim) = (size(self.kv_heads), size(self.head_dim));
        let wide = query.to_kind(self.values.kind()) * plan.scale;
        let wide = wide.view([rows, kv_heads, heads / kv_heads, head_dim]);
        let (keys, values) = (self.keys.select(0, size(layer)), self.values.select(0, size(layer)));
        let attended: Vec<Tensor> = (0..rows)
            .zip(lens)
            .map(|(row, &len)| {
                let first = plan.window.map_or(0, |window| len.saturating_sub(window));
                let (first, len) = (size(first), size(len - first));
                let keys = keys.get(row);
                let keys = if self.positions_last() {
                    keys.narrow(2, first, len)
                } else {
                    keys.narrow(1, first, len).transpose(1, 2)
                };
                let scores = wide.get(row).bmm(&keys);
                let scores = match plan.softcap {
                    Some(cap) => capped(scores, cap),
                    None => scores,
                };
                let weights = scores.softmax(-1, None::<Kind>);
                weights.bmm(&values.get(row).narrow(1, first, len))
            })
            .collect();
        let attended = Tensor::stack(&attended, 0).to_kind(query.kind());
        attended.view([rows, heads * head_dim])
    }
}

/// Keys of a prompt in blocks, `[layers, kv_heads, blocks, head_dim, BLOCK]`.
fn in_blocks(keys: &Tensor) -> Tensor {
    let (shape, block) = (keys.size(), size(BLOCK));
    let blocks = size(len(shape[2]).div_ceil(BLOCK));
    let padded = keys.pad([0, 0, 0, blocks * block - shape[2]], "constant", 0.0);
    let split = padded.reshape([shape[0], shape[1], blocks, block, shape[3]]);
    split.transpose(-1, -2).contiguous()
}

fn is_attention(mixer: &MixerPlan) -> bool {
    matches!(mixer, MixerPlan::Attention(_))
}

/// `cap · tanh(scores / cap)`, in their place.
fn capped(mut scores: Tensor, cap: f64) -> Tensor {
    scores.g_div_scalar_(cap).tanh_().g_mul_scalar_(cap)
}

fn masked(mut scores: Tensor, mask: Option<&Tensor>) -> Tensor {
    match mask {
        Some(mask) => scores.g_add_(mask),
        None => scores,
    }
}
