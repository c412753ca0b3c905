//! Decoding with a key-value cache, for rows of different lengths.

use tch::{Device, Kind, Tensor};

use super::cache::{KeyValueCache, Prefix, Slots};
use super::{Decoder, DecoderOptions, Prefill, PrefixId, check_prompts, check_tokens};
use crate::PolicyError;
use crate::batch::size;
use crate::logprobs::at_least_float;
use crate::model::{FusedWeights, Matrix, ModelConfig, rope_tables, sliding_mask};

/// Tokens that are prefilled at a time, padding included: bounds the memory of activations.
const PREFILL_TOKENS: usize = 4096;

/// Decoder of [`CausalLm`](crate::CausalLm).
///
/// Rows occupy the first places of one preallocated cache; a row that leaves is replaced by moving
/// another one, so that a step never computes for rows that have finished. Attention reads as many
/// positions as the longest row has.
#[derive(Debug)]
pub(crate) struct CachedDecoder<'a> {
    config: &'a ModelConfig,
    weights: FusedWeights,
    device: Device,
    max_rows: usize,
    max_positions: usize,
    batch_invariant: bool,
    /// `[max_positions, 1, head_dim / 2]`, complex.
    rotations: Tensor,
    /// As `rotations`, for the layers that have frequencies of their own.
    local_rotations: Option<Tensor>,
    cache: KeyValueCache,
    /// Tokens in the cache, per row.
    lens: Vec<usize>,
    prefixes: Vec<Option<Prefix>>,
}

/// How the rows of one forward pass attend.
enum Attend<'a> {
    /// Each of `batch` rows of `seq` tokens to itself; keys and values are kept.
    Prompt { batch: i64, seq: i64, kept: &'a mut Vec<Tensor> },
    /// One token of each row to the cache, which holds `len` positions of the longest row.
    Cache {
        len: usize,
        /// Positions of each row, if each attends alone.
        alone: Option<&'a [usize]>,
        /// Where each row's new keys and values go.
        slots: &'a Slots,
        /// What is hidden in layers without a window.
        full: Option<&'a Tensor>,
        /// What is hidden in layers with the window.
        sliding: &'a [(usize, Tensor)],
    },
}

/// Rotations of the tokens of one forward pass.
struct Angles {
    global: Tensor,
    local: Option<Tensor>,
}

impl Angles {
    fn of(&self, config: &ModelConfig, layer: usize) -> &Tensor {
        self.local.as_ref().filter(|_| config.is_local(layer)).unwrap_or(&self.global)
    }
}

impl<'a> CachedDecoder<'a> {
    pub(crate) fn new(
        config: &'a ModelConfig,
        weights: FusedWeights,
        options: &DecoderOptions,
    ) -> Self {
        let device = weights.embedding.device();
        let max_positions = options.max_positions.clamp(1, config.max_position_embeddings);
        let kind = if weights.compute == Kind::Double { Kind::Double } else { Kind::Float };
        let rotations = |config: &ModelConfig| {
            let (cos, sin) = rope_tables(config, max_positions, kind, device);
            Tensor::complex(&cos, &sin).unsqueeze(1)
        };
        Self {
            config,
            device,
            max_rows: options.max_rows.max(1),
            max_positions,
            batch_invariant: options.batch_invariant,
            rotations: rotations(config),
            local_rotations: config.local().as_ref().map(rotations),
            cache: KeyValueCache::new(config, weights.compute, device),
            weights,
            lens: Vec::new(),
            prefixes: Vec::new(),
        }
    }

