//! Attention of the newest token of each row to its cached keys and values.
//!
//! One job does everything for one key head of one row. It normalizes and rotates, writes the new entry of the cache,
//! and computes scores, softmax, weighted sum and gate. It reads only positions of its row, so rows do not depend on
//! their neighbors.

mod seen;

use std::ops::Range;

use tch::{Device, Tensor};

use crate::ffi::{Job, Memory};
use crate::kernels::decode::seen::Seen;
use crate::kernels::number::{LANES, Number, dot, sigmoid, single, widen};
use crate::kernels::{WORTH_A_THREAD, by_kind, run_on};
use crate::tensor::{len, size};

/// Positions whose keys lie side by side in the cache. Their scores are computed together.
pub(crate) const BLOCK: usize = LANES;

/// Query heads that are computed with at a time, at most.
const QUERIES: usize = 4;

/// Sizes of attention, and how scores become weights.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewestAttention {
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
    /// Factor on the scores.
    pub(crate) scale: f64,
    /// Scores `s` become `cap · tanh(s / cap)`.
    pub(crate) softcap: Option<f64>,
    /// Number of latest positions that a query sees, its own included.
    pub(crate) window: Option<usize>,
    /// Whether the result is multiplied by `sigmoid` of the gates.
    pub(crate) gated: bool,
}

/// The newest token of each row.
#[derive(Debug)]
pub(crate) struct NewestTokens<'a> {
    /// The heads of queries, keys, values and, if gated, gates: `[rows, ..]`.
    pub(crate) projected: &'a Tensor,
    /// Cosines and sines for the pairs of neighbors in a head, `[rows, .., head_dim / 2, 2]`, `Float`.
    pub(crate) angles: Option<&'a Tensor>,
    pub(crate) norms: Option<HeadNorms<'a>>,
    /// Tokens of each row that are cached, the newest left out.
    pub(crate) lens: &'a [usize],
}

/// Norms of queries and keys: `x / sqrt(|x|² + eps · width) · factor`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeadNorms<'a> {
    /// `[heads + kv_heads, head_dim]`, `Float`.
    pub(crate) factor: &'a Tensor,
    pub(crate) eps: f64,
    /// Whether a norm is over all query heads or all key heads, rather than over each.
    pub(crate) joint: bool,
    /// Whether the factor comes after the rotation.
    pub(crate) rotated: bool,
}

/// Stores the keys and values of the newest tokens and returns their attention, `[rows, heads · head_dim]`.
///
/// Rows are at the first places. `keys` are `[places, kv_heads, positions / BLOCK, head_dim, BLOCK]` and `values`
/// `[places, kv_heads, positions, head_dim]`, both of the kind of `projected`. Positions are a multiple of [`BLOCK`].
pub(crate) fn attend(
    attention: &NewestAttention,
    tokens: &NewestTokens<'_>,
    keys: &mut Tensor,
    values: &mut Tensor,
) -> Tensor {
    by_kind!(keys, attend_of(attention, tokens, keys, values))
}

fn attend_of<T: Number>(
    attention: &NewestAttention,
    tokens: &NewestTokens<'_>,
    keys: &mut Tensor,
    values: &mut Tensor,
) -> Tensor {
    let NewestAttention { heads, kv_heads, head_dim, .. } = *attention;
    let lens = tokens.lens;
    let (rows, places) = (lens.len(), len(keys.size()[0]));
    assert!(0 < rows && rows <= places, "every row has a place");
    let of_head = keys.numel() / (places * kv_heads);
    let projected = tokens.projected.contiguous();
    let angles = tokens.angles.map(Tensor::contiguous);
    let factors = tokens.norms.map(|norms| norms.factor.contiguous());
    let mut result = Tensor::empty([size(rows), size(heads * head_dim)], (T::KIND, Device::Cpu));
    let mut memory = Memory::default();
    let projected = memory.read::<T>(&projected);
    let angles = angles.as_ref().map(|angles| memory.read::<f32>(angles));
    let factors = factors.as_ref().map(|factors| memory.read::<f32>(factors));
    let norms = tokens.norms.zip(factors).map(|(norms, factors)| Norms {
        factors,
        eps: single(norms.eps),
        joint: norms.joint,
        rotated: norms.rotated,
    });
    let keys = memory.write::<T>(keys).chunks_mut(of_head);
    let values = memory.write::<T>(values).chunks_mut(of_head);
    let y = memory.write::<T>(&mut result).chunks_mut(heads / kv_heads * head_dim);
    let jobs = y.zip(keys.zip(values)).enumerate().map(|(index, (y, (keys, values)))| {
        let row = index / kv_heads;
        let token = Token {
            heads: part(projected, row, rows),
            angles: angles.map(|angles| part(angles, row, rows)),
            norms,
        };
        let (key_head, cached) = (index % kv_heads, lens[row]);
        Attend { attention, token, key_head, cached, keys, values, y }
    });
    let positions = lens.iter().map(|cached| cached + 1).sum::<usize>();
    run_on(positions * heads * head_dim / WORTH_A_THREAD, jobs);
    result
}

