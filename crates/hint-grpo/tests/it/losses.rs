//! Guarantees of the objectives, on single tokens.

use hint_grpo::objective::{
    Aggregation, ClippedSurrogate, GeometricMean, ImportanceCorrection, ImportanceLevel, KlConfig,
    KlEstimator, KlGroups, LossComposition, LossInput, RatioLevel, StepTotals,
};
use hint_grpo::{GrpoError, PolicyLoss, loss_from_fn, metrics};
use proptest::prelude::*;
use tch::{Kind, Tensor};

use crate::{device, upload};

/// Loss and gradient of one token with the given log-ratio and advantage.
fn token(objective: &dyn PolicyLoss, log_ratio: f64, advantage: f64) -> (f64, f64) {
    let logprobs = upload(&[log_ratio - 1.0]).view([1, 1]).set_requires_grad(true);
    let old = upload(&[-1.0]).view([1, 1]);
    let advantages = upload(&[advantage]).view([1, 1]);
    let mask = upload(&[true]).view([1, 1]);
    let input = LossInput::new(&logprobs, &old, &advantages, &mask);
    let values = objective.token_loss(&input).expect("a valid input").values;
    values.sum(Kind::Double).backward();
    (values.double_value(&[0, 0]), logprobs.grad().double_value(&[0, 0]))
}

#[track_caller]
fn check_gradient(objective: ClippedSurrogate, log_ratio: f64, advantage: f64, expected: f64) {
    let (_, gradient) = token(&objective, log_ratio, advantage);
    assert!((gradient - expected).abs() < 1e-12, "{gradient} is not {expected}");
}

#[test]
fn clip_high_stops_the_gradient_of_upweighted_tokens() {
    // ratio = e^0.5 ≈ 1.65 > 1.2 and Â > 0: the clipped branch is the minimum and is constant.
    check_gradient(ClippedSurrogate::new(0.2, 0.2), 0.5, 1.0, 0.0);
    // Same ratio, Â < 0: the unclipped branch is the minimum; ∂(−rÂ)/∂logp = −rÂ = e^0.5.
    check_gradient(ClippedSurrogate::new(0.2, 0.2), 0.5, -1.0, 0.5_f64.exp());
}

#[test]
fn clip_low_stops_the_gradient_of_downweighted_tokens() {
    check_gradient(ClippedSurrogate::new(0.2, 0.2), -0.5, -1.0, 0.0);
    check_gradient(ClippedSurrogate::new(0.2, 0.2), -0.5, 1.0, -(-0.5_f64).exp());
}

#[test]
fn max_ratio_bounds_the_loss_of_negative_advantages() {
    let bounded = ClippedSurrogate::new(0.2, 0.2).with_max_ratio(1.5);
    let (loss, gradient) = token(&bounded, 2.0, -1.0);
    assert!((loss - 1.5).abs() < 1e-12);
    assert_eq!(gradient, 0.0);
}

#[test]
fn on_policy_the_gradient_is_that_of_reinforce() {
    for advantage in [-1.5, 0.5] {
        let (_, gradient) = token(&ClippedSurrogate::new(0.2, 0.2), 0.0, advantage);
        assert!((gradient + advantage).abs() < 1e-12);
    }
}

#[test]
fn closures_are_losses() {
    let (loss, gradient) =
        token(&loss_from_fn("square", |log_ratio, _| log_ratio.square()), 0.5, 1.0);
    assert!((loss - 0.25).abs() < 1e-12 && (gradient - 1.0).abs() < 1e-12);
}

#[test]
fn k3_is_never_negative_and_zero_at_equality() {
    let logprobs = upload(&[-1.0, -2.0, -0.5]);
    let reference = upload(&[-1.0, -0.5, -3.0]);
    let kl = Vec::<f64>::try_from(KlEstimator::K3.per_token(&logprobs, &reference)).expect("dense");
    assert_eq!(kl[0], 0.0);
    assert!(kl[1] > 0.0 && kl[2] > 0.0);
}

proptest! {
    #[test]
    fn dual_clip_above_the_range_is_the_two_sided_cap(
        log_ratio in -2.0..2.0_f64, advantage in -2.0..2.0_f64, bound in 1.3..4.0_f64,
    ) {
        let clipped = ClippedSurrogate::new(0.2, 0.28);
        let (cap, gradient) = token(&clipped.with_max_ratio(bound), log_ratio, advantage);
        let (dual, dual_gradient) = token(&clipped.with_dual_clip(bound), log_ratio, advantage);
        prop_assert!((cap - dual).abs() <= 1e-12 * cap.abs());
        prop_assert!((gradient - dual_gradient).abs() <= 1e-12 * gradient.abs());
    }

    #[test]
    fn on_one_token_the_geometric_mean_is_the_clipped_surrogate(
        log_ratio in -2.0..2.0_f64, advantage in -2.0..2.0_f64,
    ) {
        let (clipped, gradient) = token(&ClippedSurrogate::new(0.3, 0.4), log_ratio, advantage);
        let (geometric, same) = token(&GeometricMean::new(0.3, 0.4), log_ratio, advantage);
        prop_assert!((clipped - geometric).abs() <= 1e-12 * clipped.abs());
        prop_assert!((gradient - same).abs() <= 1e-12 * gradient.abs());
    }
}

