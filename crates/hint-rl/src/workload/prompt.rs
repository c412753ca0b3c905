//! Options about prompts and the end of completions in place of the model's files.

use std::path::PathBuf;

use clap::Args;
use hint_grpo::GrpoConfig;
use serde_json::{Map, Value};

/// Options about prompts and the end of completions, of each command that samples. They set keys of `[model]`,
/// `[prompt]` and `[rollout.sampling]` in the configuration.
#[derive(Debug, Clone, Default, PartialEq, Args)]
pub(crate) struct PromptOptions {
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

    /// A text that ends a completion, which is cut before it; may be given several times.
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,

    /// Shortest completion, in tokens: before them, stop tokens cannot be drawn, and stop texts do not count.
    #[arg(long, value_name = "N")]
    pub min_completion_len: Option<usize>,

    /// A token that is never drawn, as text; may be given several times.
    #[arg(long, value_name = "TOKEN")]
    pub ban_token: Vec<String>,

    /// The message of the system, where a problem has none of its own.
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,

    /// A line after every problem, in place of the one that asks for a boxed answer; empty for none.
    #[arg(long, value_name = "TEXT")]
    pub instruction: Option<String>,

    /// Give rows of every length the factors of `longrope` for long rows (Phi-3 128k, Phi-4-mini). Rows may then be longer than
    /// in pre-training.
    #[arg(long)]
    pub long_factors: bool,

    /// The base model of an adapter, in place of the one that the adapter names.
    #[arg(long, value_name = "PATH")]
    pub base: Option<PathBuf>,
}

fn object(text: &str) -> serde_json::Result<Map<String, Value>> {
    serde_json::from_str(text)
}

impl PromptOptions {
    /// Sets the keys that were given.
    pub(crate) fn set(&self, config: &mut GrpoConfig) {
        fn set<T: Clone>(key: &mut T, given: Option<&T>) {
            if let Some(given) = given {
                key.clone_from(given);
            }
        }
        let GrpoConfig { model, prompt, rollout, .. } = config;
        set(&mut model.chat_template_kwargs, self.chat_template_kwargs.as_ref());
        set(&mut rollout.sampling.min_completion_len, self.min_completion_len.as_ref());
        rollout.sampling.stop.extend_from_slice(&self.stop);
        model.chat_template &= !self.no_chat_template;
        model.long_factors |= self.long_factors;
        model.stop_tokens.extend_from_slice(&self.stop_token);
        model.banned_tokens.extend_from_slice(&self.ban_token);
        model.template_date = self.template_date.clone().or(model.template_date.take());
        model.base = self.base.clone().or(model.base.take());
        prompt.system = self.system.clone().or(prompt.system.take());
        prompt.instruction = self.instruction.clone().or(prompt.instruction.take());
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Result;
    use hint_policy::LoadedModel;

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
        let mut config = GrpoConfig::default();
        options.prompt.set(&mut config);
        let loaded = LoadedModel::load(tiny::tiny_model(), &hint_policy::LoadOptions::default())?;
        Ok(config.apply(loaded)?)
    }

    #[test]
    fn a_user_adds_stop_tokens() {
        let plain = apply(&[]).unwrap();
        let token = (0..9).find(|id| !plain.stop_tokens.contains(id)).unwrap();
        let text = plain.tokenizer.decode(&[token]).unwrap();
        let more = apply(&["--stop-token", &text, "--ban-token", &text]).unwrap();
        assert!(more.stop_tokens.contains(&token));
        assert_eq!(more.policy.stop_tokens(), more.stop_tokens);
        for option in ["--stop-token", "--ban-token"] {
            let error = apply(&[option, "no such token"]).unwrap_err().to_string();
            assert!(error.contains("no such token"), "{error}");
        }
    }

    #[test]
    fn a_special_token_is_no_stop_text() {
        for text in ["<eos>", "\n<eos>"] {
            let error = apply(&["--stop", "Q:", "--stop", text]).unwrap_err().to_string();
            assert!(error.contains("rollout.sampling.stop"), "{error}");
            assert!(error.contains("`<eos>`") && error.contains("--stop-token"), "{error}");
        }
        // Texts of several tokens, of a part of one, and of tokens that decode to nothing alone.
        for text in ["\nQ:", "eos", "<", " ", "→"] {
            apply(&["--stop", text]).unwrap();
        }
    }

    #[test]
    fn variables_are_a_json_object() {
        assert!(apply(&["--chat-template-kwargs", r#"{"enable_thinking": false}"#]).is_ok());
        assert!(apply(&["--chat-template-kwargs", "[1]"]).is_err());
        assert!(apply(&["--template-date", "yesterday"]).is_err());
    }

    #[test]
    fn options_set_keys_and_leave_the_others() {
        let mut config = GrpoConfig::default();
        config.prompt.system = Some("Be brief.".to_owned());
        config.model.stop_tokens = vec!["a".to_owned()];
        config.rollout.sampling.stop = vec!["Q:".to_owned()];
        config.rollout.sampling.min_completion_len = 3;
        PromptOptions::default().set(&mut config);
        assert_eq!(config.rollout.sampling.min_completion_len, 3);
        let options = PromptOptions {
            stop_token: vec!["b".to_owned()],
            stop: vec!["\n\n".to_owned()],
            min_completion_len: Some(0),
            instruction: Some("Go.".to_owned()),
            no_chat_template: true,
            ..PromptOptions::default()
        };
        options.set(&mut config);
        let GrpoConfig { model, prompt, rollout, .. } = config;
        assert_eq!(model.stop_tokens, ["a", "b"]);
        assert_eq!(rollout.sampling.stop, ["Q:", "\n\n"]);
        assert_eq!(rollout.sampling.min_completion_len, 0);
        assert_eq!(
            (prompt.system.as_deref(), prompt.instruction.as_deref()),
            (Some("Be brief."), Some("Go."))
        );
        assert!(!model.chat_template);
    }
}
