//! Prompts and the end of completions, where the model's files are not to decide.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What is decided in place of the model's files. The program that loads the model applies it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelConfig {
    /// The base model of an adapter, in place of the one that the adapter names.
    pub base: Option<PathBuf>,
    /// Whether prompts are made by the model's chat template, if it has one; else in plain text.
    pub chat_template: bool,
    /// Variables for the chat template, such as `enable_thinking`.
    pub template_variables: Map<String, Value>,
    /// The date that chat templates get for today's, `YYYY-MM-DD`. 2024-07-26 by default, on every day.
    pub template_date: Option<String>,
    /// Further tokens that end a completion, as texts.
    pub stop_tokens: Vec<String>,
    /// Tokens that are never drawn, as texts; `rollout.sampling.banned_tokens` has those by id.
    pub banned_tokens: Vec<String>,
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self {
            base: None,
            chat_template: true,
            template_variables: Map::new(),
            template_date: None,
            stop_tokens: Vec::new(),
            banned_tokens: Vec::new(),
        }
    }
}

/// What is said to the policy beside the problem.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PromptConfig {
    /// The message of the system, where the problem has none of its own; in plain text, what precedes it.
    pub system: Option<String>,
    /// A line after every problem, in place of the program's own. An empty one is none.
    pub instruction: Option<String>,
}
