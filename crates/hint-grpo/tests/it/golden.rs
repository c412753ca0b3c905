//! Agreement with the official HINT code, with TRL and with torch.
//!
//! The folder is `HINT_GOLDEN_DIR` when that is set, else `tests/golden` of the repository; files
//! that it does not hold are not tested.

use std::path::PathBuf;

use hint_affinity::{ClipRange, affinity};
use hint_grpo::{
    AdamW, AdamWConfig, AdvantageEstimator, Aggregation, Baseline, Cispo, ClippedSurrogate,
    GroupNormalized, KlConfig, KlEstimator, LossComposition, LossInput, Metrics, Optimizer,
    PolicyLoss, Sapo, ScoredGroup, SequenceSurrogate, StepTotals, TruncatedImportance, metrics,
};
use hint_policy::Parameter;
use serde_json::Value;
use tch::{Kind, Tensor};

#[expect(clippy::print_stdout, reason = "a test says what it ran")]
fn cases(name: &str) -> Vec<Value> {
    #[expect(clippy::disallowed_methods, reason = "the folder of golden data is a test's input")]
    let dir = std::env::var_os("HINT_GOLDEN_DIR").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden")),
        PathBuf::from,
    );
    let path = dir.join(name);
    if !path.exists() {
        println!("skipped: `{}` does not exist", path.display());
        return Vec::new();
    }
    let text = std::fs::read_to_string(&path).expect("a golden file can be read");
    let document: Value = serde_json::from_str(&text).expect("a golden file is JSON");
    let cases = document["cases"].as_array().expect("a golden file has cases").clone();
    println!("{}: {} cases", path.display(), cases.len());
    cases
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is not a number"))
}

fn row(value: &Value) -> Vec<f64> {
    value.as_array().expect("a list").iter().map(number).collect()
}

/// A rectangular list of lists as a `[rows, columns]` tensor.
fn matrix(value: &Value) -> Tensor {
    let rows = value.as_array().expect("a list").iter().map(row).collect::<Vec<_>>();
    let columns = i64::try_from(rows.first().map_or(0, Vec::len)).expect("a length");
    Tensor::from_slice(&rows.concat()).view([-1, columns])
}

#[track_caller]
fn assert_close(case: &str, what: &str, actual: f64, expected: f64, rtol: f64, atol: f64) {
    let error = (actual - expected).abs();
    assert!(
        error <= atol + rtol * expected.abs(),
        "{case}: {what} is {actual:e}, expected {expected:e} (off by {error:e})"
    );
}

#[track_caller]
fn assert_all_close(
    case: &str,
    what: &str,
    actual: &Tensor,
    expected: &Tensor,
    rtol: f64,
    atol: f64,
) {
    assert_eq!(actual.size(), expected.size(), "{case}: shape of {what}");
    let list = |tensor: &Tensor| {
        Vec::<f64>::try_from(tensor.to_kind(Kind::Double).contiguous().view([-1])).expect("dense")
    };
    for (index, (actual, expected)) in list(actual).into_iter().zip(list(expected)).enumerate() {
        assert_close(case, &format!("{what}[{index}]"), actual, expected, rtol, atol);
    }
}

/// The tensors of a case; `advantages` are per row in the file.
struct Inputs {
    logprobs: Tensor,
    old_logprobs: Tensor,
    ref_logprobs: Tensor,
    behavior_logprobs: Option<Tensor>,
    advantages: Tensor,
    mask: Tensor,
}

impl Inputs {
    fn read(inputs: &Value) -> Self {
        let mask = matrix(&inputs["mask"]).ne(0.0);
        let advantages = Tensor::from_slice(&row(&inputs["advantages"])).unsqueeze(-1)
            * mask.to_kind(Kind::Double);
        Self {
            logprobs: matrix(&inputs["logps"]).set_requires_grad(true),
            old_logprobs: matrix(&inputs["old_logps"]),
            ref_logprobs: matrix(&inputs["ref_logps"]),
            behavior_logprobs: inputs.get("sampling_logps").map(matrix),
            advantages,
            mask,
        }
    }

    fn loss_input(&self) -> LossInput<'_> {
        let input =
            LossInput::new(&self.logprobs, &self.old_logprobs, &self.advantages, &self.mask)
                .with_reference(&self.ref_logprobs);
        match &self.behavior_logprobs {
            Some(behavior) => input.with_behavior(behavior),
            None => input,
        }
    }

    fn totals(&self) -> StepTotals {
        let rows = usize::try_from(self.mask.size()[0]).expect("sizes are not negative");
        let tokens = usize::try_from(self.mask.sum(Kind::Int64).int64_value(&[])).expect("a count");
        StepTotals { rows, tokens }
    }

    /// Log-ratios and weights of the valid tokens.
    fn affinity_inputs(&self) -> (Vec<f64>, Vec<f64>) {
        let valid = |tensor: &Tensor| {
            Vec::<f64>::try_from(tensor.detach().masked_select(&self.mask)).expect("dense")
        };
        (valid(&(&self.logprobs - &self.old_logprobs)), valid(&self.advantages.abs()))
    }
}

fn kl_config(config: &Value) -> KlConfig {
    KlConfig {
        coef: number(&config["kl_coef"]),
        estimator: KlEstimator::K3,
        importance_weighted: config["kl_importance_weighted"].as_bool().unwrap_or(false),
    }
}

