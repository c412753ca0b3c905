//! Writing a model as a Hugging Face folder.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

use safetensors::{Dtype, View};
use tch::{Device, Kind, Tensor};

use super::hf_config::HfConfig;
use super::weights::Weights;
use super::{ModelConfig, safetensors_file};
use crate::batch::len;
use crate::{PolicyError, atomic};

/// How weights are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SaveOptions {
    /// Element type: `Float`, `Half` or `BFloat16`.
    pub kind: Kind,
}

impl Default for SaveOptions {
    /// `Float`, so that loading gives back the same bits.
    fn default() -> Self {
        Self { kind: Kind::Float }
    }
}

/// Writes `model.safetensors` and then `config.json`, each replacing its predecessor atomically.
pub(super) fn save(
    config: &ModelConfig,
    weights: &Weights,
    dir: &Path,
    options: SaveOptions,
) -> Result<(), PolicyError> {
    let (dtype, name) = match options.kind {
        Kind::Float => (Dtype::F32, "float32"),
        Kind::Half => (Dtype::F16, "float16"),
        Kind::BFloat16 => (Dtype::BF16, "bfloat16"),
        other => {
            let expected = "Float, Half or BFloat16";
            return Err(PolicyError::option("kind", &format!("{other:?}"), expected));
        }
    };
    std::fs::create_dir_all(dir)
        .map_err(|source| PolicyError::Write { path: dir.to_owned(), source })?;
    let tensors: Vec<(String, StoredTensor)> = weights
        .parameters()
        .into_iter()
        .map(|parameter| {
            let shape = parameter.tensor.size().into_iter().map(len).collect();
            let tensor =
                StoredTensor { tensor: parameter.tensor, shape, dtype, kind: options.kind };
            (parameter.name, tensor)
        })
        .collect();
    // transformers refuses a file without this entry.
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    atomic::replace(&dir.join(safetensors_file::SINGLE), |temporary| {
        safetensors::serialize_to_file(tensors, Some(metadata), temporary)
            .map_err(std::io::Error::other)
    })?;
    let path = dir.join("config.json");
    let json = serde_json::to_string_pretty(&HfConfig::from(config.clone()).with_dtype(name))
        .map_err(|source| PolicyError::Json { path: path.clone(), source })?;
    atomic::write(&path, &json)
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
