//! Causal language models on libtorch, to be trained by policy gradients: load, score, sample, save.
//!
//! A [`Policy`] turns tokens into log-probabilities that can be differentiated, and owns parameters that an
//! optimizer changes in place. [`CausalLm`] implements it for the families of [`config::Architecture`], from
//! Hugging Face folders or GGUF files. [`sample`] draws completions with a cache, and [`LoadedModel`] adds the
//! [`Tokenizer`] with its chat template. The crate does not handle rewards, groups or hints.
//!
//! # Design
//!
//! Sampling and training share the weights, but not the code path. Training needs gradients and the
//! exact formulas. Decoding needs few operations per step, so it runs on rearranged copies of the
//! weights, made once per update. Tests compare the two. The log-probability that the sampler
//! reports for a token is the one that [`Policy::score`] gives it, up to float noise. Random numbers
//! are drawn on the host. Each is a function of the request's seed, the completion's index and the
//! position. So the result of a request does not depend on other requests at the same time.
//!
//! Master weights are `Float` and require grad; the forward pass may run in `BFloat16` or `Double`.
//!
//! # Examples
//!
//! ```
//! use hint_policy::config::Architecture;
//! use hint_policy::{
//!     CausalLm, ModelConfig, Policy, SampleOptions, SampleRequest, SamplingParams, ScoreOptions,
//!     TokenBatch, TokenRow, sample,
//! };
//! use tch::Device;
//!
//! let config = ModelConfig::small(Architecture::Llama, 60);
//! let policy = CausalLm::init(&config, 1, Device::Cpu)?;
//!
//! let params = SamplingParams { max_new_tokens: 8, ..SamplingParams::default() };
//! let request = SampleRequest { prompt: vec![1, 2, 3], num_completions: 2, seed: 42, params };
//! let samples = sample(&policy, &[request.clone()], &SampleOptions::default())?;
//!
//! let rows = [TokenRow { prompt: &request.prompt, completion: &samples[0][0].tokens }];
//! let batch = TokenBatch::new(&rows, Device::Cpu)?;
//! let scores = policy.score(&batch, &ScoreOptions::default())?;
//! let first = scores.logprobs.double_value(&[0, 3]);
//! assert!((first - samples[0][0].behavior_logprobs[0]).abs() < 1e-4);
//! # Ok::<(), hint_policy::PolicyError>(())
//! ```
//!
//! # Modules
//!
//! The items of the common path are at the root: load, score, train, sample, save. The rest is in modules.
//!
//! | module | content |
//! |---|---|
//! | [`policy`] | the trait of trainable models, batches in, scores and gradients out, decoding |
//! | [`model`] | [`CausalLm`], and [`LoadedModel`] with tokenizer and stop tokens |
//! | [`config`] | shape and constants of a model, its family, adapters |
//! | [`io`] | reading and writing of files |
//! | [`gguf`] | a reader of GGUF files |
//! | [`tokenizer`] | texts to tokens and back, chat templates |
//! | [`sampling`] | completions of many prompts |
//! | [`runtime`] | the device, and memory and its end |
//! | [`estimate`] | memory of a run |
//!
//! # Panics
//!
//! libtorch's failures that do not depend on the arguments surface as panics of the `tch` crate.
//! Failures of its allocators are an exception: [`sample`] and [`CausalLm`] return them as
//! [`PolicyError::OutOfMemory`]. [`catch_out_of_memory`] does so for calls of your own. Memory that
//! the Rust side cannot allocate ends the process.
//!
//! # Limits
//!
//! Quantized computing (GGUF weights are expanded to `Float`), mixtures of experts, models over
//! several devices.

pub mod config;
mod decode;
pub mod error;
pub mod estimate;
mod ffi;
mod files;
mod forward;
pub mod gguf;
pub mod io;
mod kernels;
pub mod model;
mod out_of_memory;
pub mod policy;
pub mod runtime;
pub mod sampling;
mod tensor;
pub mod tokenizer;
mod weights;

pub use config::ModelConfig;
pub use config::lora::LoraConfig;
pub use error::PolicyError;
pub use io::load::LoadOptions;
pub use model::CausalLm;
pub use model::loaded::LoadedModel;
pub use policy::batch::{TokenBatch, TokenRow};
pub use policy::decoder::Decoder;
pub use policy::forward_pass::ForwardPass;
pub use policy::save_options::SaveOptions;
pub use policy::scores::{Alternatives, ScoreGradients, ScoreOptions, TokenScores};
pub use policy::shared::SharedPolicy;
pub use policy::{Parameter, Policy};
pub use runtime::{DeviceChoice, catch_out_of_memory, load_cuda};
pub use sampling::generate::{Generation, SampleOptions, SampleRequest, sample};
pub use sampling::params::SamplingParams;
/// The tensors of this crate's interface, in the version that it uses.
pub use tch;
pub use tokenizer::Tokenizer;
