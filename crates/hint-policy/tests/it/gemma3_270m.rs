//! Agreement with `SentencePiece` and transformers on Gemma 3 270M, where its GGUF file is at hand.

use std::path::{Path, PathBuf};

use hint_policy::{
    LoadOptions, LoadedModel, Policy, SampleOptions, SampleRequest, SamplingParams, ScoreOptions,
    TokenBatch, TokenRow, sample,
};
use serde::Deserialize;
use tch::{Device, Kind};

#[derive(Deserialize)]
struct Expected {
    tokenize: Vec<Tokenized>,
    prompt: Vec<u32>,
    greedy: Vec<u32>,
    text: String,
    token_logps: Vec<f64>,
}

#[derive(Deserialize)]
struct Tokenized {
    text: String,
    ids: Vec<u32>,
}

#[test]
fn gemma3_270m_agrees_with_sentencepiece_and_transformers() {
    #[expect(clippy::disallowed_methods, reason = "the model's place is given from outside")]
    let Some(path) = std::env::var_os("HINT_GEMMA3_GGUF").map(PathBuf::from) else {
        println!("skipped: HINT_GEMMA3_GGUF does not name gemma-3-270m-q4_k_m.gguf");
        return;
    };
    tch::set_num_threads(1);
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/gemma3_270m.json");
    let golden = std::fs::read_to_string(golden).unwrap();
    let expected: Expected = serde_json::from_str(&golden).unwrap();
    let model = LoadedModel::load(&path, &LoadOptions::default()).unwrap();
    for Tokenized { text, ids } in &expected.tokenize {
        assert_eq!(&model.tokenizer.encode(text).unwrap(), ids, "{text:?}");
        assert_eq!(&model.tokenizer.decode(ids).unwrap(), text);
    }
    let start = "The capital of France is";
    let prompt = model.tokenizer.encode_with_special_tokens(start).unwrap();
    assert_eq!(prompt, expected.prompt);

    let rows =
        [TokenRow { prompt: &prompt[..1], completion: &[&prompt[1..], &expected.greedy].concat() }];
    let batch = TokenBatch::new(&rows, Device::Cpu).unwrap();
    let scores = tch::no_grad(|| model.policy.score(&batch, &ScoreOptions::default())).unwrap();
    let scores: Vec<f64> =
        Vec::try_from(scores.logprobs.get(0).slice(0, 1, None, 1).to_kind(Kind::Double)).unwrap();
    assert_eq!(scores.len(), expected.token_logps.len());
    for (position, (ours, theirs)) in scores.iter().zip(&expected.token_logps).enumerate() {
        assert!((ours - theirs).abs() < 1e-3, "position {position}: {ours}, expected {theirs}");
    }

    let params = SamplingParams {
        temperature: 0.0,
        max_new_tokens: expected.greedy.len(),
        ..SamplingParams::default()
    };
    let request = SampleRequest { prompt, num_completions: 1, seed: 0, params };
    let samples = sample(&model.policy, &[request], &SampleOptions::default()).unwrap();
    let text = model.tokenizer.decode(&samples[0][0].tokens).unwrap();
    assert_eq!(text, expected.text);
}
