//! GGUF files, written byte by byte.

use std::path::{Path, PathBuf};

use hint_policy::config::{Architecture, RopeScaling};
use hint_policy::gguf::Gguf;
use hint_policy::io::Inspection;
use hint_policy::{CausalLm, ModelConfig, Policy, PolicyError, Tokenizer};
use serde_json::json;

use crate::gguf_writer::{
    Meta, NAMES, from_policy, sentence_piece_metadata, stored, tokenizer_metadata, write,
};
use crate::model::{half_rotated, random_model, with_keys};
use crate::options;

fn file(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("model.gguf");
    std::fs::write(&path, bytes).expect("a temporary file");
    (dir, path)
}

fn load(path: &Path) -> Result<CausalLm, PolicyError> {
    CausalLm::load(path, &options())
}

#[test]
fn each_architecture_loads_with_the_same_weights() {
    let families = Architecture::ALL.into_iter().filter(|family| family.gguf_name().is_some());
    for (index, architecture) in families.enumerate() {
        let small = ModelConfig::small(architecture, 258);
        let config = ModelConfig {
            num_key_value_heads: 2,
            head_dim: 12,
            num_hidden_layers: 7,
            tie_word_embeddings: index.is_multiple_of(2),
            eos_token_ids: vec![257],
            query_pre_attn_scalar: small.query_pre_attn_scalar.map(|_| 12.0),
            partial_rotary_factor: 1.0,
            // Numbers that `f32` holds.
            attention_multiplier: small.attention_multiplier.map(|_| 0.25),
            residual_multiplier: small.residual_multiplier.map(|_| 0.5),
            ..small
        };
        // Layers as the family has them by default, since files do not list them.
        let layers = json!({"layer_types": null, "no_rope_layers": null, "sliding_window": 9});
        let config = with_keys(&config, &[layers, half_rotated()]);
        let policy = random_model(&config, 5);
        let (_dir, path) = file(&from_policy(&policy));
        let loaded = load(&path).unwrap();
        assert_eq!(loaded.config(), &config);
        // Adding and removing 1 rounds, and so do exponents and logarithms.
        let tolerance = match (&config.delta_net, stored(&policy).shifted) {
            (Some(_), _) => 1e-6,
            (None, true) => 1e-7,
            (None, false) => 0.0,
        };
        for (a, b) in policy.parameters().iter().zip(loaded.parameters()) {
            let difference = (&a.tensor - &b.tensor).abs().max().double_value(&[]);
            assert!(difference <= tolerance, "{architecture:?} {}: {difference}", a.name);
        }
    }
}

/// Keys and names of tensors are those of gguf-py, and the reader takes them.
#[test]
fn golden_gguf_names_are_those_of_gguf_py() {
    let golden = crate::golden::golden_dir().0;
    let all = &*NAMES;
    let mut loaded = 0;
    for (name, expected) in &all.models {
        let policy = load(&golden.join("models").join(name)).unwrap();
        for (key, value) in crate::gguf_writer::model_metadata(&policy) {
            match (key.strip_prefix(&format!("{}.", expected.architecture)), value) {
                (Some(rest), _) => {
                    assert!(all.keys.contains(&format!("{{arch}}.{rest}")), "{name}: {key}");
                }
                (None, Meta::Text(found)) => assert_eq!(found, expected.architecture, "{name}"),
                (None, _) => panic!("{name}: {key}"),
            }
        }
        let (_dir, path) = file(&from_policy(&policy));
        let read = match load(&path) {
            Ok(read) => read,
            // GGUF files have no windows in some families.
            Err(error) if error.to_string().contains("attention.sliding_window") => continue,
            Err(error) => panic!("{name}: {error}"),
        };
        assert!(read.report().files.unused.is_empty(), "{name}");
        for (a, b) in policy.parameters().iter().zip(read.parameters()) {
            let difference = (&a.tensor - &b.tensor).abs().max().double_value(&[]);
            assert!(difference < 1e-5, "{name} {}: {difference}", a.name);
        }
        loaded += 1;
    }
    assert!(loaded > 25, "{loaded}");
}

