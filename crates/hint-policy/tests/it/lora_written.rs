//! Adapters that this crate writes, as PEFT reads them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hint_policy::{CausalLm, LoraConfig, Parameter, Policy, ScoreOptions, TokenBatch, TokenRow};
use serde::Deserialize;
use serde_json::Value;
use tch::{Kind, Tensor};

use crate::{device, options};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden")
}

/// An adapter that this crate writes, and what PEFT computes with it; `gen/lora.py read` writes the numbers.
#[derive(Deserialize)]
struct Case {
    base: String,
    config: Value,
    shapes: BTreeMap<String, Vec<i64>>,
    token_logps: Vec<f64>,
}

/// The options of each case.
fn cases() -> Vec<(&'static str, LoraConfig)> {
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    let plain = || LoraConfig { rank: 5, ..LoraConfig::default() };
    let ranks = |pairs: &[(&str, usize)]| {
        pairs.iter().map(|&(name, rank)| (name.to_owned(), rank)).collect::<BTreeMap<_, _>>()
    };
    let alphas = |pairs: &[(&str, f64)]| {
        pairs.iter().map(|&(name, alpha)| (name.to_owned(), alpha)).collect::<BTreeMap<_, _>>()
    };
    vec![
        ("qwen3-plain", plain()),
        ("qwen3_5-plain", plain()),
        ("phi3-plain", plain()),
        ("gemma3-rslora", LoraConfig { rank_stabilized: true, dropout: 0.1, ..plain() }),
        (
            "olmo2-all",
            LoraConfig {
                rank_stabilized: true,
                target_modules: names(&["q_proj", "model.layers.1.mlp.down_proj", "gate_proj"]),
                rank_pattern: ranks(&[("q_proj", 3)]),
                alpha_pattern: alphas(&[("^model.layers.0.mlp.gate_proj", 9.0)]),
                modules_to_save: names(&["lm_head", "post_attention_layernorm"]),
                ..plain()
            },
        ),
        (
            "phi3-patterns",
            LoraConfig {
                target_modules: names(&["qkv_proj", "down_proj"]),
                rank_pattern: ranks(&[("qkv_proj", 2), ("^model.layers.2.mlp.down_proj", 7)]),
                alpha_pattern: alphas(&[("down_proj", 6.5)]),
                ..plain()
            },
        ),
        (
            "llama-one-kv-head-saved",
            LoraConfig {
                target_modules: names(&["v_proj"]),
                modules_to_save: names(&["embed_tokens", "lm_head", "model.norm"]),
                ..plain()
            },
        ),
        (
            "llama-tied-saved",
            LoraConfig {
                rank_stabilized: true,
                target_modules: names(&["model.layers.0.self_attn.o_proj", "up_proj"]),
                modules_to_save: names(&["input_layernorm"]),
                ..plain()
            },
        ),
    ]
}

/// The model of a case with its adapters, whose values follow from the order of their names.
fn policy(base: &str, lora: &LoraConfig) -> CausalLm {
    let base = CausalLm::load(golden().join("models").join(base), &options()).unwrap();
    let policy = base.with_lora(lora, 4).unwrap();
    let mut parameters = policy.parameters();
    parameters.sort_by(|one, other| one.name.cmp(&other.name));
    tch::no_grad(|| {
        for (index, Parameter { name, mut tensor }) in parameters.into_iter().enumerate() {
            let wave = Tensor::arange(tensor.numel() as i64, (Kind::Double, device()));
            let wave = (wave * 0.7 + index as f64).sin() * 0.1;
            // Modules that are saved in whole begin as those of the base.
            if name.contains(".lora_") {
                let _ = tensor.zero_();
            }
            let wave = wave.view(tensor.size().as_slice()).to_kind(Kind::Float);
            let _ = tensor.g_add_(&wave);
        }
    });
    policy
}

fn logprobs(policy: &CausalLm) -> Vec<f64> {
    let ids: Vec<u32> = (3..43).collect();
    let rows = [TokenRow { prompt: &ids[..1], completion: &ids[1..] }];
    let batch = TokenBatch::new(&rows, device()).unwrap();
    let logprobs = policy.score(&batch, &ScoreOptions::default()).unwrap().logprobs;
    let logprobs = logprobs.get(0).slice(0, 1, None, 1).to_kind(Kind::Double);
    Vec::try_from(logprobs).unwrap()
}

#[track_caller]
fn assert_close(name: &str, ours: &[f64], theirs: &[f64]) {
    assert_eq!(ours.len(), theirs.len(), "{name}");
    for (a, b) in ours.iter().zip(theirs) {
        assert!((a - b).abs() < 1e-4, "{name}: {a} {b}");
    }
}

/// PEFT loaded these very files: their description, and tensors of these names and shapes.
#[test]
fn golden_adapters_that_we_write_give_the_logprobs_of_peft() {
    let text = std::fs::read_to_string(golden().join("written_adapters.json")).unwrap();
    let mut expected: BTreeMap<String, Case> = serde_json::from_str(&text).unwrap();
    for (name, lora) in cases() {
        let case = expected.remove(name).unwrap();
        let policy = policy(&case.base, &lora);
        let dir = tempfile::tempdir().unwrap();
        policy.save(dir.path()).unwrap();
        let text = std::fs::read_to_string(dir.path().join("adapter_config.json")).unwrap();
        let mut written: Value = serde_json::from_str(&text).unwrap();
        written["base_model_name_or_path"] = Value::Null;
        let targets = written["target_modules"].as_array_mut().unwrap();
        targets.sort_by_key(ToString::to_string);
        assert_eq!(written, case.config, "{name}");
        let tensors = dir.path().join("adapter_model.safetensors");
        let shapes = Tensor::read_safetensors(tensors).unwrap().into_iter();
        let shapes: BTreeMap<String, Vec<i64>> =
            shapes.map(|(name, tensor)| (name, tensor.size())).collect();
        assert_eq!(shapes, case.shapes, "{name}");
        assert_close(name, &logprobs(&policy), &case.token_logps);
    }
    assert!(expected.is_empty(), "{:?}", expected.keys());
}

/// The same with PEFT beside. `HINT_PEFT_PYTHON` is a Python with peft and transformers.
#[test]
fn peft_loads_our_adapters() {
    #[expect(clippy::disallowed_methods, reason = "the Python is given from outside")]
    let Some(python) = std::env::var_os("HINT_PEFT_PYTHON") else {
        println!("skipped: HINT_PEFT_PYTHON names no Python with peft");
        return;
    };
    for (name, lora) in cases() {
        let (base, _) = name.rsplit_once('-').unwrap();
        let dir = tempfile::tempdir().unwrap();
        let (adapter, out) = (dir.path().join("adapter"), dir.path().join("out.json"));
        let policy = policy(base, &lora);
        policy.save(&adapter).unwrap();
        let status = std::process::Command::new(&python)
            .arg(golden().join("gen/lora.py"))
            .arg("check")
            .args([&golden().join("models").join(base), &adapter, &out])
            .status()
            .unwrap();
        assert!(status.success());
        // A version without the family writes nothing.
        let Ok(theirs) = std::fs::read_to_string(&out) else { continue };
        let theirs: Vec<f64> = serde_json::from_str(&theirs).unwrap();
        assert_close(name, &logprobs(&policy), &theirs);
    }
}
