//! JSON files.

use std::path::Path;

use serde_json::Value;

use crate::error::PolicyError;
use crate::files::{atomic, text};

/// Parses a JSON file if it exists.
pub(crate) fn read_json(path: &Path) -> Result<Option<Value>, PolicyError> {
    if !path.is_file() {
        return Ok(None);
    }
    let text = text::read(path)?;
    let value = serde_json::from_str(&text)
        .map_err(|source| PolicyError::Json { path: path.to_owned(), source })?;
    Ok(Some(value))
}

/// Writes `value` with indentation.
pub(crate) fn write_json(path: &Path, value: &Value) -> Result<(), PolicyError> {
    atomic::write(path, &format!("{value:#}\n"))
}
