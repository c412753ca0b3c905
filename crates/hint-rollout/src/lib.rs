//! Sampling for hint-guided reinforcement learning: problems, groups, hints, and the two-stage
//! collector that decides which problems get one.
//!
//! In HINT (arXiv 2510.09388) whether a problem is hinted depends on how its first completions
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

pub use collect::curriculum::{
    DynamicSampling, ProblemSelection, ProblemSuccess, Replay, SignalCriterion, SuccessRecord,
};
pub use collect::hinted::{
    Combine, CombineRule, HintTrigger, KeepIf, LevelInput, LevelSearch, Levels, Trigger,
    TriggerInput,
};
pub use collect::{
    CollectStats, Collected, Collector, CollectorConfig, LengthCount, SoftOverlongConfig,
    SuccessCount,
};
pub use data::{
    AllowedLeak, HeldOut, Hint, HintKind, HintLevel, Problem, is_held_out, parse_problems,
    read_problems, sample_by_hash, split_held_out,
};
#[cfg(feature = "local-engine")]
pub use engine::LocalEngine;
#[cfg(feature = "vllm")]
pub use engine::vllm::{VllmBuilder, VllmEngine, VllmEvent, VllmOptions};
pub use engine::{
    Completion, GenerationRequest, HeadWeights, PolicyVersion, RolloutEngine, Sampling, StopReason,
    WeightSource,
};
#[cfg(any(feature = "vllm", feature = "teacher"))]
pub use error::HttpError;
pub use error::RolloutError;
#[cfg(feature = "teacher")]
pub use error::TeacherError;
#[cfg(feature = "vllm")]
pub use error::VllmError;
pub use evaluate::{
    Estimate, Evaluation, EvaluationOptions, EvaluationScores, Lengths, ProblemOutcome, Votes,
    evaluate, maj_at_k, pass_at_k,
};
pub use hint::leak::{
    GuardedHint, Leak, LeakAction, LeakCounts, LeakDetector, LeakGuard, LeakKind,
    without_calculations,
};
#[cfg(feature = "teacher")]
pub use hint::source::teacher::TeacherHints;
pub use hint::source::teacher::{TeacherBudget, TeacherFallback, TeacherOptions, TeacherPrompt};
pub use hint::source::{
    DatasetHints, Demonstrations, HintSourceConfig, MaskedSolution, PrefixUnit, SelfHints,
    SolutionPrefix, WrongAnswers,
};
pub use hint::{
    EngineWriter, FnHints, HintProvider, HintRequest, HintWriter, WriteRequest, hints_from_fn,
};
pub use net::ApiKey;
#[cfg(feature = "local-engine")]
pub use prompt::{ChatFormat, TextFormat};
pub use prompt::{HintTemplate, PromptFormat};
pub use run::{RunPoint, RunProgress, Seed, StepContext, ValueSchedule};
pub use sample::{AppliedHint, Rollout, RolloutGroup, RolloutSource, VerdictAction, VerdictPolicy};
