//! The engine that samples from vLLM servers, tokens in and tokens out.
//!
//! Weights go through a folder that the servers see, too: the engine writes a checkpoint, and each
//! server pauses, reloads, empties its cache, labels the weights and resumes. The label is checked
//! before and after every batch, so that a server that was started anew in between is noticed, and
//! what it sampled from its original weights is thrown away.
//!
//! Its tests answer with what a vLLM 0.32.0 server was seen to answer; `cargo xtask e2e-vllm` trains
//! through a real one.

mod engine;
mod event;
mod options;
mod server;
mod wire;

pub use engine::{VllmBuilder, VllmEngine};
pub use event::VllmEvent;
pub use options::VllmOptions;
