//! Agreement with transformers on every golden folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hint_policy::{
    CausalLm, LoadOptions, Policy, SampleOptions, SampleRequest, SamplingParams, ScoreOptions,
    TokenBatch, TokenRow, sample,
};
use serde::Deserialize;
use tch::{Kind, Tensor};

use crate::{device, options};

/// `expected.json` of a model folder.
#[derive(Deserialize)]
struct Expected {
    /// Whether the numbers are those of f64 throughout; plain transformers narrows to f32 in between.
    #[serde(default)]
    exact: bool,
    ids: Vec<Vec<u32>>,
    token_logps: Vec<Vec<f64>>,
    last_logps: Vec<Vec<f64>>,
    entropy: Vec<Vec<f64>>,
    greedy_prompt: Vec<u32>,
    greedy: Vec<u32>,
    grad_norms: BTreeMap<String, f64>,
}

/// Absolute tolerance of log-probabilities, relative tolerance of gradient norms.
pub(crate) struct Tolerance {
    pub(crate) logprob: f64,
    pub(crate) grad_norm: f64,
}

/// That of numbers which are f64 throughout. Gradients have the kind of the masters, `Float`.
pub(crate) const EXACT: Tolerance = Tolerance { logprob: 1e-9, grad_norm: 1e-7 };