/// One of `count` equal parts.
fn part<T>(whole: &[T], index: usize, count: usize) -> &[T] {
    let width = whole.len() / count;
    &whole[index * width..(index + 1) * width]
}

/// One token, before norms and rotations.
struct Token<'a, T> {
    /// Of queries, keys, values and gates.
    heads: &'a [T],
    angles: Option<&'a [f32]>,
    norms: Option<Norms<'a>>,
}

#[derive(Clone, Copy)]
struct Norms<'a> {
    factors: &'a [f32],
    eps: f32,
    joint: bool,
    rotated: bool,
}

impl<T: Number> Token<'_, T> {
    /// Normalizes and rotates the head at `at`. Its norm is over `norm_span` if that is joint.
    #[inline(always)]
    fn arrange(&self, at: Range<usize>, norm_span: Range<usize>, numbers: &mut [f32]) {
        widen(&self.heads[at.clone()], numbers);
        let Some(norms) = self.norms else { return self.rotate(numbers) };
        let span = &self.heads[if norms.joint { norm_span } else { at.clone() }];
        let squares = norms.eps * span.len() as f32 + dot(span, span);
        let unit = 1.0 / squares.sqrt();
        let factors = &norms.factors[at];
        if norms.rotated {
            self.rotate(numbers);
        }
        for (number, factor) in numbers.iter_mut().zip(factors) {
            *number = *number * unit * factor;
        }
        if !norms.rotated {
            self.rotate(numbers);
        }
    }

    /// Turns pairs of neighbors.
    #[inline(always)]
    fn rotate(&self, numbers: &mut [f32]) {
        let Some(angles) = self.angles else { return };
        let (pairs, _) = numbers.as_chunks_mut::<2>();
        let (angles, _) = angles.as_chunks::<2>();
        for (pair, [cos, sin]) in pairs.iter_mut().zip(angles) {
            let [first, second] = *pair;
            *pair = [first * cos - second * sin, first * sin + second * cos];
        }
    }
}

/// Attention of the query heads that share a key head.
struct Attend<'a, T> {
    attention: &'a NewestAttention,
    token: Token<'a, T>,
    key_head: usize,
    /// Positions before the newest.
    cached: usize,
    keys: &'a mut [T],
    values: &'a mut [T],
    y: &'a mut [T],
}