#[test]
fn all_keys_of_yarn_are_read_and_unknown_ones_refused() {
    let yarn = RopeScaling::Yarn {
        factor: 8.0,
        original_max_position_embeddings: Some(64),
        attention_factor: Some(1.5),
        beta_fast: Some(16.0),
        beta_slow: Some(2.0),
        mscale: None,
        mscale_all_dim: None,
        truncate: None,
    };
    let config = ModelConfig {
        tie_word_embeddings: false,
        rope_scaling: yarn,
        ..ModelConfig::small(Architecture::Qwen2, 258)
    };
    let policy = random_model(&config, 5);
    let load_with = |more: &[(&str, f32)]| {
        let float = |key: &str, value| (format!("qwen2.rope.scaling.{key}"), Meta::F32(value));
        let mut metadata = crate::gguf_writer::model_metadata(&policy);
        metadata.push(("qwen2.rope.scaling.type".to_owned(), Meta::Text("yarn")));
        let length = "qwen2.rope.scaling.original_context_length".to_owned();
        metadata.push((length, Meta::U32(64)));
        metadata.extend([
            float("factor", 8.0),
            float("yarn_attn_factor", 1.5),
            float("yarn_beta_fast", 16.0),
            float("yarn_beta_slow", 2.0),
            float("yarn_ext_factor", 1.0),
        ]);
        metadata.extend(more.iter().map(|(key, value)| float(key, *value)));
        let (_dir, path) = file(&write(&metadata, &crate::gguf_writer::tensors(&policy)));
        load(&path).map(|model| model.config().clone())
    };
    assert_eq!(load_with(&[]).unwrap(), config);
    for key in ["attn_factor", "yarn_log_multiplier", "yarn_something_new"] {
        let error = load_with(&[(key, 0.5)]).unwrap_err().to_string();
        assert!(error.contains(key) && error.contains("0.5"), "{error}");
    }
}

/// llama.cpp divides all frequencies by a factor that has no type, and by the factor of an older key.
#[test]
fn a_factor_without_a_type_is_linear() {
    let policy = random_model(&ModelConfig::small(Architecture::Qwen2, 258), 5);
    let load_with = |more: &[(&str, Meta)]| {
        let mut metadata = crate::gguf_writer::model_metadata(&policy);
        let copy = |value: &Meta| match value {
            Meta::F32(value) => Meta::F32(*value),
            Meta::Text(text) => Meta::Text(text),
            _ => panic!("no such key here"),
        };
        metadata.extend(more.iter().map(|(key, value)| (format!("qwen2.rope.{key}"), copy(value))));
        let (_dir, path) = file(&write(&metadata, &crate::gguf_writer::tensors(&policy)));
        load(&path).map(|model| model.config().rope_scaling.clone())
    };
    let factor = |key, factor| (key, Meta::F32(factor));
    let linear = RopeScaling::Linear { factor: 4.0 };
    for key in ["scaling.factor", "scale_linear"] {
        assert_eq!(load_with(&[factor(key, 4.0)]).unwrap(), linear, "{key}");
        for same in [0.0, 1.0] {
            assert_eq!(load_with(&[factor(key, same)]).unwrap(), RopeScaling::Default, "{key}");
        }
        let off = [factor(key, 4.0), ("scaling.type", Meta::Text("none"))];
        assert_eq!(load_with(&off).unwrap(), RopeScaling::Default, "{key}");
    }
    // The newer key counts.
    let both = [factor("scaling.factor", 4.0), factor("scale_linear", 2.0)];
    assert_eq!(load_with(&both).unwrap(), linear);
    let error = load_with(&[("scaling.type", Meta::Text("longrope"))]).unwrap_err().to_string();
    assert!(error.contains("longrope") && error.contains("factors"), "{error}");
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
    check("deepseek-r1-qwen", 5);
    check("deepseek-llm", 5);
    check("deepseek-coder", 5);
    check("deepseek-v3", 4);
    check("falcon3", 4);
    check("smaug-bpe", 4);
    check("tekken", 5);
    check("gpt-4o", 4);
    check("qwen35", 5);
    check("hunyuan-dense", 4);
    check("seed-coder", 5);
}

