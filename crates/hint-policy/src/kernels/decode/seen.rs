//! Scores, softmax and weighted sums over the cached positions that a token sees.

use crate::ffi::prefetch;
use crate::kernels::decode::BLOCK;
use crate::kernels::number::{LANES, Number, exp, max, sum, tanh};

/// Blocks of keys or values that are fetched before they are used, and the bytes that they take at most. The processor does
/// not foresee where a head's part of the cache begins, and its nearest cache has some ten thousand bytes.
const AHEAD: (usize, usize) = (2, 1 << 13);

/// Cached keys and values that a token sees.
pub(super) struct Seen<'a, T> {
    /// Whole blocks.
    pub(super) keys: &'a [T],
    /// From the first seen position on.
    pub(super) values: &'a [T],
    /// Positions before that in the first block.
    pub(super) hidden: usize,
    pub(super) head_dim: usize,
    pub(super) softcap: Option<f32>,
}

impl<T: Number> Seen<'_, T> {
    /// The attention of `N` query heads. Scores are summed in `S` parts, so that additions need not wait for each other.
    #[inline(always)]
    pub(super) fn attend<const N: usize, const S: usize>(
        &self,
        queries: &[f32],
        columns: &mut [f32],
        scores: &mut [f32],
        sums: &mut [f32],
    ) {
        let (columns, _) = columns.as_chunks_mut::<N>();
        let columns = &mut columns[..self.head_dim];
        for (head, query) in queries.chunks_exact(self.head_dim).enumerate() {
            for (column, number) in columns.iter_mut().zip(query) {
                column[head] = *number;
            }
        }
        let width = self.keys.len() / self.head_dim;
        let scores = &mut scores[..N * width];
        self.fetch_first(self.keys);
        self.score::<N, S>(columns, scores);
        let seen = self.values.len() / self.head_dim;
        let seen = self.hidden..self.hidden + seen;
        self.fetch_first(self.values);
        let mut factors = [0.0; N];
        for (scores, factor) in scores.chunks_exact_mut(width).zip(&mut factors) {
            *factor = 1.0 / exponentials(&mut scores[seen.clone()], self.softcap);
        }
        self.weigh::<N>(scores, sums);
        for (sums, factor) in sums.chunks_exact_mut(self.head_dim).zip(factors) {
            for sum in sums {
                *sum *= factor;
            }
        }
    }

    /// Elements that are fetched ahead.
    #[inline(always)]
    fn ahead(&self) -> usize {
        (AHEAD.0 * BLOCK * self.head_dim).min(AHEAD.1 / size_of::<T>())
    }

    /// Fetches the beginning of keys or values.
    #[inline(always)]
    fn fetch_first(&self, cached: &[T]) {
        prefetch(&cached[..self.ahead().min(cached.len())]);
    }

    /// Fetches as much as a block has, ahead of the block that is used now.
    #[inline(always)]
    fn fetch_ahead(&self, cached: &[T], block: usize) {
        let of_block = BLOCK * self.head_dim;
        let place = (block * of_block + self.ahead()).min(cached.len());
        prefetch(&cached[place..(place + of_block).min(cached.len())]);
    }

    /// The scores of all keys for each query; of `queries`, the same numbers of all heads lie side by side.
    #[inline(always)]
    fn score<const N: usize, const S: usize>(&self, queries: &[[f32; N]], scores: &mut [f32]) {
        let width = scores.len() / N;
        let (keys, _) = self.keys.as_chunks::<BLOCK>();
        let (query_parts, query_rest) = queries.as_chunks::<S>();
        for (block, keys) in keys.chunks_exact(queries.len()).enumerate() {
            self.fetch_ahead(self.keys, block);
            let mut sums = [[[0.0; BLOCK]; N]; S];
            let (parts, rest) = keys.as_chunks::<S>();
            for (keys, queries) in parts.iter().zip(query_parts) {
                for ((sums, key), query) in sums.iter_mut().zip(keys).zip(queries) {
                    add_products(sums, key, query);
                }
            }
            for (key, query) in rest.iter().zip(query_rest) {
                add_products(&mut sums[0], key, query);
            }
            for head in 0..N {
                let mut total = sums[0][head];
                for sums in &sums[1..] {
                    for (total, sum) in total.iter_mut().zip(&sums[head]) {
                        *total += sum;
                    }
                }
                let place = head * width + block * BLOCK;
                scores[place..place + BLOCK].copy_from_slice(&total);
            }
        }
    }

    /// Adds the sums of values times `weights`, whose rows begin with the hidden positions.
    #[inline(always)]
    fn weigh<const N: usize>(&self, weights: &[f32], sums: &mut [f32]) {
        let (head_dim, width) = (self.head_dim, weights.len() / N);
        let tiles = head_dim / LANES;
        for (block, values) in self.values.chunks(BLOCK * head_dim).enumerate() {
            self.fetch_ahead(self.values, block);
            let mut own = [[0.0; N]; BLOCK];
            let count = values.len() / head_dim;
            for head in 0..N {
                let place = head * width + self.hidden + block * BLOCK;
                for (own, weight) in own.iter_mut().zip(&weights[place..place + count]) {
                    own[head] = *weight;
                }
            }
            for tile in 0..tiles {
                let mut of_block = [[0.0; LANES]; N];
                for (value, own) in values.chunks_exact(head_dim).zip(&own) {
                    add_products(&mut of_block, &value.as_chunks::<LANES>().0[tile], own);
                }
                for (sums, of_block) in sums.chunks_exact_mut(head_dim).zip(&of_block) {
                    let sums = &mut sums[tile * LANES..(tile + 1) * LANES];
                    for (sum, of_block) in sums.iter_mut().zip(of_block) {
                        *sum += of_block;
                    }
                }
            }
            if tiles * LANES == head_dim {
                continue;
            }
            for (value, own) in values.chunks_exact(head_dim).zip(&own) {
                for (sums, weight) in sums.chunks_exact_mut(head_dim).zip(own) {
                    let (_, sums) = sums.as_chunks_mut::<LANES>();
                    for (sum, value) in sums.iter_mut().zip(value.as_chunks::<LANES>().1) {
                        *sum += weight * value.wide();
                    }
                }
            }
        }
    }
}

/// Adds `numbers` times each factor to the sums of that factor.
#[inline(always)]
fn add_products<T: Number, const N: usize>(
    sums: &mut [[f32; LANES]; N],
    numbers: &[T; LANES],
    factors: &[f32; N],
) {
    let mut wide = [0.0; LANES];
    for (wide, number) in wide.iter_mut().zip(numbers) {
        *wide = number.wide();
    }
    for (sums, factor) in sums.iter_mut().zip(factors) {
        for (sum, number) in sums.iter_mut().zip(&wide) {
            *sum += factor * number;
        }
    }
}

/// Replaces scores by the exponentials of their distances to the largest, and returns the sum of these.
#[inline(always)]
fn exponentials(scores: &mut [f32], softcap: Option<f32>) -> f32 {
    if let Some(cap) = softcap {
        for score in scores.iter_mut() {
            *score = cap * tanh(*score / cap);
        }
    }
    let largest = max(scores);
    for score in scores.iter_mut() {
        *score = exp(*score - largest);
    }
    sum(scores)
}
