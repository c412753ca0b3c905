//! Agreement with transformers on SmolLM2-135M-Instruct, where its GGUF file has been fetched.

use std::path::PathBuf;

use hint_policy::tokenizer::ChatMessage;
use hint_policy::{
    LoadOptions, LoadedModel, Policy, SampleOptions, SampleRequest, SamplingParams, ScoreOptions,
    TokenBatch, TokenRow, sample,
};
use serde::Deserialize;
use tch::{Device, Kind};

use crate::golden::golden_dir;

#[derive(Deserialize)]
struct Expected {
    tokenize: Vec<Tokenized>,
    chat: Vec<Chat>,
    logprobs: Logprobs,
    greedy: Vec<u32>,
}

#[derive(Deserialize)]
struct Tokenized {
    text: String,
    ids: Vec<u32>,
}

#[derive(Deserialize)]
struct Chat {
    messages: Vec<ChatMessage>,
    text: String,
    ids: Vec<u32>,
}

#[derive(Deserialize)]
struct Logprobs {
    ids: Vec<u32>,
    token_logps: Vec<f64>,
}

/// `HINT_SMOLLM2_GGUF`, else the place where the example's setup puts the file.
#[expect(clippy::disallowed_methods, reason = "the model's place can be given from outside")]
fn gguf_path() -> Option<PathBuf> {
    let path = std::env::var_os("HINT_SMOLLM2_GGUF").map(PathBuf::from).or_else(|| {
        let cache = std::env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
        Some(cache.join("hint-rl/models/SmolLM2-135M-Instruct.Q4_1.gguf"))
    })?;
    path.is_file().then_some(path)
}

#[test]
fn golden_smollm2_agrees_with_transformers() {
    let Some(path) = gguf_path() else {
        println!("skipped: no SmolLM2-135M-Instruct.Q4_1.gguf (set HINT_SMOLLM2_GGUF)");
        return;
    };
    tch::set_num_threads(1);
    let (golden, own) = golden_dir();
    let golden = golden.join("smollm2.json");
    if !own && !golden.is_file() {
        println!("skipped: no {}", golden.display());
        return;
    }
    let json = std::fs::read_to_string(golden).unwrap();
    let expected: Expected = serde_json::from_str(&json).unwrap();
    let model = LoadedModel::load(&path, &LoadOptions::default()).unwrap();
    let tokenizer = &model.tokenizer;
    assert_eq!(model.stop_tokens, [2]);

    for case in &expected.tokenize {
        assert_eq!(tokenizer.encode(&case.text).unwrap(), case.ids, "{:?}", case.text);
        assert_eq!(tokenizer.encode_with_special_tokens(&case.text).unwrap(), case.ids);
        assert_eq!(tokenizer.decode(&case.ids).unwrap(), case.text);
    }
    for case in &expected.chat {
        let text = tokenizer.apply_chat_template(&case.messages, true).unwrap();
        assert_eq!(text, case.text);
        assert_eq!(tokenizer.encode(&text).unwrap(), case.ids);
    }

    let ids = &expected.logprobs.ids;
    let rows = [TokenRow { prompt: &ids[..1], completion: &ids[1..] }];
    let batch = TokenBatch::new(&rows, Device::Cpu).unwrap();
    let scores = tch::no_grad(|| model.policy.score(&batch, &ScoreOptions::default())).unwrap();
    let logprobs: Vec<f64> = scores.logprobs.get(0).to_kind(Kind::Double).try_into().unwrap();
    assert_eq!(logprobs.len(), expected.logprobs.token_logps.len() + 1);
    for (index, (actual, expected)) in
        logprobs[1..].iter().zip(&expected.logprobs.token_logps).enumerate()
    {
        assert!(
            (actual - expected).abs() <= 1e-3,
            "logprob {index}: {actual}, expected {expected}"
        );
    }

    let request = SampleRequest {
        prompt: expected.chat[0].ids.clone(),
        num_completions: 1,
        seed: 0,
        params: SamplingParams {
            temperature: 0.0,
            max_new_tokens: expected.greedy.len(),
            ..SamplingParams::default()
        },
    };
    let samples = sample(&model.policy, &[request], &SampleOptions::default()).unwrap();
    assert_eq!(samples[0][0].tokens, expected.greedy);
}
