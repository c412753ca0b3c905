//! Engines: tokens in, tokens out.
//!
//! A [`RolloutEngine`] continues prompts ([`GenerationRequest`]) and returns [`Completion`]s with the
//! log-probability of every token under the distribution that drew it. It has no notion of
//! problems, rewards or hints. [`RolloutEngine::sync`] hands it new weights, as a [`WeightSource`].
//!
//! `LocalEngine` samples from a policy in this process (feature `local-engine`);
//! `vllm::VllmEngine` samples from vLLM servers (feature `vllm`). An engine of your own implements
//! the same two methods. [`Peers`] are processes that share every call of an engine. Each samples a part, or the first one
//! [samples for all](RolloutEngine::samples_for_all).

mod contract;
#[cfg(feature = "local-engine")]
mod local;
mod peers;
#[cfg(any(feature = "local-engine", feature = "vllm"))]
mod queue;
mod shared;
#[cfg(feature = "vllm")]
pub mod vllm;
mod watch;

pub use contract::{
    Completion, GenerationRequest, GenerationWatch, HeadWeights, PolicyVersion, RolloutEngine,
    Sampling, StopReason, TooLong, WeightSource, WeightTensor,
};
pub(crate) use contract::{check_contract, check_counts};
#[cfg(feature = "local-engine")]
pub use local::LocalEngine;
pub use peers::{Peers, all_gather_values};
pub(crate) use peers::{ask_first, in_processes};
pub(crate) use shared::SharedEngine;
