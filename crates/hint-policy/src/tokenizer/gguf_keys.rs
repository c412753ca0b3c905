//! Metadata of a GGUF file about its tokens.

use crate::error::PolicyError;
use crate::gguf::end_tokens::is_end;
use crate::gguf::{Gguf, GgufValue};

/// Kinds of tokens in `tokenizer.ggml.token_type`.
pub(super) const NORMAL: u64 = 1;
pub(super) const UNKNOWN: u64 = 2;
pub(super) const CONTROL: u64 = 3;
pub(super) const USER_DEFINED: u64 = 4;

/// The kind of each token, `None` where it is not a number. Tokens that end a text are control tokens in every file.
pub(super) fn token_kinds(gguf: &Gguf, tokens: &[&str]) -> Vec<Option<u64>> {
    let kinds = gguf.get("tokenizer.ggml.token_type").and_then(GgufValue::as_array);
    let mut kinds: Vec<Option<u64>> =
        kinds.unwrap_or_default().iter().map(GgufValue::as_u64).collect();
    for (kind, token) in kinds.iter_mut().zip(tokens) {
        if is_end(token) {
            *kind = Some(CONTROL);
        }
    }
    kinds
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