#[test]
fn golden_hint_step_agrees_with_the_official_code() {
    for case in cases("hint_step.json") {
        let name = case["name"].as_str().expect("a name");
        let (config, expected) = (&case["config"], &case["expected"]);
        let inputs = Inputs::read(&case["inputs"]);
        let (low, high) = (number(&config["clip_low"]), number(&config["clip_high"]));

        let (log_ratios, weights) = inputs.affinity_inputs();
        let clip = ClipRange::new(low, high).expect("a valid range");
        let affinity = affinity(&log_ratios, &weights, clip).expect("finite inputs");
        // The reference adds 1e-8 to its denominators; that is the 1e-7.
        assert_close(name, "affinity", affinity.value(), number(&expected["affinity"]), 0.0, 1e-7);

        let weight = match config["aapo"].as_bool() {
            Some(true) => affinity.weight(number(&config["affinity_lambda"])),
            _ => 1.0,
        };
        let rows = inputs.logprobs.size()[0];
        let row_weights = Tensor::full([rows], weight, (Kind::Double, tch::Device::Cpu));
        let composition = LossComposition {
            objective: &ClippedSurrogate::new(low, high),
            kl: kl_config(config),
            truncated_importance: None,
            aggregation: Aggregation::SequenceMean {},
        };
        let (loss, _) = composition
            .loss(&inputs.loss_input(), Some(&row_weights), inputs.totals())
            .expect("a valid input");
        loss.backward();
        assert_close(name, "loss", loss.double_value(&[]), number(&expected["loss"]), 1e-6, 1e-9);
        let gradient = matrix(&expected["grad_logps"]);
        assert_all_close(name, "gradient", &inputs.logprobs.grad(), &gradient, 1e-6, 1e-9);

        let rewards = row(&case["inputs"]["rewards"]);
        let advantages = GroupNormalized::new(Baseline::Group {})
            .estimate(&ScoredGroup::new(name, &rewards))
            .expect("a group of two or more");
        let expected = row(&case["inputs"]["advantages"]);
        if expected.iter().all(|advantage| *advantage == 0.0) {
            // A case about zero weights, whose advantages do not belong to its rewards.
            continue;
        }
        for (actual, expected) in advantages.iter().zip(&expected) {
            assert_close(name, "advantage", *actual, *expected, 1e-6, 1e-9);
        }
    }
}

#[test]
fn golden_policy_losses_agree_with_trl() {
    for case in cases("policy_losses.json") {
        let name = case["name"].as_str().expect("a name");
        let (config, expected) = (&case["config"], &case["expected"]);
        let inputs = Inputs::read(&case["inputs"]);
        let (low, high) = (number(&config["clip_low"]), number(&config["clip_high"]));
        let kind = config["loss"].as_str().expect("a loss");
        let sequence = config["ratio_level"] == "sequence";
        let objective: Box<dyn PolicyLoss> = match (kind, sequence) {
            ("cispo", _) => Box::new(Cispo::new(high)),
            ("sapo", _) => {
                // TRL holds the two temperatures in an f32 tensor, so 1.05 is its nearest f32 there.
                #[expect(clippy::cast_possible_truncation, reason = "the rounding is meant")]
                let rounded = |key: &str| f64::from(number(&config[key]) as f32);
                Box::new(Sapo::new(
                    rounded("sapo_temperature_pos"),
                    rounded("sapo_temperature_neg"),
                ))
            }
            (_, true) => Box::new(SequenceSurrogate::new(low, high)),
            (_, false) => {
                let loss = ClippedSurrogate::new(low, high);
                let cap = config["dual_clip_max_ratio"].as_f64();
                Box::new(cap.map_or(loss, |cap| loss.with_max_ratio(cap)))
            }
        };
        let max_len = config["max_completion_length"].as_u64().expect("a length");
        let aggregation = match kind {
            "grpo" | "gspo" | "sapo" => Aggregation::SequenceMean {},
            "bnpo" | "dapo" | "cispo" => Aggregation::TokenMean {},
            "dr_grpo" => Aggregation::Constant {
                max_completion_len: usize::try_from(max_len).expect("a length"),
            },
            kind if kind.starts_with("luspo") => Aggregation::SequenceSum {},
            other => panic!("{name}: unknown loss `{other}`"),
        };
        let truncated_importance = config["truncated_importance_sampling_max"]
            .as_f64()
            .map(|max_weight| TruncatedImportance { max_weight });
        let composition = LossComposition {
            objective: &*objective,
            kl: kl_config(config),
            truncated_importance,
            aggregation,
        };
        let (loss, measured) =
            composition.loss(&inputs.loss_input(), None, inputs.totals()).expect("a valid input");
        loss.backward();
        assert_close(name, "loss", loss.double_value(&[]), number(&expected["loss"]), 1e-9, 1e-12);
        let gradient = matrix(&expected["grad_logps"]);
        assert_all_close(name, "gradient", &inputs.logprobs.grad(), &gradient, 1e-9, 1e-12);
        check_metrics(name, &measured, expected, sequence);
    }
}

/// Compares whatever TRL reported with our metric of that name.
fn check_metrics(case: &str, measured: &Metrics, expected: &Value, sequence: bool) {
    for name in [
        metrics::KL,
        metrics::CLIP_RATIO_LOW,
        metrics::CLIP_RATIO_HIGH,
        metrics::CLIP_RATIO_REGION,
        metrics::CISPO_CLIP_RATIO,
    ] {
        // With a sequence ratio TRL counts sequences, we count their tokens.
        if let Some(expected) = expected[name].as_f64().filter(|_| !sequence || name == metrics::KL)
        {
            let actual = measured.get(name).unwrap_or_else(|| panic!("{case}: no `{name}`"));
            assert_close(case, name, actual, expected, 1e-9, 1e-12);
        }
    }
}

#[test]
fn golden_adamw_agrees_with_torch() {
    for case in cases("adamw.json") {
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
