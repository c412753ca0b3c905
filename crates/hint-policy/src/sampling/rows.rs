//! One token for each row of logits, with as little work on the host as possible.

use tch::{Device, Kind, Tensor};

use super::SamplingParams;
use super::draw::{BLOCK, Drawn, choose_block, draw, draw_in_block, greedy};
use crate::batch::{len, size};

/// Probabilities that are computed at a time, in elements: 16 MiB, which the allocator reuses
/// instead of asking for fresh pages.
const CHUNK_ELEMENTS: usize = 1 << 22;

/// How one row is drawn from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Draw<'a> {
    pub(super) params: &'a SamplingParams,
    /// In `[0, 1)`. Greedy rows have one too: it belongs to the position, not to the draw.
    pub(super) uniform: f64,
}

/// Draws from `logits` `[rows, vocab]`. `None` for a row that is not finite.
///
/// Rows that draw from the whole vocabulary stay on their device: what comes back are the sums of
/// blocks of probabilities, and then the one block that holds the drawn token. Greedy rows and
/// rows that remove tokens are copied to the host.
pub(super) fn draw_rows(logits: &Tensor, draws: &[Draw<'_>]) -> Vec<Option<Drawn>> {
    let on_host = |draw: &Draw<'_>| draw.params.temperature == 0.0 || draw.params.truncates();
    let (hosted, whole): (Vec<usize>, Vec<usize>) =
        (0..draws.len()).partition(|&row| on_host(&draws[row]));
    let mut drawn = vec![None; draws.len()];
    let of = |rows: &[usize]| rows.iter().map(|&row| draws[row]).collect::<Vec<_>>();
    if !whole.is_empty() {
        let results = draw_from_all(&select(logits, &whole, draws.len()), &of(&whole));
        for (row, result) in whole.iter().zip(results) {
            drawn[*row] = result;
        }
    }
    if !hosted.is_empty() {
        let params: Vec<&SamplingParams> = hosted.iter().map(|&row| draws[row].params).collect();
        let scores = host_rows(&select(logits, &hosted, draws.len()), &params);
        let vocab = scores.len() / hosted.len();
        for (row, scores) in hosted.iter().zip(scores.chunks_exact(vocab)) {
            drawn[*row] = draw_on_host(scores, &draws[*row]);
        }
    }
    drawn
}

/// Draws from one row of [`host_rows`].
pub(super) fn draw_on_host(scores: &[f32], how: &Draw<'_>) -> Option<Drawn> {
    if how.params.temperature == 0.0 {
        return greedy(scores);
    }
    draw(scores, how.params, how.uniform)
}

fn select(logits: &Tensor, rows: &[usize], all: usize) -> Tensor {
    if rows.len() == all {
        return logits.shallow_clone();
    }
    let rows: Vec<i64> = rows.iter().map(|&row| size(row)).collect();
    logits.index_select(0, &Tensor::from_slice(&rows).to_device(logits.device()))
}

fn draw_from_all(logits: &Tensor, draws: &[Draw<'_>]) -> Vec<Option<Drawn>> {
    let vocab = len(logits.size()[1]);
    let rows = (CHUNK_ELEMENTS / vocab.max(1)).max(1);
    let mut drawn = Vec::with_capacity(draws.len());
    for (draws, first) in draws.chunks(rows).zip((0..).step_by(rows)) {
        let logits = logits.narrow(0, first, size(draws.len()));
        drawn.extend(tch::no_grad(|| draw_chunk(&logits, draws)));
    }
    drawn
}

fn draw_chunk(logits: &Tensor, draws: &[Draw<'_>]) -> Vec<Option<Drawn>> {
    let (rows, vocab) = (draws.len(), len(logits.size()[1]));
    let temperatures: Vec<f64> = draws.iter().map(|draw| draw.params.temperature).collect();
    let probs = softmax(logits, &temperatures);
    let whole = vocab / BLOCK;
    let in_blocks = probs.narrow(1, 0, size(whole * BLOCK));
    let sum = |values: Tensor| values.sum_dim_intlist(-1, false, None::<Kind>);
    let mut sums = sum(in_blocks.view([size(rows), size(whole), size(BLOCK)]));
    let mut blocks = whole;
    if whole * BLOCK < vocab {
        let rest = probs.narrow(1, size(whole * BLOCK), size(vocab - whole * BLOCK));
        sums = Tensor::cat(&[sums, sum(rest).unsqueeze(1)], 1);
        blocks += 1;
    }
    let sums = host::<f64>(&sums, Kind::Double);
    let chosen: Vec<_> = draws
        .iter()
        .zip(sums.chunks_exact(blocks))
        .map(|(draw, sums)| choose_block(sums, draw.uniform))
        .collect();
    // Positions behind the last token repeat it; they are cut off below.
    let width = BLOCK.min(vocab);
    let positions: Vec<i64> = chosen
        .iter()
        .flat_map(|chosen| {
            let start = chosen.map_or(0, |chosen| chosen.block * BLOCK);
            (start..start + width).map(|position| size(position.min(vocab - 1)))
        })
        .collect();
    let positions = Tensor::from_slice(&positions).view([size(rows), size(width)]);
    let values = probs.gather(1, &positions.to_device(probs.device()), false);
    let values = host::<f32>(&values, Kind::Float);
    chosen
        .iter()
        .zip(values.chunks_exact(width))
        .map(|(chosen, values)| {
            let chosen = chosen.as_ref()?;
            draw_in_block(&values[..width.min(vocab - chosen.block * BLOCK)], chosen)
        })
        .collect()
}

/// Tempered probabilities of `logits` `[rows, vocab]`, one positive temperature per row.
fn softmax(logits: &Tensor, temperatures: &[f64]) -> Tensor {
    let first = temperatures[0];
    #[expect(clippy::float_cmp, reason = "rows share a softmax if their settings are the same")]
    if temperatures.iter().all(|&temperature| temperature == first) {
        return tempered(logits, first);
    }
    let column = Tensor::from_slice(temperatures).to_kind(logits.kind()).to_device(logits.device());
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

fn host<T: tch::kind::Element + Clone + Default>(tensor: &Tensor, kind: Kind) -> Vec<T> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_on_the_device_draw_what_the_host_draws() {
        tch::set_num_threads(1);
        // With and without an incomplete last block, and with one block only.
        for vocab in [3_i64, 256, 512, 700] {
            let wave = Tensor::arange(8 * vocab, (Kind::Float, Device::Cpu)) * 1.7;
            let logits = wave.sin().view([8, vocab]) * 3.0;
            for (index, temperature) in [1.0, 0.7].into_iter().enumerate() {
                let params = SamplingParams { temperature, ..SamplingParams::default() };
                let draws: Vec<Draw<'_>> = (0..8)
                    .map(|row| Draw {
                        params: &params,
                        uniform: (f64::from(row) * 0.37 + index as f64 * 0.11).fract(),
                    })
                    .collect();
                let host = host_rows(&logits, &[&params; 8]);
                let drawn = draw_rows(&logits, &draws);
                for (row, scores) in host.chunks_exact(len(vocab)).enumerate() {
                    let expected = draw_on_host(scores, &draws[row]).unwrap();
                    let drawn = drawn[row].unwrap();
                    assert_eq!(drawn.token, expected.token);
                    assert!((drawn.logprob - expected.logprob).abs() < 1e-6);
                }
            }
        }
    }
}
