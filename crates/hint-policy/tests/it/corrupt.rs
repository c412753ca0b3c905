//! Damaged files: a typed error that names file and tensor, never a panic.

use std::path::{Path, PathBuf};

use hint_policy::config::Architecture;
use hint_policy::{CausalLm, LoadOptions, LoadedModel, ModelConfig, Policy, PolicyError};
use proptest::prelude::*;
use tch::Tensor;

use crate::gguf_writer;
use crate::model::random_model;

/// Bytes to overwrite, by position (modulo the length), and how much of the file remains.
#[derive(Debug, Clone)]
struct Damage {
    bytes: Vec<(usize, u8)>,
    keep: Option<usize>,
}

/// Mostly in the header, where the structure is.
fn damage() -> impl Strategy<Value = Damage> {
    let position = prop_oneof![0_usize..400, 0_usize..20_000, any::<usize>()];
    let bytes = prop::collection::vec((position, any::<u8>()), 0..6);
    let keep =
        prop_oneof![Just(None), (0_usize..20_000).prop_map(Some), any::<usize>().prop_map(Some)];
    (bytes, keep).prop_map(|(bytes, keep)| Damage { bytes, keep })
}

fn apply(damage: &Damage, mut bytes: Vec<u8>) -> Vec<u8> {
    let len = bytes.len();
    for &(position, value) in &damage.bytes {
        bytes[position % len] = value;
    }
    bytes.truncate(damage.keep.map_or(len, |keep| keep % (len + 1)));
    bytes
}

fn small() -> ModelConfig {
    ModelConfig {
        hidden_size: 8,
        intermediate_size: 8,
        num_hidden_layers: 1,
        num_attention_heads: 2,
        num_key_value_heads: 1,
        head_dim: 4,
        ..ModelConfig::small(Architecture::Llama, 258)
    }
}

fn saved() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    random_model(&small(), 1).save(dir.path()).expect("saving works");
    let weights = dir.path().join("model.safetensors");
    (dir, weights)
}

fn load(path: &Path) -> Result<CausalLm, PolicyError> {
    CausalLm::load(path, &LoadOptions::default())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_safetensors_never_panic(damage in damage()) {
        let (dir, weights) = saved();
        let bytes = std::fs::read(&weights).unwrap();
        std::fs::write(&weights, apply(&damage, bytes)).unwrap();
        if let Err(error) = load(dir.path()) {
            prop_assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn damaged_gguf_never_panics(damage in damage()) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.gguf");
        let bytes = gguf_writer::from_policy(&random_model(&small(), 1));
        std::fs::write(&path, apply(&damage, bytes)).unwrap();
        if let Err(error) = LoadedModel::load(&path, &LoadOptions::default()) {
            prop_assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn damaged_configurations_never_panic(damage in damage()) {
        let (dir, _) = saved();
        let path = dir.path().join("config.json");
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, apply(&damage, bytes)).unwrap();
        if let Err(error) = load(dir.path()) {
            prop_assert!(!error.to_string().is_empty());
        }
    }
}

/// Replaces one tensor of a saved model, and returns the error of loading it.
fn error_with(name: &str, change: impl Fn(&Tensor) -> Option<Tensor>) -> PolicyError {
    let (dir, weights) = saved();
    let tensors: Vec<(String, Tensor)> = load(dir.path())
        .expect("the model loads before the change")
        .parameters()
        .into_iter()
        .filter_map(|parameter| {
            let tensor = parameter.tensor.detach().copy();
            let tensor = if parameter.name == name { change(&tensor)? } else { tensor };
            Some((parameter.name, tensor))
        })
        .collect();
    Tensor::write_safetensors(&tensors, &weights).expect("writing works");
    load(dir.path()).expect_err("the change is refused")
}

#[test]
fn bad_tensors_are_named() {
    let name = "model.layers.0.mlp.up_proj.weight";
    let missing = error_with(name, |_| None);
    assert!(matches!(&missing, PolicyError::MissingTensor { tensor, .. } if tensor == name));
    let shape = error_with(name, |tensor| Some(tensor.narrow(0, 0, 3).contiguous()));
    let PolicyError::TensorShape { path, tensor, found, expected } = &shape else {
        panic!("{shape}")
    };
    assert!(path.ends_with("model.safetensors"));
    assert_eq!((tensor.as_str(), &found[..], &expected[..]), (name, &[3, 8][..], &[8, 8][..]));
    let kind = error_with(name, |tensor| Some(tensor.to_kind(tch::Kind::Int64)));
    assert!(matches!(&kind, PolicyError::TensorType { found, .. } if found == "I64"), "{kind}");
    for bad in [f64::NAN, f64::INFINITY] {
        let finite = error_with(name, |tensor| {
            let _ = tensor.get(2).narrow(0, 1, 2).fill_(bad);
            Some(tensor.shallow_clone())
        });
        assert!(
            matches!(&finite, PolicyError::NotFinite { tensor, count: 2, .. } if tensor == name)
        );
    }
}

#[test]
fn truncated_and_missing_files_are_named() {
    let (dir, weights) = saved();
    let bytes = std::fs::read(&weights).unwrap();
    std::fs::write(&weights, &bytes[..bytes.len() - 1]).unwrap();
    let error = load(dir.path()).unwrap_err();
    assert!(matches!(&error, PolicyError::Corrupt { path, .. } if *path == weights), "{error}");
    std::fs::remove_file(&weights).unwrap();
    let error = load(dir.path()).unwrap_err();
    assert!(matches!(&error, PolicyError::MissingFile { path, .. } if *path == weights), "{error}");
    assert!(matches!(load(Path::new("/nonexistent")), Err(PolicyError::NoModel { .. })));
}

#[test]
fn truncated_gguf_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    let bytes = gguf_writer::from_policy(&random_model(&small(), 1));
    std::fs::write(&path, &bytes[..bytes.len() - 40]).unwrap();
    let error = load(&path).unwrap_err();
    assert!(matches!(&error, PolicyError::Corrupt { .. }), "{error}");
    assert!(error.to_string().contains("tensor `"), "{error}");
}

#[test]
fn weights_of_gguf_files_and_adapters_that_are_not_finite_are_named() {
    let disturb = |model: CausalLm, name: &str| {
        tch::no_grad(|| {
            let parameters = model.parameters();
            let parameter = parameters.iter().find(|p| p.name.contains(name)).unwrap();
            let _ = parameter.tensor.get(1).narrow(0, 0, 1).fill_(f64::NAN);
        });
        model
    };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    let bad = disturb(random_model(&small(), 1), "layers.0.mlp.down_proj");
    std::fs::write(&path, gguf_writer::from_policy(&bad)).unwrap();
    let error = load(&path).unwrap_err().to_string();
    for words in ["model.gguf", "blk.0.ffn_down.weight", "1 NaN"] {
        assert!(error.contains(words), "{error}");
    }
    let lora = hint_policy::LoraConfig { rank: 2, ..hint_policy::LoraConfig::default() };
    let adapted = random_model(&small(), 1).with_lora(&lora, 1).unwrap();
    disturb(adapted, "v_proj.lora_A").save_adapter(dir.path()).unwrap();
    let error = random_model(&small(), 1).with_adapter(dir.path()).unwrap_err().to_string();
    for words in ["adapter_model.safetensors", "v_proj.lora_A.weight", "1 NaN"] {
        assert!(error.contains(words), "{error}");
    }
}
