//! Models in files: Hugging Face folders, GGUF, adapters of PEFT.
//!
//! Reading and writing share two things with the rest of the crate. They are a
//! [`ModelConfig`](crate::ModelConfig) with its list of parameters, and one `Float` tensor for each of
//! them. Nothing here computes.
//!
//! | file | read by | written by |
//! |---|---|---|
//! | `model.safetensors`, also in shards | `safetensors_file` | `save` |
//! | `config.json` | [`config`](crate::config) | `save` |
//! | `generation_config.json` | `generation` | `generation` |
//! | `*.gguf` | `gguf_model` | nobody |
//! | `adapter_config.json`, `adapter_model.safetensors` | `peft` | `peft` |
//! | any `*.safetensors`, piece by piece | [`TensorFile`] | [`TensorFileWriter`] |
//!
//! Each reader checks shapes, and those of models also values; its errors name file and tensor. Each writer replaces
//! files atomically, except [`TensorFileWriter`].

pub(crate) mod generation;
mod gguf_delta_net;
mod gguf_keys;
pub(crate) mod gguf_model;
pub(crate) mod inspect;
pub(crate) mod load;
pub(crate) mod peft;
pub(crate) mod progress;
pub(crate) mod safetensors_file;
pub(crate) mod save;
mod tensor_file;

pub use inspect::Inspection;
pub use load::LoadOptions;
pub use progress::{LoadProgress, LoadedFiles};
pub use tensor_file::{TensorFile, TensorFileWriter, TensorHeader};
