//! Sampling for hint-guided reinforcement learning: problems, groups, hints, and the two-stage
//! collector that decides which problems get one.
//!
//! In HINT (arXiv 2510.09388) whether a problem is helped depends on how its first completions
//! were *judged*. So this crate scores completions as soon as they are sampled, and its
//! [`Collector`] works on verdicts: sample a group on the plain prompt; if the [`HintTrigger`] says
//! so, sample it again on the prompt with a hint; keep whichever group can teach something. What
//! happens to the groups afterwards (advantages, ratios, losses) is not this crate's business.
//!
//! Engines are behind one small trait, [`RolloutEngine`], free of torch types: tokens in, tokens
//! out. [`LocalEngine`] samples from a policy in this process; an engine in another process
//! implements the same two methods.
//!
//! ```
//! use hint_rollout::{Hint, HintProvider, HintRequest, Problem, hints_from_fn};
//!
//! let hints = hints_from_fn(|request: &HintRequest<'_>| {
//!     Some(Hint::new(format!("Break `{}` into small steps.", request.problem.question)))
//! });
//! let problem = Problem::new("1", "7 + 5", "12");
//! let hint = hints.hint(&HintRequest::new(&problem))?.expect("the closure always gives one");
//! assert!(hint.text.contains("small steps"));
//! # Ok::<(), hint_rollout::RolloutError>(())
//! ```
//!
//! | item | what it is |
//! |---|---|
//! | [`Problem`], [`read_problems`] | one row of a data set, and the JSONL reader |
//! | [`PromptFormat`], [`HintTemplate`] | from a problem to prompt tokens, and back to text |
//! | [`RolloutEngine`], [`LocalEngine`] | what samples completions |
//! | [`HintProvider`], [`DatasetHints`], [`hints_from_fn`] | where hints come from |
//! | [`LeakGuard`], [`LeakDetector`] | what a hint gives away, and what becomes of it |
//! | [`HintTrigger`], [`VerdictPolicy`] | when a group gets one, and what counts as wrong |
//! | [`Collector`], [`RolloutGroup`] | the two-stage rollout and its result |
//! | [`evaluate`], [`Evaluation`] | avg@k, pass@k and maj@k without hints, with intervals |
//! | [`HeldOut`], [`is_held_out`] | which problems are held out from training |
//!
//! Feature `local-engine` (default) adds [`LocalEngine`] and the prompt formats of a local
//! tokenizer; without it the crate builds without libtorch. `vllm` adds `VllmEngine`, `teacher`
//! `TeacherHints`, and `https` TLS for both.

#![forbid(unsafe_code)]

mod error;

mod problem;

mod seed;

mod progress;

mod state;

mod engine;

mod prompt;

mod hint;

mod leak;

mod demonstration;

mod solution_prefix;

mod masked_solution;

mod wrong_answers;

mod self_hint;

mod api_key;

mod teacher;

mod hint_source;

mod value_schedule;

mod trigger;

mod verdict_policy;

mod level;

mod group;

mod merge;

mod collector;

mod writer;

mod evaluate;

mod held_out;

#[cfg(any(feature = "vllm", feature = "teacher"))]
mod http;
#[cfg(feature = "vllm")]
mod vllm;

#[cfg(feature = "local-engine")]
mod format;
#[cfg(feature = "local-engine")]
mod local;

pub use api_key::ApiKey;
pub use collector::{
    CollectStats, Collected, Collector, CollectorConfig, DynamicSampling, Informative, LengthCount,
    ProblemSelection, ProblemSuccess, Replay, SoftOverlongConfig, SuccessCount, SuccessRecord,
};
pub use demonstration::Demonstrations;
pub use engine::{
    Completion, GenerationRequest, HeadWeights, PolicyVersion, RolloutEngine, Sampling, StopReason,
    WeightSource,
};
pub use error::RolloutError;
pub use evaluate::{
    Estimate, Evaluation, EvaluationOptions, EvaluationScores, Lengths, ProblemOutcome, Votes,
    evaluate, maj_at_k, pass_at_k,
};
#[cfg(feature = "local-engine")]
pub use format::{ChatFormat, TextFormat};
pub use group::{AppliedHint, Rollout, RolloutGroup, RolloutSource};
pub use held_out::{HeldOut, is_held_out, sample_by_hash, split_held_out};
pub use hint::{
    DatasetHints, FnHints, Hint, HintKind, HintLevel, HintProvider, HintRequest, HintWriter,
    Reveals, WriteRequest, hints_from_fn,
};
pub use hint_source::HintSourceConfig;
#[cfg(any(feature = "vllm", feature = "teacher"))]
pub use http::HttpError;
pub use leak::{
    GuardedHint, Leak, LeakAction, LeakCounts, LeakDetector, LeakGuard, LeakKind,
    without_calculations,
};
pub use level::LevelSearch;
#[cfg(feature = "local-engine")]
pub use local::LocalEngine;
pub use masked_solution::MaskedSolution;
pub use merge::{Acceptance, Merge};
pub use problem::{Problem, parse_problems, read_problems};
pub use progress::{Moment, RunProgress};
pub use prompt::{HintTemplate, PromptFormat};
pub use seed::Seed;
pub use self_hint::SelfHints;
pub use solution_prefix::{PrefixUnit, SolutionPrefix};
pub use teacher::{TeacherBudget, TeacherFallback, TeacherOptions, TeacherPrompt};
#[cfg(feature = "teacher")]
pub use teacher::{TeacherError, TeacherHints};
pub use trigger::{HintTrigger, TriggerInput};
pub use value_schedule::{RunPoint, ValueSchedule};
pub use verdict_policy::{VerdictAction, VerdictPolicy};
#[cfg(feature = "vllm")]
pub use vllm::{VllmBuilder, VllmEngine, VllmError, VllmEvent, VllmOptions};
pub use writer::EngineWriter;
pub use wrong_answers::WrongAnswers;
