//! Model folders as people bring them.

mod adapters;
mod configs;
mod tokens;
mod weights;

use std::collections::BTreeMap;
use std::path::Path;

use hint_policy::config::Architecture;
use hint_policy::{LoadOptions, LoadedModel, ModelConfig, Policy, PolicyError};
use serde_json::{Value, json};
use tch::Tensor;

use crate::model::random_model;

fn config() -> ModelConfig {
    ModelConfig {
        num_hidden_layers: 1,
        eos_token_ids: vec![2],
        ..ModelConfig::small(Architecture::Qwen2, 8)
    }
}

/// A `tokenizer.json` of words, with further parts.
fn tokenizer_json(change: impl FnOnce(&mut Value)) -> Value {
    let mut json = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "unk_token": "?",
                  "vocab": {"?": 0, "end": 1, "stop": 2, "a": 3, "b": 4, "c": 5, "d": 6, "e": 7}},
    });
    change(&mut json);
    json
}

fn write_json(dir: &Path, name: &str, value: &Value) {
    std::fs::write(dir.join(name), value.to_string()).unwrap();
}

fn read_json(dir: &Path, name: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(dir.join(name)).unwrap()).unwrap()
}

/// A folder with a small model and its tokenizer.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    random_model(&config(), 1).save(dir.path()).unwrap();
    write_json(dir.path(), "tokenizer.json", &tokenizer_json(|_| {}));
    dir
}

fn load(dir: &Path) -> Result<LoadedModel, PolicyError> {
    LoadedModel::load(dir, &LoadOptions::default())
}

#[track_caller]
fn check_refused(dir: &Path, words: &[&str]) {
    let error = load(dir).map(|model| model.policy.report()).unwrap_err().to_string();
    for word in words {
        assert!(error.contains(word), "{error}: no {word}");
    }
}

/// Changes a key of `config.json`.
fn change(dir: &Path, key: &str, value: Value) {
    let mut config = read_json(dir, "config.json");
    config[key] = value;
    write_json(dir, "config.json", &config);
}

/// Writes further tensors into `model.safetensors`.
fn add_tensors(dir: &Path, tensors: &[(&str, Tensor)]) {
    let path = dir.join("model.safetensors");
    let mut all: BTreeMap<String, Tensor> =
        Tensor::read_safetensors(&path).unwrap().into_iter().collect();
    all.extend(tensors.iter().map(|(name, tensor)| ((*name).to_owned(), tensor.shallow_clone())));
    let all: Vec<(&str, Tensor)> =
        all.iter().map(|(name, tensor)| (name.as_str(), tensor.shallow_clone())).collect();
    write_tensors(&path, &all);
}

/// Writes a safetensors file of `F32` tensors.
fn write_tensors(path: &Path, tensors: &[(&str, Tensor)]) {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, tensor) in tensors {
        let start = data.len();
        let values: Vec<f32> = Vec::try_from(tensor.contiguous().view([-1])).unwrap();
        data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        let entry =
            json!({"dtype": "F32", "shape": tensor.size(), "data_offsets": [start, data.len()]});
        header.insert((*name).to_owned(), entry);
    }
    let header = Value::Object(header).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.into_bytes());
    file.extend(data);
    std::fs::write(path, file).unwrap();
}