impl<T: Number> Job for Attend<'_, T> {
    #[inline(always)]
    fn run(self) {
        let Self { attention, token, key_head, cached, keys, values, y } = self;
        let NewestAttention { heads, kv_heads, head_dim, .. } = *attention;
        let share = heads / kv_heads;
        let span = |first: usize, count: usize| first * head_dim..(first + count) * head_dim;
        let (of_queries, of_keys) = (span(0, heads), span(heads, kv_heads));
        let end = cached + 1;
        let first = attention.window.map_or(0, |window| end.saturating_sub(window));
        let start = first / BLOCK * BLOCK;
        let width = end.next_multiple_of(BLOCK) - start;

        let most = share.min(QUERIES);
        let mut scratch = vec![0.0; head_dim * (2 * share + 1 + most) + most * width];
        let (key, rest) = scratch.split_at_mut(head_dim);
        let (queries, rest) = rest.split_at_mut(share * head_dim);
        let (sums, rest) = rest.split_at_mut(share * head_dim);
        let (columns, scores) = rest.split_at_mut(most * head_dim);

        token.arrange(span(heads + key_head, 1), of_keys, key);
        let (column, place) = (cached % BLOCK, span(cached - cached % BLOCK, BLOCK));
        for (block, number) in keys[place].chunks_exact_mut(BLOCK).zip(&*key) {
            block[column] = T::narrow(*number);
        }
        values[span(cached, 1)].copy_from_slice(&token.heads[span(heads + kv_heads + key_head, 1)]);

        let scale = single(attention.scale);
        for (index, query) in queries.chunks_exact_mut(head_dim).enumerate() {
            token.arrange(span(key_head * share + index, 1), of_queries.clone(), query);
            for number in query {
                *number *= scale;
            }
        }
        let seen = Seen {
            keys: &keys[span(start, width)],
            values: &values[span(first, end - first)],
            hidden: first - start,
            head_dim,
            softcap: attention.softcap.map(single),
        };
        let parts = queries.chunks(QUERIES * head_dim).zip(sums.chunks_mut(QUERIES * head_dim));
        for (queries, sums) in parts {
            match queries.len() / head_dim {
                1 => seen.attend::<1, 4>(queries, columns, scores, sums),
                2 => seen.attend::<2, 2>(queries, columns, scores, sums),
                3 => seen.attend::<3, 2>(queries, columns, scores, sums),
                _ => seen.attend::<QUERIES, 1>(queries, columns, scores, sums),
            }
        }
        if attention.gated {
            let gates = span(heads + 2 * kv_heads + key_head * share, share);
            for (sum, gate) in sums.iter_mut().zip(&token.heads[gates]) {
                *sum *= sigmoid(gate.wide());
            }
        }
        for (y, sum) in y.iter_mut().zip(&*sums) {
            *y = T::narrow(*sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;

    const EPS: f64 = 0.3;

    fn random(shape: &[usize], offset: f64) -> Tensor {
        let shape: Vec<i64> = shape.iter().map(|&len| size(len)).collect();
        let values = Tensor::arange(shape.iter().product::<i64>(), (Kind::Double, Device::Cpu));
        ((values * 1.7 + offset).sin() * 1.5).view(shape.as_slice())
    }

    fn wide(tensor: &Tensor) -> Tensor {
        tensor.to_kind(Kind::Double)
    }

    /// Attention, whether norms are joint and whether their factor comes last, and whether heads are rotated.
    #[derive(Debug, Clone, Copy)]
    struct Case {
        attention: NewestAttention,
        norms: Option<(bool, bool)>,
        rotates: bool,
    }

    impl Case {
        fn new(heads: usize, kv_heads: usize, head_dim: usize) -> Self {
            let scale = 1.0 / (head_dim as f64).sqrt();
            let (softcap, window, gated) = (None, None, false);
            let attention =
                NewestAttention { heads, kv_heads, head_dim, scale, softcap, window, gated };
            Self { attention, norms: None, rotates: true }
        }
    }

    /// Tokens, and a cache whose entries from the lengths of rows on are NaN.
    struct Input {
        case: Case,
        lens: Vec<usize>,
        projected: Tensor,
        angles: Tensor,
        factor: Tensor,
        /// `[places, kv_heads, positions, head_dim]`.
        keys: Tensor,
        values: Tensor,
    }

    impl Input {
        fn new(case: Case, lens: &[usize], kind: Kind) -> Self {
            let NewestAttention { heads, kv_heads, head_dim, .. } = case.attention;
            let (rows, width) = (lens.len(), (2 * heads + 2 * kv_heads) * head_dim);
            let angles = random(&[rows, 1, head_dim / 2], 0.4);
            let positions = (lens.iter().max().unwrap() + 1).next_multiple_of(32);
            let cache = |offset| {
                let cache = random(&[rows + 1, kv_heads, positions, head_dim], offset);
                for (row, &cached) in lens.iter().enumerate() {
                    let unused = size(positions - cached);
                    let _ = cache.get(size(row)).narrow(1, size(cached), unused).fill_(f64::NAN);
                }
                cache.to_kind(kind)
            };
            Self {
                case,
                lens: lens.to_vec(),
                projected: random(&[rows, width], 0.3).to_kind(kind),
                angles: Tensor::stack(&[angles.cos(), angles.sin()], -1).to_kind(Kind::Float),
                factor: random(&[heads + kv_heads, head_dim], 0.5).to_kind(Kind::Float),
                keys: cache(0.1),
                values: cache(0.2),
            }
        }

        fn in_blocks(keys: &Tensor) -> Tensor {
            let shape = keys.size();
            let block = size(BLOCK);
            let split = keys.view([shape[0], shape[1], shape[2] / block, block, shape[3]]);
            split.transpose(-1, -2).contiguous()
        }

        /// The attention, keys in blocks and values.
        fn run(&self) -> [Tensor; 3] {
            let norms = self.case.norms.map(|(joint, rotated)| HeadNorms {
                factor: &self.factor,
                eps: EPS,
                joint,
                rotated,
            });
            let tokens = NewestTokens {
                projected: &self.projected,
                angles: self.case.rotates.then_some(&self.angles),
                norms,
                lens: &self.lens,
            };
            let (mut keys, mut values) = (Self::in_blocks(&self.keys), self.values.copy());
            let attended = attend(&self.case.attention, &tokens, &mut keys, &mut values);
            [attended, keys, values]
        }

        /// Heads from `first` on, normalized and rotated, in `Double`.
        fn arranged(&self, first: usize, count: usize) -> Tensor {
            let head_dim = size(self.case.attention.head_dim);
            let heads = wide(&self.projected).view([size(self.lens.len()), -1, head_dim]);
            let heads = heads.narrow(1, size(first), size(count));
            let turned = |heads: &Tensor| {
                if !self.case.rotates {
                    return heads.shallow_clone();
                }
                let angles = wide(&self.angles);
                let (cos, sin) = (angles.select(-1, 0), angles.select(-1, 1));
                let pairs = heads.unflatten(-1, [head_dim / 2, 2]);
                let (a, b) = (pairs.select(-1, 0), pairs.select(-1, 1));
                let turned = [&a * &cos - &b * &sin, &a * &sin + &b * &cos];
                Tensor::stack(&turned, -1).flatten(-2, -1)
            };
            let Some((joint, rotated)) = self.case.norms else { return turned(&heads) };
            let over: &[i64] = if joint { &[1, 2] } else { &[2] };
            let mean = heads.square().mean_dim(over, true, None::<Kind>);
            let width = size(if joint { count } else { 1 }) * head_dim;
            let unit = &heads / ((mean + EPS) * width as f64).sqrt();
            let factor = wide(&self.factor).narrow(0, size(first), size(count));
            if rotated { turned(&unit) * factor } else { turned(&(unit * factor)) }
        }

        /// As [`Self::run`], by the definition in `Double`.
        fn exact(&self) -> [Tensor; 3] {
            let NewestAttention { heads, kv_heads, head_dim, scale, softcap, window, gated } =
                self.case.attention;
            let (queries, fresh) = (self.arranged(0, heads), self.arranged(heads, kv_heads));
            // What is cached is rounded.
            let fresh = wide(&fresh.to_kind(self.keys.kind()));
            let all = wide(&self.projected).view([size(self.lens.len()), -1, size(head_dim)]);
            let (keys, values) = (wide(&self.keys).copy(), wide(&self.values).copy());
            let mut attended = Vec::new();
            for (row, &cached) in self.lens.iter().enumerate() {
                let first = window.map_or(0, |window| (cached + 1).saturating_sub(window));
                let seen = |cache: &Tensor, fresh: &Tensor| {
                    let cache = cache.get(size(row));
                    cache.select(1, size(cached)).copy_(&fresh.get(size(row)));
                    cache.narrow(1, size(first), size(cached + 1 - first))
                };
                let keys = seen(&keys, &fresh);
                let values = seen(&values, &all.narrow(1, size(heads + kv_heads), size(kv_heads)));
                let queries = queries.get(size(row)).view([size(kv_heads), -1, size(head_dim)]);
                let mut scores = queries.matmul(&keys.transpose(1, 2)) * scale;
                if let Some(cap) = softcap {
                    scores = (scores / cap).tanh() * cap;
                }
                let own = scores.softmax(-1, None::<Kind>).matmul(&values).flatten(0, -1);
                let gates = all.get(size(row)).narrow(0, size(heads + 2 * kv_heads), size(heads));
                attended.push(if gated { own * gates.flatten(0, -1).sigmoid() } else { own });
            }
            [Tensor::stack(&attended, 0), Self::in_blocks(&keys), values]
        }

        fn check(&self) {
            let kind = self.projected.kind();
            let tolerance = if kind == Kind::BFloat16 { 6e-3 } else { 3e-6 };
            for (ours, exact) in self.run().iter().zip(self.exact()) {
                assert!(ours.isnan().equal(&exact.isnan()), "{:?} {kind:?}", self.case);
                let [ours, exact] =
                    [ours, &exact].map(|x| wide(x).nan_to_num(0.0, None::<f64>, None::<f64>));
                let largest = exact.abs().max().double_value(&[]);
                let error = (ours - exact).abs().max().double_value(&[]);
                assert!(
                    error <= tolerance * largest,
                    "{:?} {kind:?}: {error} of {largest}",
                    self.case
                );
            }
        }
    }

    const KINDS: [Kind; 2] = [Kind::Float, Kind::BFloat16];

    #[test]
    fn attention_of_ragged_rows_equals_the_definition() {
        tch::set_num_threads(1);
        let shapes = [
            (9, 3, 64),
            (4, 4, 80),
            (4, 2, 96),
            (5, 1, 128),
            (4, 1, 256),
            (7, 1, 20),
            (6, 1, 8),
            (1, 1, 2),
        ];
        for (heads, kv_heads, head_dim) in shapes {
            for window in [None, Some(1), Some(9), Some(16), Some(40)] {
                let mut case = Case::new(heads, kv_heads, head_dim);
                case.attention.window = window;
                for kind in KINDS {
                    Input::new(case, &[0, 5, 15, 200, 16, 39, 40, 31], kind).check();
                }
            }
        }
    }

    #[test]
    fn bounds_gates_norms_and_rotations_equal_the_definition() {
        tch::set_num_threads(2);
        let norms = [None, Some((false, false)), Some((false, true)), Some((true, false))];
        for (softcap, gated) in [(Some(2.0), false), (Some(50.0), true), (None, true)] {
            for (norms, rotates) in norms.into_iter().zip([false, true, true, true]) {
                let mut case = Case { norms, rotates, ..Case::new(6, 2, 48) };
                (case.attention.softcap, case.attention.gated) = (softcap, gated);
                for kind in KINDS {
                    Input::new(case, &[50, 3, 0], kind).check();
                }
            }
        }
    }

    #[test]
    fn long_rows_equal_the_definition() {
        tch::set_num_threads(2);
        for kind in KINDS {
            Input::new(Case::new(9, 3, 64), &[7000, 3, 4095], kind).check();
        }
    }

    /// Neighbors, places, the length of the cache and the number of threads must not matter.
    #[test]
    fn a_row_alone_has_the_same_bits() {
        for kind in KINDS {
            tch::set_num_threads(2);
            let together = Input::new(Case::new(9, 3, 64), &[40, 300, 7, 123], kind);
            let [all, ..] = together.run();
            for (row, &cached) in together.lens.iter().enumerate() {
                tch::set_num_threads(1);
                let own = |tensor: &Tensor| tensor.narrow(0, size(row), 1).contiguous();
                let positions = size((cached + 1).next_multiple_of(32));
                let cache = |cache: &Tensor| own(cache).narrow(2, 0, positions).contiguous();
                let alone = Input {
                    case: together.case,
                    lens: vec![cached],
                    projected: own(&together.projected),
                    angles: own(&together.angles),
                    factor: together.factor.shallow_clone(),
                    keys: cache(&together.keys),
                    values: cache(&together.values),
                };
                assert!(alone.run()[0].equal(&own(&all)), "row {row} in {kind:?}");
            }
        }
    }
}
