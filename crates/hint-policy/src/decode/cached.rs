//! Decoding with a key-value cache, for rows of different lengths.

use std::ops::Range;

use tch::{Device, Kind, Tensor};

use crate::config::ModelConfig;
use crate::config::plan::{DeltaNetPlan, MixerPlan};
use crate::decode::attention::{HeadUnits, attend_prompts, joined, rotate};
use crate::decode::cache::{KeyValueCache, Prefix, Slots};
use crate::decode::fused::{FusedAttention, FusedDeltaNet, FusedLayer, FusedMixer, FusedWeights};
use crate::decode::layout::{GROUP_COST, Layout, Move};
use crate::decode::matrix::Matrix;
use crate::decode::recurrent::{PromptEnds, StateCache};
use crate::decode::unit::Unit;
use crate::error::PolicyError;
use crate::forward::autograd;
use crate::forward::delta_net::DeltaNet;
use crate::forward::packed;
use crate::forward::ragged::RaggedLayout;
use crate::forward::rope::{self, Rotations};
use crate::kernels;
use crate::kernels::fast_path::FastPath;
use crate::kernels::fused::CachedRows;
use crate::policy::batch::{TokenBatch, TokenRow};
use crate::policy::decoder::{
    Decoder, DecoderOptions, Prefill, PrefixId, check_prompts, check_tokens,
};
use crate::tensor::{at_least_float, size, statistics_kind, upload};

/// Tokens that are prefilled at a time: bounds the memory of activations.
const PREFILL_TOKENS: usize = 4096;

/// As [`PREFILL_TOKENS`], on a GPU.
const PREFILL_TOKENS_GPU: usize = 1 << 15;

/// Rows from which on a product rounds each row alike, for any number of rows. Fewer rows have kernels of
/// their own: one row everywhere, and up to 31 in `BFloat16` on processors with AMX.
const INVARIANT_ROWS: usize = 32;

/// Decoder of [`CausalLm`](crate::CausalLm).
///
/// Rows occupy the first places of one preallocated cache. Another row moves to the place of a row that
/// leaves, so that a step never computes for finished rows. Products and norms work on real tokens alone. So does
/// attention on a CPU in `Float` and `BFloat16`, by a kernel that takes each row by itself. In `Double` rows of similar
/// lengths attend together, see [`Layout`]. On a GPU, where a step costs its launches, they attend all together.
#[derive(Debug)]
pub(crate) struct CachedDecoder<'a> {
    config: &'a ModelConfig,
    weights: FusedWeights,
    device: Device,
    max_rows: usize,
    max_positions: usize,
    batch_invariant: bool,
    /// `[max_positions, 1, head_dim / 2]`, complex.
    rotations: Rotations<Tensor>,
    cache: KeyValueCache,
    /// States of gated delta-nets, if there are any.
    states: Option<StateCache>,
    /// Tokens in the cache, per row.
    lens: Vec<usize>,
    layout: Layout,
    prefixes: Vec<Option<Prefix>>,
}

