//! Text to token ids and back, and chat templates.
//!
//! A [`Tokenizer`] comes from a folder in Hugging Face format or from a GGUF file. It renders chats by the template of the
//! model, in the dialect of transformers, and saves itself beside a checkpoint. What the files ask for and nothing
//! follows, such as a template that is never used, is among its [warnings](Tokenizer::warnings).

pub(crate) mod chat;
mod from_gguf;
mod gguf_keys;
mod hf_config;
mod pre_tokenizer;
mod python_date;
mod python_filters;
mod python_json;
mod python_methods;
mod save;
mod sentence_piece;
mod template_source;

use std::collections::HashMap;
use std::path::Path;

use serde_json::{Map, Value};
use tokenizers::ModelWrapper;

use crate::error::PolicyError;
use crate::files::json::read_json;
use crate::files::text;
use crate::gguf::Gguf;
use crate::tokenizer::python_date::Date;

pub use chat::ChatMessage;

/// A tokenizer with its special tokens and chat template.
///
/// Special tokens written out in a text, such as `<|im_start|>`, become their ids. Nothing is added
/// at either end, because chat templates already write the model's special tokens there.
///
/// # Examples
///
/// ```
/// use hint_policy::Tokenizer;
///
/// let json = r#"{"version": "1.0", "added_tokens": [], "normalizer": null, "post_processor": null,
///     "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "."}, "behavior": "Isolated", "invert": false},
///     "decoder": {"type": "Fuse"}, "truncation": null, "padding": null,
///     "model": {"type": "WordLevel", "vocab": {"?": 0, "1": 1, "2": 2, "+": 3}, "unk_token": "?"}}"#;
/// let tokenizer = Tokenizer::from_json_str(json)?;
/// assert_eq!(tokenizer.encode("1+2")?, [1, 3, 2]);
/// assert_eq!(tokenizer.decode(&[1, 3, 2])?, "1+2");
/// # Ok::<(), hint_policy::PolicyError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// `tokenizer_config.json`, without the chat template.
    config: Map<String, Value>,
    chat_template: Option<String>,
    /// Further variables of the template.
    template_variables: Map<String, Value>,
    template_date: Date,
    /// Remarks for a person about its construction.
    warnings: Vec<String>,
}

impl Tokenizer {
    /// Reads `tokenizer.json`, and `tokenizer_config.json` and `chat_template.jinja` if they are
    /// there, from a Hugging Face folder.
    ///
    /// # Errors
    ///
    /// [`PolicyError::Read`], [`PolicyError::Json`] or [`PolicyError::Tokenizer`] naming the file.
    pub fn from_dir(dir: impl AsRef<Path>) -> Result<Self, PolicyError> {
        let dir = dir.as_ref();
        let path = dir.join("tokenizer.json");
        if !path.exists() {
            let remedy = "load the tokenizer once with transformers, \
                          `AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)`, which writes it";
            return Err(PolicyError::MissingFile { path, remedy: remedy.into() });
        }
        let json = text::read(&path)?;
        let mut tokenizer = Self::parse(&json, &format!("read `{}`", path.display()))?;
        if let Some(Value::Object(map)) = read_json(&dir.join("special_tokens_map.json"))? {
            tokenizer.config = map;
        }
        if let Some(Value::Object(map)) = read_json(&dir.join(hf_config::CONFIG))? {
            tokenizer.config.extend(map);
        }
        tokenizer.add_listed_tokens(dir)?;
        let class = tokenizer.class(dir);
        tokenizer.follow_prefix_space(&class);
        tokenizer.add_ends(&class);
        tokenizer.split_specials();
        let mut others = additional_templates(dir);
        tokenizer.chat_template = match tokenizer.config.remove("chat_template") {
            Some(Value::String(template)) => Some(template),
            Some(Value::Array(named)) => {
                let names = named.iter().filter_map(|entry| entry.get("name")?.as_str());
                others.extend(names.map(|name| format!("`{name}`")));
                default_template(&named)
            }
            _ => None,
        };
        let template = dir.join("chat_template.jinja");
        if template.is_file() {
            tokenizer.chat_template = Some(text::read(&template)?);
        }
        if tokenizer.chat_template.is_none() {
            tokenizer.warnings.extend(unused_templates(dir, &others));
        }
        Ok(tokenizer)
    }

    /// Parses the content of a `tokenizer.json`. There is no chat template.
    ///
    /// # Errors
    ///
    /// [`PolicyError::Tokenizer`] with the part that does not parse.
    pub fn from_json_str(json: &str) -> Result<Self, PolicyError> {
        Self::parse(json, "parse the tokenizer")
    }

