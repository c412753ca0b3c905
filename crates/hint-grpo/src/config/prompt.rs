//! Prompts and the end of completions, where the model's files are not to decide.

use std::path::PathBuf;
use std::sync::Arc;

use hint_policy::{LoadedModel, Tokenizer};
use hint_rollout::{ChatFormat, Hint, Problem, PromptFormat, RolloutError, TextFormat};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::config::GrpoConfig;
use crate::error::{ConfigError, GrpoError};

/// A line after every problem, unless the configuration sets another.
const INSTRUCTION: &str = "Put your final answer within \\boxed{}.";

/// Decisions in place of the model's files. [`GrpoConfig::apply`] makes them, except `base`, which a program gives to
/// [`LoadOptions::base`](hint_policy::LoadOptions).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelSettings {
    /// The base model of an adapter, in place of the one that the adapter names.
    pub base: Option<PathBuf>,
    /// Whether rows of every length have `LongRoPE`'s factors for long rows. Rows may then be longer than in pre-training.
    pub long_factors: bool,
    /// Whether prompts are made by the model's chat template, if it has one; else in plain text.
    pub chat_template: bool,
    /// Variables for the chat template, such as `enable_thinking`.
    pub chat_template_kwargs: Map<String, Value>,
    /// The date that chat templates get for today's, `YYYY-MM-DD`. 2024-07-26 by default, on every day.
    pub template_date: Option<String>,
    /// Further tokens that end a completion, as texts.
    pub stop_tokens: Vec<String>,
    /// Tokens that are never drawn, as texts; `rollout.sampling.banned_tokens` takes ids.
    pub banned_tokens: Vec<String>,
}

impl Default for ModelSettings {
    fn default() -> Self {
        Self {
            base: None,
            long_factors: false,
            chat_template: true,
            chat_template_kwargs: Map::new(),
            template_date: None,
            stop_tokens: Vec::new(),
            banned_tokens: Vec::new(),
        }
    }
}

impl GrpoConfig {
    /// The model as [`GrpoConfig::model`] wants it. Its tokens join the sampling, as in [`GrpoConfig::resolve_tokens`].
    ///
    /// # Errors
    ///
    /// [`ConfigError::Invalid`] for an invalid date; errors of [`GrpoConfig::resolve_tokens`]. Long factors for a
    /// model without `LongRoPE`.
    pub fn apply(&mut self, model: LoadedModel) -> Result<LoadedModel, GrpoError> {
        let model = self.model.apply(model)?;
        self.resolve_tokens(&model.tokenizer)?;
        Ok(model)
    }

    /// Fits the sampling to a tokenizer: the ids of the model's banned tokens join `rollout.sampling.banned_tokens`.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Invalid`] for a banned token that the tokenizer does not have, and for a stop text with a special
    /// token. No text of a completion has one, so that it would never end any.
    pub fn resolve_tokens(&mut self, tokenizer: &Tokenizer) -> Result<(), ConfigError> {
        let banned = ids("model.banned_tokens", &self.model.banned_tokens, tokenizer)?;
        let sampling = &mut self.rollout.sampling;
        if let Some(token) = sampling.stop.iter().find_map(|text| hidden_token(text, tokenizer)) {
            let expected = "must be texts that completions show; \
                            `model.stop_tokens`, or --stop-token, takes special tokens";
            return Err(ConfigError::one("rollout.sampling.stop", expected, format!("`{token}`")));
        }
        sampling.banned_tokens.extend(banned);
        Ok(())
    }
}

/// The first special token in a text, which is left out where completions are decoded.
fn hidden_token(text: &str, tokenizer: &Tokenizer) -> Option<String> {
    let tokens = tokenizer.encode(text).ok()?;
    tokens.into_iter().find_map(|id| {
        let token = tokenizer.decode(&[id]).ok().filter(|token| !token.is_empty())?;
        tokenizer.decode_skip_special(&[id]).ok()?.is_empty().then_some(token)
    })
}

