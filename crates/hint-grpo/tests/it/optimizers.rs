//! Optimizer state and gradient clipping.

use hint_grpo::{AdamW, AdamWConfig, Optimizer, clip_grad_norm};
use hint_policy::Parameter;
use tch::{Kind, Tensor};

fn parameter(values: &[f32]) -> Parameter {
    let tensor = Tensor::from_slice(values).set_requires_grad(true);
    Parameter { name: "weight".to_owned(), tensor }
}

/// One step on the squared distance to 3.
fn step(optimizer: &mut AdamW) {
    optimizer.zero_grad();
    let distance = &optimizer.parameters()[0].tensor - 3.0;
    distance.square().sum(Kind::Float).backward();
    optimizer.step(0.05).expect("finite gradients");
}

fn values(optimizer: &AdamW) -> Vec<f32> {
    Vec::<f32>::try_from(optimizer.parameters()[0].tensor.detach()).expect("dense")
}

#[test]
fn a_restored_optimizer_goes_on_bit_for_bit() {
    let mut straight = AdamW::new(vec![parameter(&[0.0, 10.0])], AdamWConfig::default());
    for _ in 0..5 {
        step(&mut straight);
    }
    let saved = straight.state().into_iter().map(|(name, tensor)| (name, tensor.copy()));
    let saved = saved.collect::<Vec<_>>();
    let mut resumed = AdamW::new(vec![parameter(&values(&straight))], AdamWConfig::default());
    resumed.load_state(&saved).expect("the state fits");
    for _ in 0..5 {
        step(&mut straight);
        step(&mut resumed);
    }
    assert_eq!(values(&straight), values(&resumed));
    assert!(values(&straight)[0] > 0.3 && values(&straight)[1] < 9.7);
}

#[test]
fn a_state_that_does_not_fit_is_refused() {
    let mut optimizer = AdamW::new(vec![parameter(&[0.0])], AdamWConfig::default());
    assert!(optimizer.load_state(&[]).is_err());
    let other = AdamW::new(vec![parameter(&[0.0, 1.0])], AdamWConfig::default());
    assert!(optimizer.load_state(&other.state()).is_err());
}

#[test]
fn gradients_are_clipped_to_the_global_norm() {
    let (left, right) = (parameter(&[0.0]), parameter(&[0.0]));
    (&left.tensor * 3.0 + &right.tensor * 4.0).sum(Kind::Float).backward();
    let parameters = [left, right];
    assert!((clip_grad_norm(&parameters, 10.0) - 5.0).abs() < 1e-6);
    assert!((parameters[0].tensor.grad().double_value(&[0]) - 3.0).abs() < 1e-6);
    assert!((clip_grad_norm(&parameters, 1.0) - 5.0).abs() < 1e-6);
    assert!((parameters[0].tensor.grad().double_value(&[0]) - 0.6).abs() < 1e-5);
    assert!((parameters[1].tensor.grad().double_value(&[0]) - 0.8).abs() < 1e-5);
}
