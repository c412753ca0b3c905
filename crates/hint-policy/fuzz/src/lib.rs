//! The model that the fuzz targets of damaged files start from.

#![forbid(unsafe_code)]

use std::path::Path;

use hint_policy::{CausalLm, ModelConfig, Policy};
use tch::{Device, Tensor};

/// Its `config.json`.
pub const CONFIG: &str = include_str!("../../tests/fuzz_model.json");

/// The model, with random weights.
///
/// # Panics
///
/// Never: the configuration is sound.
pub fn model() -> CausalLm {
    tch::set_num_threads(1);
    let config: ModelConfig = serde_json::from_str(CONFIG).expect("the configuration is sound");
    CausalLm::init(&config, 1, Device::Cpu).expect("the configuration is sound")
}

/// Writes the model into `dir` as a folder that loads.
///
/// # Panics
///
/// If `dir` cannot be written.
pub fn write_model(dir: &Path) {
    model().save(dir).expect("the folder can be written");
}

/// Writes `config.json` and two shards, `a.safetensors` and `b.safetensors`, but no index.
///
/// # Panics
///
/// If `dir` cannot be written.
pub fn write_shards(dir: &Path) {
    std::fs::write(dir.join("config.json"), CONFIG).expect("the file can be written");
    let parameters = model().parameters();
    for (name, part) in ["a", "b"].into_iter().zip(parameters.chunks(parameters.len().div_ceil(2))) {
        let tensors: Vec<(&str, Tensor)> =
            part.iter().map(|parameter| (parameter.name.as_str(), parameter.tensor.detach())).collect();
        let path = dir.join(name).with_extension("safetensors");
        Tensor::write_safetensors(&tensors, path).expect("the file can be written");
    }
}
