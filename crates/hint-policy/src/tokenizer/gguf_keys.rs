//! Metadata of a GGUF file about its tokens.

use crate::error::PolicyError;
use crate::gguf::{Gguf, GgufValue};

/// `tokenizer.ggml.token_type`, `None` where it is not a number.
pub(super) fn token_kinds(gguf: &Gguf) -> Vec<Option<u64>> {
    let kinds = gguf.get("tokenizer.ggml.token_type").and_then(GgufValue::as_array);
    kinds.unwrap_or_default().iter().map(GgufValue::as_u64).collect()
}

/// The token that `tokenizer.ggml.{key}_token_id` names.
pub(super) fn special<'a>(gguf: &Gguf, tokens: &[&'a str], key: &str) -> Option<&'a str> {
    let id = gguf.get(&format!("tokenizer.ggml.{key}_token_id"))?.as_u64()?;
    tokens.get(usize::try_from(id).ok()?).copied()
}

pub(super) fn strings<'a>(gguf: &'a Gguf, key: &str) -> Result<Vec<&'a str>, PolicyError> {
    let values = gguf.get(key).and_then(GgufValue::as_array);
    let strings = values.and_then(|values| values.iter().map(GgufValue::as_str).collect());
    strings.ok_or_else(|| PolicyError::Corrupt {
        path: gguf.path().to_owned(),
        reason: format!("key `{key}` is not a list of strings"),
    })
}
