//! Folders of adapters, and the base models that they name.

use std::path::Path;

use hint_policy::io::Inspection;
use hint_policy::{CausalLm, LoadOptions, LoraConfig, Policy, SaveOptions};
use serde_json::{Value, json};
use tch::Tensor;

use crate::folders::{check_refused, folder, load, read_json, write_json, write_tensors};

#[test]
fn adapters_find_their_base() {
    let base = folder();
    let model = load(base.path()).unwrap().policy;
    let adapted = model.with_lora(&LoraConfig { rank: 2, ..LoraConfig::default() }, 1).unwrap();
    let adapter = tempfile::tempdir().unwrap();
    adapted.save_adapter(adapter.path()).unwrap();
    let mut config = read_json(adapter.path(), "adapter_config.json");
    config["base_model_name_or_path"] = Value::Null;
    write_json(adapter.path(), "adapter_config.json", &config);
    check_refused(adapter.path(), &["adapter_config.json", "names none", "--base"]);
    config["base_model_name_or_path"] = json!("owner/model");
    write_json(adapter.path(), "adapter_config.json", &config);
    check_refused(adapter.path(), &["owner/model", "base_model_name_or_path", "LoadOptions::base"]);
    let options = LoadOptions { base: Some(base.path().to_owned()), ..LoadOptions::default() };
    let loaded = CausalLm::load(adapter.path(), &options).unwrap();
    assert_eq!(loaded.lora().map(|lora| lora.rank), Some(2));
    // Trainers leave the base's configuration beside the adapter.
    std::fs::copy(base.path().join("config.json"), adapter.path().join("config.json")).unwrap();
    let loaded = CausalLm::load(adapter.path(), &options).unwrap();
    assert_eq!(loaded.lora().map(|lora| lora.rank), Some(2));
    // The description alone, weights in another format, and an adapter beside a whole model.
    let (weights, moved) =
        (adapter.path().join("adapter_model.safetensors"), adapter.path().join("moved"));
    std::fs::rename(&weights, &moved).unwrap();
    let refused = |words: &str| {
        let error = CausalLm::load(adapter.path(), &options).unwrap_err().to_string();
        assert!(error.contains(words), "{error}: no {words}");
        let error = Inspection::new(adapter.path(), Some(base.path())).unwrap_err().to_string();
        assert!(error.contains(words), "{error}: no {words}");
    };
    refused("without its weights");
    std::fs::write(adapter.path().join("adapter_model.bin"), "x").unwrap();
    refused("PyTorch's own format");
    std::fs::rename(&moved, &weights).unwrap();
    let whole = adapter.path().join("model.safetensors");
    std::fs::copy(base.path().join("model.safetensors"), &whole).unwrap();
    refused("a model or an adapter in one folder");
    std::fs::remove_file(&whole).unwrap();
    // An adapter of a model that reads images has the language model's path in its names.
    let renamed = Tensor::read_safetensors(&weights).unwrap();
    let renamed: Vec<(String, Tensor)> = renamed
        .into_iter()
        .map(|(name, tensor)| (name.replace("model.model.", "model.model.language_model."), tensor))
        .collect();
    let renamed: Vec<(&str, Tensor)> =
        renamed.iter().map(|(name, tensor)| (name.as_str(), tensor.shallow_clone())).collect();
    std::fs::remove_file(&weights).unwrap();
    write_tensors(&weights, &renamed);
    assert!(CausalLm::load(adapter.path(), &options).is_ok());
    // What newer versions add is refused by name, unless it is off.
    config["use_something_new"] = json!(false);
    config["something_config"] = Value::Null;
    write_json(adapter.path(), "adapter_config.json", &config);
    assert!(CausalLm::load(adapter.path(), &options).is_ok());
    config["use_something_new"] = json!(true);
    write_json(adapter.path(), "adapter_config.json", &config);
    let error = CausalLm::load(adapter.path(), &options).unwrap_err().to_string();
    assert!(error.contains("use_something_new"), "{error}");
}

#[test]
fn an_adapter_on_an_adapter_is_refused() {
    let base = folder();
    let model = load(base.path()).unwrap().policy;
    let adapted = model.with_lora(&LoraConfig { rank: 2, ..LoraConfig::default() }, 1).unwrap();
    let (inner, outer) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    adapted.save_adapter(inner.path()).unwrap();
    adapted.save_adapter(outer.path()).unwrap();
    let refused = |given: Option<&Path>| {
        let options = LoadOptions { base: given.map(Path::to_owned), ..LoadOptions::default() };
        let errors = [
            CausalLm::load(outer.path(), &options).unwrap_err(),
            Inspection::new(outer.path(), given).unwrap_err(),
        ];
        for error in errors.map(|error| error.to_string()) {
            assert!(error.contains("an adapter") && error.contains("--merged"), "{error}");
        }
    };
    refused(Some(inner.path()));
    refused(Some(outer.path()));
    let mut config = read_json(outer.path(), "adapter_config.json");
    for name in [inner.path(), outer.path(), Path::new(".")] {
        config["base_model_name_or_path"] = json!(name);
        write_json(outer.path(), "adapter_config.json", &config);
        refused(None);
    }
    // Merged, it is a base.
    let merged = tempfile::tempdir().unwrap();
    let options = SaveOptions { merged: true, ..SaveOptions::default() };
    load(inner.path()).unwrap().save_with(merged.path(), &options).unwrap();
    let options = LoadOptions { base: Some(merged.path().to_owned()), ..LoadOptions::default() };
    assert!(CausalLm::load(outer.path(), &options).unwrap().lora().is_some());
}

/// PEFT stores embeddings beside an adapter, changed or not.
#[test]
fn embeddings_beside_an_adapter_are_unused_if_they_are_the_base_s() {
    let base = folder();
    let model = load(base.path()).unwrap().policy;
    let embedding = model.parameters().remove(0).tensor.detach().copy();
    let adapted = model.with_lora(&LoraConfig { rank: 2, ..LoraConfig::default() }, 1).unwrap();
    let adapter = tempfile::tempdir().unwrap();
    adapted.save_adapter(adapter.path()).unwrap();
    let path = adapter.path().join("adapter_model.safetensors");
    let plain = Tensor::read_safetensors(&path).unwrap();
    let names = ["model.embed_tokens.weight", "lm_head.weight"]
        .map(|name| format!("base_model.model.{name}"));
    let store = |embedding: &Tensor| {
        let plain = plain.iter().map(|(name, tensor)| (name.as_str(), tensor.shallow_clone()));
        let more = names.iter().map(|name| (name.as_str(), embedding.shallow_clone()));
        let _ = std::fs::remove_file(&path);
        write_tensors(&path, &plain.chain(more).collect::<Vec<_>>());
    };
    store(&embedding);
    let report = CausalLm::load(adapter.path(), &LoadOptions::default()).unwrap().report();
    assert_eq!(report.files.unused.len(), 2, "{report}");
    assert!(names.iter().all(|name| report.files.unused.contains(name)), "{report}");
    Inspection::new(adapter.path(), None).unwrap().check_values().unwrap();
    for changed in [&embedding + 1.0, Tensor::cat(&[&embedding, &embedding], 0)] {
        store(&changed);
        let loading = CausalLm::load(adapter.path(), &LoadOptions::default()).unwrap_err();
        let inspecting = Inspection::new(adapter.path(), None).unwrap().check_values().unwrap_err();
        for error in [loading, inspecting].map(|error| error.to_string()) {
            assert!(
                error.contains("embed_tokens") && error.contains("merge_and_unload"),
                "{error}"
            );
        }
    }
}