/// Attention of the rows of one forward pass.
enum Attend<'a> {
    /// Each row to itself; keys and values are kept, `[tokens, 2 * kv_heads, head_dim]` per layer, and states.
    Prompt { rows: &'a RaggedLayout, kept: &'a mut Vec<Tensor>, ends: &'a mut Option<PromptEnds> },
    /// One token of each row to the cache. Places of each row's new keys and values, and the rows
    /// that attend together.
    Cache { slots: &'a Slots, groups: &'a [AttentionGroup] },
    /// As `Cache`, all rows at once by their lengths.
    Lengths { slots: &'a Slots, rows: &'a CachedRows },
    /// As `Cache`, each row alone to its own positions, of which these are the numbers.
    Alone { slots: &'a Slots, lens: &'a [usize] },
    /// As `Cache`, by the kernel for that, given the position of each token.
    Newest { positions: &'a [usize] },
}

/// Places of the cache whose rows attend together.
struct AttentionGroup {
    places: Range<usize>,
    /// Mask of layers without a window.
    full: KeySpan,
    /// Mask of layers with a window that hides something.
    windows: Vec<(usize, KeySpan)>,
}

/// Positions, and their mask.
struct KeySpan {
    span: Range<usize>,
    mask: Option<Tensor>,
}

impl AttentionGroup {
    fn key_span(&self, window: Option<usize>) -> &KeySpan {
        let own = window.and_then(|window| self.windows.iter().find(|(own, _)| *own == window));
        own.map_or(&self.full, |(_, key_span)| key_span)
    }
}

impl<'a> CachedDecoder<'a> {
    pub(crate) fn new(
        config: &'a ModelConfig,
        weights: FusedWeights,
        options: &DecoderOptions,
    ) -> Self {
        let device = weights.embedding.device();
        let max_positions = options.max_positions.clamp(1, config.max_positions());
        let kind = if weights.compute == Kind::Double { Kind::Double } else { Kind::Float };
        let has_kernel = kernels::work_for(&weights.embedding);
        // Without a kernel, rows that attend alone do so in many tiny products. In bf16 these take three times as long as
        // in f32, mostly for their preparation.
        let cached = if options.batch_invariant && !has_kernel { kind } else { weights.compute };
        let in_groups = device == Device::Cpu && !options.batch_invariant && !has_kernel;
        let rotations = Rotations::new(config, |config| {
            let (cos, sin) = rope::tables(config, max_positions, kind, device);
            // Dimensions that stay are turned by nothing.
            let rest = size((config.head_dim - config.rotary_dim()) / 2);
            let cos = cos.pad([0, rest], "constant", 1.0);
            Tensor::complex(&cos, &sin.pad([0, rest], "constant", 0.0)).unsqueeze(1)
        });
        Self {
            config,
            device,
            max_rows: options.max_rows.max(1),
            max_positions,
            batch_invariant: options.batch_invariant,
            rotations,
            cache: KeyValueCache::new(config, max_positions, cached, device),
            states: delta_nets(config)
                .map(|(plan, layers)| StateCache::new(plan, layers, weights.compute, device)),
            weights,
            lens: Vec::new(),
            layout: Layout::new(in_groups.then_some(GROUP_COST)),
            prefixes: Vec::new(),
        }
    }

    /// Runs `ids` (flattened rows) through the blocks. Returns the normalized hidden states
    /// `[ids, hidden]`. `angles` are complex `[ids, 1, head_dim / 2]`.
    fn forward(&self, ids: &Tensor, angles: &Rotations<Tensor>, mut attend: Attend<'_>) -> Tensor {
        let config = self.config;
        let kind = statistics_kind(self.weights.compute);
        let unit = |width| Unit::new(width, config.rms_norm_eps, kind, self.device);
        let hidden = unit(config.hidden_size);
        let head_units = HeadUnits::new(config, unit);
        let normed = |x: &Tensor, norms: bool| if norms { hidden.of(x) } else { x.shallow_clone() };
        let mut x = self.weights.embedding.index_select(0, ids);
        if let Some(scale) = self.weights.embedding_scale {
            let _ = x.g_mul_scalar_(scale);
        }
        for layer in &self.weights.layers {
            let projected = layer.inputs.forward(&normed(&x, layer.norms_input));
            let mixed = match &layer.mixer {
                FusedMixer::Attention(attention) => {
                    self.attend(attention, &projected, angles, &head_units, &mut attend)
                }
                FusedMixer::DeltaNet(net) => self.recur(net, &projected, &mut attend),
            };
            x = add(&layer.output, &mixed, &x, layer.after_attention.as_ref(), &hidden);
            let input = normed(&x, layer.norms_middle);
            let gated = layer.gates.forward(&input, layer.activation, self.batch_invariant);
            x = add(&layer.down, &gated, &x, layer.after_mlp.as_ref(), &hidden);
        }
        hidden.of(&x) * &self.weights.norm
    }

    /// The input of the output projection, from queries, keys, values and gates of `projected` `[tokens, ..]`.
    fn attend(
        &self,
        layer: &FusedAttention,
        projected: &Tensor,
        angles: &Rotations<Tensor>,
        head_units: &HeadUnits,
        attend: &mut Attend<'_>,
    ) -> Tensor {
        let (plan, slot) = (&layer.plan, layer.slot);
        let (heads, kv_heads) = (size(plan.heads), size(plan.kv_heads));
        let all = projected.view([projected.size()[0], -1, size(plan.head_dim)]);
        let norm = layer.head_norm.as_ref().map(|norm| (norm, head_units));
        let turn = || rotate(plan, &all.narrow(1, 0, heads + kv_heads), angles.of(plan), norm);
        let query = all.narrow(1, 0, heads);
        let write = |slots: &Slots| {
            turn();
            self.cache.write(slot, slots, &all.narrow(1, heads, 2 * kv_heads));
        };
        let attended = match attend {
            Attend::Newest { positions } => {
                return self.cache.attend_newest(layer, projected, angles.of(plan), positions);
            }
            Attend::Prompt { rows, kept, .. } => {
                turn();
                kept.push(all.narrow(1, heads, 2 * kv_heads));
                attend_prompts(plan, rows, &all.narrow(1, 0, heads + 2 * kv_heads))
            }
            Attend::Cache { slots, groups } => {
                write(slots);
                joined(groups.iter().map(|group| {
                    let KeySpan { span, mask } = group.key_span(plan.window);
                    let (place, rows) = (group.places.start, size(group.places.len()));
                    let query = query.narrow(0, size(place), rows);
                    self.cache.attend(slot, plan, &query, place, span, mask.as_ref())
                }))
            }
            Attend::Lengths { slots, rows } => {
                write(slots);
                self.cache.attend_rows(slot, plan, &query, rows)
            }
            Attend::Alone { slots, lens } => {
                write(slots);
                self.cache.attend_alone(slot, plan, &query, lens)
            }
        };
        if !plan.gated {
            return attended;
        }
        let gate = all.narrow(1, heads + 2 * kv_heads, heads).reshape(attended.size());
        // As in the steps of delta-nets, so that the place of a row does not matter.
        let wide = if self.batch_invariant { gate.to_kind(Kind::Double) } else { gate };
        (wide.sigmoid() * &attended).to_kind(attended.kind())
    }

    /// The input of the output projection, from the results `[tokens, ..]` of the input projections of a gated delta-net.
    fn recur(&self, net: &FusedDeltaNet, projected: &Tensor, attend: &mut Attend<'_>) -> Tensor {
        match attend {
            Attend::Prompt { rows, ends, .. } => {
                let parts = net.split(projected);
                let (mixed, states) =
                    DeltaNet { plan: net.plan, weights: &net.weights, rows }.apply(&parts);
                if let Some(ends) = ends {
                    ends.keep(&parts[0], &states);
                }
                mixed
            }
            Attend::Cache { .. }
            | Attend::Lengths { .. }
            | Attend::Alone { .. }
            | Attend::Newest { .. } => {
                let states = self.states.as_ref().expect("there is a gated delta-net");
                states.step(net, projected, self.batch_invariant)
            }
        }
    }

    fn logits(&self, hidden: &Tensor) -> Tensor {
        let products = at_least_float(&self.weights.head.forward(hidden));
        autograd::finish(self.config.logits(), &products)
    }

    /// Prefills rows that fit into one forward pass. Returns the logits `[prompts, vocab]`.
    fn prefill_chunk(&mut self, prompts: &[&[u32]]) -> Result<Tensor, PolicyError> {
        let rows: Vec<_> =
            prompts.iter().map(|prompt| TokenRow { prompt, completion: &[] }).collect();
        let batch = TokenBatch::new(&rows, self.device)?;
        let rows = RaggedLayout::new(&batch, self.device);
        let ids = batch.tokens().view([-1]).index_select(0, &rows.order);
        let angles = self.rotations.map(|table| table.index_select(0, &rows.positions));
        let mut kept = Vec::with_capacity(self.config.num_hidden_layers);
        let mut ends = self
            .states
            .as_ref()
            .and(delta_nets(self.config))
            .map(|(plan, _)| PromptEnds::new(&plan, &rows, prompts, self.device));
        let attend = Attend::Prompt { rows: &rows, kept: &mut kept, ends: &mut ends };
        let hidden = self.forward(&ids, &angles, attend);
        let mut states = ends.map(PromptEnds::into_rows).unwrap_or_default().into_iter();
        let kv_heads = size(self.config.num_key_value_heads);
        let mut last = Vec::with_capacity(prompts.len());
        for (&start, prompt) in rows.starts.iter().zip(prompts) {
            last.push(size(start + prompt.len() - 1));
            let own = |layer: &Tensor| layer.narrow(0, size(start), size(prompt.len()));
            let layers: Vec<Tensor> = kept.iter().map(own).collect();
            let joined = if layers.is_empty() {
                let shape = [0, 2 * kv_heads, size(prompt.len()), size(self.config.head_dim)];
                Tensor::zeros(shape, (self.weights.compute, self.device))
            } else {
                Tensor::stack(&layers, 0).transpose(1, 2)
            };
            let (keys, values) =
                (joined.narrow(1, 0, kv_heads), joined.narrow(1, kv_heads, kv_heads));
            let states = states.next();
            self.prefixes.push(Some(Prefix { keys, values, states, len: prompt.len() }));
        }
        let last = upload(&last, self.device);
        Ok(self.logits(&hidden.index_select(0, &last)))
    }

    /// Layout of the rows at `places` with `lens` positions, the new one left out. Both by place; `at`
    /// holds the same lengths on the device.
    fn attention_group(&self, places: Range<usize>, lens: &[usize], at: &Tensor) -> AttentionGroup {
        let own = &lens[places.clone()];
        let shortest = own.iter().copied().min().unwrap_or(0);
        let longest = own.iter().copied().max().unwrap_or(0);
        let at = at.narrow(0, size(places.start), size(places.len()));
        let ragged = shortest != longest;
        let key_span = |first: usize, window: Option<usize>| {
            let span = first..longest + 1;
            let mask = ragged.then(|| self.cache.mask(&at, &span, window));
            KeySpan { span, mask }
        };
        let mut windows: Vec<(usize, KeySpan)> = Vec::new();
        for window in self.config.sliding_windows.iter().copied().flatten() {
            if window <= longest && windows.iter().all(|(known, _)| *known != window) {
                windows
                    .push((window, key_span((shortest + 1).saturating_sub(window), Some(window))));
            }
        }
        AttentionGroup { places, full: key_span(0, None), windows }
    }

    /// Whether rows attend by their lengths, without masks.
    fn by_lengths(&self) -> bool {
        let attention = |layer: &FusedLayer| match &layer.mixer {
            FusedMixer::Attention(attention) => {
                packed::misfit(&attention.plan, self.weights.compute).is_none()
            }
            FusedMixer::DeltaNet(_) => true,
        };
        FastPath::CachedAttention.is_taken(self.device) && self.weights.layers.iter().all(attention)
    }

    /// Makes room for `rows` rows of `positions` positions, keeping the first `kept_rows`.
    fn reserve(&mut self, rows: usize, positions: usize, kept_rows: usize) {
        self.cache.reserve(rows, positions, self.max_rows, kept_rows);
        if let Some(states) = &mut self.states {
            states.reserve(rows, self.max_rows, kept_rows);
        }
    }

    fn move_rows(&self, moves: &[Move], positions: usize) {
        if moves.is_empty() {
            return;
        }
        let places = |values: Vec<i64>| upload(&values, self.device);
        let from = places(moves.iter().map(|row| size(row.from)).collect());
        let to = places(moves.iter().map(|row| size(row.to)).collect());
        self.cache.move_rows(&from, &to, positions);
        if let Some(states) = &self.states {
            states.move_rows(&from, &to);
        }
    }
}

#[cfg(test)]
impl CachedDecoder<'_> {
    /// Numbers of each row in the states of gated delta-nets.
    pub(crate) fn state_numbers(&self) -> usize {
        self.states.as_ref().map_or(0, StateCache::numbers)
    }
}

