//! Sampling for hint-guided reinforcement learning: problems, groups, hints, and the two-stage
//! collector that decides which problems get one.
//!
//! In HINT (arXiv 2510.09388) whether a problem is hinted depends on how its first completions were
//! *judged*. So this crate scores completions as soon as they are sampled, and its [`Collector`]
//! works on verdicts. It samples a group on the plain prompt. If the
//! [trigger](collect::hinted::HintTrigger) fires, it samples the group again on the prompt with a
//! hint, and combines both. Advantages, ratios and losses are not part of this crate.
//!
//! Engines are behind one small trait, [`RolloutEngine`], free of torch types: tokens in, tokens
//! out. [`LocalEngine`] samples from a policy in this process; an engine in another process
//! implements the same two methods.
//!
//! ```
//! use hint_rollout::{Hint, HintProvider, HintRequest, Problem, hints_from_fn};
//!
//! let hints = hints_from_fn("length", |request: &HintRequest<'_>| {
//!     Some(Hint::new(format!("Break `{}` into small steps.", request.problem.question)))
//! });
//! let problem = Problem::new("1", "7 + 5", "12");
//! let hint = hints.hint(&HintRequest::new(&problem))?.expect("the closure always gives one");
//! assert!(hint.text.contains("small steps"));
//! # Ok::<(), hint_rollout::RolloutError>(())
//! ```
//!
//! The root holds the traits and the few types that every program meets; the rest is in one module per
//! theme.
//!
//! | module | content |
//! |---|---|
//! | [`data`] | [`Problem`]s and their files, [`Hint`]s, held-out problems |
//! | [`prompt`] | from a problem to prompt tokens, and back to text |
//! | [`engine`] | samplers of completions: [`LocalEngine`], vLLM servers |
//! | [`sample`] | scored [`Rollout`]s, in [`RolloutGroup`]s of one problem |
//! | [`hint`] | sources of hints, and leaks |
//! | [`collect`] | the [`Collector`]: when a group gets hints, at which levels, and how both combine |
//! | [`mod@evaluate`] | avg@k, pass@k and maj@k without hints, with intervals |
//! | [`run`] | seeds, progress and schedules |
//! | [`net`] | keys of servers |
//! | [`error`] | errors, and values out of range in a configuration |
//!
//! Feature `local-engine` (default) adds [`LocalEngine`] and the prompt formats of a local
//! tokenizer; without it the crate builds without libtorch. `vllm` adds `VllmEngine`, `teacher`
//! `TeacherHints`, `formats` CSV, Parquet and compressed files, and `https` TLS for servers.

#![forbid(unsafe_code)]

pub mod collect;
pub mod data;
pub mod engine;
pub mod error;
pub mod evaluate;
pub mod hint;
pub mod net;
pub mod prompt;
pub mod run;
pub mod sample;

pub use collect::hinted::{Combine, Levels, Trigger};
pub use collect::{Collector, CollectorConfig};
pub use data::{Hint, Problem, Problems, read_problems};
#[cfg(feature = "local-engine")]
pub use engine::LocalEngine;
pub use engine::{
    Completion, GenerationRequest, PolicyVersion, RolloutEngine, Sampling, StopReason, WeightSource,
};
pub use error::RolloutError;
pub use hint::source::DatasetHints;
pub use hint::{HintProvider, HintRequest, hints_from_fn};
pub use prompt::PromptFormat;
#[cfg(feature = "local-engine")]
pub use prompt::{ChatFormat, TextFormat};
pub use run::Seed;
pub use sample::{Rollout, RolloutGroup};
