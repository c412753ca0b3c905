//! Low-rank adapters: what they compute, train, save and refuse.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hint_policy::config::Architecture;
use hint_policy::{
    CausalLm, LoadOptions, LoraConfig, ModelConfig, Parameter, Policy, PolicyError, SampleOptions,
    SampleRequest, SamplingParams, SaveOptions, ScoreOptions, TokenBatch, TokenRow, sample,
};
use serde::Deserialize;
use serde_json::{Value, json};
use tch::{Kind, Tensor};

use crate::model::random_model;
use crate::{device, options};

fn small(architecture: Architecture) -> ModelConfig {
    ModelConfig {
        num_hidden_layers: 2,
        num_key_value_heads: 2,
        ..ModelConfig::small(architecture, 30)
    }
}

/// A model with adapters that do something: fresh ones start at 0.
fn adapted(config: &ModelConfig, lora: &LoraConfig, compute: Kind) -> CausalLm {
    let policy = random_model(config, 3).with_compute(compute).expect("a kind to compute in");
    let policy = policy.with_lora(lora, 9).expect("the targets exist");
    disturb(&policy, 0.05);
    policy
}

fn disturb(policy: &CausalLm, amount: f64) {
    tch::no_grad(|| {
        for (index, Parameter { mut tensor, .. }) in policy.parameters().into_iter().enumerate() {
            let wave = Tensor::arange(tensor.numel() as i64, (Kind::Float, device()));
            let wave = (wave * 0.7 + index as f64).sin() * amount;
            let _ = tensor.g_add_(&wave.view(tensor.size().as_slice()));
        }
    });
}

fn logprobs(policy: &CausalLm, dropout_seed: Option<u64>) -> Tensor {
    let rows = [
        TokenRow { prompt: &[1, 2], completion: &[3, 4, 5, 6, 7, 8, 9] },
        TokenRow { prompt: &[11], completion: &[20, 21] },
    ];
    let batch = TokenBatch::new(&rows, device()).expect("rows are not empty");
    let options = ScoreOptions { dropout_seed, ..ScoreOptions::default() };
    policy.score(&batch, &options).expect("ids are in range").logprobs
}

fn difference(a: &Tensor, b: &Tensor) -> f64 {
    (a - b).abs().max().double_value(&[])
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden")
}

#[derive(Deserialize)]
struct Expected {
    base: String,
    ids: Vec<u32>,
    token_logps: Vec<f64>,
    grad_norms: BTreeMap<String, f64>,
}

#[test]
fn golden_adapters_of_peft_give_its_logprobs_and_gradients() {
    tch::set_num_threads(1);
    let mut families = Vec::new();
    for dir in std::fs::read_dir(golden().join("adapters")).unwrap() {
        let dir = dir.unwrap().path();
        let name = dir.display();
        let text = std::fs::read_to_string(dir.join("expected.json")).unwrap();
        let expected: Expected = serde_json::from_str(&text).unwrap();
        let options = LoadOptions { compute: Kind::Double, ..options() };
        let base = CausalLm::load(golden().join("models").join(expected.base), &options).unwrap();
        families.push(base.config().architecture);
        let policy = base.with_adapter(&dir).unwrap();
        let rows = [TokenRow { prompt: &expected.ids[..1], completion: &expected.ids[1..] }];
        let batch = TokenBatch::new(&rows, device()).unwrap();
        let scores = policy.score(&batch, &ScoreOptions::default()).unwrap().logprobs;
        let values = Vec::<f64>::try_from(scores.get(0).slice(0, 1, None, 1)).unwrap();
        assert_eq!(values.len(), expected.token_logps.len());
        for (a, e) in values.iter().zip(&expected.token_logps) {
            assert!((a - e).abs() < 1e-9, "{name}: {a}, expected {e}");
        }
        (-scores.sum(Kind::Double) / expected.token_logps.len() as f64).backward();
        let parameters = policy.parameters();
        assert_eq!(parameters.len(), expected.grad_norms.len());
        for Parameter { name, tensor } in parameters {
            let norm = tensor.grad().to_kind(Kind::Double).norm().double_value(&[]);
            assert!((norm / expected.grad_norms[&name] - 1.0).abs() < 1e-6, "{name}: {norm}");
        }
    }
    let mut others = Architecture::ALL.into_iter();
    let missing = others.find(|one| !families.contains(one));
    assert_eq!(missing, None, "a family without an adapter; gen/lora.py writes one");
}

