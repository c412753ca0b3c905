//! Model folders as people bring them.

use std::collections::BTreeMap;
use std::path::Path;

use hint_policy::config::Architecture;
use hint_policy::gguf::Gguf;
use hint_policy::io::Inspection;
use hint_policy::{
    CausalLm, LoadOptions, LoadedModel, LoraConfig, ModelConfig, Policy, PolicyError,
    SampleOptions, SampleRequest, SamplingParams, SaveOptions, Tokenizer, sample,
};
use serde_json::{Value, json};
use tch::Tensor;

use crate::gguf_writer::{Meta, tokenizer_metadata, write};
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

#[test]
fn truncation_and_padding_of_a_file_do_not_touch_prompts() {
    let truncation =
        json!({"max_length": 4, "strategy": "LongestFirst", "stride": 0, "direction": "Right"});
    let padding = json!({
        "strategy": {"Fixed": 6}, "direction": "Left", "pad_to_multiple_of": null, "pad_id": 0,
        "pad_type_id": 0, "pad_token": "?",
    });
    let json = tokenizer_json(|json| {
        json["truncation"] = truncation;
        json["padding"] = padding;
    });
    let tokenizer = Tokenizer::from_json_str(&json.to_string()).unwrap();
    assert_eq!(tokenizer.encode("a b c d e a").unwrap(), [3, 4, 5, 6, 7, 3]);
    assert_eq!(tokenizer.encode("a").unwrap(), [3]);
    // What we write does not do it to others.
    let dir = tempfile::tempdir().unwrap();
    tokenizer.save(dir.path()).unwrap();
    let saved = read_json(dir.path(), "tokenizer.json");
    assert!(saved["truncation"].is_null() && saved["padding"].is_null());
}

#[test]
fn stop_tokens_survive_checkpoints_and_adapters() {
    let base = folder();
    let settings = json!({"eos_token_id": [2, 1], "temperature": 0.6, "do_sample": true});
    write_json(base.path(), "generation_config.json", &settings);
    let model = load(base.path()).unwrap();
    assert_eq!(model.stop_tokens, [1, 2]);

    // What a trainer writes: the policy alone. The tokenizer is copied beside it.
    let checkpoint = tempfile::tempdir().unwrap();
    model.policy.save(checkpoint.path()).unwrap();
    write_json(checkpoint.path(), "tokenizer.json", &tokenizer_json(|_| {}));
    assert_eq!(load(checkpoint.path()).unwrap().stop_tokens, [1, 2]);
    assert_eq!(read_json(checkpoint.path(), "generation_config.json")["temperature"], 0.6);

    // An adapter of the base, as other programs write it, without settings of its own.
    let adapted =
        model.policy.with_lora(&LoraConfig { rank: 2, ..LoraConfig::default() }, 1).unwrap();
    let adapter = tempfile::tempdir().unwrap();
    adapted.save_adapter(adapter.path()).unwrap();
    assert_eq!(load(adapter.path()).unwrap().stop_tokens, [1, 2]);
    std::fs::remove_file(adapter.path().join("generation_config.json")).unwrap();
    assert_eq!(load(adapter.path()).unwrap().stop_tokens, [1, 2]);

    // A token that a program adds is remembered, too.
    let more = load(base.path()).unwrap().policy.with_stop_tokens(&[5, 2, 1]);
    more.save(checkpoint.path()).unwrap();
    assert_eq!(load(checkpoint.path()).unwrap().stop_tokens, [1, 2, 5]);
}