impl Decoder for CachedDecoder<'_> {
    fn prefill(&mut self, prompts: &[&[u32]]) -> Result<Prefill, PolicyError> {
        check_prompts(prompts, self.config.vocab_size, self.max_positions)?;
        let first = self.prefixes.len();
        let mut logits = Vec::new();
        let mut rest = prompts;
        let most = if self.device == Device::Cpu { PREFILL_TOKENS } else { PREFILL_TOKENS_GPU };
        while !rest.is_empty() {
            let mut tokens = 0;
            let fitting = rest
                .iter()
                .enumerate()
                .take_while(|(row, prompt)| {
                    tokens += prompt.len();
                    *row == 0 || (!self.batch_invariant && tokens <= most)
                })
                .count();
            let (chunk, later) = rest.split_at(fitting);
            logits.push(tch::no_grad(|| self.prefill_chunk(chunk))?);
            rest = later;
        }
        let prefixes = (first..self.prefixes.len()).map(PrefixId).collect();
        Ok(Prefill { prefixes, logits: Tensor::cat(&logits, 0) })
    }

    fn fork(&mut self, prefix: PrefixId, count: usize) -> Result<(), PolicyError> {
        let len = self.prefixes.len();
        let unknown = PolicyError::NoSuchIndex { name: "prefix", index: prefix.0, len };
        let Some(taken) = self.prefixes.get_mut(prefix.0).and_then(Option::take) else {
            return Err(unknown);
        };
        let row = self.lens.len();
        tch::no_grad(|| {
            self.reserve(row + count, taken.len + 1, row);
            self.cache.fill(row, count, &taken);
            if let Some((states, prompt)) = self.states.as_ref().zip(taken.states.as_ref()) {
                states.fill(row, count, prompt);
            }
        });
        self.lens.extend(std::iter::repeat_n(taken.len, count));
        self.layout.push(count);
        self.prefixes[prefix.0] = Some(taken);
        Ok(())
    }

    fn release(&mut self, prefix: PrefixId) {
        if let Some(prefix) = self.prefixes.get_mut(prefix.0) {
            *prefix = None;
        }
    }

    fn step(&mut self, tokens: &[u32]) -> Result<Tensor, PolicyError> {
        let expected = self.lens.len();
        if tokens.len() != expected {
            return Err(PolicyError::RowCount { name: "tokens", found: tokens.len(), expected });
        }
        let longest = self.lens.iter().copied().max().ok_or(PolicyError::NoRows)?;
        if let Some(row) = self.lens.iter().position(|&len| len >= self.max_positions) {
            let (len, max_positions) = (self.lens[row] + 1, self.max_positions);
            return Err(PolicyError::RowTooLong { row, len, max_positions });
        }
        for (row, token) in tokens.iter().enumerate() {
            check_tokens(row, std::slice::from_ref(token), self.config.vocab_size)?;
        }
        let logits = tch::no_grad(|| {
            let rows = if self.batch_invariant { expected.max(INVARIANT_ROWS) } else { expected };
            self.reserve(rows, longest + 1, expected);
            let (groups, moves) = self.layout.arrange(&self.lens);
            self.move_rows(&moves, longest);
            let row_at = |place: usize| self.layout.rows()[place.min(expected - 1)];
            // Places behind the rows only bring their number to `INVARIANT_ROWS`.
            let len_at = |place| if place < expected { self.lens[row_at(place)] } else { 0 };
            let lens: Vec<usize> = (0..rows).map(len_at).collect();
            let column = |values: Vec<i64>| upload(&values, self.device);
            let ids = column((0..rows).map(|place| i64::from(tokens[row_at(place)])).collect());
            let at = column(lens.iter().map(|&len| size(len)).collect());
            let angles = self.rotations.map(|table| table.index_select(0, &at));
            let slots = Slots::new(&at);
            let hidden = if self.cache.in_blocks() {
                self.forward(&ids, &angles, Attend::Newest { positions: &lens })
            } else if self.batch_invariant {
                let lens: Vec<usize> = lens.iter().map(|len| len + 1).collect();
                self.forward(&ids, &angles, Attend::Alone { slots: &slots, lens: &lens })
            } else if let Some(rows) =
                self.by_lengths().then(|| self.cache.rows(&at, longest + 1)).flatten()
            {
                self.forward(&ids, &angles, Attend::Lengths { slots: &slots, rows: &rows })
            } else {
                let groups: Vec<AttentionGroup> = groups
                    .into_iter()
                    .map(|places| self.attention_group(places, &lens, &at))
                    .collect();
                self.forward(&ids, &angles, Attend::Cache { slots: &slots, groups: &groups })
            };
            // From places to rows.
            let places = self.layout.places();
            let hidden = if places.is_sorted() {
                hidden
            } else {
                let place_of = |row: usize| size(places[row.min(expected - 1)]);
                hidden.index_select(0, &column((0..rows).map(place_of).collect()))
            };
            self.logits(&hidden).narrow(0, 0, size(expected))
        });
        for len in &mut self.lens {
            *len += 1;
        }
        Ok(logits)
    }

    fn retain(&mut self, rows: &[usize]) -> Result<(), PolicyError> {
        let len = self.lens.len();
        if let Some(&index) = rows.iter().find(|&&row| row >= len) {
            return Err(PolicyError::NoSuchIndex { name: "row", index, len });
        }
        let lens: Vec<usize> = rows.iter().map(|&row| self.lens[row]).collect();
        let longest = lens.iter().copied().max().unwrap_or(0);
        let moves = self.layout.retain(rows);
        tch::no_grad(|| {
            self.reserve(rows.len(), longest, len);
            self.move_rows(&moves, longest);
        });
        self.lens = lens;
        Ok(())
    }

    fn rows(&self) -> usize {
        self.lens.len()
    }
}

