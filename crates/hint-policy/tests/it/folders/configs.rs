//! Configurations of folders.

use hint_policy::config::Architecture;
use hint_policy::{ModelConfig, Policy};
use serde_json::{Value, json};

use crate::folders::{change, check_refused, config, folder, load, read_json};
use crate::model::{random_model, windows, with_keys};

#[test]
fn quantized_models_are_refused_by_the_name_of_the_method() {
    let dir = folder();
    let config = json!({"quant_method": "gptq", "bits": 4, "group_size": 128});
    change(dir.path(), "quantization_config", config);
    check_refused(dir.path(), &["quantization_config", "gptq", "bits 4", "bf16"]);
}

#[test]
fn quantized_models_are_known_by_each_name_of_the_description() {
    for (key, value, word) in [
        ("compression_config", json!({"quant_method": "compressed-tensors"}), "compressed-tensors"),
        ("quantization", json!({"group_size": 64, "bits": 4}), "bits 4"),
        ("quantization_config", json!({}), "{}"),
    ] {
        let dir = folder();
        change(dir.path(), key, value);
        check_refused(dir.path(), &["quantization_config", word, "bf16"]);
    }
}

#[test]
fn lists_of_layers_must_fit() {
    let dir = folder();
    change(dir.path(), "layer_types", json!(["full_attention", "full_attention"]));
    check_refused(dir.path(), &["layer_types", "a list of 2", "1 entries"]);
    change(dir.path(), "layer_types", json!(["chunked_attention"]));
    check_refused(dir.path(), &["layer_types", "chunked_attention", "sliding_attention"]);
    // A window of no size.
    change(dir.path(), "layer_types", json!(["sliding_attention"]));
    check_refused(dir.path(), &["sliding_window", "use_sliding_window"]);
    change(dir.path(), "layer_types", json!(["full_attention"]));
    assert!(load(dir.path()).is_ok());
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
    change(dir.path(), "hidden_act", json!("swish"));
    change(dir.path(), "dtype", json!({"": "bfloat16"}));
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
        let plain = ModelConfig::small(architecture, 60);
        let windowed = with_keys(&plain, &[windows(6, &[true, false, true, true])]);
        let name = architecture.model_type().to_owned();
        let states = if windowed.sliding_windows.is_empty() {
            vec![(name, plain)]
        } else {
            vec![(name.clone(), windowed), (format!("{name}-unwindowed"), plain)]
        };
        for (name, config) in states {
            random_model(&config, 1).save(dir.path()).unwrap();
            all.insert(name, read_json(dir.path(), "config.json"));
        }
    }
    if crate::blesses() {
        std::fs::write(path, format!("{}\n", serde_json::to_string_pretty(&all).unwrap())).unwrap();
        return;
    }
    for (name, written) in &all {
        let remedy = "run this test with HINT_BLESS=1, then gen/resolved_configs.py";
        assert_eq!(written, &expected[name], "{name}; {remedy}\n{written:#}");
    }
}
