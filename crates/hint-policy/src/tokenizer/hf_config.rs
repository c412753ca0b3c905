//! Additions of `tokenizer_config.json` to `tokenizer.json`, as transformers applies them.

use std::collections::HashSet;
use std::path::Path;

use serde_json::{Map, Value, json};
use tokenizers::{AddedToken, PostProcessorWrapper, PreTokenizerWrapper};

use crate::config::Architecture;
use crate::error::PolicyError;
use crate::files::json::read_json;
use crate::tokenizer::Tokenizer;

pub(super) const CONFIG: &str = "tokenizer_config.json";

/// Keys of special tokens.
const ROLES: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// Classes that put the bos token, and the eos token if asked for, around plain texts by themselves, for any
/// `tokenizer.json`. Each has a default for whether the bos token is added, and for both tokens where the configuration
/// does not name them.
const CLASSES: [(&str, bool, [&str; 2]); 5] = [
    ("LlamaTokenizer", true, ["<s>", "</s>"]),
    ("CodeLlamaTokenizer", true, ["<s>", "</s>"]),
    ("GemmaTokenizer", true, ["<bos>", "<eos>"]),
    ("CohereTokenizer", true, ["<BOS_TOKEN>", "<|END_OF_TURN_TOKEN|>"]),
    ("GPTNeoXTokenizer", false, ["<|endoftext|>", "<|endoftext|>"]),
];

impl Tokenizer {
    /// Adds the tokens of `added_tokens_decoder`, or of `added_tokens.json`, and those with a special role. Their
    /// options count more than those of `tokenizer.json`.
    pub(super) fn add_listed_tokens(&mut self, dir: &Path) -> Result<(), PolicyError> {
        let roles = self.special_roles();
        let is_special = |content: &str| roles.iter().any(|role| role.content == content);
        let mut listed: Vec<(u32, AddedToken)> = match self.config.get("added_tokens_decoder") {
            Some(Value::Object(listed)) => listed
                .iter()
                .filter_map(|(id, token)| Some((id.parse().ok()?, added_token(token, is_special)?)))
                .collect(),
            _ => match read_json(&dir.join("added_tokens.json"))? {
                Some(Value::Object(listed)) => listed
                    .iter()
                    .filter_map(|(content, id)| {
                        let token = AddedToken::from(content.clone(), is_special(content));
                        Some((u32::try_from(id.as_u64()?).ok()?, token))
                    })
                    .collect(),
                _ => Vec::new(),
            },
        };
        listed.sort_by_key(|(id, _)| *id);
        let mut known: HashSet<String> = self
            .inner
            .get_added_tokens_decoder()
            .values()
            .map(|token| token.content.clone())
            .collect();
        let new: Vec<(u32, String)> = listed
            .iter()
            .filter(|(_, token)| known.insert(token.content.clone()))
            .map(|(id, token)| (*id, token.content.clone()))
            .collect();
        let roles = roles.into_iter().filter(|role| known.insert(role.content.clone()));
        let all: Vec<AddedToken> =
            listed.into_iter().map(|(_, token)| token).chain(roles).collect();
        self.inner.add_tokens(all).map_err(|source| PolicyError::Tokenizer {
            action: format!("add the tokens of `{}`", dir.join(CONFIG).display()),
            source,
        })?;
        for (id, content) in new {
            let found = self.inner.token_to_id(&content);
            if found != Some(id) {
                let found = found.map_or_else(|| "no id".to_owned(), |found| format!("id {found}"));
                return Err(PolicyError::Corrupt {
                    path: dir.join(CONFIG),
                    reason: format!(
                        "it lists the token `{content}` with id {id}, and `tokenizer.json` leads to {found}; take both files \
                         from one save of the tokenizer"
                    ),
                });
            }
        }
        Ok(())
    }

    /// The tokens with a special role.
    fn special_roles(&self) -> Vec<AddedToken> {
        let lists = ["additional_special_tokens", "extra_special_tokens"];
        let of_lists =
            lists.into_iter().filter_map(|key| self.config.get(key)).flat_map(|list| match list {
                Value::Array(list) => list.iter().collect::<Vec<_>>(),
                Value::Object(by_name) => by_name.values().collect(),
                _ => Vec::new(),
            });
        let roles = ROLES.into_iter().filter_map(|role| self.config.get(role));
        roles.chain(of_lists).filter_map(|token| added_token(token, |_| true)).collect()
    }

    /// Encodes special tokens in a text as text, if `split_special_tokens` is set.
    pub(super) fn split_specials(&mut self) {
        if self.config.get("split_special_tokens") == Some(&Value::Bool(true)) {
            self.inner.set_encode_special_tokens(true);
            self.warnings.push(format!(
                "`{CONFIG}` has `split_special_tokens`: special tokens of a chat template are encoded as plain text; remove \
                 the key if that is not meant"
            ));
        }
    }

