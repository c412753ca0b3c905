//! Saving and loading Hugging Face folders.

use std::path::Path;

use hint_policy::config::Architecture;
use hint_policy::tokenizer::ChatMessage;
use hint_policy::{
    CausalLm, LoadedModel, ModelConfig, Policy, PolicyError, SaveOptions, TokenBatch, TokenRow,
    Tokenizer,
};
use proptest::prelude::*;
use tch::{Device, Kind, Tensor};

use crate::golden::model_dirs;
use crate::model::{configs, random_model};
use crate::{device, options};

fn same_bits(a: &CausalLm, b: &CausalLm) -> bool {
    let (a, b) = (a.parameters(), b.parameters());
    a.len() == b.len()
        && a.iter().zip(&b).all(|(a, b)| a.name == b.name && a.tensor.equal(&b.tensor))
}

fn load(dir: &Path) -> Result<CausalLm, PolicyError> {
    CausalLm::load(dir, &options())
}

/// A tokenizer of single characters.
fn tokenizer() -> Tokenizer {
    let json = r#"{"version": "1.0", "truncation": null, "padding": null, "normalizer": null,
        "added_tokens": [{"id": 4, "content": "<end>", "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true}],
        "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "."}, "behavior": "Isolated", "invert": false},
        "post_processor": null, "decoder": {"type": "Fuse"},
        "model": {"type": "WordLevel", "vocab": {"?": 0, "1": 1, "2": 2, "+": 3, "<end>": 4}, "unk_token": "?"}}"#;
    Tokenizer::from_json_str(json)
        .expect("the tokenizer parses")
        .with_special_token("eos_token", "<end>")
        .with_chat_template("{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn saving_and_loading_gives_back_the_same_bits(config in configs(), seed in 0_u64..1000) {
        let policy = random_model(&config, seed);
        let dir = tempfile::tempdir().unwrap();
        policy.save(dir.path()).unwrap();
        let loaded = load(dir.path()).unwrap();
        prop_assert_eq!(loaded.config(), policy.config());
        prop_assert!(same_bits(&policy, &loaded));
    }
}

#[test]
fn golden_folders_survive_a_round_trip() {
    for golden in model_dirs() {
        let policy = load(&golden).unwrap();
        let dir = tempfile::tempdir().unwrap();
        policy.save(dir.path()).unwrap();
        assert!(same_bits(&policy, &load(dir.path()).unwrap()));
        assert_eq!(load(dir.path()).unwrap().config(), policy.config());
    }
}

#[test]
fn a_whole_model_survives_a_round_trip() {
    let config =
        ModelConfig { eos_token_ids: vec![2], ..ModelConfig::small(Architecture::Llama, 6) };
    let model = LoadedModel {
        policy: random_model(&config, 1),
        tokenizer: tokenizer(),
        stop_tokens: vec![2, 3],
    };
    let dir = tempfile::tempdir().unwrap();
    model.save(dir.path()).unwrap();
    let loaded = LoadedModel::load(dir.path(), &options()).unwrap();
    assert!(same_bits(&model.policy, &loaded.policy));
    assert_eq!(loaded.stop_tokens, [2, 3, 4]);
    let tokenizer = &loaded.tokenizer;
    assert_eq!(tokenizer.encode("1+2<end>x").unwrap(), [1, 3, 2, 4, 0]);
    assert_eq!(tokenizer.decode(&[1, 3, 4]).unwrap(), "1+<end>");
    assert_eq!(tokenizer.decode_skip_special(&[1, 3, 4]).unwrap(), "1+");
    let text = tokenizer.apply_chat_template(&[ChatMessage::user("1+1")], true).unwrap();
    assert_eq!(text, "1+1<end>");
    let mode = |name: &str| std::fs::metadata(dir.path().join(name)).unwrap().permissions();
    assert_eq!(mode("model.safetensors"), mode("config.json"));
    let mut names: Vec<_> =
        std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(
        names,
        [
            "config.json",
            "generation_config.json",
            "model.safetensors",
            "special_tokens_map.json",
            "tokenizer.json",
            "tokenizer_config.json"
        ]
    );
}

#[test]
fn chat_template_file_wins_over_the_configuration() {
    let dir = tempfile::tempdir().unwrap();
    tokenizer().save(dir.path()).unwrap();
    std::fs::write(dir.path().join("chat_template.jinja"), "from file").unwrap();
    let loaded = Tokenizer::from_dir(dir.path()).unwrap();
    assert_eq!(loaded.apply_chat_template(&[], false).unwrap(), "from file");
}

#[test]
fn narrow_kinds_are_written_and_read() {
    let policy = random_model(&ModelConfig::small(Architecture::Qwen2, 6), 1);
    for kind in [Kind::Half, Kind::BFloat16] {
        let dir = tempfile::tempdir().unwrap();
        policy.save_with(dir.path(), &SaveOptions { kind, ..SaveOptions::default() }).unwrap();
        let loaded = load(dir.path()).unwrap();
        for (a, b) in policy.parameters().iter().zip(loaded.parameters()) {
            assert!(a.tensor.to_kind(kind).to_kind(Kind::Float).equal(&b.tensor));
        }
    }
    let result = policy.save_with(
        Path::new("unused"),
        &SaveOptions { kind: Kind::Int64, ..SaveOptions::default() },
    );
    assert!(matches!(result, Err(PolicyError::InvalidOption { field: "kind", .. })));
}

#[test]
fn untied_head_is_written_out_and_gives_the_same_logits() {
    let config =
        ModelConfig { tie_word_embeddings: true, ..ModelConfig::small(Architecture::Llama, 6) };
    let policy = random_model(&config, 1);
    let dir = tempfile::tempdir().unwrap();
    let options = SaveOptions { untied_head: true, ..SaveOptions::default() };
    policy.save_as(dir.path(), &options).unwrap();
    let untied = load(dir.path()).unwrap();
    assert!(!untied.config().tie_word_embeddings);
    let (tied, untied_parameters) = (policy.parameters(), untied.parameters());
    assert_eq!(untied_parameters.len(), tied.len() + 1);
    assert!(untied_parameters.last().unwrap().tensor.equal(&tied[0].tensor));
    let rows = [TokenRow { prompt: &[1, 2, 3], completion: &[4, 5] }];
    let batch = TokenBatch::new(&rows, device()).unwrap();
    assert!(policy.logits(&batch).unwrap().equal(&untied.logits(&batch).unwrap()));
}

#[test]
fn sharded_checkpoints_load() {
    let golden = &model_dirs()[0];
    let whole = load(golden).unwrap();
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(golden.join("config.json"), dir.path().join("config.json")).unwrap();
    let mut weight_map = serde_json::Map::new();
    for (shard, parameters) in whole.parameters().chunks(10).enumerate() {
        let name = format!("model-{shard}.safetensors");
        let tensors: Vec<(&str, Tensor)> = parameters
            .iter()
            .map(|parameter| {
                (parameter.name.as_str(), parameter.tensor.detach().to_device(Device::Cpu))
            })
            .collect();
        Tensor::write_safetensors(&tensors, dir.path().join(&name)).unwrap();
        for parameter in parameters {
            weight_map.insert(parameter.name.clone(), name.clone().into());
        }
    }
    let index = |map: &serde_json::Map<String, serde_json::Value>| {
        let json = serde_json::json!({"metadata": {}, "weight_map": map}).to_string();
        std::fs::write(dir.path().join("model.safetensors.index.json"), json).unwrap();
    };
    index(&weight_map);
    assert!(same_bits(&whole, &load(dir.path()).unwrap()));

    let embedding = "model.embed_tokens.weight";
    weight_map.insert(embedding.into(), "../elsewhere.safetensors".into());
    index(&weight_map);
    assert!(matches!(load(dir.path()), Err(PolicyError::Corrupt { .. })));
    weight_map.remove(embedding);
    index(&weight_map);
    let error = load(dir.path()).unwrap_err();
    assert!(matches!(&error, PolicyError::MissingTensor { tensor, .. } if tensor == embedding));
}

#[test]
fn a_failed_save_names_the_file() {
    let policy = random_model(&ModelConfig::small(Architecture::Llama, 6), 1);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = policy.save(&file.join("below")).unwrap_err();
    assert!(matches!(error, PolicyError::Write { .. }), "{error}");
}

#[test]
fn initial_weights_depend_on_the_seed_only() {
    let config = ModelConfig::small(Architecture::Llama, 40);
    let init = |seed| CausalLm::init(&config, seed, device()).unwrap();
    assert!(same_bits(&init(3), &init(3)));
    assert!(!same_bits(&init(3), &init(4)));
    let embedding = &init(3).parameters()[0].tensor;
    let deviation = embedding.std(true).double_value(&[]);
    assert!((deviation / config.initializer_range - 1.0).abs() < 0.05, "{deviation}");
}
