//! Additions of `tokenizer_config.json` to `tokenizer.json`, as transformers applies them.

use std::path::Path;

use serde_json::{Value, json};
use tokenizers::{AddedToken, PostProcessorWrapper};

use crate::error::PolicyError;
use crate::tokenizer::Tokenizer;

/// Classes that put the bos token, and the eos token if asked for, around plain texts by themselves, for any
/// `tokenizer.json`. Each has its default for the bos token.
const CLASSES: [(&str, bool); 5] = [
    ("LlamaTokenizer", true),
    ("CodeLlamaTokenizer", true),
    ("GemmaTokenizer", true),
    ("CohereTokenizer", true),
    ("GPTNeoXTokenizer", false),
];

impl Tokenizer {
    /// Adds the tokens of `added_tokens_decoder` that `tokenizer.json` lacks.
    pub(super) fn add_listed_tokens(&mut self, dir: &Path) -> Result<(), PolicyError> {
        let Some(Value::Object(listed)) = self.config.get("added_tokens_decoder") else {
            return Ok(());
        };
        let mut listed: Vec<(u32, AddedToken)> = listed
            .iter()
            .filter_map(|(id, token)| {
                let content = token.get("content")?.as_str()?;
                let flag = |key: &str| token.get(key).and_then(Value::as_bool).unwrap_or(false);
                let token = AddedToken::from(content, flag("special"))
                    .lstrip(flag("lstrip"))
                    .rstrip(flag("rstrip"))
                    .single_word(flag("single_word"))
                    .normalized(flag("normalized"));
                Some((id.parse().ok()?, token))
            })
            .collect();
        listed.sort_by_key(|(id, _)| *id);
        let known = self.inner.get_added_tokens_decoder();
        let is_known =
            |token: &AddedToken| known.values().any(|known| known.content == token.content);
        listed.retain(|(_, token)| !is_known(token));
        for (id, token) in listed {
            let content = token.content.clone();
            let added = if token.special {
                self.inner.add_special_tokens([token])
            } else {
                self.inner.add_tokens([token])
            };
            added.map_err(|source| PolicyError::Tokenizer {
                action: format!("add the token `{content}` of `tokenizer_config.json`"),
                source,
            })?;
            let found = self.inner.token_to_id(&content);
            if found != Some(id) {
                return Err(PolicyError::Corrupt {
                    path: dir.join("tokenizer_config.json"),
                    reason: format!(
                        "it lists the token `{content}` with id {id}, which is {found:?} by `tokenizer.json`"
                    ),
                });
            }
        }
        Ok(())
    }

    /// Lets [`Tokenizer::encode_with_special_tokens`] follow `add_bos_token` and `add_eos_token`.
    pub(super) fn add_ends(&mut self) {
        let class = self.config.get("tokenizer_class").and_then(Value::as_str).unwrap_or_default();
        let class = class.strip_suffix("Fast").unwrap_or(class);
        let Some((_, default)) = CLASSES.into_iter().find(|(name, _)| *name == class) else {
            return;
        };
        let wanted = |key: &str, default: bool| {
            self.config.get(key).and_then(Value::as_bool).unwrap_or(default)
        };
        let token = |wanted: bool, role: &str| {
            let token = self.special_token(role).filter(|_| wanted)?;
            Some((token.to_owned(), self.token_id(token)?))
        };
        let bos = token(wanted("add_bos_token", default), "bos_token");
        let eos = token(wanted("add_eos_token", false), "eos_token");
        let special = |end: &Option<(String, u32)>, kind: u32| {
            end.as_ref().map(|(id, _)| json!({"SpecialToken": {"id": id, "type_id": kind}}))
        };
        let sequence = |id: &str, kind: u32| {
            let text = json!({"Sequence": {"id": id, "type_id": kind}});
            [special(&bos, kind), Some(text), special(&eos, kind)].into_iter().flatten()
        };
        let known: serde_json::Map<String, Value> = [&bos, &eos]
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