#[test]
fn dual_clip_below_the_range_binds_where_the_cap_does_not() {
    // Â < 0 and r = 1.15 inside the range: −max(−1.15, −1.1) = 1.1.
    let bounded = ClippedSurrogate::new(0.2, 0.2).with_dual_clip(1.1);
    let (loss, gradient) = token(&bounded, 1.15_f64.ln(), -1.0);
    assert!((loss - 1.1).abs() < 1e-12 && gradient == 0.0);
}

/// Values of an objective on one completion of the given log-ratios.
fn completion(objective: &dyn PolicyLoss, level: RatioLevel, log_ratios: &[f64]) -> Vec<f64> {
    let logprobs = upload(log_ratios).unsqueeze(0);
    let ones = logprobs.ones_like();
    let mask = ones.ne(0.0);
    let old = logprobs.zeros_like();
    let input = LossInput::new(&logprobs, &old, &ones, &mask).with_ratio_level(level);
    let values = objective.token_loss(&input).expect("a valid input").values;
    let values = values.expand_as(&logprobs).contiguous().view([-1]);
    Vec::<f64>::try_from(values).expect("dense")
}

#[test]
fn the_sequence_ratio_is_the_geometric_mean_of_the_token_ratios() {
    // exp((0.1 − 0.2 + 0.25) / 3) = exp(0.05), inside the range; Â = 1.
    let objective = ClippedSurrogate::new(0.2, 0.2);
    for value in completion(&objective, RatioLevel::Sequence, &[0.1, -0.2, 0.25]) {
        assert!((value + 0.05_f64.exp()).abs() < 1e-12);
    }
}

#[test]
fn the_geometric_mean_clips_tokens_before_it_averages() {
    // 1.0 is clipped to ln 1.4; −2 is not, since Â > 0.
    let mean = f64::midpoint(1.4_f64.ln(), -2.0);
    for value in completion(&GeometricMean::new(0.3, 0.4), RatioLevel::Token, &[1.0, -2.0]) {
        assert!((value + mean.exp()).abs() < 1e-12);
    }
}

#[test]
fn importance_weights_are_truncated_or_masked() {
    let old = upload(&[0.0, 0.0, 0.0, 0.0]).view([1, 4]);
    // Ratios 3, 1/3, 1.5; the last position is padding.
    let behavior = upload(&[-(3.0_f64.ln()), 3.0_f64.ln(), -(1.5_f64.ln()), -50.0]);
    let behavior = behavior.view([1, 4]);
    let mask = upload(&[true, true, true, false]).view([1, 4]);
    let check = |correction: ImportanceCorrection, expected: [f64; 4]| {
        let weights = correction.weights(&old, &behavior, &mask).expect("a correction");
        let weights = Vec::<f64>::try_from(weights.contiguous().view([-1])).expect("dense");
        for (weight, expected) in weights.into_iter().zip(expected) {
            assert!((weight - expected).abs() < 1e-12, "{correction:?}: {weight}, not {expected}");
        }
    };
    let (token, sequence) = (ImportanceLevel::Token, ImportanceLevel::Sequence);
    let truncate = |level| ImportanceCorrection::Truncate { max_weight: 2.0, level };
    let masked = |level| ImportanceCorrection::Mask { min_weight: 0.5, max_weight: 2.0, level };
    check(truncate(token), [2.0, 1.0 / 3.0, 1.5, 0.0]);
    check(truncate(sequence), [1.5, 1.5, 1.5, 0.0]);
    check(masked(token), [0.0, 0.0, 1.5, 0.0]);
    check(masked(sequence), [1.5, 1.5, 1.5, 0.0]);
    assert!(ImportanceCorrection::Off.weights(&old, &behavior, &mask).is_none());
}

