//! Shares of clipped tokens, and other masked means, for the metrics.

use tch::{Kind, Tensor};

use super::input::sum_of_rows;
use super::loss_metrics::{LossMetrics, Summary};
use crate::metrics;
use crate::objective::{LossInput, RatioLevel};

/// Sum of `values` over `mask`, in `f64`. Both are `[batch, seq]`.
pub(crate) fn masked_sum(values: &Tensor, mask: &Tensor) -> Tensor {
    let values = values.detach().to_kind(Kind::Double);
    values.masked_fill(&mask.logical_not(), 0.0).sum(Kind::Double)
}

/// Adds the mean of `values` over `mask` to `metrics`. Both are `[batch, seq]`.
pub(crate) fn add_masked(metrics: &mut LossMetrics, name: &str, values: &Tensor, mask: &Tensor) {
    let kept = [masked_sum(values, mask), mask.sum(Kind::Double)].map(|one| metrics.keep(&one));
    metrics.observe_kept(name, Summary::Mean, kept);
}

/// Adds the mean of `values` over `mask` to `metrics`, and the extremes by the names `least` and `most`.
pub(super) fn add_masked_with_extremes(
    metrics: &mut LossMetrics,
    [mean, least, most]: [&str; 3],
    values: &Tensor,
    mask: &Tensor,
) {
    let count = metrics.keep(&mask.sum(Kind::Double));
    let sum = metrics.keep(&masked_sum(values, mask));
    metrics.observe_kept(mean, Summary::Mean, [sum, count]);
    // Nothing is least of nothing.
    if values.numel() == 0 {
        return;
    }
    let padding = mask.logical_not();
    let lowest = metrics.keep(&values.masked_fill(&padding, f64::INFINITY).min());
    metrics.observe_kept(least, Summary::Least, [lowest, count]);
    let highest = metrics.keep(&values.masked_fill(&padding, f64::NEG_INFINITY).max());
    metrics.observe_kept(most, Summary::Most, [highest, count]);
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
pub(super) fn add_share(
    metrics: &mut LossMetrics,
    name: &str,
    flags: &Tensor,
    input: &LossInput<'_>,
) {
    let weights = flag_weights(input);
    let kept = [set(flags, &weights), weights.sum(Kind::Double)].map(|one| metrics.keep(&one));
    metrics.observe_kept(name, Summary::Mean, kept);
}

/// The weights of set flags, added up.
fn set(flags: &Tensor, weights: &Tensor) -> Tensor {
    (flags.to_kind(Kind::Double) * weights).sum(Kind::Double)
}

/// Adds the shares of ratios clipped from below (`low`) and above (`high`), both `[batch, seq]` and
/// `Bool`, with the extremes over completions.
pub(super) fn add_clip_ratios(
    metrics: &mut LossMetrics,
    low: &Tensor,
    high: &Tensor,
    input: &LossInput<'_>,
) {
    let weights = flag_weights(input);
    let lens = sum_of_rows(&input.mask.to_kind(Kind::Double));
    let of_rows =
        |flags: &Tensor| sum_of_rows(&flags.logical_and(input.mask).to_kind(Kind::Double)) / &lens;
    let total = metrics.keep(&weights.sum(Kind::Double));
    for (name, flags) in [
        (metrics::CLIP_RATIO_LOW, low),
        (metrics::CLIP_RATIO_HIGH, high),
        (metrics::CLIP_RATIO_REGION, &low.logical_or(high)),
    ] {
        let sum = metrics.keep(&set(flags, &weights));
        metrics.observe_kept(name, Summary::Mean, [sum, total]);
    }
    let (least, most) = (metrics.keep(&of_rows(low)), metrics.keep(&of_rows(high)));
    let lens = metrics.keep(&lens);
    metrics.observe_kept(metrics::CLIP_RATIO_LOW_MIN, Summary::Least, [least, lens]);
    metrics.observe_kept(metrics::CLIP_RATIO_HIGH_MAX, Summary::Most, [most, lens]);
}
