//! One token for each row of logits, where that is done fastest.

use tch::{Device, Kind, Tensor};

use super::SamplingParams;
use super::device::{draw_on_device, select};
use super::draw::{Drawn, draw, greedy};
use crate::batch::upload;

/// How one row is drawn from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Draw<'a> {
    pub(super) params: &'a SamplingParams,
    /// In `[0, 1)`. Greedy rows have one too: it belongs to the position, not to the draw.
    pub(super) uniform: f64,
}

/// What of a row a draw takes into account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// The most probable token.
    Greedy,
    /// Tokens that top-k, top-p or min-p leave.
    Truncated,
    /// Every token.
    Whole,
}

impl Draw<'_> {
    pub(super) fn way(&self) -> Way {
        if self.params.temperature == 0.0 {
            Way::Greedy
        } else if self.params.truncates() {
            Way::Truncated
        } else {
            Way::Whole
        }
    }
}

/// Draws from `logits` `[rows, vocab]`. `None` for a row that is not finite.
///
/// All is drawn on the device of the logits, but on a CPU for greedy rows and rows that remove tokens:
/// these take less time in loops than in tensors.
pub(super) fn draw_rows(logits: &Tensor, draws: &[Draw<'_>]) -> Vec<Option<Drawn>> {
    let in_loops = |draw: &Draw<'_>| draw.way() != Way::Whole;
    if logits.device() != Device::Cpu || !draws.iter().any(in_loops) {
        return draw_on_device(logits, draws);
    }
    let (looped, whole): (Vec<usize>, Vec<usize>) =
        (0..draws.len()).partition(|&row| in_loops(&draws[row]));
    let of = |rows: &[usize]| {
        let own: Vec<Draw<'_>> = rows.iter().map(|&row| draws[row]).collect();
        (select(logits, rows), own)
    };
    let mut drawn = vec![None; draws.len()];
    if !whole.is_empty() {
        let (logits, own) = of(&whole);
        for (row, result) in whole.into_iter().zip(draw_on_device(&logits, &own)) {
            drawn[row] = result;
        }
    }
    let (logits, own) = of(&looped);
    let params: Vec<&SamplingParams> = own.iter().map(|draw| draw.params).collect();
    let scores = host_rows(&logits, &params);
    let vocab = scores.len() / own.len();
    for ((row, draw), scores) in looped.into_iter().zip(&own).zip(scores.chunks_exact(vocab)) {
        drawn[row] = draw_on_host(scores, draw);
    }
    drawn
}

/// Draws from one row of [`host_rows`].
pub(super) fn draw_on_host(scores: &[f32], how: &Draw<'_>) -> Option<Drawn> {
    if how.way() == Way::Greedy {
        return greedy(scores);
    }
    draw(scores, how.params, how.uniform)
}

/// Tempered probabilities of `logits` `[rows, vocab]`, one positive temperature per row.
pub(super) fn softmax(logits: &Tensor, temperatures: impl Iterator<Item = f64>) -> Tensor {
    let temperatures: Vec<f64> = temperatures.collect();
    let first = temperatures[0];
    #[expect(clippy::float_cmp, reason = "rows share a softmax if their settings are the same")]
    if temperatures.iter().all(|&temperature| temperature == first) {
        return tempered(logits, first);
    }
    let column = upload(&temperatures, logits.device()).to_kind(logits.kind());
    (logits / column.unsqueeze(1)).softmax(-1, None::<Kind>)
}

/// Copies `logits` `[rows, vocab]` to the host in one go: as tempered probabilities where the
/// temperature is positive, as logits where it is 0. The softmax runs in libtorch, which has
/// vectorized exponentials.
pub(super) fn host_rows(logits: &Tensor, params: &[&SamplingParams]) -> Vec<f32> {
    tch::no_grad(|| {
        let first = params.first().map_or(1.0, |params| params.temperature);
        #[expect(clippy::float_cmp, reason = "rows share a softmax if their settings are the same")]
        let same = params.iter().all(|params| params.temperature == first);
        let scores = if same {
            tempered(logits, first)
        } else {
            let rows: Vec<Tensor> = params
                .iter()
                .zip(0..)
                .map(|(params, row)| tempered(&logits.narrow(0, row, 1), params.temperature))
                .collect();
            Tensor::cat(&rows, 0)
        };
        host(&scores, Kind::Float)
    })
}

pub(super) fn host<T: tch::kind::Element + Clone + Default>(tensor: &Tensor, kind: Kind) -> Vec<T> {
    let tensor = tensor.to_device(Device::Cpu).to_kind(kind).contiguous();
    let mut values = vec![T::default(); tensor.numel()];
    let count = values.len();
    tensor.copy_data(&mut values, count);
    values
}

fn tempered(logits: &Tensor, temperature: f64) -> Tensor {
    #[expect(clippy::float_cmp, reason = "exactly 1 skips an operation that would change nothing")]
    if temperature == 0.0 {
        logits.shallow_clone()
    } else if temperature == 1.0 {
        logits.softmax(-1, None::<Kind>)
    } else {
        (logits / temperature).softmax(-1, None::<Kind>)
    }
}