#[test]
fn an_adapter_folder_loads_with_the_base_that_it_names() {
    let dir = golden().join("adapters/qwen3-attention");
    let policy = CausalLm::load(&dir, &options()).unwrap();
    assert_eq!(policy.lora().map(|lora| lora.rank), Some(4));
    let elsewhere = tempfile::tempdir().unwrap();
    let name = "adapter_config.json";
    std::fs::copy(dir.join(name), elsewhere.path().join(name)).unwrap();
    let error = CausalLm::load(elsewhere.path(), &options()).unwrap_err().to_string();
    assert!(error.contains("../../models/qwen3") && error.contains("base_model_name"), "{error}");
}

#[test]
fn fresh_adapters_change_nothing_and_are_all_that_is_trained() {
    let config = small(Architecture::Qwen3);
    let plain = logprobs(&random_model(&config, 3), None);
    let policy = random_model(&config, 3).with_lora(&LoraConfig::default(), 9).unwrap();
    assert!(difference(&plain, &logprobs(&policy, None)) < 1e-9);
    logprobs(&policy, None).sum(Kind::Float).backward();
    let parameters = policy.parameters();
    assert_eq!(parameters.len(), 2 * 7 * 2);
    for Parameter { name, tensor } in &parameters {
        assert!(name.starts_with("base_model.model.model.layers."), "{name}");
        assert_eq!(tensor.kind(), Kind::Float);
        // With B = 0 only B has a gradient at first.
        let norm = tensor.grad().norm().double_value(&[]);
        assert_eq!(norm > 0.0, name.contains("lora_B"), "{name}: {norm}");
    }
    let same = random_model(&config, 3).with_lora(&LoraConfig::default(), 9).unwrap();
    for (a, b) in parameters.iter().zip(same.parameters()) {
        assert!(a.tensor.equal(&b.tensor), "{}", a.name);
    }
}

#[test]
fn the_sampler_follows_the_adapters() {
    for architecture in Architecture::ALL {
        let config = small(architecture);
        let policy =
            adapted(&config, &LoraConfig { rank: 3, ..LoraConfig::default() }, Kind::Float);
        for _ in 0..2 {
            let params = SamplingParams { max_new_tokens: 10, ..SamplingParams::default() };
            let request =
                SampleRequest { prompt: vec![1, 2, 3], num_completions: 1, seed: 5, params };
            let samples = sample(&policy, &[request], &SampleOptions::default()).unwrap();
            let drawn = &samples[0][0];
            let rows = [TokenRow { prompt: &[1, 2, 3], completion: &drawn.tokens }];
            let batch = TokenBatch::new(&rows, device()).unwrap();
            let scores = policy.score(&batch, &ScoreOptions::default()).unwrap().logprobs;
            let scores = scores.get(0).slice(0, 3, None, 1).to_kind(Kind::Double);
            for (a, b) in Vec::<f64>::try_from(scores).unwrap().iter().zip(&drawn.behavior_logprobs)
            {
                assert!((a - b).abs() < 1e-4, "{architecture:?}: {a} {b}");
            }
            // An optimizer's step, in place: the sampler must notice.
            disturb(&policy, 0.1);
        }
    }
}

#[test]
fn merging_saving_and_loading_keep_the_model() {
    let lora = LoraConfig {
        rank: 3,
        alpha: 5.0,
        rank_stabilized: true,
        target_modules: vec!["q_proj".into(), "model.layers.1.mlp.down_proj".into()],
        rank_pattern: BTreeMap::from([("mlp.down_proj".into(), 2)]),
        alpha_pattern: BTreeMap::from([("^model.layers.0.self_attn.q_proj".into(), 2.0)]),
        modules_to_save: vec!["lm_head".into(), "model.norm".into()],
        ..LoraConfig::default()
    };
    let config = ModelConfig { tie_word_embeddings: false, ..small(Architecture::Llama) };
    let policy = adapted(&config, &lora, Kind::Float);
    let ranks: Vec<i64> =
        policy.parameters().iter().step_by(2).map(|a| a.tensor.size()[0]).collect();
    assert_eq!(ranks, [3, 3, 2, 128]);
    assert_eq!(policy.parameters().len(), 2 * 3 + 2);
    let expected = logprobs(&policy, None);
    let base = logprobs(&policy.base().unwrap(), None);
    assert!(difference(&expected, &base) > 1e-3);
    assert!(difference(&base, &logprobs(&random_model(&config, 3), None)) < 1e-9);

    let dir = tempfile::tempdir().unwrap();
    policy.save(dir.path()).unwrap();
    assert!(!dir.path().join("model.safetensors").exists());
    let loaded = random_model(&config, 3).with_adapter(dir.path()).unwrap();
    assert_eq!(loaded.lora(), Some(&lora));
    for (a, b) in policy.parameters().iter().zip(loaded.parameters()) {
        assert_eq!(a.name, b.name);
        assert!(a.tensor.equal(&b.tensor), "{}", a.name);
    }
    assert!(logprobs(&loaded, None).equal(&expected));

    let merged = tempfile::tempdir().unwrap();
    policy.save_as(merged.path(), &SaveOptions { merged: true, ..SaveOptions::default() }).unwrap();
    let merged = CausalLm::load(merged.path(), &options()).unwrap();
    assert!(difference(&logprobs(&merged, None), &expected) < 1e-4);
}

