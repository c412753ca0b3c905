//! Fifty steps of torch.optim.

use hint_grpo::{AdamW, AdamWConfig, Optimizer};
use hint_policy::Parameter;
use tch::{Kind, Tensor};

use super::{assert_all_close, cases, matrix, number, row};

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
        let vector_parameter =
            parameter("vector", Tensor::from_slice(&row(&input["start"]["vector"])));
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
                + (&handles[1] * Tensor::from_slice(&row(&gradient["vector"]))).sum(Kind::Double);
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
                let vector = Tensor::from_slice(&row(&expected["vector"]));
                assert_all_close(name, &what, &handles[1], &vector, 1e-12, 1e-14);
            }
        }
    }
}
