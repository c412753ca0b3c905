//! Rendering chat templates, with the functions and settings that transformers gives them.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde};
use minijinja::{Environment, Error, ErrorKind};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Tokenizer, python_json};
use crate::PolicyError;

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatMessage {
    /// Who speaks: `"system"`, `"user"` or `"assistant"`.
    pub role: String,
    /// What is said.
    pub content: String,
}

impl ChatMessage {
    /// A message of `role`.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into() }
    }

    /// A message of the user.
    pub fn user(content: impl Into<String>) -> Self {
        Self::new("user", content)
    }

    /// A message of the system.
    pub fn system(content: impl Into<String>) -> Self {
        Self::new("system", content)
    }

    /// A message of the model.
    pub fn assistant(content: impl Into<String>) -> Self {
        Self::new("assistant", content)
    }
}

impl Tokenizer {
    /// Whether [`Tokenizer::apply_chat_template`] can work.
    pub fn has_chat_template(&self) -> bool {
        self.chat_template.is_some()
    }

    /// The chat template (Jinja).
    pub fn chat_template(&self) -> Option<&str> {
        self.chat_template.as_deref()
    }

    /// Renders `messages` as the text the model was tuned on. With `add_generation_prompt` it ends
    /// where the model's answer begins.
    ///
    /// # Errors
    ///
    /// [`PolicyError::NoChatTemplate`], or [`PolicyError::ChatTemplate`] if the template does not
    /// parse or refuses the messages.
    pub fn apply_chat_template(
        &self,
        messages: &[ChatMessage],
        add_generation_prompt: bool,
    ) -> Result<String, PolicyError> {
        self.apply_chat_template_with(messages, add_generation_prompt, &Map::new())
    }

    /// As [`Tokenizer::apply_chat_template`], with further variables for the template, such as
    /// `enable_thinking`.
    ///
    /// # Errors
    ///
    /// As [`Tokenizer::apply_chat_template`].
    pub fn apply_chat_template_with(
        &self,
        messages: &[ChatMessage],
        add_generation_prompt: bool,
        variables: &Map<String, Value>,
    ) -> Result<String, PolicyError> {
        let template = self.chat_template.as_deref().ok_or(PolicyError::NoChatTemplate)?;
        let mut context = Map::new();
        for role in self.config.keys().filter(|role| role.ends_with("_token")) {
            if let Some(token) = self.special_token(role) {
                context.insert(role.clone(), Value::from(token));
            }
        }
        let list = messages
            .iter()
            .map(|message| serde_json::json!({"role": message.role, "content": message.content}));
        context.insert("messages".into(), list.collect());
        context.insert("add_generation_prompt".into(), add_generation_prompt.into());
        context.insert("tools".into(), Value::Null);
        context.insert("documents".into(), Value::Null);
        context.extend(variables.clone());
        environment()
            .and_then(|environment| environment.render_str(template, Serde(context)))
            .map_err(|source| PolicyError::ChatTemplate { source })
    }
}

/// The settings of transformers: block tags leave no blank lines, strings have Python's methods.
/// `strftime_now` is left out, because libraries do not read the clock; templates test for it.
fn environment() -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_function("raise_exception", |message: String| -> Result<String, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message))
    });
    environment.add_filter(
        "tojson",
        |value: minijinja::Value, options: Kwargs| -> Result<minijinja::Value, Error> {
            let indent: Option<usize> = options.get("indent")?;
            // Accepted as transformers accepts them; the result is what they ask for anyway.
            for name in ["ensure_ascii", "separators", "sort_keys"] {
                let _: Option<minijinja::Value> = options.get(name)?;
            }
            options.assert_all_used()?;
            let json = serde_json::to_value(&value)
                .map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))?;
            Ok(minijinja::Value::from_safe_string(python_json::dumps(&json, indent)))
        },
    );
    Ok(environment)
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = r#"{"version": "1.0", "added_tokens": [], "normalizer": null,
        "pre_tokenizer": null, "post_processor": null, "decoder": null, "truncation": null,
        "padding": null, "model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}}"#;

    #[track_caller]
    fn render(template: &str) -> Result<String, PolicyError> {
        Tokenizer::from_json_str(JSON)
            .unwrap()
            .with_special_token("eos_token", "</s>")
            .with_chat_template(template)
            .apply_chat_template(&[ChatMessage::user(" hi ")], true)
    }

    #[track_caller]
    fn check(template: &str, expected: &str) {
        assert_eq!(render(template).unwrap(), expected);
    }

    #[test]
    fn templates_have_what_transformers_gives_them() {
        check("{{ messages[0]['content'].strip() + eos_token }}", "hi</s>");
        check("{% if add_generation_prompt %}\n  {% if true %}\nx{% endif %}{% endif %}", "x");
        check("{{ {'a': [1, '<']} | tojson }}", "{\"a\": [1, \"<\"]}");
        check("{%- if tools is none and not (strftime_now is defined) %}y{% endif %}", "y");
        check(
            "{% for m in messages %}{% if m.role == 'system' %}{% continue %}{% endif %}{{ m.role }}{% endfor %}",
            "user",
        );
        check(
            "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
            "1",
        );
        check("{{ messages[0].content.split(' ')[1] }}{{ 'ab'.startswith('a') }}", "hiTrue");
    }

    #[test]
    fn refused_messages_are_an_error_with_the_template_s_words() {
        let error = render("{{ raise_exception('roles must alternate') }}").unwrap_err();
        let PolicyError::ChatTemplate { source } = error else { panic!("{error}") };
        assert!(source.to_string().contains("roles must alternate"));
        assert!(matches!(render("{% if %}"), Err(PolicyError::ChatTemplate { .. })));
    }

    #[test]
    fn missing_template_is_an_error() {
        let tokenizer = Tokenizer::from_json_str(JSON).unwrap();
        let result = tokenizer.apply_chat_template(&[], true);
        assert!(matches!(result, Err(PolicyError::NoChatTemplate)));
    }
}