#[test]
fn dropout_is_a_function_of_its_seed_and_off_without_one() {
    let config = small(Architecture::Qwen2);
    let with =
        |dropout| adapted(&config, &LoraConfig { dropout, ..LoraConfig::default() }, Kind::Float);
    let (policy, without) = (with(0.3), with(0.0));
    let plain = logprobs(&without, Some(1));
    assert!(logprobs(&policy, None).equal(&plain));
    let once = logprobs(&policy, Some(1));
    assert!(once.equal(&logprobs(&policy, Some(1))));
    assert!(difference(&once, &logprobs(&policy, Some(2))) > 1e-3);
    assert!(difference(&once, &plain) > 1e-3);
}

#[test]
fn frozen_weights_take_the_compute_kind() {
    let config = small(Architecture::Llama);
    let policy = adapted(&config, &LoraConfig::default(), Kind::BFloat16);
    let exact = adapted(&config, &LoraConfig::default(), Kind::Float);
    assert!(difference(&logprobs(&policy, None), &logprobs(&exact, None)) < 0.1);
    logprobs(&policy, None).sum(Kind::Float).backward();
    assert!(
        policy.parameters().iter().all(|parameter| parameter.tensor.grad().kind() == Kind::Float)
    );
}

/// The decay of a delta-net is computed in `Float`, so its constants stay as they are.
#[test]
fn frozen_weights_become_narrow_but_not_the_decay_of_a_delta_net() {
    let options = LoadOptions { compute: Kind::BFloat16, ..options() };
    let model = CausalLm::load(golden().join("models/qwen3_5"), &options).unwrap();
    let exact = model.parameters().into_iter().map(|one| (one.name, one.tensor));
    let exact = exact.collect::<BTreeMap<_, _>>();
    let base = model.with_lora(&LoraConfig::default(), 1).unwrap().base().unwrap();
    let is_decay = |name: &str| name.ends_with("A_log") || name.ends_with("dt_bias");
    let (decay, others): (Vec<_>, Vec<_>) =
        base.parameters().into_iter().partition(|one| is_decay(&one.name));
    assert!(!decay.is_empty() && !others.is_empty());
    for Parameter { name, tensor } in decay {
        assert!(tensor.equal(&exact[&name]), "{name}");
    }
    for Parameter { name, tensor } in others {
        assert_eq!(tensor.kind(), Kind::BFloat16, "{name}");
    }
}

#[test]
fn what_is_not_implemented_is_refused_by_name() {
    #[track_caller]
    fn check(key: &str, value: Value, words: &[&str]) {
        let source = golden().join("adapters/qwen3-attention");
        let dir = tempfile::tempdir().unwrap();
        std::fs::copy(
            source.join("adapter_model.safetensors"),
            dir.path().join("adapter_model.safetensors"),
        )
        .unwrap();
        let text = std::fs::read_to_string(source.join("adapter_config.json")).unwrap();
        let mut json: Value = serde_json::from_str(&text).unwrap();
        json[key] = value;
        std::fs::write(dir.path().join("adapter_config.json"), json.to_string()).unwrap();
        let base = CausalLm::load(golden().join("models/qwen3"), &options()).unwrap();
        let error = base.with_adapter(dir.path()).unwrap_err().to_string();
        for word in words.iter().chain([&key]) {
            assert!(error.contains(word), "{error}: no {word}");
        }
    }
    check("peft_type", json!("IA3"), &["IA3", "LORA"]);
    check("use_dora", json!(true), &["true", "off"]);
    check("bias", json!("all"), &["all", "none"]);
    check("use_rslora", json!("true"), &["\"true\"", "true or false"]);
    check("lora_alpha", Value::Null, &["null", "a number"]);
    check("modules_to_save", json!(["score"]), &["score", "lm_head"]);
    check("modules_to_save", json!(["q_proj"]), &["q_proj", "targets"]);
    check("rank_pattern", json!({"q(?!x)_proj": 2}), &["q(?!x)_proj", "names of modules"]);
    let differ = json!({".*q_proj": 2, "(q|v)_proj": 4});
    check("rank_pattern", differ, &[".*q_proj", "names of modules"]);
    check("task_type", json!("SEQ_CLS"), &["SEQ_CLS", "CAUSAL_LM"]);
    check("init_lora_weights", json!("pissa"), &["pissa", "gaussian"]);
    check("target_modules", json!(["c_attn"]), &["c_attn", "q_proj", "all-linear"]);
    check("target_modules", json!(3), &["3", "list of names"]);
}

