//! Seeds of the fuzz targets: sound files of every kind that they damage.

use std::path::Path;

use hint_policy::config::Architecture;
use hint_policy::gguf::Gguf;
use hint_policy::{CausalLm, LoraConfig, ModelConfig, Policy, Tokenizer};
use tch::{Device, Tensor};

use crate::gguf_writer::{from_policy, sentence_piece_metadata, tokenizer_metadata, write};
use crate::golden::model_dirs;
use crate::model::random_model;
use crate::options;

/// The model that the fuzz targets expect.
const CONFIG: &str = include_str!("../fuzz_model.json");

fn model() -> CausalLm {
    random_model(&serde_json::from_str(CONFIG).unwrap(), 1)
}

/// Target, name and content of each seed.
fn seeds() -> Vec<(&'static str, String, Vec<u8>)> {
    let dir = tempfile::tempdir().unwrap();
    let read = |name: &str| std::fs::read(dir.path().join(name)).unwrap();
    let mut seeds = Vec::new();
    model().save(dir.path()).unwrap();
    seeds.push(("safetensors", "sound".to_owned(), read("model.safetensors")));
    seeds.push(("config", "sound".to_owned(), CONFIG.into()));
    for golden in model_dirs() {
        let name = golden.file_name().unwrap().to_string_lossy().into_owned();
        seeds.push(("config", name, std::fs::read(golden.join("config.json")).unwrap()));
    }
    let names: Vec<String> = model().parameters().into_iter().map(|p| p.name).collect();
    let half = names.len().div_ceil(2);
    let shard = |index| if index < half { "a.safetensors" } else { "b.safetensors" };
    let map: serde_json::Map<_, _> =
        names.into_iter().enumerate().map(|(index, name)| (name, shard(index).into())).collect();
    let index = serde_json::json!({"metadata": {}, "weight_map": map}).to_string();
    seeds.push(("safetensors_index", "sound".to_owned(), index.into_bytes()));
    let lora = LoraConfig { rank: 2, ..LoraConfig::default() };
    model().with_lora(&lora, 1).unwrap().save_adapter(dir.path()).unwrap();
    let adapter = [read("adapter_config.json"), read("adapter_model.safetensors")].join(&0);
    seeds.push(("adapter", "sound".to_owned(), adapter));
    let has_files = |known: &Architecture| known.gguf_name().is_some();
    for architecture in Architecture::ALL.into_iter().filter(has_files) {
        let config = ModelConfig {
            hidden_size: 4,
            intermediate_size: 4,
            num_hidden_layers: 1,
            num_attention_heads: 2,
            num_key_value_heads: 1,
            // A quarter of a head may be rotated.
            head_dim: 8,
            ..ModelConfig::small(architecture, 5)
        };
        let name = architecture.model_type().to_owned();
        seeds.push(("gguf", name, from_policy(&random_model(&config, 1))));
    }
    for pre in ["gpt-2", "smollm", "llama-bpe", "qwen2"] {
        let bytes = write(&tokenizer_metadata(pre), &[]);
        seeds.push(("gguf_tokenizer", pre.to_owned(), bytes));
    }
    let bytes = write(&sentence_piece_metadata(), &[]);
    seeds.push(("gguf_tokenizer", "llama".to_owned(), bytes));
    seeds
}

/// Loads a seed as its target does.
fn load(target: &str, content: &[u8]) -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let put = |name: &str, content: &[u8]| std::fs::write(dir.path().join(name), content);
    let options = options();
    match target {
        "gguf" | "gguf_tokenizer" => {
            put("model.gguf", content)?;
            let path = dir.path().join("model.gguf");
            if target == "gguf" {
                CausalLm::load(path, &options)?;
            } else {
                Tokenizer::from_gguf(&Gguf::open(path)?)?;
            }
        }
        "config" => drop(serde_json::from_slice::<ModelConfig>(content)?),
        "safetensors" => {
            put("config.json", CONFIG.as_bytes())?;
            put("model.safetensors", content)?;
            CausalLm::load(dir.path(), &options)?;
        }
        "safetensors_index" => {
            put("config.json", CONFIG.as_bytes())?;
            put("model.safetensors.index.json", content)?;
            let parameters = model().parameters();
            for (name, part) in
                ["a", "b"].into_iter().zip(parameters.chunks(parameters.len().div_ceil(2)))
            {
                let tensors: Vec<_> = part
                    .iter()
                    .map(|p| (&p.name, p.tensor.detach().to_device(Device::Cpu)))
                    .collect();
                let path = dir.path().join(name).with_extension("safetensors");
                Tensor::write_safetensors(&tensors, path)?;
            }
            CausalLm::load(dir.path(), &options)?;
        }
        _ => {
            let end = content.iter().position(|&byte| byte == 0).unwrap();
            put("adapter_config.json", &content[..end])?;
            put("adapter_model.safetensors", &content[end + 1..])?;
            model().with_adapter(dir.path())?;
        }
    }
    Ok(())
}

/// With `HINT_FUZZ_SEEDS` they are also written below that folder, for cargo-fuzz.
#[test]
fn seeds_of_the_fuzz_targets_load() {
    #[expect(clippy::disallowed_methods, reason = "the folder is given from outside")]
    let folder = std::env::var_os("HINT_FUZZ_SEEDS");
    for (target, name, content) in seeds() {
        load(target, &content).unwrap_or_else(|error| panic!("{target} {name}: {error}"));
        if let Some(folder) = &folder {
            let folder = Path::new(folder).join(target);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join(name), content).unwrap();
        }
    }
}
