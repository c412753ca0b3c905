//! Paths with dots into the value of a column.

use std::borrow::Cow;

use serde_json::Value;

use crate::data::exact_json::parse_json;

/// The part of a column at `path`, the names and indices behind the column's own. A text that holds JSON has the parts of
/// its value.
pub(super) fn value_at<'v>(column: &'v Value, path: &str) -> Option<Cow<'v, Value>> {
    let mut found = Cow::Borrowed(column);
    for part in path.split('.') {
        if let Value::String(text) = &*found {
            found = Cow::Owned(written(text)?);
        }
        found = match found {
            Cow::Borrowed(value) => Cow::Borrowed(item(value, part)?),
            Cow::Owned(value) => Cow::Owned(item(&value, part)?.clone()),
        };
    }
    Some(found)
}

/// An object or a list that is written as JSON in a text, as columns of CSV files are.
pub(super) fn written(text: &str) -> Option<Value> {
    text.trim_start().starts_with(['{', '[']).then(|| parse_json(text).ok())?
}

/// A part of an object by its name, or of a list by its index.
fn item<'v>(value: &'v Value, part: &str) -> Option<&'v Value> {
    match part.parse::<usize>() {
        Ok(index) if value.is_array() => value.get(index),
        _ => value.get(part),
    }
}
