//! Rendering chat templates, with the functions and settings that transformers gives them.

use std::io::{self, Write};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, ValueKind};
use minijinja::{Environment, Error, ErrorKind, escape_formatter};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::PolicyError;
use crate::tokenizer::python_date::Date;
use crate::tokenizer::python_json::python_float;
use crate::tokenizer::template_source::{prepared, set_from_themselves};
use crate::tokenizer::{Tokenizer, python_filters, python_json, python_methods};

/// One message of a conversation.
///
/// ```
/// use hint_policy::Tokenizer;
/// use hint_policy::tokenizer::ChatMessage;
///
/// # fn example(tokenizer: &Tokenizer) -> Result<(), hint_policy::PolicyError> {
/// let messages = [ChatMessage::system("Be brief."), ChatMessage::user("2 + 2?")];
/// let prompt = tokenizer.apply_chat_template(&messages, true)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatMessage {
    /// Role of the speaker: `"system"`, `"user"` or `"assistant"`.
    pub role: String,
    /// The text.
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

    /// The same tokenizer with variables for its chat template, such as `enable_thinking`,
    /// `reasoning_effort` or `date_string`. Other programs call them `chat_template_kwargs`.
    #[must_use]
    pub fn with_template_variables(mut self, variables: Map<String, Value>) -> Self {
        self.template_variables = variables;
        self
    }

    /// The variables that the chat template reads, sorted, without those that it has anyway: messages, special tokens and
    /// functions. A caller may give them by [`Tokenizer::with_template_variables`]; any others do nothing. Empty without
    /// a template, or with one that does not parse.
    pub fn template_variables(&self) -> Vec<String> {
        let Some(template) = &self.chat_template else { return Vec::new() };
        let (Ok(environment), Ok(source)) = (environment(self.template_date), prepared(template))
        else {
            return Vec::new();
        };
        let Ok(parsed) = environment.template_from_str(&source) else { return Vec::new() };
        let mut names = parsed.undeclared_variables(false);
        names.extend(set_from_themselves(&source).into_iter().map(str::to_owned));
        let is_given = |name: &str| {
            matches!(name, "messages" | "add_generation_prompt" | "caller" | "loop")
                || name.ends_with("_token")
                || environment.globals().any(|(global, _)| global == name)
        };
        let mut names: Vec<String> = names.into_iter().filter(|name| !is_given(name)).collect();
        names.sort_unstable();
        names
    }

    /// The same tokenizer with another date, `YYYY-MM-DD`, for templates that ask for today's by
    /// `strftime_now`. It is 2024-07-26 by default, on every day: prompts depend on no clock.
    ///
    /// # Errors
    ///
    /// [`PolicyError::InvalidOption`] for an invalid date.
    pub fn with_template_date(mut self, date: &str) -> Result<Self, PolicyError> {
        self.template_date = Date::parse(date)?;
        Ok(self)
    }

    /// The special token that ends an answer in the chat template, if none of `stop_tokens` does. A model that was tuned
    /// on such answers would not stop.
    pub fn unstopped_turn(&self, stop_tokens: &[u32]) -> Option<String> {
        const ANSWER: &str = "It is four.";
        let messages = [ChatMessage::user("2 + 2?"), ChatMessage::assistant(ANSWER)];
        let text = self.apply_chat_template(&messages, false).ok()?;
        let (_, behind) = text.rsplit_once(ANSWER)?;
        for id in self.encode(behind).ok()? {
            if stop_tokens.contains(&id) {
                return None;
            }
            let token = self.decode(&[id]).ok()?;
            let is_special = self.decode_skip_special(&[id]).is_ok_and(|text| text.is_empty());
            if is_special && !token.is_empty() {
                return Some(token);
            }
        }
        None
    }

    /// As [`Tokenizer::apply_chat_template`], with further variables for this rendering, which override
    /// [`Tokenizer::with_template_variables`].
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
        context.extend(self.template_variables.clone());
        context.extend(variables.clone());
        environment(self.template_date)
            .and_then(|environment| {
                let template = prepared(template)?;
                let mut out = Bounded::default();
                let template = environment.template_from_str(&template)?;
                let rendered = template.render_captured_to(Serde(context), &mut out);
                if out.is_full {
                    let message = format!("the text has more than {LONGEST} bytes");
                    return Err(Error::new(ErrorKind::InvalidOperation, message));
                }
                rendered?;
                Ok(String::from_utf8_lossy(&out.text).into_owned())
            })
            .map_err(|source| PolicyError::ChatTemplate { source })
    }
}