#[test]
fn gguf_files_name_the_tokens_that_end_a_turn_by_their_text() {
    let mut metadata = tokenizer_metadata("qwen2");
    for (key, value) in &mut metadata {
        match value {
            Meta::Texts(tokens) if key.ends_with(".tokens") => {
                tokens.extend(["<|im_end|>", "<|endoftext|>", "<|im_start|>"].map(String::from));
            }
            // Whatever kind a file gives them.
            Meta::Kinds(kinds) => kinds.extend([1, 4, 3]),
            _ => {}
        }
    }
    let policy = random_model(&ModelConfig::small(Architecture::Qwen2, 261), 1);
    let mut metadata_of_model = crate::gguf_writer::model_metadata(&policy);
    metadata_of_model.extend(metadata);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    std::fs::write(&path, write(&metadata_of_model, &crate::gguf_writer::tensors(&policy)))
        .unwrap();
    let loaded = LoadedModel::load(&path, &LoadOptions::default()).unwrap();
    // The end of text that has a key, and two by their names.
    assert_eq!(loaded.stop_tokens, [257, 258, 259]);
    assert_eq!(loaded.tokenizer.encode("a<|im_end|>").unwrap().last(), Some(&258));
    // A part of a model.
    metadata_of_model.push(("split.count".to_owned(), Meta::U32(3)));
    std::fs::write(&path, write(&metadata_of_model, &[])).unwrap();
    let error = Inspection::new(&path, None).unwrap_err().to_string();
    assert!(error.contains("split.count") && error.contains("--merge"), "{error}");
}

#[test]
fn a_tokenizer_may_have_more_ids_than_the_model() {
    let dir = folder();
    let json = tokenizer_json(|json| json["model"]["vocab"]["more"] = json!(8));
    write_json(dir.path(), "tokenizer.json", &json);
    let model = load(dir.path()).unwrap();
    assert_eq!(model.tokenizer.vocab_size(), 9);
    let prompt = model.tokenizer.encode("a more").unwrap();
    let request =
        SampleRequest { prompt, num_completions: 1, seed: 1, params: SamplingParams::default() };
    let error = sample(&model.policy, &[request], &SampleOptions::default()).unwrap_err();
    assert!(
        matches!(error, PolicyError::TokenOutOfRange { position: 1, token: 8, vocab_size: 8, .. }),
        "{error}"
    );
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

#[test]
fn a_head_that_differs_under_a_tied_flag_is_refused_and_unused_tensors_are_named() {
    let dir = folder();
    let embedding = load(dir.path()).unwrap().policy.parameters().remove(0).tensor.detach();
    add_tensors(dir.path(), &[("lm_head.weight", embedding.copy())]);
    let report = load(dir.path()).unwrap().policy.report();
    assert!(report.files.unused.is_empty(), "{report}");

    add_tensors(dir.path(), &[("model.rotary.inv_freq", Tensor::ones([3], tch::kind::FLOAT_CPU))]);
    let report = load(dir.path()).unwrap().policy.report();
    assert_eq!(report.files.unused, ["model.rotary.inv_freq"]);
    assert!(report.to_string().contains("`model.rotary.inv_freq`"), "{report}");

    add_tensors(dir.path(), &[("lm_head.weight", &embedding + 1e-3)]);
    check_refused(
        dir.path(),
        &["tie_word_embeddings", "lm_head.weight", "embed_tokens", "set it to false"],
    );
    // As the error says: the head counts once the flag is off.
    change(dir.path(), "tie_word_embeddings", json!(false));
    let loaded = load(dir.path()).unwrap().policy;
    let head = loaded.parameters().pop().unwrap();
    assert_eq!(head.name, "lm_head.weight");
    assert_eq!(head.tensor.detach(), &embedding + 1e-3);
}

#[test]
fn tokenizer_config_adds_ends_and_tokens() {
    let dir = folder();
    let token = |content: &str| {
        json!({"content": content, "special": true, "lstrip": false, "rstrip": false,
               "single_word": false, "normalized": false})
    };
    let mut config = json!({
        "tokenizer_class": "LlamaTokenizerFast", "bos_token": "end", "eos_token": "stop",
        "added_tokens_decoder": {"8": token("<new>")},
    });
    let ids = |config: &Value| {
        write_json(dir.path(), "tokenizer_config.json", config);
        let tokenizer = Tokenizer::from_dir(dir.path()).unwrap();
        assert_eq!(tokenizer.encode("a<new>").unwrap(), [3, 8]);
        tokenizer.encode_with_special_tokens("a b").unwrap()
    };
    // The class adds a bos token unless told otherwise.
    assert_eq!(ids(&config), [1, 3, 4]);
    config["add_bos_token"] = json!(false);
    assert_eq!(ids(&config), [3, 4]);
    config["add_bos_token"] = json!(true);
    config["add_eos_token"] = json!(true);
    assert_eq!(ids(&config), [1, 3, 4, 2]);
    // Other classes do what `tokenizer.json` says.
    config["tokenizer_class"] = json!("PreTrainedTokenizerFast");
    assert_eq!(ids(&config), [3, 4]);

    config["added_tokens_decoder"] = json!({"11": token("<far>")});
    write_json(dir.path(), "tokenizer_config.json", &config);
    let error = Tokenizer::from_dir(dir.path()).unwrap_err().to_string();
    assert!(error.contains("<far>") && error.contains("11"), "{error}");
}

#[test]
fn a_gguf_file_that_does_not_name_its_pre_tokenizer_warns() {
    let warnings = |metadata: &[(String, Meta)]| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.gguf");
        std::fs::write(&path, write(metadata, &[])).unwrap();
        Tokenizer::from_gguf(&Gguf::open(path).unwrap()).unwrap().warnings().to_vec()
    };
    let mut metadata = tokenizer_metadata("gpt-2");
    assert!(warnings(&metadata).is_empty());
    metadata.retain(|(key, _)| key != "tokenizer.ggml.pre");
    let found = warnings(&metadata);
    assert!(found.len() == 1 && found[0].contains("tokenizer.ggml.pre"), "{found:?}");
}

