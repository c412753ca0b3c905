//! Loading a model from a folder or file.

use std::path::Path;

use tch::{Device, Kind};

use super::weights::layout;
use super::{CausalLm, LoadProgress, ModelConfig, gguf_model, peft, safetensors_file};
use crate::{Gguf, PolicyError};

/// Where a model is loaded to, and in which kind it computes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LoadOptions {
    /// Device of the parameters.
    pub device: Device,
    /// Kind of the forward pass: `Float`, `BFloat16` or `Double`.
    pub compute: Kind,
}

impl Default for LoadOptions {
    /// `Float` on the CPU.
    fn default() -> Self {
        Self { device: Device::Cpu, compute: Kind::Float }
    }
}

/// Loads a Hugging Face folder or a GGUF file.
pub(super) fn load(
    path: &Path,
    options: &LoadOptions,
    observer: &mut dyn FnMut(LoadProgress),
) -> Result<CausalLm, PolicyError> {
    if path.is_file() {
        return load_gguf(&Gguf::open(path)?, options, observer);
    }
    check_compute(options.compute)?;
    let config_path = path.join("config.json");
    if !config_path.is_file() {
        if path.join(peft::CONFIG).is_file() {
            return load_adapted(path, options, observer);
        }
        let expected = "a folder with `config.json` and `model.safetensors`, or a `.gguf` file";
        return Err(PolicyError::NoModel { path: path.to_owned(), expected });
    }
    let config = read_config(&config_path)?;
    let (tensors, files) =
        safetensors_file::read(path, &layout(&config), options.device, observer)?;
    let model = CausalLm::from_tensors(config, tensors, options.device, options.compute);
    Ok(model.loaded_from(path, files))
}

/// Loads an adapter and the base model that it names: a local path, absolute or from the adapter.
fn load_adapted(
    dir: &Path,
    options: &LoadOptions,
    observer: &mut dyn FnMut(LoadProgress),
) -> Result<CausalLm, PolicyError> {
    let base = peft::read_config(dir)?.base.unwrap_or_default();
    let places = [base.clone(), dir.join(&base)];
    let place = places.iter().find(|place| !base.as_os_str().is_empty() && place.exists());
    let place = place.ok_or_else(|| PolicyError::NoModel {
        path: base.clone(),
        expected: "the path of a model as `base_model_name_or_path` of `adapter_config.json`",
    })?;
    load(place, options, observer)?.with_adapter(dir)
}

/// Loads the model of an opened GGUF file.
pub(crate) fn load_gguf(
    gguf: &Gguf,
    options: &LoadOptions,
    observer: &mut dyn FnMut(LoadProgress),
) -> Result<CausalLm, PolicyError> {
    check_compute(options.compute)?;
    let config = gguf_model::config(gguf)?;
    let (tensors, files) = gguf_model::tensors(gguf, &config, options.device, observer)?;
    let model = CausalLm::from_tensors(config, tensors, options.device, options.compute);
    Ok(model.loaded_from(gguf.path(), files))
}

/// Reads `config.json`.
fn read_config(path: &Path) -> Result<ModelConfig, PolicyError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| PolicyError::Read { path: path.to_owned(), source })?;
    let raw: super::hf_config::HfConfig = serde_json::from_str(&text)
        .map_err(|source| PolicyError::Json { path: path.to_owned(), source })?;
    ModelConfig::try_from(raw)
}

/// Refuses kinds in which the forward pass is not implemented.
pub(super) fn check_compute(compute: Kind) -> Result<(), PolicyError> {
    match compute {
        Kind::Float | Kind::BFloat16 | Kind::Double => Ok(()),
        other => {
            let expected = "Float, BFloat16 or Double";
            Err(PolicyError::option("compute", &format!("{other:?}"), expected))
        }
    }
}