/// The golden folder: `HINT_GOLDEN_DIR`, else the repository's; and whether it is the latter.
#[expect(clippy::disallowed_methods, reason = "the golden folder can be replaced from outside")]
pub(crate) fn golden_dir() -> (PathBuf, bool) {
    match std::env::var_os("HINT_GOLDEN_DIR") {
        Some(dir) => (PathBuf::from(dir), false),
        None => (Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden"), true),
    }
}

/// Folders of `models/`, sorted. A folder named from outside may have none.
pub(crate) fn model_dirs() -> Vec<PathBuf> {
    let (golden, own) = golden_dir();
    let models = golden.join("models");
    let entries = std::fs::read_dir(&models).map(|entries| entries.flatten().collect::<Vec<_>>());
    let mut dirs: Vec<PathBuf> = entries
        .unwrap_or_default()
        .into_iter()
        .map(|entry| entry.path())
        .filter(|path| path.join("expected.json").is_file())
        .collect();
    dirs.sort();
    assert!(!(own && dirs.is_empty()), "no model folders in {}", models.display());
    dirs
}

fn close(name: &str, actual: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(actual.len(), expected.len(), "{name}");
    for (index, (a, e)) in actual.iter().zip(expected).enumerate() {
        assert!((a - e).abs() <= tolerance, "{name}[{index}]: got {a}, expected {e}");
    }
}

fn values(tensor: &Tensor) -> Vec<f64> {
    Vec::try_from(tensor.to_kind(Kind::Double).contiguous().view([-1])).unwrap_or_default()
}

fn check(dir: &Path, compute: Kind) {
    check_with(dir, &dir.join("expected.json"), compute, |policy| policy);
}

/// Compares a folder's model, after a `change`, with the numbers of a file.
fn check_with(
    dir: &Path,
    expected: &Path,
    compute: Kind,
    change: impl FnOnce(CausalLm) -> CausalLm,
) {
    tch::set_num_threads(1);
    let name = dir.display();
    let text = std::fs::read_to_string(expected).expect("expected.json is there");
    let expected: Expected = serde_json::from_str(&text).expect("expected.json parses");
    let tolerance = match (compute, expected.exact) {
        (Kind::Double, true) => EXACT,
        // transformers computes norms, rotary frequencies and the softmax of attention in f32 even
        // for f64 models: over the shapes of `gen/models.py` this moves its numbers by up to 9e-6.
        (Kind::Double, false) => Tolerance { logprob: 3e-5, grad_norm: 3e-5 },
        _ => Tolerance { logprob: 1e-4, grad_norm: 1e-3 },
    };
    let options = LoadOptions { compute, ..options() };
    let policy = CausalLm::load(dir, &options).unwrap_or_else(|error| panic!("{name}: {error}"));
    let policy = change(policy);

    let rows: Vec<TokenRow<'_>> = expected
        .ids
        .iter()
        .map(|ids| TokenRow { prompt: &ids[..1], completion: &ids[1..] })
        .collect();
    let batch = TokenBatch::new(&rows, device()).expect("rows are not empty");
    let options = ScoreOptions { entropy: true, ..ScoreOptions::default() };
    let scores = policy.score(&batch, &options).expect("ids are in range");
    let entropy = scores.entropy.as_ref().expect("entropy was asked for");
    // Without gradients another pass computes them.
    let plain = tch::no_grad(|| policy.score(&batch, &options)).expect("ids are in range");
    for row in 0..expected.ids.len() {
        let completion = expected.ids[row].len() as i64 - 1;
        let of_row = |tensor: &Tensor| values(&tensor.get(row as i64).narrow(0, 1, completion));
        for scores in [&scores, &plain] {
            close(
                &format!("{name}: logprobs of row {row}"),
                &of_row(&scores.logprobs),
                &expected.token_logps[row],
                tolerance.logprob,
            );
        }
        close(
            &format!("{name}: entropy of row {row}"),
            &of_row(entropy),
            &expected.entropy[row][..expected.ids[row].len() - 1],
            tolerance.logprob,
        );
        let logits = policy.logits(&batch).expect("ids are in range");
        let last = logits.get(row as i64).get(completion).log_softmax(-1, Kind::Double);
        close(
            &format!("{name}: last logprobs of row {row}"),
            &values(&last),
            &expected.last_logps[row],
            tolerance.logprob,
        );
    }

    // Mean cross entropy of all next tokens.
    let loss = -scores.logprobs.sum(Kind::Double) / batch.completion_tokens() as f64;
    loss.backward();
    let mut seen = 0;
    for parameter in policy.parameters() {
        let norm = parameter.tensor.grad().to_kind(Kind::Double).norm().double_value(&[]);
        let Some(expected) = expected.grad_norms.get(&parameter.name) else {
            panic!("{name}: `{}` has no expected gradient", parameter.name)
        };
        let error = (norm / expected - 1.0).abs();
        assert!(
            error <= tolerance.grad_norm,
            "{name}: gradient of {}: got {norm}, expected {expected}",
            parameter.name
        );
        seen += 1;
    }
    assert_eq!(seen, expected.grad_norms.len(), "{name}: parameters");

    let params = SamplingParams {
        temperature: 0.0,
        max_new_tokens: expected.greedy.len(),
        ..SamplingParams::default()
    };
    let request = SampleRequest {
        prompt: expected.greedy_prompt.clone(),
        num_completions: 1,
        seed: 0,
        params,
    };
    let samples = sample(&policy, &[request], &SampleOptions::default()).expect("sampling works");
    assert_eq!(samples[0][0].tokens, expected.greedy, "{name}: greedy tokens");
}

#[test]
fn golden_models_agree_with_transformers_in_float() {
    for dir in model_dirs() {
        check(&dir, Kind::Float);
    }
}

#[test]
fn golden_models_agree_with_transformers_in_double() {
    for dir in model_dirs() {
        check(&dir, Kind::Double);
    }
}

/// transformers takes the long factors where a row is longer than in pre-training.
#[test]
fn golden_long_rows_have_the_long_factors() {
    let golden = golden_dir().0;
    let (dir, expected) = (golden.join("models/phi3-longrope"), golden.join("long_rows.json"));
    if !expected.is_file() {
        println!("skipped: a golden folder of one's own");
        return;
    }
    let long = |policy: CausalLm| policy.with_long_factors().expect("LongRoPE");
    for compute in [Kind::Float, Kind::Double] {
        check_with(&dir, &expected, compute, long);
    }
    // Without being asked, such rows are refused; asked of another model, too.
    let policy = CausalLm::load(&dir, &options()).expect("the model loads");
    assert_eq!((policy.max_positions(), policy.config().max_position_embeddings), (64, 256));
    assert_eq!(long(policy).max_positions(), 256);
    let other = CausalLm::load(golden.join("models/phi3"), &options()).expect("the model loads");
    let error = other.with_long_factors().expect_err("no LongRoPE").to_string();
    assert!(error.contains("long_factors") && error.contains("LongRoPE"), "{error}");
}