    /// Runs `ids` (flattened rows) through the blocks. Returns the normalized hidden states
    /// `[ids, hidden]`. `angles` are complex `[ids, 1, head_dim / 2]`.
    fn forward(&self, ids: &Tensor, angles: &Angles, mut attend: Attend<'_>) -> Tensor {
        let config = self.config;
        let (heads, kv_heads) =
            (size(config.num_attention_heads), size(config.num_key_value_heads));
        let head_dim = size(config.head_dim);
        let tokens = ids.numel();
        let tokens = size(tokens);
        let hidden_eps = (config.rms_norm_eps * config.hidden_size as f64).sqrt();
        let head_eps = (config.rms_norm_eps * config.head_dim as f64).sqrt();
        let kind = angles_kind(&angles.global);
        let hidden_eps = Tensor::full([1], hidden_eps, (kind, self.device));
        let head_eps = Tensor::full([1], head_eps, (kind, self.device));
        let mut x = self.weights.embedding.index_select(0, ids);
        if let Some(scale) = self.weights.embedding_scale {
            let _ = x.g_mul_scalar_(scale);
        }
        for (index, layer) in self.weights.layers.iter().enumerate() {
            let qkv = layer.qkv.forward(&unit(&x, &hidden_eps));
            let all = qkv.view([tokens, heads + 2 * kv_heads, head_dim]);
            let rotary = all.narrow(1, 0, heads + kv_heads);
            let angles = angles.of(config, index);
            rotate(&rotary, angles, layer.head_norm.as_ref().map(|norm| (norm, &head_eps)));
            let attended = match &mut attend {
                Attend::Prompt { batch, seq, kept } => {
                    let window = config.sliding_window(index).filter(|&window| size(window) < *seq);
                    let mask = window.map(|window| sliding_mask(*seq, window, &x));
                    let split = all.view([*batch, *seq, -1, head_dim]).transpose(1, 2);
                    let query = split.narrow(1, 0, heads);
                    let key = split.narrow(1, heads, kv_heads);
                    let value = split.narrow(1, heads + kv_heads, kv_heads);
                    kept.push(split.narrow(1, heads, 2 * kv_heads));
                    Tensor::scaled_dot_product_attention(
                        &query,
                        &key,
                        &value,
                        mask.as_ref(),
                        0.0,
                        mask.is_none(),
                        config.attention_scale(),
                        heads != kv_heads,
                    )
                    .transpose(1, 2)
                    .reshape([tokens, heads * head_dim])
                }
                Attend::Cache { len, alone, slots, full, sliding } => {
                    let key = all.narrow(1, heads, kv_heads);
                    let value = all.narrow(1, heads + kv_heads, kv_heads);
                    self.cache.write(index, slots, &key, &value);
                    let (query, window) = (all.narrow(1, 0, heads), config.sliding_window(index));
                    if let Some(lens) = alone {
                        self.cache.attend_alone(index, &query, lens, window)
                    } else {
                        let mask = window
                            .and_then(|window| sliding.iter().find(|(own, _)| *own == window))
                            .map_or(*full, |(_, mask)| Some(mask));
                        self.cache.attend(index, &query, *len, mask)
                    }
                }
            };
            let (after_attention, after_mlp) =
                layer.sandwich.as_ref().map(|(attention, mlp)| (attention, mlp)).unzip();
            x = add(&layer.output, &attended, &x, after_attention, &hidden_eps);
            let normed = unit(&x, &hidden_eps);
            let gate = config.gate(&layer.gate, &normed, self.batch_invariant);
            let gated = layer.up.mul(&normed, &gate);
            x = add(&layer.down, &gated, &x, after_mlp, &hidden_eps);
        }
        unit(&x, &hidden_eps) * &self.weights.norm
    }

    /// What `pick` takes from the tables of rotations.
    fn angles(&self, pick: impl Fn(&Tensor) -> Tensor) -> Angles {
        Angles { global: pick(&self.rotations), local: self.local_rotations.as_ref().map(pick) }
    }

    fn logits(&self, hidden: &Tensor) -> Tensor {
        at_least_float(&self.weights.head.forward(hidden))
    }

    /// Prefills rows that fit into one forward pass. Returns the logits `[prompts, vocab]`.
    fn prefill_chunk(&mut self, prompts: &[&[u32]]) -> Tensor {
        let seq = prompts.iter().map(|prompt| prompt.len()).max().unwrap_or(1);
        let batch = prompts.len();
        let mut ids = vec![0_i64; batch * seq];
        for (prompt, row) in prompts.iter().zip(ids.chunks_exact_mut(seq)) {
            for (&id, out) in prompt.iter().zip(row) {
                *out = i64::from(id);
            }
        }
        let ids = Tensor::from_slice(&ids).to_device(self.device);
        let (rows, columns) = (size(batch), size(seq));
        let angles = self.angles(|table| table.narrow(0, 0, columns).repeat([rows, 1, 1]));
        let mut kept = Vec::with_capacity(self.config.num_hidden_layers);
        let attend = Attend::Prompt { batch: rows, seq: columns, kept: &mut kept };
        let hidden = self.forward(&ids, &angles, attend);
        let last: Vec<i64> = prompts
            .iter()
            .enumerate()
            .map(|(row, prompt)| size(row * seq + prompt.len() - 1))
            .collect();
        let last = Tensor::from_slice(&last).to_device(self.device);
        let kv_heads = size(self.config.num_key_value_heads);
        for (row, prompt) in (0_i64..).zip(prompts) {
            let layers: Vec<Tensor> = kept
                .iter()
                .map(|layer| layer.select(0, row).narrow(1, 0, size(prompt.len())))
                .collect();
            let joined = Tensor::stack(&layers, 0);
            let (keys, values) =
                (joined.narrow(1, 0, kv_heads), joined.narrow(1, kv_heads, kv_heads));
            self.prefixes.push(Some(Prefix { keys, values, len: prompt.len() }));
        }
        self.logits(&hidden.index_select(0, &last))
    }
}

