//! Writing a tokenizer so that transformers loads it.

use std::path::Path;

use serde_json::{Map, Value, json};
use tokenizers::PreTokenizerWrapper;

use crate::error::PolicyError;
use crate::files::atomic;
use crate::files::json::write_json;
use crate::tokenizer::Tokenizer;

/// Roles that `special_tokens_map.json` lists.
const ROLES: [&str; 4] = ["bos_token", "eos_token", "unk_token", "pad_token"];

impl Tokenizer {
    /// Writes `tokenizer.json`, `tokenizer_config.json` (with the chat template) and
    /// `special_tokens_map.json` into the folder `dir`, creating it if needed.
    ///
    /// # Errors
    ///
    /// [`PolicyError::Write`] naming the file.
    pub fn save(&self, dir: impl AsRef<Path>) -> Result<(), PolicyError> {
        let dir = dir.as_ref();
        std::fs::create_dir_all(dir)
            .map_err(|source| PolicyError::Write { path: dir.to_owned(), source })?;
        let json = self.inner.to_string(true).map_err(|source| PolicyError::Tokenizer {
            action: "write the tokenizer as JSON".into(),
            source,
        })?;
        atomic::write(&dir.join("tokenizer.json"), &json)?;
        let mut config = self.config.clone();
        let defaults = [
            ("tokenizer_class", json!("PreTrainedTokenizerFast")),
            // Without it transformers passes `token_type_ids` to `generate`, which fails.
            ("model_input_names", json!(["input_ids", "attention_mask"])),
            ("clean_up_tokenization_spaces", json!(false)),
        ];
        for (key, value) in defaults {
            config.entry(key).or_insert(value);
        }
        // Missing means false there.
        if let Some(PreTokenizerWrapper::ByteLevel(bytes)) = self.inner.get_pre_tokenizer()
            && bytes.add_prefix_space
        {
            config.insert("add_prefix_space".into(), json!(true));
        }
        if let Some(template) = &self.chat_template {
            config.insert("chat_template".into(), json!(template));
        }
        write_json(&dir.join("tokenizer_config.json"), &Value::Object(config))?;
        let roles: Map<String, Value> = ROLES
            .into_iter()
            .filter_map(|role| Some((role.to_owned(), Value::from(self.special_token(role)?))))
            .collect();
        write_json(&dir.join("special_tokens_map.json"), &Value::Object(roles))
    }
}
