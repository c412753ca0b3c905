//! Gradients of every objective against central differences, in f64.

use hint_grpo::{
    Aggregation, Cispo, ClippedSurrogate, KlConfig, KlEstimator, LossComposition, LossInput,
    PolicyLoss, Reinforce, Sapo, SequenceSurrogate, StepTotals,
};
use tch::{Kind, Tensor};

/// Log-probabilities, log-ratios and advantages away from the kinks of the clip.
const LOGPROBS: [f64; 6] = [-0.5, -1.2, -0.1, -2.0, -0.7, -0.3];
const LOG_RATIOS: [f64; 6] = [0.05, -0.4, 0.5, 0.1, 0.35, -0.02];
const REFERENCE: [f64; 6] = [-0.6, -1.0, -0.4, -1.5, -0.7, -0.9];

fn loss(objective: &dyn PolicyLoss, kl: KlConfig, logprobs: &Tensor) -> Tensor {
    let old = Tensor::from_slice(&LOGPROBS) - Tensor::from_slice(&LOG_RATIOS);
    let old = old.view([2, 3]);
    let reference = Tensor::from_slice(&REFERENCE).view([2, 3]);
    let mask = Tensor::from_slice(&[true, true, true, true, true, false]).view([2, 3]);
    let advantages = Tensor::from_slice(&[0.8, -1.3]).unsqueeze(-1) * mask.to_kind(Kind::Double);
    let composition = LossComposition {
        objective,
        kl,
        truncated_importance: None,
        aggregation: Aggregation::SequenceMean {},
    };
    let input = LossInput::new(logprobs, &old, &advantages, &mask).with_reference(&reference);
    let totals = StepTotals { rows: 2, tokens: 5 };
    composition.loss(&input, None, totals).expect("a valid input").0
}

#[track_caller]
fn check(objective: &dyn PolicyLoss, kl: KlConfig) {
    let logprobs = Tensor::from_slice(&LOGPROBS).view([2, 3]).set_requires_grad(true);
    loss(objective, kl, &logprobs).backward();
    let gradient = Vec::<f64>::try_from(logprobs.grad().view([-1])).expect("dense");
    for (index, actual) in gradient.into_iter().enumerate() {
        let shifted = |by: f64| {
            let mut values = LOGPROBS;
            values[index] += by;
            loss(objective, kl, &Tensor::from_slice(&values).view([2, 3])).double_value(&[])
        };
        let expected = (shifted(1e-5) - shifted(-1e-5)) / 2e-5;
        assert!(
            (actual - expected).abs() <= 1e-6 * expected.abs().max(1e-3),
            "token {index}: {actual} is not {expected}"
        );
    }
}

#[test]
fn gradients_agree_with_central_differences() {
    let none = KlConfig::default();
    check(&ClippedSurrogate::new(0.2, 0.2), none);
    check(&ClippedSurrogate::new(0.2, 0.28).with_max_ratio(1.4), none);
    check(&SequenceSurrogate::new(0.2, 0.2), none);
    check(&Sapo::new(1.0, 1.05), none);
    check(&Reinforce, none);
    for estimator in [KlEstimator::K1, KlEstimator::K2, KlEstimator::K3] {
        for importance_weighted in [false, true] {
            let kl = KlConfig { coef: 0.3, estimator, importance_weighted };
            check(&ClippedSurrogate::new(0.2, 0.2), kl);
        }
    }
}

/// CISPO's ratio is detached, so its loss is not the antiderivative of its gradient.
#[test]
fn cispo_has_the_gradient_of_a_weighted_likelihood() {
    let logprobs = Tensor::from_slice(&LOGPROBS).view([2, 3]).set_requires_grad(true);
    loss(&Cispo::new(1.2), KlConfig::default(), &logprobs).backward();
    let gradient = Vec::<f64>::try_from(logprobs.grad().view([-1])).expect("dense");
    let rows = [(0.8, 3.0), (0.8, 3.0), (0.8, 3.0), (-1.3, 2.0), (-1.3, 2.0)];
    for (index, (advantage, len)) in rows.into_iter().enumerate() {
        let expected = -LOG_RATIOS[index].exp().min(1.2) * advantage / len / 2.0;
        assert!((gradient[index] - expected).abs() < 1e-12, "token {index}");
    }
    assert_eq!(gradient[5], 0.0);
}
