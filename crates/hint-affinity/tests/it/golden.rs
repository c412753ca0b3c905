//! Agreement with the reference code's float64 numbers.

use std::path::{Path, PathBuf};

use hint_affinity::{AffinityAccumulator, ClipRange, affinity_masked};
use ndarray::Array2;
use serde_json::Value;

/// The files `hint_step*.json` of `HINT_GOLDEN_DIR`, else of the repository.
#[expect(clippy::disallowed_methods, reason = "the golden folder is chosen by the caller")]
fn golden_files() -> Vec<PathBuf> {
    let chosen = std::env::var_os("HINT_GOLDEN_DIR").map(PathBuf::from);
    let repository = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden"));
    let folder = chosen.as_ref().unwrap_or(&repository);
    let is_golden = |path: &PathBuf| {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        stem.starts_with("hint_step") && path.extension().is_some_and(|kind| kind == "json")
    };
    let entries = std::fs::read_dir(folder).expect("the golden folder can be read");
    let mut files =
        entries.flatten().map(|entry| entry.path()).filter(is_golden).collect::<Vec<_>>();
    files.sort();
    assert!(chosen.is_some() || !files.is_empty(), "the repository has golden steps");
    files
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

fn check_file(path: &Path) -> usize {
    let text = std::fs::read_to_string(path).expect("a golden file can be read");
    let golden: Value = serde_json::from_str(&text).expect("valid JSON");
    let cases = golden["cases"].as_array().expect("cases");
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
    cases.len()
}

#[test]
fn affinity_equals_the_golden_hint_steps() {
    for path in golden_files() {
        println!("{}: {} cases", path.display(), check_file(&path));
    }
}