#[test]
fn merges_that_make_no_token_are_left_out() {
    let mut metadata = tokenizer_metadata("deepseek-r1-qwen");
    for (_, value) in &mut metadata {
        if let Meta::Texts(texts) = value
            && texts.len() == 1
        {
            *texts = ["a b", "1 2", "no-pair"].map(String::from).to_vec();
        }
    }
    let (_dir, path) = file(&write(&metadata, &[]));
    let tokenizer = Tokenizer::from_gguf(&Gguf::open(path).unwrap()).unwrap();
    let ids = tokenizer.encode("ab").unwrap();
    assert_eq!(ids.len(), 2);
    assert_eq!(tokenizer.decode(&ids).unwrap(), "ab");
}

#[test]
fn sentence_piece_joins_the_pieces_of_the_highest_score() {
    let (_dir, path) = file(&write(&sentence_piece_metadata(), &[]));
    let tokenizer = Tokenizer::from_gguf(&Gguf::open(path).unwrap()).unwrap();
    // `bc` has a higher score than `ab`; `!` is a byte.
    let ids = tokenizer.encode("abc ab!").unwrap();
    assert_eq!(ids, [4, 5, 9, 4, 8, 3]);
    assert_eq!(tokenizer.encode_with_special_tokens("ab").unwrap(), [1, 4, 8]);
    assert_eq!(tokenizer.decode_skip_special(&ids).unwrap(), "abc ab!");
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
    check(&tokenizer_metadata("viking"), &["tokenizer.ggml.pre", "viking", "smollm"]);
    check(
        &[("tokenizer.ggml.model".into(), Meta::Text("bert"))],
        &["tokenizer.ggml.model", "bert", "gpt2", "llama"],
    );
    let mut metadata = tokenizer_metadata("gpt-2");
    metadata.push(("general.architecture".into(), Meta::Text("mamba")));
    check(&metadata, &["general.architecture", "mamba", "llama, qwen2, qwen3, gemma3"]);
    metadata.push(("general.type".into(), Meta::Text("adapter")));
    check(&metadata, &["general.type", "adapter", "PEFT"]);
    // Models that embed, rank or classify texts have the architecture of one that writes.
    for (key, value, word) in [
        ("pooling_type", Meta::U32(3), "embeds"),
        ("classifier.output_labels", Meta::Texts(vec!["good".to_owned()]), "classifies"),
        ("attention.causal", Meta::Bool(false), "whole text"),
    ] {
        let mut metadata = tokenizer_metadata("gpt-2");
        metadata.push(("general.architecture".into(), Meta::Text("qwen2")));
        metadata.push((format!("qwen2.{key}"), value));
        check(&metadata, &[key, word]);
    }
}

/// By headers alone, as when the values are read.
#[test]
fn types_of_tensors_that_are_not_implemented_are_named_in_headers() {
    let policy = random_model(&ModelConfig::small(Architecture::Qwen2, 258), 5);
    let mut bytes = from_policy(&policy);
    let name = b"output_norm.weight";
    let at = bytes.windows(name.len()).position(|part| part == name).unwrap() + name.len();
    // Dimensions, one size, and then the type: MXFP4.
    bytes[at + 12..at + 16].copy_from_slice(&39_u32.to_le_bytes());
    let (_dir, path) = file(&bytes);
    let error = Inspection::new(&path, None).unwrap_err().to_string();
    assert!(error.contains("output_norm.weight") && error.contains("MXFP4"), "{error}");
}