/// The gated delta-nets of a model, and how many there are.
fn delta_nets(config: &ModelConfig) -> Option<(DeltaNetPlan, usize)> {
    let plans = config.layers().into_iter().filter_map(|layer| match layer.mixer {
        MixerPlan::DeltaNet(plan) => Some(plan),
        MixerPlan::Attention(_) => None,
    });
    let plans: Vec<DeltaNetPlan> = plans.collect();
    Some((*plans.first()?, plans.len()))
}

/// `x` plus the projection of `input`, which is normalized before if there is a `norm`.
fn add(matrix: &Matrix, input: &Tensor, x: &Tensor, norm: Option<&Tensor>, unit: &Unit) -> Tensor {
    match norm {
        None => matrix.add(input, x),
        Some(norm) => x.addcmul(&unit.of(&matrix.forward(input)), norm),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::architecture::Architecture;
    use crate::model::CausalLm;
    use crate::policy::recompute::RecomputeDecoder;

    /// Runs of rows of 3 to 90 tokens that come and go. It returns the logits of every step, and
    /// whether `is_moved` held before the first row left.
    fn logits<D: Decoder>(decoder: &mut D, is_moved: impl Fn(&D) -> bool) -> (Vec<Tensor>, bool) {
        let prompts = [90_u32, 4, 50, 3, 88, 5].map(|len| (0..len).map(|i| i * 7 % 60).collect());
        let prompts: Vec<Vec<u32>> = prompts.to_vec();
        let prompts: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
        let prefill = decoder.prefill(&prompts).unwrap();
        let mut logits = vec![prefill.logits];
        let mut run = |decoder: &mut D, steps: u32| {
            for step in 0..steps {
                let rows = u32::try_from(decoder.rows()).unwrap();
                let tokens: Vec<u32> = (0..rows).map(|row| (row * 11 + step * 5) % 60).collect();
                logits.push(decoder.step(&tokens).unwrap());
            }
        };
        decoder.fork(prefill.prefixes[1], 2).unwrap();
        for prefix in [2, 0, 3, 5, 4] {
            decoder.fork(prefill.prefixes[prefix], 1).unwrap();
        }
        run(decoder, 30);
        let moved = is_moved(decoder);
        decoder.retain(&[0, 6, 2, 3]).unwrap();
        decoder.fork(prefill.prefixes[3], 3).unwrap();
        run(decoder, 30);
        // Two copies of one row, in another order.
        decoder.retain(&[5, 1, 1, 0]).unwrap();
        run(decoder, 5);
        (logits, moved)
    }

    #[test]
    fn rows_that_attend_in_groups_and_are_moved_decode_as_they_are_recomputed() {
        tch::set_num_threads(1);
        for (architecture, sliding_windows) in [
            (Architecture::Llama, vec![]),
            (Architecture::Llama, vec![Some(6), None, Some(40), None]),
            (Architecture::Qwen35, vec![]),
        ] {
            let config = ModelConfig {
                sliding_windows,
                initializer_range: 0.2,
                num_key_value_heads: 2,
                ..ModelConfig::small(architecture, 60)
            };
            let policy = CausalLm::init(&config, 3, Device::Cpu).unwrap();
            let policy = policy.with_compute(Kind::Double).unwrap();
            let options =
                DecoderOptions { max_rows: 8, max_positions: 200, batch_invariant: false };
            let (expected, _) = logits(&mut RecomputeDecoder::new(&policy, &options), |_| false);
            for (group_cost, is_moved) in [(Some(0), false), (Some(30), true), (None, false)] {
                let mut decoder = policy.cached_decoder(&options);
                decoder.layout = Layout::new(group_cost);
                let is_sorted = |decoder: &CachedDecoder<'_>| decoder.layout.rows().is_sorted();
                let (actual, moved) = logits(&mut decoder, |decoder| !is_sorted(decoder));
                assert_eq!(moved, is_moved, "with {group_cost:?}");
                for (actual, expected) in actual.iter().zip(&expected) {
                    let error = (actual - expected).abs().max().double_value(&[]);
                    assert!(error < 1e-9, "{error} with {group_cost:?}");
                }
            }
            // In `Float` a kernel takes each row by itself.
            let policy = policy.with_compute(Kind::Float).unwrap();
            let mut decoder = policy.cached_decoder(&options);
            assert!(decoder.cache.in_blocks());
            let (actual, moved) =
                logits(&mut decoder, |decoder| !decoder.layout.rows().is_sorted());
            assert!(!moved);
            for (actual, expected) in actual.iter().zip(&expected) {
                let error = (actual - expected).abs().max().double_value(&[]);
                assert!(error < 1e-4, "{error} in `Float`");
            }
        }
    }
}
