//! One token for each row of logits, where that is done fastest.

use tch::{Device, Tensor};

use crate::sampling::device::{draw_on_device, select};
use crate::sampling::draw::{SampledToken, draw_on_host};
use crate::sampling::mode::{Draw, SamplingMode};
use crate::sampling::params::SamplingParams;
use crate::sampling::probs::host_rows;
use crate::tensor::upload;

/// A logit that nothing is drawn by: far below all others, and finite, as every logit must be.
const EXCLUDED: f64 = -1e30;

/// `logits` `[rows, vocab]` without the tokens that the rows exclude. Each row has its parameters and the
/// number of tokens that it has drawn.
pub(super) fn exclude<'p>(
    logits: &Tensor,
    rows: impl Iterator<Item = (&'p SamplingParams, usize)>,
) -> Tensor {
    let vocab = logits.size()[1];
    let places = (0_i64..).zip(rows).flat_map(|(row, (params, drawn))| {
        params.excluded(drawn).map(move |token| row * vocab + i64::from(token))
    });
    let places = places.collect::<Vec<_>>();
    if places.is_empty() {
        return logits.shallow_clone();
    }
    let places = upload(&places, logits.device());
    tch::no_grad(|| logits.flatten(0, 1).index_fill(0, &places, EXCLUDED).view_as(logits))
}

/// Draws from `logits` `[rows, vocab]`. `None` for a row that is not finite.
///
/// All is drawn on the device of the logits, with an exception on a CPU. There, greedy rows and rows
/// that remove tokens take less time in loops than in tensors.
pub(super) fn draw_rows(logits: &Tensor, draws: &[Draw<'_>]) -> Vec<Option<SampledToken>> {
    let in_loops = |draw: &Draw<'_>| draw.mode() != SamplingMode::Whole;
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
