//! One token for each row of logits, on their device: only the drawn tokens come back.

use tch::{Kind, Tensor};

use crate::sampling::draw::SampledToken;
use crate::sampling::mode::{Draw, SamplingMode};
use crate::sampling::probs::{host, softmax};
use crate::tensor::{len, size, upload};

/// Probabilities that are computed at a time on a GPU, in elements: 256 MiB of them.
const CHUNK_ELEMENTS: usize = 1 << 26;

/// As [`CHUNK_ELEMENTS`], on a CPU: 16 MiB, which the allocator reuses instead of asking for fresh pages.
const CHUNK_ELEMENTS_CPU: usize = 1 << 22;

/// Probabilities that are summed together before each one is looked at.
const BLOCK: i64 = 256;

/// Draws from `logits` `[rows, vocab]` as [`draw_on_host`](super::draw::draw_on_host) does, up to rounding.
/// `None` for a row that is not finite. Waits for the device once.
pub(super) fn draw_on_device(logits: &Tensor, draws: &[Draw<'_>]) -> Vec<Option<SampledToken>> {
    let device = logits.device();
    let chunk = if device.is_cuda() { CHUNK_ELEMENTS } else { CHUNK_ELEMENTS_CPU };
    let chunk = (chunk / len(logits.size()[1]).max(1)).max(1);
    let mut order = Vec::with_capacity(draws.len());
    let results = tch::no_grad(|| {
        let mut results = Vec::new();
        for way in [SamplingMode::Whole, SamplingMode::Truncated, SamplingMode::Greedy] {
            let rows: Vec<usize> =
                (0..draws.len()).filter(|&row| draws[row].mode() == way).collect();
            for rows in rows.chunks(chunk) {
                let own: Vec<Draw<'_>> = rows.iter().map(|&row| draws[row]).collect();
                let logits = select(logits, rows);
                let probs = || softmax(&logits, own.iter().map(|draw| draw.params.temperature));
                results.push(match way {
                    SamplingMode::Whole => invert(&probs(), &own),
                    SamplingMode::Truncated => invert(&truncated(&probs(), &own), &own),
                    SamplingMode::Greedy => greedy(&logits),
                });
            }
            order.extend(rows);
        }
        host::<f64>(&Tensor::cat(&results, 0), Kind::Double)
    });
    let mut drawn = vec![None; draws.len()];
    for (row, result) in order.into_iter().zip(results.chunks_exact(3)) {
        let (prob, total) = (result[1], result[2]);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an index of a vocabulary, which a float holds exactly"
        )]
        let token = result[0] as u32;
        if prob > 0.0 && total > 0.0 && total.is_finite() {
            drawn[row] = Some(SampledToken { token, logprob: (prob / total).ln() });
        }
    }
    drawn
}

/// The rows of `logits` that are listed, in ascending order. At least one.
pub(super) fn select(logits: &Tensor, rows: &[usize]) -> Tensor {
    let (first, count) = (rows[0], rows.len());
    if rows[count - 1] - first + 1 == count {
        return logits.narrow(0, size(first), size(count));
    }
    let rows: Vec<i64> = rows.iter().map(|&row| size(row)).collect();
    logits.index_select(0, &upload(&rows, logits.device()))
}

/// The most probable token, the lowest id among equals: `[rows, 3]`. The probability is 1 of 1, or NaN
/// if a value is not finite.
fn greedy(logits: &Tensor) -> Tensor {
    let token = logits.argmax(-1, true);
    let one = (logits.gather(1, &token, false) * 0.0 + 1.0).to_kind(Kind::Double);
    Tensor::cat(&[token.to_kind(Kind::Double), one.shallow_clone(), one], 1)
}

