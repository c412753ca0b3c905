//! Attention of each query to the keys that it sees.

use tch::Tensor;

use crate::ffi::{Job, Memory};
use crate::kernels::number::{Number, dot, exp, max, sum, widen};
use crate::kernels::{by_kind, rows_of_a_job, run_all, width};

/// Keys that rows of scores `[.., queries · share, keys]` see.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CausalMask {
    pub(crate) queries: usize,
    /// Rows of a query, which follow each other.
    pub(crate) share: usize,
    /// Key at the position of the first query.
    pub(crate) first: usize,
    /// Number of latest keys that a query sees.
    pub(crate) window: Option<usize>,
}

impl CausalMask {
    /// The keys that a row sees, its own position being the last.
    #[inline(always)]
    fn of_row(&self, row: usize) -> (usize, usize) {
        let end = self.first + row / self.share % self.queries + 1;
        (self.window.map_or(0, |window| end.saturating_sub(window)), end)
    }
}

/// Replaces scores by their softmax over the keys that are seen, and by 0 elsewhere.
pub(crate) fn softmax(scores: &mut Tensor, causal_mask: &CausalMask) {
    by_kind!(scores, softmax_of(scores, causal_mask));
}

fn softmax_of<T: Number>(scores: &mut Tensor, causal_mask: &CausalMask) {
    let width = width(scores);
    let count = rows_of_a_job(width);
    let scores = Memory::default().write::<T>(scores);
    let jobs = scores.chunks_mut(count * width).enumerate();
    run_all(jobs.map(|(index, scores)| Softmax { scores, width, row: index * count, causal_mask }));
}

struct Softmax<'a, T> {
    scores: &'a mut [T],
    width: usize,
    /// The first row.
    row: usize,
    causal_mask: &'a CausalMask,
}

impl<T: Number> Job for Softmax<'_, T> {
    #[inline(always)]
    fn run(self) {
        let mut weights = vec![0.0; self.width];
        for (index, scores) in self.scores.chunks_exact_mut(self.width).enumerate() {
            let (start, end) = self.causal_mask.of_row(self.row + index);
            let weights = &mut weights[start..end];
            normalize(&scores[start..end], weights);
            scores[..start].fill(T::narrow(0.0));
            scores[end..].fill(T::narrow(0.0));
            for (score, weight) in scores[start..end].iter_mut().zip(weights) {
                *score = T::narrow(*weight);
            }
        }
    }
}

/// The softmax of `scores`.
#[inline(always)]
fn normalize<T: Number>(scores: &[T], weights: &mut [f32]) {
    let largest = max(scores);
    for (weight, score) in weights.iter_mut().zip(scores) {
        *weight = exp(score.wide() - largest);
    }
    let factor = 1.0 / sum(weights);
    for weight in weights {
        *weight *= factor;
    }
}

/// Replaces scores by their [`softmax`], and the gradient of that by the gradient of the scores.
pub(crate) fn softmax_backward(
    scores: &mut Tensor,
    gradient: &mut Tensor,
    causal_mask: &CausalMask,
) {
    by_kind!(scores, softmax_pull_of(scores, gradient, causal_mask));
}

fn softmax_pull_of<T: Number>(
    scores: &mut Tensor,
    gradient: &mut Tensor,
    causal_mask: &CausalMask,
) {
    let width = width(scores);
    let count = rows_of_a_job(width);
    let mut memory = Memory::default();
    let scores = memory.write::<T>(scores).chunks_mut(count * width);
    let gradient = memory.write::<T>(gradient).chunks_mut(count * width);
    let jobs = scores.zip(gradient).enumerate();
    run_all(jobs.map(|(index, (scores, gradient))| {
        let softmax = Softmax { scores, width, row: index * count, causal_mask };
        SoftmaxBackward { softmax, gradient }
    }));
}

struct SoftmaxBackward<'a, T> {
    softmax: Softmax<'a, T>,
    gradient: &'a mut [T],
}

impl<T: Number> Job for SoftmaxBackward<'_, T> {
    #[inline(always)]
    fn run(self) {
        let Softmax { scores, width, row, causal_mask } = self.softmax;
        let (mut weights, mut gradients) = (vec![0.0; width], vec![0.0; width]);
        let rows = scores.chunks_exact_mut(width).zip(self.gradient.chunks_exact_mut(width));
        for (index, (scores, gradient)) in rows.enumerate() {
            let (start, end) = causal_mask.of_row(row + index);
            let (weights, gradients) = (&mut weights[start..end], &mut gradients[start..end]);
            normalize(&scores[start..end], weights);
            widen(&gradient[start..end], gradients);
            let mean = dot(weights, gradients);
            for row in [&mut *scores, &mut *gradient] {
                row[..start].fill(T::narrow(0.0));
                row[end..].fill(T::narrow(0.0));
            }
            for (score, weight) in scores[start..end].iter_mut().zip(&*weights) {
                *score = T::narrow(*weight);
            }
            for ((value, weight), wide) in
                gradient[start..end].iter_mut().zip(&*weights).zip(&*gradients)
            {
                *value = T::narrow(weight * (wide - mean));
            }
        }
    }
}
