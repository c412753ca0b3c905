//! Fifty steps of torch.optim.

use hint_grpo::Optimizer;
use hint_grpo::optim::{AdamW, AdamWConfig, AlgorithmConfig, OptimizerConfig};
use hint_policy::Parameter;
use serde::Deserialize;
use serde_json::Value;
use tch::{Kind, Tensor};

use super::{assert_all_close, cases, matrix, number, row};
use crate::upload;

#[test]
fn golden_adamw_agrees_with_torch() {
    for case in cases("adamw") {
        let name = case["name"].as_str().expect("a name");
        let input = &case["input"];
        let config = &input["config"];
        let learning_rate = number(&config["learning_rate"]);
        let parameter = |key: &str, tensor: Tensor| Parameter {
            name: key.to_owned(),
            tensor: tensor.set_requires_grad(true),
        };
        let matrix_parameter = parameter("matrix", matrix(&input["start"]["matrix"]));
        let vector_parameter = parameter("vector", upload(&row(&input["start"]["vector"])));
        let handles =
            [matrix_parameter.tensor.shallow_clone(), vector_parameter.tensor.shallow_clone()];
        let mut optimizer = AdamW::new(
            vec![matrix_parameter, vector_parameter],
            AdamWConfig {
                beta1: number(&config["beta1"]),
                beta2: number(&config["beta2"]),
                epsilon: number(&config["epsilon"]),
                weight_decay: number(&config["weight_decay"]),
            },
        );
        let gradients = input["gradients"].as_array().expect("a list");
        for (step, gradient) in gradients.iter().enumerate() {
            optimizer.zero_grad();
            let loss = (&handles[0] * matrix(&gradient["matrix"])).sum(Kind::Double)
                + (&handles[1] * upload(&row(&gradient["vector"]))).sum(Kind::Double);
            loss.backward();
            optimizer.step(learning_rate).expect("finite gradients");
            let expected = &case["expected"][(step + 1).to_string()];
            if !expected.is_null() {
                let what = format!("parameters after step {}", step + 1);
                assert_all_close(
                    name,
                    &what,
                    &handles[0],
                    &matrix(&expected["matrix"]),
                    1e-12,
                    1e-14,
                );
                let vector = upload(&row(&expected["vector"]));
                assert_all_close(name, &what, &handles[1], &vector, 1e-12, 1e-14);
            }
        }
    }
}

/// The parameters of a case, with a handle on each.
fn parameters(start: &Value) -> Vec<Parameter> {
    let start = start.as_object().expect("parameters").iter();
    start
        .map(|(name, values)| Parameter {
            name: name.clone(),
            tensor: tensor(values).set_requires_grad(true),
        })
        .collect()
}

/// A list, or a list of lists.
fn tensor(values: &Value) -> Tensor {
    if values[0].is_array() { matrix(values) } else { upload(&row(values)) }
}

fn check_steps(stem: &str, rtol: f64) {
    for case in cases(stem) {
        let name = case["name"].as_str().expect("a name");
        let input = &case["input"];
        let algorithm = AlgorithmConfig::deserialize(&input["config"]["algorithm"])
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let config = OptimizerConfig { algorithm, ..OptimizerConfig::default() };
        let learning_rate = number(&input["config"]["learning_rate"]);
        let mut optimizer = config.build(parameters(&input["start"])).expect("no groups");
        let gradients = input["gradients"].as_array().expect("a list");
        assert_eq!(gradients.len(), 50, "{name}");
        for (step, gradient) in gradients.iter().enumerate() {
            optimizer.zero_grad();
            for parameter in optimizer.parameters() {
                let product = &parameter.tensor * tensor(&gradient[&parameter.name]);
                product.sum(Kind::Double).backward();
            }
            optimizer.step(learning_rate).expect("finite gradients");
            let expected = &case["expected"][(step + 1).to_string()];
            for parameter in optimizer.parameters().iter().filter(|_| !expected.is_null()) {
                let what = format!("{} after step {}", parameter.name, step + 1);
                let expected = tensor(&expected[&parameter.name]);
                assert_all_close(name, &what, &parameter.tensor.detach(), &expected, rtol, 1e-14);
            }
        }
    }
}

#[test]
fn golden_sgd_agrees_with_torch() {
    check_steps("sgd", 1e-12);
}

#[test]
fn golden_adafactor_agrees_with_torch() {
    check_steps("adafactor", 1e-11);
}

#[test]
fn golden_muon_agrees_with_torch() {
    check_steps("muon", 1e-10);
}
