//! Shares of clipped tokens, and other masked means, for the metrics.

use tch::{Kind, Tensor};

use super::input::sum_of_rows;
use crate::metrics::{self, Metrics};
use crate::objective::{LossInput, RatioLevel};

/// Adds the mean of `values` over `mask` to `metrics`. Both are `[batch, seq]`.
pub(crate) fn add_masked(metrics: &mut Metrics, name: &str, values: &Tensor, mask: &Tensor) {
    let values = values.detach().to_kind(Kind::Double).masked_fill(&mask.logical_not(), 0.0);
    let sum = values.sum(Kind::Double).double_value(&[]);
    metrics.add(name, sum, mask.sum(Kind::Double).double_value(&[]));
}

/// What a clip flag counts as: a token with a token ratio, a whole completion with a sequence ratio.
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
    let sum = (flags.to_kind(Kind::Double) * &weights).sum(Kind::Double).double_value(&[]);
    metrics.add(name, sum, weights.sum(Kind::Double).double_value(&[]));
}

/// Adds the shares of ratios clipped from below (`low`) and above (`high`), both `[batch, seq]` and
/// `Bool`, with the extremes over completions.
pub(super) fn add_clip_ratios(
    metrics: &mut Metrics,
    low: &Tensor,
    high: &Tensor,
    input: &LossInput<'_>,
) {
    add_share(metrics, metrics::CLIP_RATIO_LOW, low, input);
    add_share(metrics, metrics::CLIP_RATIO_HIGH, high, input);
    add_share(metrics, metrics::CLIP_RATIO_REGION, &low.logical_or(high), input);
    let lens = sum_of_rows(&input.mask.to_kind(Kind::Double));
    let of_rows = |flags: &Tensor| {
        let set = sum_of_rows(&flags.logical_and(input.mask).to_kind(Kind::Double));
        let shares = (set / &lens).masked_select(&lens.gt(0.0)).to_device(tch::Device::Cpu);
        Vec::<f64>::try_from(shares).expect("the tensor is dense and f64")
    };
    for share in of_rows(low) {
        metrics.add_min(metrics::CLIP_RATIO_LOW_MIN, share);
    }
    for share in of_rows(high) {
        metrics.add_max(metrics::CLIP_RATIO_HIGH_MAX, share);
    }
}
