//! What a user may decide about prompts and the end of completions in place of the model's files.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;
use hint_policy::LoadedModel;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Options about the model's files, of each command that samples.
#[derive(Debug, Clone, Default, PartialEq, Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PromptOptions {
    /// Variables for the chat template, as a JSON object such as `{"enable_thinking": false}`.
    #[arg(long, value_name = "JSON", value_parser = object)]
    pub chat_template_kwargs: Option<Map<String, Value>>,

    /// The date that chat templates get for today's, `YYYY-MM-DD` [default: 2024-07-26, on every day].
    #[arg(long, value_name = "DATE")]
    pub template_date: Option<String>,

    /// Ask in plain text, whether or not the model has a chat template.
    #[arg(long)]
    pub no_chat_template: bool,

    /// A further token that ends a completion, as text; may be given several times. Checkpoints remember it.
    #[arg(long, value_name = "TOKEN")]
    pub stop_token: Vec<String>,

    /// The base model of an adapter, in place of the one that the adapter names.
    #[arg(long, value_name = "PATH")]
    pub base: Option<PathBuf>,
}

fn object(text: &str) -> serde_json::Result<Map<String, Value>> {
    serde_json::from_str(text)
}

impl PromptOptions {
    /// The model as these options want it.
    ///
    /// # Errors
    ///
    /// A token that the tokenizer does not have, a date that is none.
    pub fn apply(&self, mut model: LoadedModel) -> Result<LoadedModel> {
        if let Some(variables) = &self.chat_template_kwargs {
            model.tokenizer = model.tokenizer.with_template_variables(variables.clone());
        }
        if let Some(date) = &self.template_date {
            model.tokenizer = model.tokenizer.with_template_date(date)?;
        }
        if self.no_chat_template {
            model.tokenizer = model.tokenizer.without_chat_template();
        }
        for token in &self.stop_token {
            let id = model.tokenizer.token_id(token);
            model
                .stop_tokens
                .push(id.with_context(|| format!("the tokenizer has no token `{token}`"))?);
        }
        if !self.stop_token.is_empty() {
            model.policy = model.policy.with_stop_tokens(&model.stop_tokens);
            model.stop_tokens = model.policy.stop_tokens().to_vec();
        }
        Ok(model)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tiny;

    fn apply(args: &[&str]) -> Result<LoadedModel> {
        #[derive(clap::Parser)]
        struct Options {
            #[command(flatten)]
            prompt: PromptOptions,
        }
        let options: Options =
            clap::Parser::try_parse_from(std::iter::once("test").chain(args.iter().copied()))?;
        options
            .prompt
            .apply(LoadedModel::load(tiny::tiny_model(), &hint_policy::LoadOptions::default())?)
    }

    #[test]
    fn a_user_adds_stop_tokens() {
        let plain = apply(&[]).unwrap();
        let token = (0..9).find(|id| !plain.stop_tokens.contains(id)).unwrap();
        let text = plain.tokenizer.decode(&[token]).unwrap();
        let more = apply(&["--stop-token", &text]).unwrap();
        assert!(more.stop_tokens.contains(&token));
        assert_eq!(more.policy.stop_tokens(), more.stop_tokens);
        let error = apply(&["--stop-token", "no such token"]).unwrap_err().to_string();
        assert!(error.contains("no such token"), "{error}");
    }

    #[test]
    fn variables_are_a_json_object() {
        assert!(apply(&["--chat-template-kwargs", r#"{"enable_thinking": false}"#]).is_ok());
        assert!(apply(&["--chat-template-kwargs", "[1]"]).is_err());
        assert!(apply(&["--template-date", "yesterday"]).is_err());
    }
}