    /// Builds the tokenizer that the metadata of a GGUF file describe: byte-level BPE with a known
    /// pre-tokenizer, or `SentencePiece` with scores.
    ///
    /// # Errors
    ///
    /// [`PolicyError::Unsupported`] for another model or pre-tokenizer, [`PolicyError::Corrupt`]
    /// for metadata that do not fit together.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self, PolicyError> {
        from_gguf::build(gguf)
    }

    fn parse(json: &str, action: &str) -> Result<Self, PolicyError> {
        let failed = |source| PolicyError::Tokenizer { action: action.to_owned(), source };
        let mut inner = tokenizers::Tokenizer::from_bytes(json).map_err(failed)?;
        // Left behind by the last script that used them. They are arguments of a call, not properties of
        // the tokenizer: a prompt that is cut, padded or cut at random is another prompt.
        let mut ignored = Vec::new();
        if let Some(truncation) = inner.get_truncation() {
            ignored.push(format!("truncation to {} tokens", truncation.max_length));
        }
        if inner.get_padding().is_some() {
            ignored.push("padding".to_owned());
        }
        inner.with_padding(None).with_truncation(None).map_err(failed)?;
        if let ModelWrapper::BPE(model) = inner.get_model()
            && model.dropout.is_some()
        {
            let mut model = model.clone();
            model.dropout = None;
            inner.with_model(ModelWrapper::BPE(model));
            ignored.push("dropout of merges".to_owned());
        }
        let warning =
            format!("`tokenizer.json` stores {}, which is not applied", ignored.join(", "));
        Ok(Self {
            inner,
            config: Map::new(),
            chat_template: None,
            template_variables: Map::new(),
            template_date: Date::FIXED,
            warnings: if ignored.is_empty() { Vec::new() } else { vec![warning] },
        })
    }

    /// The same tokenizer with another chat template (Jinja).
    #[must_use]
    pub fn with_chat_template(mut self, template: impl Into<String>) -> Self {
        self.chat_template = Some(template.into());
        self
    }

    /// The same tokenizer without a chat template, for prompts in plain text.
    #[must_use]
    pub fn without_chat_template(mut self) -> Self {
        self.chat_template = None;
        self
    }

    /// The same tokenizer with a special token that a chat template reads under `role`, such as
    /// `"eos_token"`, `"bos_token"` or `"pad_token"`.
    #[must_use]
    pub fn with_special_token(mut self, role: &str, token: &str) -> Self {
        self.config.insert(role.to_owned(), Value::from(token));
        self
    }

    /// Token ids of `text`.
    ///
    /// # Errors
    ///
    /// [`PolicyError::Tokenizer`], for example for a character outside a vocabulary without
    /// unknown token.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, PolicyError> {
        self.encode_text(text, false)
    }

    /// Token ids of `text` with the tokenizer's additions to a plain text, such as a bos token.
    ///
    /// # Errors
    ///
    /// As [`Tokenizer::encode`].
    pub fn encode_with_special_tokens(&self, text: &str) -> Result<Vec<u32>, PolicyError> {
        self.encode_text(text, true)
    }

    fn encode_text(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>, PolicyError> {
        let encoding = self.inner.encode_fast(text, add_special_tokens);
        encoding
            .map(|encoding| encoding.get_ids().to_vec())
            .map_err(|source| PolicyError::Tokenizer { action: "encode a text".into(), source })
    }

    /// Text of `ids`, special tokens written out.
    ///
    /// # Errors
    ///
    /// [`PolicyError::Tokenizer`] if the decoder fails.
    pub fn decode(&self, ids: &[u32]) -> Result<String, PolicyError> {
        self.decode_ids(ids, false)
    }

    /// Text of `ids`, special tokens left out.
    ///
    /// # Errors
    ///
    /// As [`Tokenizer::decode`].
    pub fn decode_skip_special(&self, ids: &[u32]) -> Result<String, PolicyError> {
        self.decode_ids(ids, true)
    }

    fn decode_ids(&self, ids: &[u32], skip_special: bool) -> Result<String, PolicyError> {
        self.inner
            .decode(ids, skip_special)
            .map_err(|source| PolicyError::Tokenizer { action: "decode tokens".into(), source })
    }

    /// Id of `token` as it stands in the vocabulary.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Remarks for a person about the tokenizer's construction, such as gaps in its file.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Number of tokens, added ones included. A model may have more (unused) ids.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The first token, by its id, that only one of the two has at that id. `None` if both have the same tokens.
    pub fn first_difference(&self, other: &Self) -> Option<String> {
        let (own, others) = (self.inner.get_vocab(true), other.inner.get_vocab(true));
        let missing = |(one, other): (&HashMap<String, u32>, &HashMap<String, u32>)| {
            let different = one.iter().filter(|(token, id)| other.get(*token) != Some(*id));
            different.map(|(token, id)| (*id, token.clone())).collect::<Vec<_>>()
        };
        let different = [(&own, &others), (&others, &own)].into_iter().flat_map(missing);
        different.min().map(|(_, token)| token)
    }

    /// The special token with a role such as `"eos_token"`, as text.
    pub fn special_token(&self, role: &str) -> Option<&str> {
        match self.config.get(role)? {
            Value::String(token) => Some(token),
            Value::Object(map) => map.get("content")?.as_str(),
            _ => None,
        }
    }

    /// Id of the token that ends a text.
    pub fn eos_token_id(&self) -> Option<u32> {
        self.token_id(self.special_token("eos_token")?)
    }
}

/// The names of templates in a folder of their own.
fn additional_templates(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir.join("additional_chat_templates")).into_iter().flatten();
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let names = names.filter_map(|name| Some(format!("`{}`", name.strip_suffix(".jinja")?)));
    let mut names: Vec<String> = names.collect();
    names.sort_unstable();
    names
}

/// A remark about templates that are there, where none is the one for plain chats. `names` are those with names.
fn unused_templates(dir: &Path, names: &[String]) -> Option<String> {
    let found = if !names.is_empty() {
        format!("the chat templates {}, and none named `default`", names.join(", "))
    } else if dir.join("chat_template.json").is_file() {
        "`chat_template.json`, which belongs to a processor of images".to_owned()
    } else {
        return None;
    };
    Some(format!("the folder has {found}; write the one to use into `chat_template.jinja`"))
}

/// The template of a list of named ones that is meant for plain chats.
fn default_template(named: &[Value]) -> Option<String> {
    let entry = named.iter().find(|entry| entry.get("name") == Some(&Value::from("default")))?;
    entry.get("template")?.as_str().map(str::to_owned)
}
