//! Errors of this crate.
//!
//! Every fallible function returns [`RolloutError`]. Each variant carries the two things that
//! disagreed and names the remedy where there is one. Errors of your own parts are wrapped with
//! [`RolloutError::other`]. This module depends on no other one, so every other one may use it.

#[cfg(any(feature = "vllm", feature = "teacher"))]
mod http;
#[cfg(feature = "teacher")]
mod teacher;
mod violations;
#[cfg(feature = "vllm")]
mod vllm;

use std::path::PathBuf;

#[cfg(any(feature = "vllm", feature = "teacher"))]
pub use http::HttpError;
#[cfg(feature = "teacher")]
pub use teacher::TeacherError;
pub use violations::{Violation, Violations};
#[cfg(feature = "vllm")]
pub use vllm::VllmError;

/// Errors between a data set and a scored group.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RolloutError {
    /// A problem file could not be read.
    #[error("cannot read problems from `{}`", path.display())]
    ReadProblems {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },

    /// A line of a problem file is not a JSON object.
    #[error("{}:{line}: expected one JSON object per line", path.display())]
    ProblemSyntax {
        /// The file.
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// Message of the JSON parser.
        #[source]
        source: serde_json::Error,
    },

    /// A row of a problem file cannot be read, while others can.
    #[error("{}:{line}: the row cannot be read", path.display())]
    ProblemBytes {
        /// The file.
        path: PathBuf,
        /// Line number, or the number of the row in a table, from 1.
        line: usize,
        /// Why.
        #[source]
        source: std::io::Error,
    },

    /// More rows cannot be read than may be left out.
    #[error(
        "{count} of {rows} rows cannot be read, where `data.max_dropped_frac` allows a share of {limit}; the first"
    )]
    DroppedRows {
        /// Rows that cannot be read.
        count: usize,
        /// Rows there are.
        rows: usize,
        /// Largest share that may be left out.
        limit: f64,
        /// The fault of the first one.
        #[source]
        first: Box<Self>,
    },

    /// A field of a problem is missing or has the wrong type.
    #[error("{}:{line}: field `{field}`: expected {expected}, found {found}", path.display())]
    ProblemField {
        /// The file.
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// The field, or its column.
        field: String,
        /// Expected content.
        expected: String,
        /// Actual content.
        found: String,
    },

    /// Two problems have the same id.
    #[error(
        "{}:{line}: problem id `{id}` was already used in {}; ids must be unique; name their column by `data.columns.id`, \
         where a name of no column makes ids from the questions",
        path.display(),
        if first_path == path { format!("line {first_line}") } else { format!("{}:{first_line}", first_path.display()) }
    )]
    DuplicateProblem {
        /// The file.
        path: PathBuf,
        /// Line number of the second occurrence, from 1.
        line: usize,
        /// The file of the first occurrence.
        first_path: PathBuf,
        /// Line number of the first occurrence, from 1.
        first_line: usize,
        /// The id.
        id: String,
    },

    /// A file of a mixture has an id that is used already.
    #[error("`{}`: problem id `{id}` was already used in another file; ids must be unique", path.display())]
    ProblemId {
        /// The file.
        path: PathBuf,
        /// The id.
        id: String,
    },

    /// A problem file holds no problem.
    #[error("`{}` holds no problem", path.display())]
    NoProblems {
        /// The file.
        path: PathBuf,
    },

    /// Problems that are too many for memory could not be kept on disk.
    #[error(
        "cannot keep problems in a file of {}, or read them back; if it is full, free some space, name another folder \
         by `data.spill_dir`, or allow more memory by `data.memory_mib`",
        dir.as_ref().map_or("the folder for temporary files".to_owned(), |dir| format!("`{}`", dir.display()))
    )]
    SpillProblems {
        /// The folder; `None` for the system's one.
        dir: Option<PathBuf>,
        /// Why.
        #[source]
        source: std::io::Error,
    },

    /// There is no problem to evaluate on.
    #[error("no problems to evaluate on")]
    NothingToEvaluate,

    /// A hint was asked for by a column that a problem does not have.
    #[error("problem `{problem}` has no text column `{column}`; its columns are: {available}")]
    HintColumn {
        /// Problem id.
        problem: String,
        /// The column asked for.
        column: String,
        /// The columns there are.
        available: String,
    },

    /// Values of a configuration are out of range.
    #[error(transparent)]
    Config(#[from] Violations),

    /// An engine returned something else than was asked for.
    #[error("the engine returned {found} {what}, expected {expected}")]
    EngineContract {
        /// The things that were counted.
        what: &'static str,
        /// Expected number.
        expected: usize,
        /// Actual number.
        found: usize,
    },

    /// A hint provider returned another number of answers than it was asked for hints.
    #[error("the hint provider answered {found} requests, expected {expected}")]
    ProviderContract {
        /// Requests.
        expected: usize,
        /// Answers.
        found: usize,
    },

    /// An engine returned log-probabilities that are not numbers.
    #[error(
        "the engine returned a log-probability of {value} for token {position} of a completion of problem `{problem}`"
    )]
    EngineNotFinite {
        /// Problem id.
        problem: String,
        /// Index of the token in its completion.
        position: usize,
        /// The value.
        value: f64,
    },

    /// More completions than allowed could not be judged.
    #[error(
        "{failed} of {judged} completions could not be judged (limit {limit_frac}); the last was problem `{problem}`: {verdict}{}; mend \
         the verifier or reward, leave such problems out, or raise `rollout.verdicts.max_dropped_frac`",
        reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default()
    )]
    TooManyFailures {
        /// Completions without a verdict.
        failed: usize,
        /// All completions of the window.
        judged: usize,
        /// The configured limit, as a fraction.
        limit_frac: f64,
        /// Problem id of the last failure.
        problem: String,
        /// Its verdict.
        verdict: &'static str,
        /// Its reason.
        reason: Option<String>,
    },

    /// A verdict that the configuration aborts on.
    #[error(
        "a completion of problem `{problem}` was judged `{verdict}`, which the verdict policy answers with abort{}",
        reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default()
    )]
    AbortVerdict {
        /// Problem id.
        problem: String,
        /// The verdict.
        verdict: &'static str,
        /// Its reason.
        reason: Option<String>,
    },

    /// The saved state of a part cannot be restored.
    #[error("the saved state of the {part} cannot be restored: {problem}")]
    State {
        /// The part, e.g. `"hint provider"`.
        part: &'static str,
        /// The fault.
        problem: String,
    },

    /// A text is longer than the engine holds, and the configuration stops for that.
    #[error(
        "the {what} of problem `{problem}` takes {len} tokens, and at most {limit} fit; shorten it, or set \
         `too_long` to \"drop\" or \"truncate_hint\""
    )]
    TooLong {
        /// Problem id.
        problem: String,
        /// `"prompt"`, `"hint"` or `"demonstration"`.
        what: &'static str,
        /// Tokens, of all that precedes the completion or of all there is.
        len: usize,
        /// Number of tokens that fit.
        limit: usize,
    },

    /// Hints are asked for, and no problem has any.
    #[error(
        "none of the {problems} problems has a hint of source `{hint_source}`, so no group would get one; give hints, \
         set `rollout.trigger` to \"never\", or set `rollout.allow_no_hints`"
    )]
    NoHints {
        /// Number of problems.
        problems: usize,
        /// Source of hints.
        hint_source: String,
    },

    /// A hint that is no part of the question was to teach plain completions.
    #[error(
        "the hint of problem `{problem}` stands behind the prompt, where a plain completion begins, so it cannot \
         teach one; take a hint that joins the question, such as a solution prefix with `in_prompt = true`"
    )]
    TeachesNothing {
        /// Problem id.
        problem: String,
    },

    /// Scoring failed.
    #[error("cannot score the completions of problem `{problem}`")]
    Reward {
        /// Problem id.
        problem: String,
        /// Why.
        #[source]
        source: hint_reward::RewardError,
    },

    /// The policy behind a local engine failed.
    #[cfg(feature = "local-engine")]
    #[error(transparent)]
    Policy(#[from] hint_policy::PolicyError),

    /// The vLLM servers behind an engine failed.
    #[cfg(feature = "vllm")]
    #[error(transparent)]
    Vllm(#[from] crate::error::vllm::VllmError),

    /// A teacher gave no hint.
    #[cfg(feature = "teacher")]
    #[error(transparent)]
    Teacher(#[from] crate::error::teacher::TeacherError),

    /// An error of a user's own [`RolloutEngine`](crate::engine::RolloutEngine),
    /// [`HintProvider`](crate::hint::HintProvider) or [`PromptFormat`](crate::prompt::PromptFormat).
    #[error("{part} failed")]
    Other {
        /// The part, e.g. `"engine"`.
        part: &'static str,
        /// The user's error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl RolloutError {
    /// Wraps an error of a user's own part.
    pub fn other(
        part: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Other { part, source: source.into() }
    }

    /// The error of an engine with another index of the request that it names, see
    /// [`PolicyError::renumbered`](hint_policy::PolicyError::renumbered).
    #[cfg(feature = "local-engine")]
    pub(crate) fn renumbered(self, requests: impl FnOnce() -> Vec<usize>) -> Self {
        match self {
            Self::Policy(error) => Self::Policy(error.renumbered(&requests())),
            other => other,
        }
    }

    /// Without a policy no error names a request.
    #[cfg(not(feature = "local-engine"))]
    pub(crate) fn renumbered(self, _requests: impl FnOnce() -> Vec<usize>) -> Self {
        self
    }

    /// The error and its sources, in one line.
    pub(crate) fn chain(&self) -> String {
        chain(self)
    }
}

/// An error and its sources, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| (*error).source());
    let causes = causes.map(ToString::to_string);
    std::iter::once(error.to_string()).chain(causes).collect::<Vec<_>>().join(": ")
}
