//! A policy with its tokenizer, as checkpoints hold them.

use std::path::Path;

use serde_json::{Value, json};

use crate::model::load_gguf;
use crate::tokenizer::{read_json, write_json};
use crate::{
    CausalLm, Gguf, LoadOptions, LoadProgress, PolicyError, SaveOptions, Tokenizer,
    catch_out_of_memory,
};

/// A policy, its tokenizer, and the tokens that end its answers.
#[derive(Debug)]
pub struct LoadedModel {
    /// The model.
    pub policy: CausalLm,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    /// Tokens that end a completion, sorted: all that the model's files name as end of text.
    pub stop_tokens: Vec<u32>,
}

impl LoadedModel {
    /// Loads a Hugging Face folder or a `.gguf` file with its tokenizer.
    ///
    /// # Errors
    ///
    /// As [`CausalLm::load`], [`Tokenizer::from_dir`] and [`Tokenizer::from_gguf`];
    /// [`PolicyError::InvalidConfig`] if the tokenizer has ids that the model lacks.
    pub fn load(path: impl AsRef<Path>, options: &LoadOptions) -> Result<Self, PolicyError> {
        Self::load_with(path, options, |_| {})
    }

    /// As [`LoadedModel::load`], telling `observer` how far it has come, as
    /// [`CausalLm::load_with`] does.
    ///
    /// # Errors
    ///
    /// As [`LoadedModel::load`].
    pub fn load_with(
        path: impl AsRef<Path>,
        options: &LoadOptions,
        mut observer: impl FnMut(LoadProgress),
    ) -> Result<Self, PolicyError> {
        let path = path.as_ref();
        let mut stop_tokens = Vec::new();
        let (policy, tokenizer) = if path.is_file() {
            let gguf = Gguf::open(path)?;
            let eot = gguf.get("tokenizer.ggml.eot_token_id").and_then(crate::GgufValue::as_u64);
            stop_tokens.extend(eot.and_then(|id| u32::try_from(id).ok()));
            let policy =
                catch_out_of_memory("load the model", || load_gguf(&gguf, options, &mut observer))?;
            (policy, Tokenizer::from_gguf(&gguf)?)
        } else {
            let generation = read_json(&path.join("generation_config.json"))?;
            stop_tokens.extend(generation.as_ref().into_iter().flat_map(eos_tokens));
            let policy = CausalLm::load_with(path, options, observer)?;
            let tokenizer = match policy.source() {
                // An adapter without a tokenizer of its own.
                Some(base) if !path.join("tokenizer.json").is_file() && base != path => {
                    if base.is_file() {
                        Tokenizer::from_gguf(&Gguf::open(base)?)?
                    } else {
                        Tokenizer::from_dir(base)?
                    }
                }
                _ => Tokenizer::from_dir(path)?,
            };
            (policy, tokenizer)
        };
        let vocab_size = policy.config().vocab_size;
        if tokenizer.vocab_size() > vocab_size {
            return Err(PolicyError::InvalidConfig {
                field: "vocab_size".into(),
                value: vocab_size.to_string(),
                expected: format!("at least the tokenizer's {}", tokenizer.vocab_size()),
            });
        }
        stop_tokens.extend(&policy.config().eos_token_ids);
        stop_tokens.extend(tokenizer.eos_token_id());
        stop_tokens.sort_unstable();
        stop_tokens.dedup();
        Ok(Self { policy, tokenizer, stop_tokens })
    }

    /// Writes a complete Hugging Face folder: configuration, weights (`Float`), tokenizer, chat
    /// template and generation settings. Each file is replaced atomically.
    ///
    /// # Errors
    ///
    /// [`PolicyError::Write`] naming the file.
    pub fn save(&self, dir: impl AsRef<Path>) -> Result<(), PolicyError> {
        self.save_with(dir, &SaveOptions::default())
    }

    /// As [`LoadedModel::save`], with another element type.
    ///
    /// # Errors
    ///
    /// As [`LoadedModel::save`].
    pub fn save_with(
        &self,
        dir: impl AsRef<Path>,
        options: &SaveOptions,
    ) -> Result<(), PolicyError> {
        let dir = dir.as_ref();
        self.policy.save_with(dir, options)?;
        self.tokenizer.save(dir)?;
        let config = self.policy.config();
        let mut generation = json!({ "eos_token_id": self.stop_tokens });
        for (key, id) in
            [("bos_token_id", config.bos_token_id), ("pad_token_id", config.pad_token_id)]
        {
            if let Some(id) = id {
                generation[key] = json!(id);
            }
        }
        write_json(&dir.join("generation_config.json"), &generation)
    }
}

/// `eos_token_id` of a generation configuration: one id or a list.
fn eos_tokens(generation: &Value) -> Vec<u32> {
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    match generation.get("eos_token_id") {
        Some(Value::Array(ids)) => ids.iter().filter_map(id).collect(),
        Some(value) => id(value).into_iter().collect(),
        None => Vec::new(),
    }
}