/// Instructions that a rendering may take. Templates of published models take some hundreds a message.
const FUEL: u64 = 50_000_000;

/// Bytes that a rendering may have.
const LONGEST: usize = 1 << 26;

/// A text that cannot grow without end: a template may come with a model from anywhere.
#[derive(Default)]
struct Bounded {
    text: Vec<u8>,
    /// Whether it would have grown beyond the bound.
    is_full: bool,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.text.len() + bytes.len() > LONGEST {
            self.is_full = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The settings of transformers. Block tags leave no blank lines and strings have Python's methods.
/// `strftime_now` writes a fixed date, because libraries do not read the clock.
fn environment(date: Date) -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    environment.set_fuel(Some(FUEL));
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.set_unknown_method_callback(python_methods::call);
    environment.add_function("raise_exception", |message: String| -> Result<String, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message))
    });
    environment.add_function("strftime_now", move |format: String| -> Result<String, Error> {
        date.format(&format).ok_or_else(|| {
            Error::new(ErrorKind::InvalidOperation, format!("strftime_now cannot write `{format}`"))
        })
    });
    // In Python `None` is not iterable; an undefined value is.
    environment.add_test("iterable", |value: minijinja::Value| {
        !value.is_none() && (value.is_undefined() || value.try_iter().is_ok())
    });
    // Whatever has a length and items, by position or by key.
    environment.add_test("sequence", |value: minijinja::Value| {
        matches!(
            value.kind(),
            ValueKind::Seq | ValueKind::Map | ValueKind::String | ValueKind::Undefined
        )
    });
    // jinja2 has it only on request.
    environment.remove_global("debug");
    environment.set_formatter(|out, state, value| match f64::try_from(value.clone()) {
        Ok(float)
            if value.kind() == ValueKind::Number && !value.is_integer() && float.is_finite() =>
        {
            out.write_str(&python_float(float))?;
            Ok(())
        }
        _ => escape_formatter(out, state, value),
    });
    environment.add_filter("tojson", python_json::to_json);
    environment.add_filter("default", python_filters::default);
    environment.add_filter("d", python_filters::default);
    environment.add_filter("e", python_filters::escape);
    environment.add_filter("escape", python_filters::escape);
    environment.add_filter("int", python_filters::int);
    environment.add_filter("float", python_filters::float);
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
        check("{%- if tools is none and tools is not iterable %}y{% endif %}", "y");
        check("{{ strftime_now('%d %b %Y') }}", "26 Jul 2024");
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
    fn a_template_without_end_is_an_error() {
        let nested = |body: &str| {
            let (open, close) = ("{% for i in range(9999) %}".repeat(3), "{% endfor %}".repeat(3));
            render(&format!("{open}{body}{close}")).unwrap_err()
        };
        let PolicyError::ChatTemplate { source } = nested("") else { panic!("no fuel") };
        assert!(source.to_string().contains("fuel"), "{source}");
        let long = "x".repeat(20_000);
        let PolicyError::ChatTemplate { source } = nested(&long) else { panic!("no bound") };
        assert!(source.to_string().contains("the text has more than 67108864 bytes"), "{source}");
    }

    #[test]
    fn a_template_names_its_variables() {
        let template = "{%- set thinking = thinking | default(true) -%}{% if tools %}{{ bos_token }}{% endif %}\
            {% for m in messages %}{{ m.role + strftime_now(form) }}{% endfor %}{% set own = range(3) %}{{ own }}";
        let tokenizer = Tokenizer::from_json_str(JSON).unwrap().with_chat_template(template);
        assert_eq!(tokenizer.template_variables(), ["form", "thinking", "tools"]);
        check("{{ \"it's <a/b> & \\\"c\\\"\" | e }}", "it&#39;s &lt;a/b&gt; &amp; &#34;c&#34;");
    }

    #[test]
    fn missing_template_is_an_error() {
        let tokenizer = Tokenizer::from_json_str(JSON).unwrap();
        let result = tokenizer.apply_chat_template(&[], true);
        assert!(matches!(result, Err(PolicyError::NoChatTemplate)));
    }
}
