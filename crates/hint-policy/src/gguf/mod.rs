//! Reading GGUF files: metadata, tensor directory, and plain or block-quantized tensors.
//!
//! [`Gguf::open`] maps the file and reads its directory. Tensors are read one at a time, and leave their blocks as `f32`.
//! The models that these files hold are read by [`LoadedModel::load`](crate::model::LoadedModel::load), as folders are.

mod dequantize;
pub(crate) mod end_tokens;
mod reader;
mod value;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use crate::error::PolicyError;
use crate::ffi::map_file;
use crate::files::text;
use reader::Reader;

pub use value::GgufValue;

/// A GGUF file of version 2 or 3: its metadata and where its tensors lie. The data stay in the
/// memory-mapped file until a tensor is read.
///
/// ```no_run
/// use hint_policy::gguf::Gguf;
///
/// let file = Gguf::open("qwen2.5-0.5b-instruct-q8_0.gguf")?;
/// for name in file.tensor_names() {
///     println!("{name} {:?}", file.shape(name));
/// }
/// # Ok::<(), hint_policy::PolicyError>(())
/// ```
#[derive(Debug)]
pub struct Gguf {
    path: PathBuf,
    map: Mmap,
    metadata: BTreeMap<String, GgufValue>,
    tensors: BTreeMap<String, TensorEntry>,
}

/// Directory entry of one tensor.
#[derive(Debug, Clone, PartialEq)]
struct TensorEntry {
    /// Outermost dimension first, as libtorch counts.
    shape: Vec<i64>,
    kind: dequantize::GgmlType,
    /// Range of the data in the file, checked to lie within it.
    start: usize,
    end: usize,
}

impl Gguf {
    /// Maps `path` and parses its metadata and tensor directory.
    ///
    /// # Errors
    ///
    /// [`PolicyError::Read`], or [`PolicyError::Corrupt`] with the mismatch.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, PolicyError> {
        let path = path.as_ref().to_owned();
        let map = map_file(&path)?;
        text::refuse_pointer(&path, &map)?;
        let (metadata, tensors) = Reader::new(&map)
            .file()
            .map_err(|reason| PolicyError::Corrupt { path: path.clone(), reason })?;
        Ok(Self { path, map, metadata, tensors })
    }

    /// Path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Metadata entry `key`.
    pub fn get(&self, key: &str) -> Option<&GgufValue> {
        self.metadata.get(key)
    }

    /// All metadata, by key.
    pub fn metadata(&self) -> &BTreeMap<String, GgufValue> {
        &self.metadata
    }

    /// Names of the tensors.
    pub fn tensor_names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Shape of tensor `name`, outermost dimension first.
    pub fn shape(&self, name: &str) -> Option<&[i64]> {
        self.tensors.get(name).map(|entry| entry.shape.as_slice())
    }

    /// Element type of tensor `name` and its size in the file, in bytes.
    pub(crate) fn storage(&self, name: &str) -> Option<(String, usize)> {
        self.tensors.get(name).map(|entry| (entry.kind.to_string(), entry.end - entry.start))
    }

    /// Refuses tensor `name` if its element type is not implemented.
    pub(crate) fn check_type(&self, name: &str) -> Result<(), PolicyError> {
        let entry = self.tensors.get(name).filter(|entry| entry.kind.block().is_none());
        entry.map_or(Ok(()), |entry| Err(self.unsupported(name, entry)))
    }

    fn unsupported(&self, name: &str, entry: &TensorEntry) -> PolicyError {
        PolicyError::TensorType {
            path: self.path.clone(),
            tensor: name.to_owned(),
            found: entry.kind.to_string(),
            supported: dequantize::SUPPORTED,
        }
    }

    /// Size of the file in bytes.
    pub(crate) fn size(&self) -> usize {
        self.map.len()
    }

    /// Values of tensor `name` in row-major order, dequantized.
    ///
    /// # Errors
    ///
    /// [`PolicyError::MissingTensor`], or [`PolicyError::TensorType`] for an element type that is
    /// not implemented.
    pub fn read(&self, name: &str) -> Result<Vec<f32>, PolicyError> {
        let entry = self.tensors.get(name).ok_or_else(|| PolicyError::MissingTensor {
            path: self.path.clone(),
            tensor: name.to_owned(),
        })?;
        dequantize::dequantize(entry.kind, &self.map[entry.start..entry.end])
            .ok_or_else(|| self.unsupported(name, entry))
    }
}
