//! The engine that samples from vLLM servers, tokens in and tokens out.
//!
//! Weights go through a folder that the servers see, too. The engine writes a checkpoint. Each
//! server pauses, reloads, empties its cache, labels the weights and resumes. The label is checked
//! before and after every batch. So a server that was restarted in between is noticed, and its
//! completions from the original weights are dropped.
//!
//! With a [`WeightTransfer`], whole weights go from the GPU of the trainer to those of the servers, and none is written.
//! A server that cannot take them so gets the folder.
//!
//! With [`VllmOptions::adapter_rank`], low-rank adapters go through that folder alone. Each version has a name of its own,
//! by which requests ask for it. The servers' own weights stay.
//!
//! Of several processes that share a run, the first one asks the servers for all. The others have a [`VllmFollower`].
//!
//! Its tests use recorded answers of a vLLM 0.32.0 server; `cargo xtask e2e-vllm` trains through a
//! real one.

mod adapter;
mod batch;
mod engine;
mod event;
mod follower;
mod gpus;
mod options;
mod server;
mod slot;
mod transfer;
mod weights;
mod wire;

pub use engine::{VllmAborter, VllmBuilder, VllmEngine};
pub use event::VllmEvent;
pub use follower::VllmFollower;
pub use gpus::{WeightLink, WeightTransfer};
pub use options::{VllmOptions, WeightPath};