#[test]
fn importance_weights_are_summarized_over_the_tokens_that_train() {
    let loss = ClippedSurrogate::new(0.2, 0.2);
    let importance =
        ImportanceCorrection::Truncate { max_weight: 2.0, level: ImportanceLevel::Token };
    let composition = LossComposition { importance, ..composition(&loss) };
    let measured = |mask: [bool; 4]| {
        // Ratios 3, which is cut off at 2, 1/3, 1.5 and e⁵⁰.
        let behavior = [-(3.0_f64.ln()), 3.0_f64.ln(), -(1.5_f64.ln()), -50.0];
        let behavior = upload(&behavior).view([2, 2]);
        let zeros = behavior.zeros_like();
        let mask = upload(&mask).view([2, 2]);
        let input = LossInput::new(&zeros, &zeros, &zeros, &mask).with_behavior(&behavior);
        let (_, metrics) = composition.loss(&input, None, StepTotals::new(2, 3)).expect("valid");
        let metrics = metrics.read();
        let names = [
            metrics::IMPORTANCE_WEIGHT,
            metrics::IMPORTANCE_WEIGHT_MIN,
            metrics::IMPORTANCE_WEIGHT_MAX,
        ];
        names.map(|name| metrics.get(name))
    };
    let near = |found: Option<f64>, expected: f64| {
        assert!((found.expect("measured") - expected).abs() < 1e-12, "{found:?}, not {expected}");
    };
    let [mean, least, most] = measured([true, true, true, false]);
    near(mean, (2.0 + 1.0 / 3.0 + 1.5) / 3.0);
    near(least, 1.0 / 3.0);
    near(most, 2.0);
    let [mean, least, most] = measured([false, false, true, false]);
    for found in [mean, least, most] {
        near(found, 1.5);
    }
    assert_eq!(measured([false; 4]), [None; 3], "nothing trains");
}

fn composition(objective: &dyn PolicyLoss) -> LossComposition<'_> {
    LossComposition::new(objective, Aggregation::SequenceMean)
}

#[test]
fn tensors_that_do_not_fit_are_named() {
    let loss = ClippedSurrogate::new(0.2, 0.2);
    let ones = Tensor::ones([2, 3], (Kind::Double, device()));
    let mask = ones.ne(0.0);
    let short = Tensor::ones([2, 2], (Kind::Double, device()));
    let totals = StepTotals::new(2, 6);
    let input = LossInput::new(&ones, &ones, &short, &mask);
    let error = composition(&loss).loss(&input, None, totals).expect_err("shapes differ");
    assert_eq!(
        error.to_string(),
        "`advantages` has shape [2, 2], expected [2, 3] (shape of `logprobs`)"
    );
    let input = LossInput::new(&ones, &ones, &ones, &mask);
    let with_kl =
        LossComposition { kl: KlConfig { coef: 0.1, ..KlConfig::default() }, ..composition(&loss) };
    let error = with_kl.loss(&input, None, totals).expect_err("no reference");
    assert!(matches!(error, GrpoError::MissingInput { name: "ref_logprobs", .. }));
    let with_tis = LossComposition {
        importance: ImportanceCorrection::Truncate {
            max_weight: 2.0,
            level: ImportanceLevel::Token,
        },
        ..composition(&loss)
    };
    let error = with_tis.loss(&input, None, totals).expect_err("no behavior");
    assert!(matches!(error, GrpoError::MissingInput { name: "behavior_logprobs", .. }));
    let input = LossInput::new(&ones, &ones, &ones, &mask).with_reference(&ones);
    let kl = KlConfig { coef: 0.1, groups: KlGroups::Varied, ..KlConfig::default() };
    let error = LossComposition { kl, ..composition(&loss) };
    let error = error.loss(&input, None, totals).expect_err("no variances");
    assert!(matches!(error, GrpoError::MissingInput { name: "zero_variance", .. }));
    let rows = upload(&[true]);
    let input = input.with_zero_variance(&rows);
    let error = composition(&loss).loss(&input, None, totals).expect_err("one row");
    assert!(matches!(error, GrpoError::Shape { name: "zero_variance", .. }));
}

#[test]
fn a_group_without_variance_has_no_kl_term_if_so_configured() {
    let loss = ClippedSurrogate::new(0.2, 0.2);
    let logprobs = upload(&[-1.0, -2.0]).view([2, 1]).set_requires_grad(true);
    let (old, zero) = (logprobs.detach(), logprobs.detach().zeros_like());
    let mask = zero.eq(0.0);
    let rows = upload(&[true, false]);
    let kl = KlConfig { coef: 1.0, groups: KlGroups::Varied, ..KlConfig::default() };
    let composition = LossComposition { kl, ..composition(&loss) };
    let input = LossInput::new(&logprobs, &old, &zero, &mask)
        .with_reference(&zero)
        .with_zero_variance(&rows);
    let (loss, _) = composition.loss(&input, None, StepTotals::new(2, 2)).expect("a valid input");
    loss.backward();
    let gradient = logprobs.grad();
    assert_eq!(gradient.double_value(&[0, 0]), 0.0);
    // ∂k3/∂lp = 1 − exp(ref − lp) = 1 − e², over two rows: the first still counts.
    let expected = f64::midpoint(1.0, -(2.0_f64.exp()));
    assert!((gradient.double_value(&[1, 0]) - expected).abs() < 1e-12);
}
