//! Shares of clipped tokens, and other masked means, for the metrics.

use tch::{Kind, Tensor};

use super::input::sum_of_rows;
use crate::metrics::{self, Metrics};
use crate::objective::{LossInput, RatioLevel};
use crate::tensor::read_together;

/// Sum of `values` over `mask`, in `f64`. Both are `[batch, seq]`.
pub(crate) fn masked_sum(values: &Tensor, mask: &Tensor) -> Tensor {
    let values = values.detach().to_kind(Kind::Double);
    values.masked_fill(&mask.logical_not(), 0.0).sum(Kind::Double)
}

/// Adds the mean of `values` over `mask` to `metrics`. Both are `[batch, seq]`.
pub(crate) fn add_masked(metrics: &mut Metrics, name: &str, values: &Tensor, mask: &Tensor) {
    let [sum, count] = read_together([&masked_sum(values, mask), &mask.sum(Kind::Double)]);
    metrics.add(name, sum[0], count[0]);
}

/// Count of clip flags: tokens with a token ratio, whole completions with a sequence ratio.
/// `[batch, seq]`.
fn flag_weights(input: &LossInput<'_>) -> Tensor {
    let mask = input.mask.to_kind(Kind::Double);
    match input.ratio_level {
        RatioLevel::Token => mask,
        RatioLevel::Sequence => mask / input.lens(Kind::Double),
    }
}

/// Adds the share of set `flags` (`[batch, seq]`, `Bool`).
pub(super) fn add_share(metrics: &mut Metrics, name: &str, flags: &Tensor, input: &LossInput<'_>) {
    let weights = flag_weights(input);
    let [sum, total] = read_together([&set(flags, &weights), &weights.sum(Kind::Double)]);
    metrics.add(name, sum[0], total[0]);
}

/// The weights of set flags, added up.
fn set(flags: &Tensor, weights: &Tensor) -> Tensor {
    (flags.to_kind(Kind::Double) * weights).sum(Kind::Double)
}

/// Adds the shares of ratios clipped from below (`low`) and above (`high`), both `[batch, seq]` and
/// `Bool`, with the extremes over completions.
pub(super) fn add_clip_ratios(
    metrics: &mut Metrics,
    low: &Tensor,
    high: &Tensor,
    input: &LossInput<'_>,
) {
    let weights = flag_weights(input);
    let lens = sum_of_rows(&input.mask.to_kind(Kind::Double));
    let of_rows =
        |flags: &Tensor| sum_of_rows(&flags.logical_and(input.mask).to_kind(Kind::Double)) / &lens;
    let [total, lows, highs, region, lens, low_shares, high_shares] = read_together([
        &weights.sum(Kind::Double),
        &set(low, &weights),
        &set(high, &weights),
        &set(&low.logical_or(high), &weights),
        &lens,
        &of_rows(low),
        &of_rows(high),
    ]);
    metrics.add(metrics::CLIP_RATIO_LOW, lows[0], total[0]);
    metrics.add(metrics::CLIP_RATIO_HIGH, highs[0], total[0]);
    metrics.add(metrics::CLIP_RATIO_REGION, region[0], total[0]);
    for (row, _) in lens.iter().enumerate().filter(|(_, len)| **len > 0.0) {
        metrics.add_min(metrics::CLIP_RATIO_LOW_MIN, low_shares[row]);
        metrics.add_max(metrics::CLIP_RATIO_HIGH_MAX, high_shares[row]);
    }
}
