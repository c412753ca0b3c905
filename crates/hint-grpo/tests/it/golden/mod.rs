//! Agreement with the official HINT code, with TRL and with torch.
//!
//! The folder is `HINT_GOLDEN_DIR` when that is set, else `tests/golden` of the repository.

use std::path::PathBuf;

use hint_grpo::objective::{LossInput, StepTotals};
use serde_json::Value;
use tch::{Kind, Tensor};

use crate::upload;

mod distillation;
mod hint_step;
mod optimizers;
mod policy_losses;

/// The cases of the files whose names start with `stem`. The repository has some; a folder of the
/// caller need not.
fn cases(stem: &str) -> Vec<Value> {
    #[expect(clippy::disallowed_methods, reason = "the folder of golden data is a test's input")]
    let chosen = std::env::var_os("HINT_GOLDEN_DIR").map(PathBuf::from);
    let repository = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden"));
    let folder = chosen.as_ref().unwrap_or(&repository);
    let is_golden = |path: &PathBuf| {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        name.starts_with(stem) && path.extension().is_some_and(|kind| kind == "json")
    };
    let entries = std::fs::read_dir(folder).expect("the golden folder can be read");
    let mut files =
        entries.flatten().map(|entry| entry.path()).filter(is_golden).collect::<Vec<_>>();
    files.sort();
    assert!(chosen.is_some() || !files.is_empty(), "the repository has `{stem}*.json`");
    let mut cases = Vec::new();
    for path in files {
        let text = std::fs::read_to_string(&path).expect("a golden file can be read");
        let document: Value = serde_json::from_str(&text).expect("a golden file is JSON");
        let found = document["cases"].as_array().expect("a golden file has cases");
        assert!(!found.is_empty(), "`{}` has no cases", path.display());
        cases.extend(found.iter().cloned());
    }
    cases
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is not a number"))
}

fn row(value: &Value) -> Vec<f64> {
    value.as_array().expect("a list").iter().map(number).collect()
}

/// A rectangular list of lists as a `[rows, columns]` tensor, where the tests compute.
fn matrix(value: &Value) -> Tensor {
    let rows = value.as_array().expect("a list").iter().map(row).collect::<Vec<_>>();
    let columns = i64::try_from(rows.first().map_or(0, Vec::len)).expect("a length");
    upload(&rows.concat()).view([-1, columns])
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
        let advantages =
            upload(&row(&inputs["advantages"])).unsqueeze(-1) * mask.to_kind(Kind::Double);
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
        StepTotals::new(rows, tokens)
    }

    /// Log-ratios and weights of the valid tokens.
    fn affinity_inputs(&self) -> (Vec<f64>, Vec<f64>) {
        let valid = |tensor: &Tensor| {
            Vec::<f64>::try_from(tensor.detach().masked_select(&self.mask)).expect("dense")
        };
        (valid(&(&self.logprobs - &self.old_logprobs)), valid(&self.advantages.abs()))
    }
}