impl Decoder for CachedDecoder<'_> {
    fn prefill(&mut self, prompts: &[&[u32]]) -> Result<Prefill, PolicyError> {
        check_prompts(prompts, self.config.vocab_size, self.max_positions)?;
        let first = self.prefixes.len();
        let mut logits = Vec::new();
        let mut rest = prompts;
        while !rest.is_empty() {
            let mut longest = 0;
            let fitting = rest
                .iter()
                .enumerate()
                .take_while(|(row, prompt)| {
                    longest = longest.max(prompt.len());
                    *row == 0 || (!self.batch_invariant && longest * (row + 1) <= PREFILL_TOKENS)
                })
                .count();
            let (chunk, later) = rest.split_at(fitting);
            logits.push(tch::no_grad(|| self.prefill_chunk(chunk)));
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
            self.cache.reserve(row + count, taken.len + 1, self.max_rows, row);
            self.cache.fill(row, count, &taken);
        });
        self.lens.extend(std::iter::repeat_n(taken.len, count));
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
            return Err(PolicyError::RowCount { name: "tokens", got: tokens.len(), expected });
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
            // Products of one row have kernels of their own, which round differently.
            let rows = if self.batch_invariant { expected.max(2) } else { expected };
            let at = |row: usize| row.min(expected - 1);
            self.cache.reserve(rows, longest + 1, self.max_rows, expected);
            let ids: Vec<i64> = (0..rows).map(|row| i64::from(tokens[at(row)])).collect();
            let ids = Tensor::from_slice(&ids).to_device(self.device);
            let with_new: Vec<usize> = (0..rows).map(|row| self.lens[at(row)] + 1).collect();
            let lens: Vec<i64> = with_new.iter().map(|&len| size(len - 1)).collect();
            let lens = Tensor::from_slice(&lens).to_device(self.device);
            let angles = self.angles(|table| table.index_select(0, &lens));
            let ragged = self.lens.iter().any(|&len| len != longest);
            let full = ragged.then(|| self.cache.mask(&lens, longest + 1, None));
            let mut sliding: Vec<(usize, Tensor)> = Vec::new();
            for window in self.config.sliding_windows.iter().copied().flatten() {
                if window <= longest && sliding.iter().all(|(known, _)| *known != window) {
                    sliding.push((window, self.cache.mask(&lens, longest + 1, Some(window))));
                }
            }
            let attend = Attend::Cache {
                len: longest + 1,
                alone: self.batch_invariant.then_some(&with_new),
                slots: &Slots::new(&lens),
                full: full.as_ref(),
                sliding: &sliding,
            };
            let hidden = self.forward(&ids, &angles, attend);
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
        let moved: Vec<(usize, usize)> =
            rows.iter().copied().enumerate().filter(|(to, from)| to != from).collect();
        if !moved.is_empty() {
            let longest = moved.iter().map(|&(_, from)| self.lens[from]).max().unwrap_or(0);
            let column = |values: Vec<i64>| Tensor::from_slice(&values).to_device(self.device);
            let to = column(moved.iter().map(|&(to, _)| size(to)).collect());
            let from = column(moved.iter().map(|&(_, from)| size(from)).collect());
            tch::no_grad(|| {
                self.cache.reserve(rows.len(), longest, self.max_rows, len);
                self.cache.move_rows(&from, &to, longest);
            });
        }
        self.lens = rows.iter().map(|&row| self.lens[row]).collect();
        Ok(())
    }

    fn rows(&self) -> usize {
        self.lens.len()
    }
}

/// `x / sqrt(|x|² + eps²)` over the last dimension, in the kind of `x`: an RMS norm without its
/// factor, which the next matrix holds. `eps` is `[1]`, of the kind of the statistics.
fn unit(x: &Tensor, eps: &Tensor) -> Tensor {
    let length = x.linalg_norm(2, [-1_i64].as_slice(), true, eps.kind());
    (x / length.hypot(eps)).to_kind(x.kind())
}

/// `x` plus the projection of `input`, which is normalized before if there is a `norm`.
fn add(matrix: &Matrix, input: &Tensor, x: &Tensor, norm: Option<&Tensor>, eps: &Tensor) -> Tensor {
    match norm {
        None => matrix.add(input, x),
        Some(norm) => x.addcmul(&unit(&matrix.forward(input), eps), norm),
    }
}

/// Rotates query and key heads `[rows, heads, head_dim]` in place, after their norms if any.
fn rotate(heads: &Tensor, angles: &Tensor, norm: Option<(&Tensor, &Tensor)>) {
    let kind = angles_kind(angles);
    let pairs = |heads: &Tensor| {
        let shape = heads.size();
        heads.view([shape[0], shape[1], shape[2] / 2, 2]).view_as_complex()
    };
    let mut heads = heads.shallow_clone();
    if norm.is_none() && heads.kind() == kind {
        let _ = pairs(&heads).g_mul_(angles);
        return;
    }
    let mut wide = heads.to_kind(kind);
    if let Some((norm, eps)) = norm {
        wide = unit(&wide, eps) * norm;
    }
    let _ = pairs(&wide.contiguous()).g_mul_(angles);
    heads.copy_(&wide);
}

fn angles_kind(angles: &Tensor) -> Kind {
    if angles.kind() == Kind::ComplexDouble { Kind::Double } else { Kind::Float }
}