/// A pattern is Python's; the weights name the same modules.
#[test]
fn adapters_whose_modules_are_given_by_a_pattern_take_them_from_the_weights() {
    let source = golden().join("adapters/qwen3-attention");
    let base = || CausalLm::load(golden().join("models/qwen3"), &options()).unwrap();
    let listed = base().with_adapter(&source).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let name = "adapter_model.safetensors";
    std::fs::copy(source.join(name), dir.path().join(name)).unwrap();
    let text = std::fs::read_to_string(source.join("adapter_config.json")).unwrap();
    let json: Value = serde_json::from_str(&text).unwrap();
    for changes in [
        json!({"target_modules": "(?:.*?(?:language|text).*?)|(?:\\bmodel\\.layers\\.[\\d]{1,}(?!x).*_proj)"}),
        json!({"target_modules": ["q_proj", "k_proj", "v_proj"], "exclude_modules": ".*k_proj"}),
        json!({"layers_to_transform": [0, 1, 2], "layers_pattern": "layers"}),
    ] {
        let mut json = json.clone();
        json.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        std::fs::write(dir.path().join("adapter_config.json"), json.to_string()).unwrap();
        let policy = base().with_adapter(dir.path()).unwrap();
        assert!(logprobs(&policy, None).equal(&logprobs(&listed, None)), "{changes}");
        // Written by their paths, which every reader takes.
        let saved = tempfile::tempdir().unwrap();
        policy.save(saved.path()).unwrap();
        let again = base().with_adapter(saved.path()).unwrap();
        assert!(logprobs(&again, None).equal(&logprobs(&listed, None)), "{changes}");
        let targets = &policy.lora().unwrap().target_modules;
        assert!(targets.contains(&"model.layers.0.self_attn.q_proj".to_owned()), "{targets:?}");
    }
}

/// An adapter with changed options, on its base.
fn with_options(changes: &[(&str, Value)]) -> CausalLm {
    let source = golden().join("adapters/qwen3-attention");
    let dir = tempfile::tempdir().unwrap();
    let name = "adapter_model.safetensors";
    std::fs::copy(source.join(name), dir.path().join(name)).unwrap();
    let text = std::fs::read_to_string(source.join("adapter_config.json")).unwrap();
    let mut json: Value = serde_json::from_str(&text).unwrap();
    for (key, value) in changes {
        json[key] = value.clone();
    }
    std::fs::write(dir.path().join("adapter_config.json"), json.to_string()).unwrap();
    let base = CausalLm::load(golden().join("models/qwen3"), &options()).unwrap();
    base.with_adapter(dir.path()).unwrap()
}

#[test]
fn ranks_and_alphas_may_be_given_by_regular_expressions() {
    let patterns = [
        ("r", json!(7)),
        ("rank_pattern", json!({r".*layers\.[0-2]\..*": 4})),
        ("alpha_pattern", json!({"(q|v)_proj": 16.0})),
    ];
    let (policy, plain) = (with_options(&patterns), with_options(&[("lora_alpha", json!(16))]));
    assert!(logprobs(&policy, None).equal(&logprobs(&plain, None)));
    let lora = policy.lora().unwrap();
    assert_eq!(lora.rank_pattern["^model.layers.0.self_attn.q_proj"], 4);
    assert_eq!(lora.alpha_pattern.len(), 6);
    let saved = tempfile::tempdir().unwrap();
    policy.save(saved.path()).unwrap();
    let base = CausalLm::load(golden().join("models/qwen3"), &options()).unwrap();
    let again = base.with_adapter(saved.path()).unwrap();
    assert!(logprobs(&again, None).equal(&logprobs(&plain, None)));
}