/// `probs` `[rows, vocab]` with 0 for the tokens that top-k, top-p and min-p remove.
fn truncated(probs: &Tensor, draws: &[Draw<'_>]) -> Tensor {
    let (kind, device) = (Kind::Double, probs.device());
    let vocab = probs.size()[1];
    let column = |value: fn(&Draw<'_>) -> f64| {
        let values: Vec<f64> = draws.iter().map(value).collect();
        upload(&values, device).unsqueeze(1)
    };
    // Stable: among equals the lower id comes first.
    let (sorted, order) = probs.sort_stable(true, -1, true);
    let top_k = column(|draw| draw.params.top_k.map_or(f64::INFINITY, |k| k as f64));
    let in_top_k = Tensor::arange(vocab, (kind, device)).unsqueeze(0).lt_tensor(&top_k);
    let sorted = sorted * in_top_k;
    // A token stays if those before it have not enough. 1 removes nothing, for any rounding.
    let cumulative = sorted.cumsum(-1, kind);
    let enough =
        column(|draw| if draw.params.top_p < 1.0 { draw.params.top_p } else { f64::INFINITY })
            * cumulative.narrow(1, vocab - 1, 1);
    let in_top_p = (cumulative - &sorted).lt_tensor(&enough);
    let floor = column(|draw| draw.params.min_p) * sorted.narrow(1, 0, 1);
    let in_min_p = sorted.to_kind(kind).ge_tensor(&floor);
    let kept = sorted * in_top_p.logical_and(&in_min_p);
    kept.zeros_like().scatter(1, &order, &kept)
}

/// Inverse of the cumulative distribution of each row of `probs` `[rows, vocab]`, which sum to anything.
///
/// Blocks are summed first, then the block that holds the drawn token. Returns `[rows, 3]` in Double:
/// the token, its value and the sum of all.
fn invert(probs: &Tensor, draws: &[Draw<'_>]) -> Tensor {
    let (kind, device) = (Kind::Double, probs.device());
    let (rows, vocab) = (size(draws.len()), probs.size()[1]);
    let whole = vocab / BLOCK;
    let sum = |values: Tensor| values.sum_dim_intlist(-1, false, None::<Kind>);
    let mut sums = sum(probs.narrow(1, 0, whole * BLOCK).view([rows, whole, BLOCK]));
    if whole * BLOCK < vocab {
        let rest = probs.narrow(1, whole * BLOCK, vocab - whole * BLOCK);
        sums = Tensor::cat(&[sums, sum(rest).unsqueeze(1)], 1);
    }
    // Below 1 by enough for the target to stay below the total, so that a block lies above it.
    let uniforms: Vec<f64> =
        draws.iter().map(|draw| draw.uniform.min(1.0 - f64::EPSILON)).collect();
    let cumulative = sums.cumsum(-1, kind).constant_pad_nd([1, 0]);
    let blocks = cumulative.size()[1] - 1;
    let total = cumulative.narrow(1, blocks, 1);
    let target = upload(&uniforms, device).unsqueeze(1) * &total;
    let reached =
        |cumulative: &Tensor| cumulative.le_tensor(&target).sum_dim_intlist(-1, true, Kind::Int64);
    let chosen = reached(&cumulative.narrow(1, 1, blocks)).clamp_max(blocks - 1);
    let below = cumulative.gather(1, &chosen, false);
    let offsets = Tensor::arange(BLOCK.min(vocab), (Kind::Int64, device));
    let positions = &chosen * BLOCK + &offsets;
    let inside = positions.lt(vocab);
    let values = probs.gather(1, &positions.clamp_max(vocab - 1), false).to_kind(kind) * inside;
    // The sum of the block was rounded: its last possible token is drawn if the target lies behind it.
    let last_possible = (values.gt(0.0) * &offsets).amax([1_i64].as_slice(), true);
    let index = reached(&(below + values.cumsum(-1, kind))).minimum(&last_possible);
    let token = (chosen * BLOCK + &index).to_kind(kind);
    Tensor::cat(&[token, values.gather(1, &index, false), total], 1)
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::sampling::draw::draw_on_host;
    use crate::sampling::params::SamplingParams;
    use crate::sampling::probs::host_rows;

    fn ways() -> Vec<SamplingParams> {
        let whole = SamplingParams::default();
        let mut ways = Vec::new();
        for temperature in [0.0, 0.7, 1.0] {
            let whole = SamplingParams { temperature, ..whole.clone() };
            ways.push(SamplingParams { top_k: Some(5), ..whole.clone() });
            ways.push(SamplingParams { top_p: 0.8, ..whole.clone() });
            ways.push(SamplingParams { min_p: 0.3, ..whole.clone() });
            ways.push(SamplingParams { top_k: Some(40), top_p: 0.9, min_p: 0.05, ..whole.clone() });
            ways.push(whole);
        }
        ways
    }

    #[test]
    fn the_device_draws_what_the_host_draws() {
        tch::set_num_threads(1);
        let ways = ways();
        // With and without an incomplete last block, with one block only, and with equal logits.
        for vocab in [3_i64, 256, 512, 700] {
            let rows = ways.len() * 20;
            let wave = Tensor::arange(size(rows) * vocab, (Kind::Float, Device::Cpu)) * 1.7;
            let logits = (wave.sin() * 30.0).round().view([size(rows), vocab]) / 10.0;
            let draws: Vec<Draw<'_>> = (0..rows)
                .map(|row| Draw {
                    params: &ways[row % ways.len()],
                    uniform: (row as f64 * std::f64::consts::SQRT_2).fract(),
                })
                .collect();
            let params: Vec<&SamplingParams> = draws.iter().map(|draw| draw.params).collect();
            let host = host_rows(&logits, &params);
            let drawn = draw_on_device(&logits, &draws);
            for (row, scores) in host.chunks_exact(len(vocab)).enumerate() {
                let expected = draw_on_host(scores, &draws[row]).unwrap();
                let drawn = drawn[row].unwrap();
                assert_eq!(drawn.token, expected.token, "{:?} of {vocab}", draws[row]);
                assert!((drawn.logprob - expected.logprob).abs() < 1e-6, "{:?}", draws[row]);
            }
        }
    }

    #[test]
    fn the_last_number_below_one_draws_a_possible_token() {
        let mut probs = vec![0.0_f32; 600];
        probs[..300].fill(0.1);
        let logits = Tensor::from_slice(&probs).log().view([1, 600]);
        let params = SamplingParams::default();
        let draws = [Draw { params: &params, uniform: 1.0 - f64::EPSILON / 2.0 }];
        assert_eq!(draw_on_device(&logits, &draws)[0].unwrap().token, 299);
    }

    #[test]
    fn rows_that_are_not_finite_draw_nothing() {
        tch::set_num_threads(1);
        let ways = ways();
        for bad in [f32::NAN, f32::INFINITY] {
            let mut values = vec![0.5_f32; 600];
            values[590] = bad;
            let logits = Tensor::from_slice(&values).view([1, 600]);
            for params in &ways {
                let draws = [Draw { params, uniform: 0.4 }];
                assert_eq!(draw_on_device(&logits, &draws), [None], "{params:?} of {bad}");
            }
        }
    }
}