    /// The tokenizer's class in transformers 4.57, without `Fast`: that of its configuration, of the model's, or of the
    /// model's family.
    pub(super) fn class(&self, dir: &Path) -> String {
        let named = |config: &Map<String, Value>, key: &str| {
            config.get(key).and_then(Value::as_str).map(str::to_owned)
        };
        let key = "tokenizer_class";
        let of_model = || {
            // A configuration that does not parse is refused where the model is read.
            let Ok(Some(Value::Object(model))) = read_json(&dir.join("config.json")) else {
                return None;
            };
            let of_family = || Architecture::tokenizer_class(&named(&model, "model_type")?);
            named(&model, key).or_else(|| of_family().map(str::to_owned))
        };
        let class = named(&self.config, key).or_else(of_model).unwrap_or_default();
        class.strip_suffix("Fast").unwrap_or(&class).to_owned()
    }

    /// Lets a byte-level tokenizer put a space before a text, or not, as `add_prefix_space` says; false if it is missing.
    /// Llama's classes would need the vocabulary of `SentencePiece` for that.
    pub(super) fn follow_prefix_space(&mut self, class: &str) {
        let wanted = self.config.get("add_prefix_space").and_then(Value::as_bool);
        let is_llama = matches!(class, "LlamaTokenizer" | "CodeLlamaTokenizer");
        if is_llama && wanted == Some(false) {
            self.warnings.push(format!(
                "`add_prefix_space` of `{CONFIG}` is false, which {class} does not follow; `tokenizer.json` says whether a \
                 text begins with a space"
            ));
        }
        let Some(PreTokenizerWrapper::ByteLevel(found)) = self.inner.get_pre_tokenizer() else {
            return;
        };
        let mut byte_level = *found;
        if !is_llama && byte_level.add_prefix_space != wanted.unwrap_or(false) {
            byte_level.add_prefix_space = !byte_level.add_prefix_space;
            self.inner.with_pre_tokenizer(Some(byte_level));
        }
    }

    /// Lets [`Tokenizer::encode_with_special_tokens`] follow `add_bos_token` and `add_eos_token`, where the class does.
    pub(super) fn add_ends(&mut self, class: &str) {
        let known = CLASSES.into_iter().find(|(name, ..)| *name == class);
        let Some((_, default, [bos, eos])) = known else { return };
        let wanted = |key: &str, default: bool| {
            self.config.get(key).and_then(Value::as_bool).unwrap_or(default)
        };
        let token = |wanted: bool, role: &str, usual| {
            let named = self.config.contains_key(role);
            let token = if named { self.special_token(role) } else { Some(usual) };
            let token = token.filter(|_| wanted)?;
            Some((token.to_owned(), self.token_id(token)?))
        };
        let bos = token(wanted("add_bos_token", default), "bos_token", bos);
        let eos = token(wanted("add_eos_token", false), "eos_token", eos);
        let special = |end: &Option<(String, u32)>, kind: u32| {
            end.as_ref().map(|(id, _)| json!({"SpecialToken": {"id": id, "type_id": kind}}))
        };
        let sequence = |id: &str, kind: u32| {
            let text = json!({"Sequence": {"id": id, "type_id": kind}});
            [special(&bos, kind), Some(text), special(&eos, kind)].into_iter().flatten()
        };
        let known: Map<String, Value> = [&bos, &eos]
            .into_iter()
            .flatten()
            .map(|(token, id)| {
                (token.clone(), json!({"id": token, "ids": [id], "tokens": [token]}))
            })
            .collect();
        let template = json!({
            "type": "TemplateProcessing",
            "single": sequence("A", 0).collect::<Vec<_>>(),
            "pair": sequence("A", 0).chain(sequence("B", 1)).collect::<Vec<_>>(),
            "special_tokens": known,
        });
        let template: Result<PostProcessorWrapper, _> = serde_json::from_value(template);
        self.inner.with_post_processor(template.ok());
    }
}

/// A token as these files write it: its text, or an object of text and options.
fn added_token(token: &Value, is_special: impl Fn(&str) -> bool) -> Option<AddedToken> {
    let content = token.as_str().or_else(|| token.get("content")?.as_str())?;
    let flag = |key: &str| token.get(key).and_then(Value::as_bool);
    let special = flag("special").unwrap_or(false) || is_special(content);
    Some(
        AddedToken::from(content, special)
            .lstrip(flag("lstrip").unwrap_or(false))
            .rstrip(flag("rstrip").unwrap_or(false))
            .single_word(flag("single_word").unwrap_or(false))
            .normalized(flag("normalized").unwrap_or(!special)),
    )
}
