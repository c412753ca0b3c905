//! Optimizer state and gradient clipping.

use hint_grpo::optim::{
    AdafactorConfig, AdamW, AdamWConfig, AlgorithmConfig, MuonConfig, OptimizerConfig,
    ParameterGroup, SgdConfig, Shard, clip_grad_norm,
};
use hint_grpo::{GrpoError, Optimizer};
use hint_policy::Parameter;
use tch::{Kind, Tensor};

use crate::{device, upload};

fn parameter(values: &[f32]) -> Parameter {
    let tensor = upload(values).set_requires_grad(true);
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
#[should_panic(expected = "other processes hold a part of the state")]
fn a_state_of_which_others_hold_a_part_is_not_cut_in_another_way() {
    let mut optimizer = AdamW::new(vec![parameter(&[0.0, 10.0])], AdamWConfig::default());
    // So few weights belong to the first process alone.
    optimizer.shard(Shard { rank: 1, world_size: 2 });
    optimizer.step(0.1).expect("nothing to update");
    optimizer.shard(Shard { rank: 0, world_size: 2 });
}

#[test]
fn the_number_of_threads_changes_no_bit_of_an_update() {
    // Several chunks, the last of them not full.
    let start = (0_u16..60_000).map(|index| f32::from(index).sin()).collect::<Vec<_>>();
    let run = |threads: i32| {
        tch::set_num_threads(threads);
        let config = AdamWConfig { weight_decay: 0.1, ..AdamWConfig::default() };
        let mut optimizer = AdamW::new(vec![parameter(&start)], config);
        for _ in 0..3 {
            step(&mut optimizer);
        }
        values(&optimizer)
    };
    let alone = run(1);
    assert!(run(2) == alone && run(4) == alone);
    // Adam's first steps are of the learning rate's size, toward 3.
    let moved = |(before, after): (&f32, &f32)| (0.05..0.2).contains(&(after - before));
    assert!(start.iter().zip(&alone).all(moved));
}

#[test]
fn a_state_that_does_not_fit_is_refused() {
    let mut optimizer = AdamW::new(vec![parameter(&[0.0])], AdamWConfig::default());
    assert!(optimizer.load_state(&[]).is_err());
    let mut other = AdamW::new(vec![parameter(&[0.0, 1.0])], AdamWConfig::default());
    step(&mut other);
    assert!(optimizer.load_state(&other.state()).is_err());
}

#[test]
fn moments_are_saved_from_the_first_step_on() {
    let fresh = || AdamW::new(vec![parameter(&[0.0, 10.0])], AdamWConfig::default());
    let saved = fresh().state();
    assert_eq!(saved.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["steps"]);
    let (mut back, mut straight) = (fresh(), fresh());
    step(&mut back);
    // The weights are the policy's, which goes back by itself.
    tch::no_grad(|| {
        back.parameters()[0].tensor.shallow_clone().copy_(&upload(&[0.0_f32, 10.0]));
    });
    back.load_state(&saved).expect("the state fits");
    for _ in 0..3 {
        step(&mut back);
        step(&mut straight);
    }
    assert_eq!(values(&back), values(&straight));
}

#[test]
fn the_memory_of_a_state_is_known_before_the_first_step() {
    for kind in [Kind::Float, Kind::BFloat16] {
        for algorithm in algorithms() {
            let mut optimizer = build(algorithm.clone(), parameters(kind));
            let before = optimizer.state_bytes();
            step_all(&mut optimizer, 1e-2);
            let bytes = |(_, tensor): (String, Tensor)| {
                (tensor.numel() * tensor.kind().elt_size_in_bytes()) as u64
            };
            let saved = optimizer.state().into_iter().map(bytes).sum::<u64>();
            assert_eq!((before, optimizer.state_bytes()), (saved, saved), "{algorithm:?} {kind:?}");
        }
    }
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

fn algorithms() -> [AlgorithmConfig; 4] {
    [
        AlgorithmConfig::AdamW(AdamWConfig { weight_decay: 0.1, ..AdamWConfig::default() }),
        AlgorithmConfig::Adafactor(AdafactorConfig::default()),
        AlgorithmConfig::Sgd(SgdConfig { momentum: 0.9, nesterov: true, weight_decay: 0.0 }),
        AlgorithmConfig::Muon(MuonConfig::default()),
    ]
}

/// A matrix, an embedding and a vector of `kind`, with values that depend on nothing.
fn parameters(kind: Kind) -> Vec<Parameter> {
    let sizes =
        [("mlp.weight", vec![4, 3]), ("embed.weight", vec![5, 2]), ("norm.weight", vec![3])];
    let new = |(name, size): (&str, Vec<i64>)| {
        let len = size.iter().product::<i64>();
        let values = Tensor::arange(len, (Kind::Float, device())).sin().view(size.as_slice());
        let tensor = values.to_kind(kind).set_requires_grad(true);
        Parameter { name: name.to_owned(), tensor }
    };
    sizes.map(new).into_iter().collect()
}

/// One step toward ones.
fn step_all(optimizer: &mut dyn Optimizer, learning_rate: f64) {
    optimizer.zero_grad();
    for parameter in optimizer.parameters() {
        (&parameter.tensor - 1.0).square().sum(Kind::Float).backward();
    }
    optimizer.step(learning_rate).expect("finite gradients");
}

fn all_values(optimizer: &dyn Optimizer) -> Vec<f32> {
    let flat = |parameter: &Parameter| {
        let values = parameter.tensor.detach().to_kind(Kind::Float).contiguous().view([-1]);
        Vec::<f32>::try_from(values).expect("dense")
    };
    optimizer.parameters().iter().flat_map(flat).collect()
}

fn build(algorithm: AlgorithmConfig, parameters: Vec<Parameter>) -> Box<dyn Optimizer> {
    let config = OptimizerConfig { algorithm, ..OptimizerConfig::default() };
    config.build(parameters).expect("no groups")
}

#[test]
fn every_algorithm_is_restored_bit_for_bit_in_every_kind() {
    for kind in [Kind::Float, Kind::BFloat16] {
        for algorithm in algorithms() {
            let mut straight = build(algorithm.clone(), parameters(kind));
            for _ in 0..3 {
                step_all(&mut straight, 1e-2);
            }
            let copy = |(name, tensor): (String, Tensor)| (name, tensor.copy());
            let saved = straight.state().into_iter().map(copy).collect::<Vec<_>>();
            let copies = straight.parameters().iter().map(|parameter| Parameter {
                name: parameter.name.clone(),
                tensor: parameter.tensor.detach().copy().set_requires_grad(true),
            });
            let mut resumed = build(algorithm.clone(), copies.collect());
            resumed.load_state(&saved).expect("the state fits");
            assert!(resumed.load_state(&saved[1..]).is_err(), "{algorithm:?}");
            for _ in 0..3 {
                step_all(&mut straight, 1e-2);
                step_all(&mut resumed, 1e-2);
            }
            assert_eq!(all_values(&*straight), all_values(&*resumed), "{algorithm:?} {kind:?}");
        }
    }
}

#[test]
fn coarse_weights_move_by_steps_that_they_cannot_hold() {
    // The bf16 below 2 is 2 − 2⁻⁷, so steps of 1e-3 are lost without master weights.
    for algorithm in algorithms() {
        let tensor = Tensor::full([4, 4], 2.0, (Kind::BFloat16, device()));
        let tensor = tensor.set_requires_grad(true);
        let parameter = Parameter { name: "mlp.weight".to_owned(), tensor };
        let mut optimizer = build(algorithm.clone(), vec![parameter]);
        for _ in 0..400 {
            step_all(&mut *optimizer, 1e-3);
        }
        assert!(all_values(&*optimizer)[0] < 1.99, "{algorithm:?}");
    }
}

#[test]
fn groups_freeze_scale_and_decay_by_name() {
    let group = |pattern: &str| ParameterGroup {
        pattern: pattern.to_owned(),
        frozen: false,
        lr_multiplier: 1.0,
        weight_decay: None,
    };
    for algorithm in algorithms() {
        let config = OptimizerConfig {
            algorithm: algorithm.clone(),
            groups: vec![
                ParameterGroup { frozen: true, ..group("embed*") },
                ParameterGroup { lr_multiplier: 1e-9, weight_decay: Some(0.0), ..group("*norm*") },
            ],
            ..OptimizerConfig::default()
        };
        let start = parameters(Kind::Float);
        let embedding = start[1].tensor.shallow_clone();
        let mut optimizer = config.build(start).expect("both patterns match");
        let names = optimizer.parameters().iter().map(|parameter| parameter.name.as_str());
        assert_eq!(names.collect::<Vec<_>>(), ["mlp.weight", "norm.weight"]);
        assert!(!embedding.requires_grad());
        let before = all_values(&*optimizer);
        step_all(&mut *optimizer, 1e-2);
        let after = all_values(&*optimizer);
        assert!((before[0] - after[0]).abs() > 1e-6, "{algorithm:?}");
        assert!((before[13] - after[13]).abs() < 1e-6, "{algorithm:?}");
    }
    let misspelt = OptimizerConfig { groups: vec![group("ebmed*")], ..OptimizerConfig::default() };
    let error = misspelt.build(parameters(Kind::Float)).map(|_| ()).expect_err("no such name");
    assert!(matches!(error, GrpoError::ParameterGroup { .. }), "{error}");
    let all = ParameterGroup { frozen: true, ..group("*") };
    let frozen = OptimizerConfig { groups: vec![all], ..OptimizerConfig::default() };
    assert!(frozen.build(parameters(Kind::Float)).is_err());
}
