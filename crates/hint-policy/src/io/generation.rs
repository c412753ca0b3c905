//! `generation_config.json`, of which the tokens that end a completion matter here.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::config::ModelConfig;
use crate::error::PolicyError;
use crate::files::json::{read_json, write_json};

const FILE: &str = "generation_config.json";

/// The settings of `dir`, empty if it has none. Tokens that end a completion must be ids.
pub(crate) fn read(dir: &Path) -> Result<Map<String, Value>, PolicyError> {
    let settings = match read_json(&dir.join(FILE))? {
        Some(Value::Object(settings)) => settings,
        _ => Map::new(),
    };
    let is_id = |value: &Value| value.is_i64() || value.is_u64();
    let are_ids = |ends: &Value| match ends.as_array() {
        Some(ids) => ids.iter().all(is_id),
        None => ends.is_null() || is_id(ends),
    };
    if let Some(other) = settings.get("eos_token_id").filter(|ends| !are_ids(ends)) {
        let field = format!("eos_token_id of {}", dir.join(FILE).display());
        return Err(PolicyError::config(field, other, "a token id or a list of token ids"));
    }
    Ok(settings)
}

/// Writes the settings that a model was loaded with, ending completions with `stop_tokens`.
pub(crate) fn write(
    dir: &Path,
    settings: &Map<String, Value>,
    config: &ModelConfig,
    stop_tokens: &[u32],
) -> Result<(), PolicyError> {
    if settings.is_empty() && stop_tokens.is_empty() {
        return Ok(());
    }
    let mut settings = settings.clone();
    if !stop_tokens.is_empty() {
        settings.insert("eos_token_id".into(), json!(stop_tokens));
    }
    for (key, id) in [("bos_token_id", config.bos_token_id), ("pad_token_id", config.pad_token_id)]
    {
        if let Some(id) = id {
            settings.entry(key).or_insert(json!(id));
        }
    }
    write_json(&dir.join(FILE), &Value::Object(settings))
}

/// `eos_token_id` of the settings: one id or a list.
pub(crate) fn stop_tokens(settings: &Map<String, Value>) -> Vec<u32> {
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    match settings.get("eos_token_id") {
        Some(Value::Array(ids)) => ids.iter().filter_map(id).collect(),
        Some(value) => id(value).into_iter().collect(),
        None => Vec::new(),
    }
}
