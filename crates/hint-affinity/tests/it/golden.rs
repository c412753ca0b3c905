//! Agreement with the reference code's float64 numbers.

use std::path::PathBuf;

use hint_affinity::{AffinityAccumulator, ClipRange, affinity_masked};
use ndarray::Array2;
use serde_json::Value;

#[expect(
    clippy::disallowed_methods,
    reason = "the golden folder is chosen by the caller of the test"
)]
fn golden_dir() -> PathBuf {
    std::env::var_os("HINT_GOLDEN_DIR").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden")),
        PathBuf::from,
    )
}

fn numbers(value: &Value) -> Vec<f64> {
    value
        .as_array()
        .expect("an array")
        .iter()
        .map(|number| number.as_f64().expect("a number"))
        .collect()
}

fn matrix(value: &Value) -> Array2<f64> {
    let rows: Vec<Vec<f64>> = value.as_array().expect("rows").iter().map(numbers).collect();
    let shape = (rows.len(), rows.first().map_or(0, Vec::len));
    Array2::from_shape_vec(shape, rows.concat()).expect("rows of equal length")
}

#[track_caller]
fn check_close(case: &str, name: &str, actual: f64, expected: f64) {
    assert!((actual - expected).abs() <= 1e-7, "{case}: {name} is {actual}, expected {expected}");
}

#[test]
fn affinity_equals_the_golden_hint_step() {
    let path = golden_dir().join("hint_step.json");
    let text = std::fs::read_to_string(&path).expect("hint_step.json is in the golden folder");
    let golden: Value = serde_json::from_str(&text).expect("valid JSON");
    let cases = golden["cases"].as_array().expect("cases");
    assert!(!cases.is_empty());
    for case in cases {
        let name = case["name"].as_str().expect("a name");
        let number = |key: &str| case["config"][key].as_f64().expect("a number");
        let clip =
            ClipRange::new(number("clip_low"), number("clip_high")).expect("a valid clip range");
        let inputs = &case["inputs"];
        let log_ratios = matrix(&inputs["logps"]) - matrix(&inputs["old_logps"]);
        let mask = matrix(&inputs["mask"]).mapv(|value| value != 0.0);
        let advantages = numbers(&inputs["advantages"]);
        let weights = Array2::from_shape_fn(log_ratios.dim(), |(row, _)| advantages[row].abs());

        let actual = affinity_masked(log_ratios.view(), weights.view(), mask.view(), clip)
            .expect("valid input");
        let expected = &case["expected"];
        check_close(name, "eur", actual.eur(), expected["eur"].as_f64().expect("eur"));
        check_close(name, "uc", actual.uc(), expected["uc"].as_f64().expect("uc"));
        check_close(
            name,
            "affinity",
            actual.value(),
            expected["affinity"].as_f64().expect("affinity"),
        );

        // One accumulator per row, merged in reverse, is the same update.
        let mut merged = AffinityAccumulator::new(clip);
        for row in (0..advantages.len()).rev() {
            let mut part = AffinityAccumulator::new(clip);
            for token in 0..log_ratios.ncols() {
                if mask[[row, token]] {
                    part.push(log_ratios[[row, token]], weights[[row, token]])
                        .expect("valid token");
                }
            }
            merged.merge(&part).expect("same settings");
        }
        check_close(name, "merged affinity", merged.affinity().value(), actual.value());
    }
}