impl ModelSettings {
    /// The model as the configuration wants it, with the banned tokens left to [`GrpoConfig::resolve_tokens`].
    ///
    /// # Errors
    ///
    /// [`ConfigError::Invalid`] for a stop token that the tokenizer does not have, or for an invalid
    /// date. Long factors for a model without `LongRoPE`.
    pub fn apply(&self, mut model: LoadedModel) -> Result<LoadedModel, GrpoError> {
        if self.long_factors {
            model.policy = model.policy.with_long_factors()?;
        }
        if !self.chat_template_kwargs.is_empty() {
            let variables = self.chat_template_kwargs.clone();
            model.tokenizer = model.tokenizer.with_template_variables(variables);
        }
        if let Some(date) = &self.template_date {
            model.tokenizer = model.tokenizer.with_template_date(date)?;
        }
        if !self.chat_template {
            model.tokenizer = model.tokenizer.without_chat_template();
        }
        if !self.stop_tokens.is_empty() {
            let ids = ids("model.stop_tokens", &self.stop_tokens, &model.tokenizer)?;
            model.stop_tokens.extend(ids);
            model.policy = model.policy.with_stop_tokens(&model.stop_tokens);
            model.stop_tokens = model.policy.stop_tokens().to_vec();
        }
        Ok(model)
    }
}

fn ids(key: &str, tokens: &[String], tokenizer: &Tokenizer) -> Result<Vec<u32>, ConfigError> {
    let id = |token: &String| {
        let missing = || ConfigError::one(key, "must be tokens of the model", format!("`{token}`"));
        tokenizer.token_id(token).ok_or_else(missing)
    };
    tokens.iter().map(id).collect()
}

/// Text for the policy beside the problem.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PromptConfig {
    /// The message of the system, where the problem has none of its own. In plain text, it precedes the
    /// problem.
    pub system: Option<String>,
    /// A line after every problem, in place of the usual one (`Put your final answer within \boxed{}.`). An empty one
    /// counts as absent.
    pub instruction: Option<String>,
}

impl PromptConfig {
    /// The prompts of a model: its chat template, or plain text when it has none.
    pub fn format(
        &self,
        tokenizer: Arc<Tokenizer>,
        stop_tokens: Vec<u32>,
    ) -> Arc<dyn PromptFormat> {
        let instruction = self.instruction.as_deref().unwrap_or(INSTRUCTION);
        if tokenizer.has_chat_template() {
            let format = ChatFormat::new(tokenizer, stop_tokens).with_instruction(instruction);
            return Arc::new(Configured(match &self.system {
                Some(system) => format.with_system(system),
                None => format,
            }));
        }
        let system = self.system.as_ref().map_or_else(String::new, |text| format!("{text}\n\n"));
        let last = if instruction.is_empty() { "" } else { "\n" };
        let format = TextFormat::new(tokenizer, stop_tokens);
        let suffix = format!("\n{instruction}{last}Answer:");
        Arc::new(Configured(format.with_frame(format!("{system}Question: "), suffix)))
    }
}

/// A format that the configuration describes, so that a run need not record it.
struct Configured<F>(F);

impl<F: PromptFormat> PromptFormat for Configured<F> {
    fn name(&self) -> Option<String> {
        None
    }

    fn encode(&self, problem: &Problem, hint: Option<&Hint>) -> Result<Vec<u32>, RolloutError> {
        self.0.encode(problem, hint)
    }

    fn encode_message(&self, message: &str) -> Result<Vec<u32>, RolloutError> {
        self.0.encode_message(message)
    }

    fn encode_completion(&self, text: &str) -> Result<Vec<u32>, RolloutError> {
        self.0.encode_completion(text)
    }

    fn encode_demonstration(&self, text: &str) -> Result<Vec<u32>, RolloutError> {
        self.0.encode_demonstration(text)
    }

    fn decode(&self, completion: &[u32]) -> Result<String, RolloutError> {
        self.0.decode(completion)
    }

    fn stop_tokens(&self) -> &[u32] {
        self.0.stop_tokens()
    }
}
