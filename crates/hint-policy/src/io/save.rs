//! Writing a model as a Hugging Face folder.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

use safetensors::{Dtype, View};
use tch::{Device, Kind, Tensor};

use crate::config::ModelConfig;
use crate::config::hf_file::HfConfig;
use crate::error::PolicyError;
use crate::files::atomic;
use crate::io::safetensors_file;
use crate::policy::Parameter;
use crate::policy::save_options::SaveOptions;
use crate::tensor::len;
use crate::weights::Weights;

/// Writes `model.safetensors` and then `config.json`, each replacing its predecessor atomically.
pub(crate) fn save(
    config: &ModelConfig,
    weights: &Weights,
    dir: &Path,
    options: SaveOptions,
) -> Result<(), PolicyError> {
    let (_, name) = element_type(options.kind)?;
    std::fs::create_dir_all(dir)
        .map_err(|source| PolicyError::Write { path: dir.to_owned(), source })?;
    let parameters = tensors(config, weights, options.untied_head);
    let mut config = config.clone();
    config.tie_word_embeddings &= !options.untied_head;
    write_tensors(&dir.join(safetensors_file::SINGLE), parameters, options.kind)?;
    let path = dir.join("config.json");
    let json = serde_json::to_string_pretty(&HfConfig::from(config).with_dtype(name))
        .map_err(|source| PolicyError::Json { path: path.clone(), source })?;
    atomic::write(&path, &json)
}

/// The tensors of a checkpoint under their names, in its order, with adapters merged.
pub(crate) fn tensors(
    config: &ModelConfig,
    weights: &Weights,
    untied_head: bool,
) -> Vec<Parameter> {
    let mut parameters = weights.merged_parameters();
    if untied_head && config.tie_word_embeddings {
        let tensor = weights.head().shallow_clone();
        parameters.push(Parameter { name: "lm_head.weight".to_owned(), tensor });
    }
    parameters
}

/// The element type of a file, and its name in `config.json`.
fn element_type(kind: Kind) -> Result<(Dtype, &'static str), PolicyError> {
    match kind {
        Kind::Float => Ok((Dtype::F32, "float32")),
        Kind::Half => Ok((Dtype::F16, "float16")),
        Kind::BFloat16 => Ok((Dtype::BF16, "bfloat16")),
        other => {
            let expected = "Float, Half or BFloat16";
            Err(PolicyError::option("kind", &format!("{other:?}"), expected))
        }
    }
}

/// Writes a safetensors file of tensors converted to `kind`, replacing its predecessor atomically.
pub(super) fn write_tensors(
    path: &Path,
    parameters: Vec<Parameter>,
    kind: Kind,
) -> Result<(), PolicyError> {
    let (dtype, _) = element_type(kind)?;
    let tensors: Vec<(String, StoredTensor)> = parameters
        .into_iter()
        .map(|parameter| {
            let shape = parameter.tensor.size().into_iter().map(len).collect();
            let tensor = StoredTensor { tensor: parameter.tensor, shape, dtype, kind };
            (parameter.name, tensor)
        })
        .collect();
    // transformers refuses a file without this entry.
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    atomic::replace(path, |temporary| {
        safetensors::serialize_to_file(tensors, Some(metadata), temporary)
            .map_err(std::io::Error::other)
    })
}

/// A tensor that is converted to bytes when its turn comes, so that only one copy exists at a time.
struct StoredTensor {
    tensor: Tensor,
    shape: Vec<usize>,
    dtype: Dtype,
    kind: Kind,
}

impl View for StoredTensor {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let tensor = self.tensor.detach().to_device(Device::Cpu).to_kind(self.kind).contiguous();
        let mut bytes = vec![0; self.data_len()];
        tensor.copy_data_u8(&mut bytes, tensor.numel());
        Cow::Owned(bytes)
    }

    fn data_len(&self) -> usize {
        self.tensor.numel() * self.kind.elt_size_in_bytes()
    }
}
