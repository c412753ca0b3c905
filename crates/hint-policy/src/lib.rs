//! Causal language models on libtorch, to be trained by policy gradients: load, score, sample, save.
//!
//! A [`Policy`] turns tokens into log-probabilities that can be differentiated, and owns parameters
//! that an optimizer changes in place. [`CausalLm`] implements it for the Llama, Qwen2, Qwen3,
//! Mistral and Gemma 3 architectures, from Hugging Face folders or GGUF files. [`sample`] draws completions with
//! a key-value cache, and [`LoadedModel`] adds the [`Tokenizer`] with its chat template. The crate
//! knows nothing of rewards, groups or hints.
//!
//! # Design
//!
//! Sampling and training share the weights, but not the code path. Training needs gradients and the
//! exact formulas; decoding needs few operations per step, so it runs on rearranged copies of the
//! weights, made once per update. Tests hold the two together: the log-probability that the sampler
//! reports for a token is the one that [`Policy::score`] gives it, up to float noise. Random numbers
//! are drawn on the host, and each is a function of the request's seed, the completion's index and
//! the position: what a request yields does not depend on what else is sampled at the same time.
//!
//! Master weights are `Float` and require grad; the forward pass may run in `BFloat16` or `Double`.
//!
//! # Examples
//!
//! ```
//! use hint_policy::{
//!     Architecture, CausalLm, ModelConfig, Policy, SampleOptions, SampleRequest, SamplingParams,
//!     ScoreOptions, TokenBatch, TokenRow, sample,
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
//! # Main items
//!
//! | item | what it is |
//! |---|---|
//! | [`Policy`], [`SharedPolicy`] | the trait of trainable models; one shared by trainer and sampler |
//! | [`CausalLm`], [`ModelConfig`] | the models of this crate and their shape |
//! | [`LoraConfig`] | low-rank adapters, trained in place of the weights |
//! | [`TokenBatch`], [`TokenScores`] | padded rows in, log-probabilities and entropies out |
//! | [`sample`], [`SamplingParams`] | completions of many prompts |
//! | [`Decoder`], [`RecomputeDecoder`] | incremental decoding, for your own sampler or policy |
//! | [`LoadedModel`], [`Tokenizer`] | a model with its tokenizer and chat template |
//! | [`Gguf`] | reader of GGUF files |
//! | [`keep_freed_memory`] | a setting of the process that makes training on a CPU faster |
//!
//! # Panics
//!
//! libtorch's failures that do not depend on the arguments surface as panics of the `tch` crate, but
//! for those of its allocators, which [`sample`] and [`CausalLm`] return as
//! [`PolicyError::OutOfMemory`]; [`catch_out_of_memory`] does so for calls of your own. Memory that
//! the Rust side cannot allocate ends the process.
//!
//! # What it does not do
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
pub mod policy;
pub mod runtime;
pub mod sampling;
mod tensor;
pub mod tokenizer;
mod weights;

pub use config::ModelConfig;
pub use config::architecture::Architecture;
pub use config::lora::LoraConfig;
pub use config::rope::RopeScaling;
pub use error::PolicyError;
pub use gguf::{Gguf, GgufValue};
pub use io::load::LoadOptions;
pub use io::progress::{LoadProgress, LoadedFiles};
pub use model::CausalLm;
pub use model::loaded::LoadedModel;
pub use model::report::LoadReport;
pub use policy::batch::{TokenBatch, TokenRow};
pub use policy::decoder::{Decoder, DecoderOptions, Prefill, PrefixId};
pub use policy::forward_pass::ForwardPass;
pub use policy::recompute::RecomputeDecoder;
pub use policy::save_options::SaveOptions;
pub use policy::scores::{ScoreOptions, TokenScores};
pub use policy::shared::SharedPolicy;
pub use policy::{Parameter, Policy};
pub use runtime::{ChosenDevice, DeviceChoice, catch_out_of_memory, keep_freed_memory, load_cuda};
pub use sampling::generate::{Sample, SampleOptions, SampleRequest, StopReason, sample};
pub use sampling::params::SamplingParams;
/// The tensors of this crate's interface, in the version that it uses.
pub use tch;
pub use tokenizer::Tokenizer;
pub use tokenizer::chat::ChatMessage;