#[test]
fn adapters_find_their_base() {
    let base = folder();
    let model = load(base.path()).unwrap().policy;
    let adapted = model.with_lora(&LoraConfig { rank: 2, ..LoraConfig::default() }, 1).unwrap();
    let adapter = tempfile::tempdir().unwrap();
    adapted.save_adapter(adapter.path()).unwrap();
    let mut config = read_json(adapter.path(), "adapter_config.json");
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

#[test]
fn tensors_may_lack_the_prefix_of_the_model_and_other_prefixes_are_named() {
    let dir = folder();
    let path = dir.path().join("model.safetensors");
    let tensors = Tensor::read_safetensors(&path).unwrap();
    let renamed = |rename: &dyn Fn(&str) -> String| {
        let tensors: Vec<(String, Tensor)> =
            tensors.iter().map(|(name, tensor)| (rename(name), tensor.shallow_clone())).collect();
        let tensors: Vec<(&str, Tensor)> =
            tensors.iter().map(|(name, tensor)| (name.as_str(), tensor.shallow_clone())).collect();
        let _ = std::fs::remove_file(&path);
        write_tensors(&path, &tensors);
    };
    let before = load(dir.path()).unwrap().policy.parameters();
    renamed(&|name| name.trim_start_matches("model.").to_owned());
    let after = load(dir.path()).unwrap().policy;
    assert!(after.report().files.unused.is_empty());
    assert!(before.iter().zip(after.parameters()).all(|(a, b)| a.tensor.equal(&b.tensor)));
    for prefix in ["_orig_mod.", "module.", "base_model.model."] {
        renamed(&|name| format!("{prefix}{name}"));
        check_refused(dir.path(), &[prefix, "remove the prefix"]);
        let error = Inspection::new(dir.path(), None).unwrap_err().to_string();
        assert!(error.contains(prefix), "{error}");
    }
    // A model of texts' meanings has the class of one that writes.
    let dir = folder();
    write_json(dir.path(), "modules.json", &json!([]));
    check_refused(dir.path(), &["sentence-transformers"]);
}

#[test]
fn what_is_missing_is_named_with_its_remedy() {
    let dir = folder();
    std::fs::remove_file(dir.path().join("tokenizer.json")).unwrap();
    check_refused(dir.path(), &["tokenizer.json", "AutoTokenizer", "save_pretrained"]);

    let dir = folder();
    let weights = dir.path().join("model.safetensors");
    std::fs::rename(&weights, dir.path().join("pytorch_model.bin")).unwrap();
    check_refused(dir.path(), &["model.safetensors", "PyTorch", "save_pretrained"]);

    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n";
    for name in ["model.safetensors", "tokenizer.json", "config.json"] {
        let dir = folder();
        std::fs::write(dir.path().join(name), pointer).unwrap();
        check_refused(dir.path(), &[name, "git lfs pull"]);
    }
}

#[test]
fn parts_of_a_folder_that_are_missing_or_empty_are_named() {
    for name in ["model.safetensors", "tokenizer.json", "config.json"] {
        let dir = folder();
        std::fs::write(dir.path().join(name), "").unwrap();
        let error = load(dir.path()).map(|model| model.policy.report()).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }

    // A part without its index, and an index without its part.
    let dir = folder();
    let (whole, part) = ("model.safetensors", "model-00001-of-00002.safetensors");
    std::fs::rename(dir.path().join(whole), dir.path().join(part)).unwrap();
    check_refused(dir.path(), &["model.safetensors.index.json", "get that file"]);
    let index = json!({"weight_map": {"model.embed_tokens.weight": part, "model.norm.weight": "model-00002-of-00002.safetensors"}});
    write_json(dir.path(), "model.safetensors.index.json", &index);
    let error = Inspection::new(dir.path(), None).unwrap_err().to_string();
    assert!(error.contains("00002-of-00002") && error.contains("1 of 2 files"), "{error}");

    // Weights of another layout.
    let dir = folder();
    std::fs::rename(dir.path().join(whole), dir.path().join("consolidated.safetensors")).unwrap();
    check_refused(dir.path(), &["consolidated.safetensors"]);
    std::fs::remove_file(dir.path().join("consolidated.safetensors")).unwrap();
    check_refused(dir.path(), &["holds no weights"]);

    // The folder above several models.
    let above = tempfile::tempdir().unwrap();
    for name in ["checkpoint-10", "checkpoint-20"] {
        std::fs::create_dir(above.path().join(name)).unwrap();
        write_json(&above.path().join(name), "config.json", &json!({}));
    }
    check_refused(above.path(), &["holds no model", "`checkpoint-10`, `checkpoint-20`"]);

    // A head that nobody stored.
    let dir = folder();
    change(dir.path(), "tie_word_embeddings", json!(false));
    check_refused(dir.path(), &["tie_word_embeddings", "lm_head.weight", "set it to true"]);
}

#[test]
fn inspection_finds_what_loading_refuses() {
    let dir = folder();
    let inspect = || Inspection::new(dir.path(), None).and_then(|found| found.check_values());
    inspect().unwrap();
    let embedding = load(dir.path()).unwrap().policy.parameters().remove(0).tensor.detach();
    add_tensors(dir.path(), &[("lm_head.weight", &embedding + 1e-3)]);
    let error = inspect().unwrap_err().to_string();
    assert!(error.contains("tie_word_embeddings"), "{error}");
    let damaged = embedding.copy();
    let _ = damaged.get(0).fill_(f64::NAN);
    add_tensors(
        dir.path(),
        &[("lm_head.weight", embedding), ("model.embed_tokens.weight", damaged)],
    );
    let error = inspect().unwrap_err().to_string();
    assert!(error.contains("model.embed_tokens.weight") && error.contains("NaN"), "{error}");
}

#[test]
fn quantized_models_are_refused_by_the_name_of_the_method() {
    let dir = folder();
    let config = json!({"quant_method": "gptq", "bits": 4, "group_size": 128});
    change(dir.path(), "quantization_config", config);
    check_refused(dir.path(), &["quantization_config", "gptq", "bits 4", "bf16"]);
}

#[test]
fn a_template_whose_answers_do_not_end_is_noticed() {
    let template =
        "{% for m in messages %}{{ m.role }} {{ m.content }}{{ '<|im_end|>\n' }}{% endfor %}";
    let json = tokenizer_json(|json| json["model"]["vocab"]["<|im_end|>"] = json!(8));
    let tokenizer = Tokenizer::from_json_str(&json.to_string()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    tokenizer.with_special_token("eos_token", "<|im_end|>").save(dir.path()).unwrap();
    let tokenizer = Tokenizer::from_dir(dir.path()).unwrap().with_chat_template(template);
    assert_eq!(tokenizer.unstopped_turn(&[1]).as_deref(), Some("<|im_end|>"));
    assert_eq!(tokenizer.unstopped_turn(&[1, 8]), None);
    let plain =
        tokenizer.with_chat_template("{% for m in messages %}{{ m.content }}\n{% endfor %}");
    assert_eq!(plain.unstopped_turn(&[1]), None);
}

#[test]
fn a_cache_folder_stands_for_its_snapshot() {
    let cache = tempfile::tempdir().unwrap();
    let snapshot = cache.path().join("snapshots/abc");
    std::fs::create_dir_all(&snapshot).unwrap();
    std::fs::create_dir_all(cache.path().join("refs")).unwrap();
    std::fs::write(cache.path().join("refs/main"), "abc").unwrap();
    random_model(&config(), 1).save(&snapshot).unwrap();
    write_json(&snapshot, "tokenizer.json", &tokenizer_json(|_| {}));
    assert_eq!(load(cache.path()).unwrap().policy.source(), Some(snapshot.as_path()));
    // Of a revision that is no branch, the cache has the snapshot alone.
    std::fs::remove_dir_all(cache.path().join("refs")).unwrap();
    assert_eq!(load(cache.path()).unwrap().policy.source(), Some(snapshot.as_path()));
}

#[test]
fn models_with_other_heads_are_refused_by_class() {
    for class in ["Qwen2ForSequenceClassification", "Qwen2Model", "Qwen2ForRewardModel"] {
        let dir = folder();
        change(dir.path(), "architectures", json!([class]));
        check_refused(dir.path(), &["architectures", class, "Qwen2ForCausalLM"]);
    }
}

#[test]
fn configurations_may_be_written_loosely() {
    let dir = folder();
    change(dir.path(), "max_position_embeddings", json!(512.0));
    change(dir.path(), "rope_theta", json!(10_000));
    change(dir.path(), "rope_scaling", json!({}));
    assert_eq!(load(dir.path()).unwrap().policy.config(), &config());
    change(dir.path(), "rope_scaling", Value::Null);
    change(dir.path(), "rope_parameters", json!({"rope_theta": 5000.0}));
    assert_eq!(load(dir.path()).unwrap().policy.config().rope_theta, 5000.0);
    change(dir.path(), "max_position_embeddings", json!(512.5));
    assert!(load(dir.path()).is_err());
}

#[test]
fn files_of_all_families_are_written_as_transformers_reads_them() {
    let path = crate::golden::golden_dir().0.join("saved_configs.json");
    let expected: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let mut all = serde_json::Map::new();
    for architecture in Architecture::ALL {
        let dir = tempfile::tempdir().unwrap();
        let windows = match architecture {
            Architecture::Llama
            | Architecture::Olmo2
            | Architecture::Granite
            | Architecture::HunYuan
            | Architecture::InternLm3
            | Architecture::Qwen35
            | Architecture::SeedOss => vec![],
            Architecture::Mistral | Architecture::Phi3 => vec![Some(6); 4],
            _ => vec![Some(6), None, Some(6), Some(6)],
        };
        let mut states = vec![(architecture.model_type().to_owned(), windows)];
        if !states[0].1.is_empty() {
            states.push((format!("{}-unwindowed", architecture.model_type()), vec![]));
        }
        for (name, sliding_windows) in states {
            let config = ModelConfig { sliding_windows, ..ModelConfig::small(architecture, 60) };
            random_model(&config, 1).save(dir.path()).unwrap();
            all.insert(name, read_json(dir.path(), "config.json"));
        }
    }
    if crate::blesses() {
        std::fs::write(path, format!("{}\n", serde_json::to_string_pretty(&all).unwrap())).unwrap();
        return;
    }
    for (name, written) in &all {
        assert_eq!(written, &expected[name], "{written:#}");
    }
}
