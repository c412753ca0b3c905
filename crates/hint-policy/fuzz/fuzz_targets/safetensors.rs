//! Any bytes as `model.safetensors`, and as `config.json`: `cargo +nightly fuzz run --sanitizer none safetensors` in
//! `crates/hint-policy`.
//!
//! The input is a configuration and weights, separated by a zero byte; without one, all of it are the weights of a fixed
//! configuration. The folder is loaded, or refused with an error that has a text.
#![no_main]

use hint_policy::{CausalLm, LoadOptions};
use libfuzzer_sys::fuzz_target;

const CONFIG: &[u8] = br#"{"model_type": "llama", "vocab_size": 5, "hidden_size": 8, "intermediate_size": 8,
    "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 16, "tie_word_embeddings": true}"#;

fuzz_target!(|data: &[u8]| {
    let (config, weights) = match data.iter().position(|&byte| byte == 0) {
        // A header length of a safetensors file is full of zero bytes; only text in front of one is a configuration.
        Some(at) if data[..at].first() == Some(&b'{') => (&data[..at], &data[at + 1..]),
        _ => (CONFIG, data),
    };
    let dir = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(dir.path().join("config.json"), config).expect("the file can be written");
    std::fs::write(dir.path().join("model.safetensors"), weights).expect("the file can be written");
    if let Err(error) = CausalLm::load(dir.path(), &LoadOptions::default()) {
        assert!(!error.to_string().is_empty());
    }
});