/// As a state dict of PEFT has them, which some trainers write.
#[test]
fn tensors_may_have_the_name_of_the_adapter_in_them() {
    let source = golden().join("adapters/qwen3-attention");
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(source.join("adapter_config.json"), dir.path().join("adapter_config.json"))
        .unwrap();
    let name = "adapter_model.safetensors";
    let tensors = Tensor::read_safetensors(source.join(name)).unwrap();
    let renamed: Vec<(String, Tensor)> = tensors
        .into_iter()
        .map(|(name, tensor)| (name.replace(".weight", ".default.weight"), tensor))
        .collect();
    Tensor::write_safetensors(&renamed, dir.path().join(name)).unwrap();
    let base = CausalLm::load(golden().join("models/qwen3"), &options()).unwrap();
    let policy = base.with_adapter(dir.path()).unwrap();
    assert!(logprobs(&policy, None).equal(&logprobs(&with_options(&[]), None)));
}

#[test]
fn a_module_that_holds_others_is_not_saved_in_part() {
    let model = CausalLm::load(golden().join("models/qwen3_5"), &options()).unwrap();
    let modules_to_save = vec!["linear_attn".to_owned()];
    let lora = LoraConfig { modules_to_save, ..LoraConfig::default() };
    let error = model.with_lora(&lora, 0).unwrap_err().to_string();
    assert!(error.contains("modules_to_save") && error.contains("linear_attn"), "{error}");
}

#[test]
fn damaged_adapters_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let config = small(Architecture::Llama);
    let lora = LoraConfig { target_modules: vec!["q_proj".into()], ..LoraConfig::default() };
    adapted(&config, &lora, Kind::Float).save(dir.path()).unwrap();
    let change = |key: &str, value: Value| {
        let path = dir.path().join("adapter_config.json");
        let text = std::fs::read_to_string(&path).unwrap();
        let mut json: Value = serde_json::from_str(&text).unwrap();
        let before = json[key].clone();
        json[key] = value;
        std::fs::write(&path, json.to_string()).unwrap();
        before
    };
    let error = || random_model(&config, 3).with_adapter(dir.path()).unwrap_err();
    let before = change("r", json!(8));
    let shape = error();
    assert!(
        matches!(&shape, PolicyError::TensorShape { tensor, .. } if tensor.contains("q_proj.lora_A")),
        "{shape}"
    );
    change("r", before);
    let before = change("target_modules", json!(["q_proj", "k_proj"]));
    let missing = error();
    assert!(
        matches!(&missing, PolicyError::MissingTensor { tensor, .. } if tensor.contains("k_proj")),
        "{missing}"
    );
    change("target_modules", json!(["model.layers.0.self_attn.q_proj"]));
    let other = error();
    assert!(
        matches!(&other, PolicyError::Corrupt { .. }) && other.to_string().contains("layers.1"),
        "{other}"
    );
    change("target_modules", before);
    assert!(random_model(&config, 3).with_adapter(dir.path()).is_ok());
    let twice = adapted(&config, &lora, Kind::Float).with_lora(&lora, 1);
    assert!(matches!(twice, Err(PolicyError::Unsupported { .. })));
    for bad in [
        LoraConfig { rank: 0, ..LoraConfig::default() },
        LoraConfig { alpha: 0.0, ..LoraConfig::default() },
        LoraConfig { dropout: 1.0, ..LoraConfig::default() },
        LoraConfig { target_modules: vec![], ..LoraConfig::default() },
        LoraConfig { rank_pattern: BTreeMap::from([("q|v".into(), 2)]), ..LoraConfig::default() },
        LoraConfig { rank_pattern: BTreeMap::from([("q".into(), 0)]), ..LoraConfig::default() },
        LoraConfig { alpha_pattern: BTreeMap::from([("q".into(), 0.0)]), ..LoraConfig::default() },
    ] {
        assert!(matches!(bad.validate(), Err(PolicyError::InvalidOption { .. })));
    }
    let bad = LoraConfig { rank: 0, dropout: 2.0, ..LoraConfig::default() };
    let error = bad.validate().expect_err("two options are out of range").to_string();
    let expected =
        "`lora.rank` is 0, expected at least 1; `lora.dropout` is 2, expected at least 0, below 1";
    assert_eq!(error, expected);
}
