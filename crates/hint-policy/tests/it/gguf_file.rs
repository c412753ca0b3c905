//! GGUF files, written here byte by byte.

use std::path::{Path, PathBuf};

use hint_policy::{
    Architecture, CausalLm, Gguf, LoadOptions, ModelConfig, Policy, PolicyError, Tokenizer,
};
use tch::{Kind, Tensor};

use crate::model::random_model;

/// Metadata values that tests write.
pub(crate) enum Meta {
    U32(u32),
    F32(f32),
    Text(&'static str),
    Texts(Vec<String>),
    Kinds(Vec<i32>),
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

/// A GGUF version 3 file of `F32` tensors.
pub(crate) fn write(metadata: &[(String, Meta)], tensors: &[(String, Tensor)]) -> Vec<u8> {
    let mut out = b"GGUF".to_vec();
    out.extend(3_u32.to_le_bytes());
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata {
        text(&mut out, key);
        let kind = |out: &mut Vec<u8>, kind: u32| out.extend(kind.to_le_bytes());
        match value {
            Meta::U32(value) => {
                kind(&mut out, 4);
                out.extend(value.to_le_bytes());
            }
            Meta::F32(value) => {
                kind(&mut out, 6);
                out.extend(value.to_le_bytes());
            }
            Meta::Text(value) => {
                kind(&mut out, 8);
                text(&mut out, value);
            }
            Meta::Texts(values) => {
                kind(&mut out, 9);
                kind(&mut out, 8);
                out.extend((values.len() as u64).to_le_bytes());
                for value in values {
                    text(&mut out, value);
                }
            }
            Meta::Kinds(values) => {
                kind(&mut out, 9);
                kind(&mut out, 5);
                out.extend((values.len() as u64).to_le_bytes());
                out.extend(values.iter().flat_map(|value| value.to_le_bytes()));
            }
        }
    }
    let mut data: Vec<u8> = Vec::new();
    for (name, tensor) in tensors {
        text(&mut out, name);
        let shape = tensor.size();
        out.extend((shape.len() as u32).to_le_bytes());
        shape.iter().rev().for_each(|size| out.extend(size.to_le_bytes()));
        out.extend(0_u32.to_le_bytes());
        out.extend((data.len() as u64).to_le_bytes());
        let values: Vec<f32> =
            Vec::try_from(tensor.detach().to_kind(Kind::Float).contiguous().view([-1]))
                .expect("f32");
        data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        data.resize(data.len().next_multiple_of(32), 0);
    }
    out.resize(out.len().next_multiple_of(32), 0);
    out.extend(data);
    out
}

/// `policy` as llama.cpp's converter writes it.
pub(crate) fn from_policy(policy: &CausalLm) -> Vec<u8> {
    let config = policy.config();
    let name = match config.architecture {
        Architecture::Mistral => "llama",
        Architecture::Gemma3 => "gemma3",
        other => other.model_type(),
    };
    let size = |key: &str, value: usize| (format!("{name}.{key}"), Meta::U32(value as u32));
    let mut metadata = vec![
        ("general.architecture".to_owned(), Meta::Text(name)),
        size("block_count", config.num_hidden_layers),
        size("context_length", config.max_position_embeddings),
        size("embedding_length", config.hidden_size),
        size("feed_forward_length", config.intermediate_size),
        size("attention.head_count", config.num_attention_heads),
        size("attention.head_count_kv", config.num_key_value_heads),
        size("attention.key_length", config.head_dim),
        (format!("{name}.rope.freq_base"), Meta::F32(config.rope_theta as f32)),
        (format!("{name}.attention.layer_norm_rms_epsilon"), Meta::F32(config.rms_norm_eps as f32)),
    ];
    let gemma = config.architecture == Architecture::Gemma3;
    if let Some(theta) = config.rope_local_theta {
        metadata.push((format!("{name}.rope.freq_base_swa"), Meta::F32(theta as f32)));
    }
    if let Some(window) = config.sliding_windows.iter().copied().flatten().next() {
        metadata.push(size("attention.sliding_window", window));
    }
    metadata.extend(tokenizer_metadata("gpt-2"));
    let tensors: Vec<(String, Tensor)> = policy
        .parameters()
        .into_iter()
        .map(|parameter| {
            let pairs = parameter.name.contains("q_proj") || parameter.name.contains("k_proj");
            let tensor = if pairs && name == "llama" {
                let shape = parameter.tensor.size();
                let half = config.head_dim as i64 / 2;
                let heads = shape[0] / (2 * half);
                parameter.tensor.view([heads, 2, half, -1]).transpose(1, 2).reshape(shape)
            } else {
                parameter.tensor
            };
            let tensor = if gemma && parameter.name.ends_with("norm.weight") {
                tensor + 1.0
            } else {
                tensor
            };
            let mut name = parameter.name.replace("model.layers", "blk");
            let after_attention = if gemma { "post_attention_norm" } else { "ffn_norm" };
            for (from, to) in [
                ("model.embed_tokens", "token_embd"),
                ("model.norm", "output_norm"),
                ("lm_head", "output"),
                ("self_attn.q_proj", "attn_q"),
                ("self_attn.k_proj", "attn_k"),
                ("self_attn.v_proj", "attn_v"),
                ("self_attn.o_proj", "attn_output"),
                ("self_attn.q_norm", "attn_q_norm"),
                ("self_attn.k_norm", "attn_k_norm"),
                ("mlp.gate_proj", "ffn_gate"),
                ("mlp.up_proj", "ffn_up"),
                ("mlp.down_proj", "ffn_down"),
                ("input_layernorm", "attn_norm"),
                ("post_attention_layernorm", after_attention),
                ("pre_feedforward_layernorm", "ffn_norm"),
                ("post_feedforward_layernorm", "post_ffw_norm"),
            ] {
                name = name.replace(from, to);
            }
            (name, tensor)
        })
        .collect();
    write(&metadata, &tensors)
}

/// Byte-level BPE over the 256 bytes, one merge and one control token.
fn tokenizer_metadata(pre: &'static str) -> Vec<(String, Meta)> {
    // The printable stand-ins of GPT-2: bytes that print stay, the others move to 256 and up.
    let prints = |byte: &u32| {
        (33..127).contains(byte) || (161..173).contains(byte) || (174..256).contains(byte)
    };
    let mut characters: Vec<u32> = (0..256).filter(prints).collect();
    let others = 256 - characters.len() as u32;
    characters.extend(256..256 + others);
    let mut tokens: Vec<String> =
        characters.iter().filter_map(|&code| char::from_u32(code)).map(String::from).collect();
    tokens.push("12".to_owned());
    tokens.push("<|end|>".to_owned());
    let mut kinds = vec![1; 257];
    kinds.push(3);
    let entry = |key: &str, value| (format!("tokenizer.ggml.{key}"), value);
    vec![
        entry("model", Meta::Text("gpt2")),
        entry("pre", Meta::Text(pre)),
        entry("tokens", Meta::Texts(tokens)),
        entry("merges", Meta::Texts(vec!["1 2".to_owned()])),
        entry("token_type", Meta::Kinds(kinds)),
        entry("eos_token_id", Meta::U32(257)),
    ]
}

fn file(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("model.gguf");
    std::fs::write(&path, bytes).expect("a temporary file");
    (dir, path)
}

fn load(path: &Path) -> Result<CausalLm, PolicyError> {
    CausalLm::load(path, &LoadOptions::default())
}

#[test]
fn each_architecture_loads_with_the_same_weights() {
    use Architecture::{Gemma3, Llama, Qwen2, Qwen3};
    for architecture in [Llama, Qwen2, Qwen3, Gemma3] {
        let gemma = architecture == Gemma3;
        let config = ModelConfig {
            num_key_value_heads: 2,
            head_dim: 12,
            tie_word_embeddings: architecture == Architecture::Qwen2,
            eos_token_ids: vec![257],
            num_hidden_layers: if gemma { 7 } else { 2 },
            // Every sixth layer attends to everything.
            sliding_windows: (0..if gemma { 7 } else { 0 })
                .map(|layer| (layer != 5).then_some(9))
                .collect(),
            query_pre_attn_scalar: gemma.then_some(12.0),
            ..ModelConfig::small(architecture, 258)
        };
        let policy = random_model(&config, 5);
        let (_dir, path) = file(&from_policy(&policy));
        let loaded = load(&path).unwrap();
        assert_eq!(loaded.config(), &config);
        for (a, b) in policy.parameters().iter().zip(loaded.parameters()) {
            // Adding and removing 1 rounds.
            let tolerance = if gemma { 1e-7 } else { 0.0 };
            let difference = (&a.tensor - &b.tensor).abs().max().double_value(&[]);
            assert!(difference <= tolerance, "{architecture:?} {}: {difference}", a.name);
        }
    }
}

#[test]
fn pre_tokenizers_differ_in_digits() {
    #[track_caller]
    fn check(pre: &'static str, expected: usize) {
        let (_dir, path) = file(&write(&tokenizer_metadata(pre), &[]));
        let tokenizer = Tokenizer::from_gguf(&Gguf::open(path).unwrap()).unwrap();
        let ids = tokenizer.encode("a 12<|end|>").unwrap();
        assert_eq!(ids.len(), expected, "{pre}: {ids:?}");
        assert_eq!(ids.last(), Some(&257));
        assert_eq!(tokenizer.decode(&ids).unwrap(), "a 12<|end|>");
        assert_eq!(tokenizer.decode_skip_special(&ids).unwrap(), "a 12");
        assert_eq!(tokenizer.eos_token_id(), Some(257));
    }
    // a, space, 12, end; or 1 and 2 apart.
    check("gpt-2", 4);
    check("llama-bpe", 4);
    check("smollm", 5);
    check("qwen2", 5);
}

#[test]
fn unsupported_files_are_refused_by_name() {
    #[track_caller]
    fn check(metadata: &[(String, Meta)], words: &[&str]) {
        let (_dir, path) = file(&write(metadata, &[]));
        let gguf = Gguf::open(&path).unwrap();
        let error = Tokenizer::from_gguf(&gguf).map(drop).and_then(|()| load(&path).map(drop));
        let error = error.unwrap_err().to_string();
        for word in words {
            assert!(error.contains(word), "{error}: no {word}");
        }
    }
    check(&tokenizer_metadata("deepseek"), &["tokenizer.ggml.pre", "deepseek", "smollm"]);
    check(
        &[("tokenizer.ggml.model".into(), Meta::Text("bert"))],
        &["tokenizer.ggml.model", "bert", "gpt2", "llama"],
    );
    let mut metadata = tokenizer_metadata("gpt-2");
    metadata.push(("general.architecture".into(), Meta::Text("gemma2")));
    check(&metadata, &["general.architecture", "gemma2", "llama, qwen2, qwen3, gemma3"]);
}
