//! Options of a teacher.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::Violations;
use crate::hint::source::teacher::prompt::TeacherPrompt;
use crate::net::{is_address, shown};

/// A model behind a chat endpoint that writes hints, as configuration.
///
/// ```
/// use hint_rollout::hint::source::teacher::TeacherOptions;
///
/// let options = TeacherOptions {
///     api_key_env: Some("TEACHER_KEY".to_owned()),
///     temperature: 0.3,
///     ..TeacherOptions::new("http://127.0.0.1:8000/v1", "qwen2.5-72b-instruct")
/// };
/// assert_eq!(options.levels, 1);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TeacherOptions {
    /// Address below which `/chat/completions` is, such as `http://127.0.0.1:8000/v1`.
    pub endpoint: String,
    /// The model's name there.
    pub model: String,
    /// Name of the environment variable that holds the key. The program reads it; the key itself is in
    /// no file.
    #[serde(default)]
    pub api_key_env: Option<String>,
    /// Prompt for the teacher.
    #[serde(default)]
    pub prompt: TeacherPrompt,
    /// A first question, so that the teacher solves the problem by itself. The verifier judges its solution. A correct one
    /// stands for `{solution}` and `{reference}` of `prompt`, and there is no hint from a wrong one. May name
    /// `{question}` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub solve: Option<TeacherPrompt>,
    /// Hint levels. At least 1; each has a request of its own.
    #[serde(default = "default_levels")]
    pub levels: usize,
    /// Sampling temperature.
    #[serde(default = "default_temperature")]
    pub temperature: f64,
    /// Longest answer in tokens, reasoning included. A longer one is cut off and counts as a failure.
    #[serde(default = "default_max_completion_len")]
    pub max_completion_len: usize,
    /// Further fields of the request's body, such as `reasoning_effort`. With `max_completion_tokens`
    /// among them, `max_tokens` is left out.
    #[serde(default)]
    pub extra: BTreeMap<String, Value>,
    /// Requests in flight. At least 1.
    #[serde(default = "default_parallel")]
    pub parallel: usize,
    /// Times that a request is made at most. At least 1.
    #[serde(default = "default_attempts")]
    pub attempts: usize,
    /// Pause before the second attempt, in seconds. It doubles each time, and is longer where the
    /// server asks for that (`Retry-After`), up to a minute.
    #[serde(default = "default_backoff")]
    pub backoff_s: f64,
    /// Longest wait for an answer, in seconds.
    #[serde(default = "default_timeout")]
    pub timeout_s: f64,
    /// Limits of the spending.
    #[serde(default)]
    pub budget: TeacherBudget,
    /// Folder that keeps every answer, so that nothing is asked twice, in this run or another. Several
    /// processes may share it.
    #[serde(default)]
    pub cache: Option<PathBuf>,
    /// Behavior when the budget is used up.
    #[serde(default)]
    pub on_exhausted: TeacherFallback,
    /// Behavior when the teacher gives no usable answer. A refusal that concerns every request (a
    /// wrong key, an unknown model or address) is always an error.
    #[serde(default)]
    pub on_failure: TeacherFallback,
}

/// Budget of a teacher. The counts go into checkpoints, so a resumed run continues with the rest;
/// answers from the cache cost nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TeacherBudget {
    /// Requests that are made at most, repeated ones included. No bound if it is not given.
    pub requests: Option<u64>,
    /// Tokens, of prompts and answers, after which no further request is made. Requests in flight are
    /// finished, so up to `parallel` answers more may be spent. A server that does not report its usage
    /// is charged a token for every four bytes. No bound if it is not given.
    pub tokens: Option<u64>,
}

/// Substitute for a hint that the teacher does not give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TeacherFallback {
    /// The run stops with an error.
    #[default]
    Error,
    /// There is no hint; the plain group stays unchanged.
    NoHint,
    /// The problem's own hint, if it has one.
    Dataset,
}

fn default_levels() -> usize {
    1
}
fn default_temperature() -> f64 {
    0.7
}
fn default_max_completion_len() -> usize {
    2048
}
fn default_parallel() -> usize {
    8
}
fn default_attempts() -> usize {
    5
}
fn default_backoff() -> f64 {
    1.0
}
fn default_timeout() -> f64 {
    120.0
}

impl TeacherOptions {
    /// The name of the provider: everything that its hints depend on. Passwords in an address are left out.
    pub(crate) fn name(&self) -> String {
        let Self { endpoint, model, prompt, solve, levels, temperature, .. } = self;
        let Self { max_completion_len, extra, .. } = self;
        let settings = (levels, temperature, max_completion_len, extra, prompt, solve);
        format!("teacher `{model}` at {} with {settings:?}", shown(endpoint))
    }

    /// A teacher with defaults, without key, cache and bounds.
    pub fn new(endpoint: impl Into<String>, model: impl Into<String>) -> Self {
        Self {
            endpoint: endpoint.into(),
            model: model.into(),
            api_key_env: None,
            prompt: TeacherPrompt::default(),
            solve: None,
            levels: default_levels(),
            temperature: default_temperature(),
            max_completion_len: default_max_completion_len(),
            extra: BTreeMap::new(),
            parallel: default_parallel(),
            attempts: default_attempts(),
            backoff_s: default_backoff(),
            timeout_s: default_timeout(),
            budget: TeacherBudget::default(),
            cache: None,
            on_exhausted: TeacherFallback::default(),
            on_failure: TeacherFallback::default(),
        }
    }

    pub(crate) fn check(&self, at: &mut Violations) {
        let given = |text: &str| !text.trim().is_empty();
        let expected = "must be an address such as `http://HOST:PORT/v1`";
        at.require(is_address(&self.endpoint), "endpoint", expected, shown(&self.endpoint));
        at.require(given(&self.model), "model", "must be a name", "none");
        at.at_least("levels", self.levels, 1);
        at.not_negative("temperature", self.temperature);
        at.at_least("max_completion_len", self.max_completion_len, 1);
        at.at_least("parallel", self.parallel, 1);
        at.at_least("attempts", self.attempts, 1);
        at.seconds("backoff_s", self.backoff_s);
        at.seconds("timeout_s", self.timeout_s);
        if let Some(name) = self.prompt.unknown_placeholder() {
            let known = "may name {question}, {answer}, {solution}, {reference}, {amount}, {level} \
                         and {levels} only";
            at.require(false, "prompt", known, format_args!("{{{name}}}"));
        }
        let told = self.solve.as_ref().and_then(|solve| solve.placeholder_but("question"));
        if let Some(name) = told {
            let expected =
                "may name {question} only, so that the teacher solves the problem by itself";
            at.require(false, "solve", expected, format_args!("{{{name}}}"));
        }
    }
}
