//! What the objectives promise, on single tokens.

use hint_grpo::{
    Aggregation, ClippedSurrogate, GrpoError, KlConfig, KlEstimator, LossComposition, LossInput,
    PolicyLoss, StepTotals, TruncatedImportance, loss_from_fn,
};
use tch::{Kind, Tensor};

/// Loss and gradient of one token with the given log-ratio and advantage.
fn token(objective: &dyn PolicyLoss, log_ratio: f64, advantage: f64) -> (f64, f64) {
    let logprobs = Tensor::from_slice(&[log_ratio - 1.0]).view([1, 1]).set_requires_grad(true);
    let old = Tensor::from_slice(&[-1.0]).view([1, 1]);
    let advantages = Tensor::from_slice(&[advantage]).view([1, 1]);
    let mask = Tensor::from_slice(&[true]).view([1, 1]);
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
    let (loss, gradient) = token(&loss_from_fn(|log_ratio, _| log_ratio.square()), 0.5, 1.0);
    assert!((loss - 0.25).abs() < 1e-12 && (gradient - 1.0).abs() < 1e-12);
}

#[test]
fn k3_is_never_negative_and_zero_at_equality() {
    let logprobs = Tensor::from_slice(&[-1.0, -2.0, -0.5]);
    let reference = Tensor::from_slice(&[-1.0, -0.5, -3.0]);
    let kl = Vec::<f64>::try_from(KlEstimator::K3.per_token(&logprobs, &reference)).expect("dense");
    assert_eq!(kl[0], 0.0);
    assert!(kl[1] > 0.0 && kl[2] > 0.0);
}

fn composition(objective: &dyn PolicyLoss) -> LossComposition<'_> {
    LossComposition {
        objective,
        kl: KlConfig::default(),
        truncated_importance: None,
        aggregation: Aggregation::SequenceMean {},
    }
}

#[test]
fn tensors_that_do_not_fit_are_named() {
    let loss = ClippedSurrogate::new(0.2, 0.2);
    let ones = Tensor::ones([2, 3], (Kind::Double, tch::Device::Cpu));
    let mask = ones.ne(0.0);
    let short = Tensor::ones([2, 2], (Kind::Double, tch::Device::Cpu));
    let totals = StepTotals { rows: 2, tokens: 6 };
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
        truncated_importance: Some(TruncatedImportance { max_weight: 2.0 }),
        ..composition(&loss)
    };
    let error = with_tis.loss(&input, None, totals).expect_err("no behavior");
    assert!(matches!(error, GrpoError::MissingInput { name: "behavior_logprobs", .. }));
}
