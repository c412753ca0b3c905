//! State of parts in checkpoints, as JSON.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::error::RolloutError;

/// Reads the state of a part.
pub(crate) fn read<T: DeserializeOwned>(
    part: &'static str,
    state: &Value,
) -> Result<T, RolloutError> {
    T::deserialize(state).map_err(|error| RolloutError::State { part, problem: error.to_string() })
}

/// Accepts the state of a part that keeps none.
pub(crate) fn expect_none(part: &'static str, state: &Value) -> Result<(), RolloutError> {
    if state.is_null() {
        return Ok(());
    }
    let problem = "it keeps none, but the checkpoint has one; was the run started with another?";
    Err(RolloutError::State { part, problem: problem.to_owned() })
}

/// The `type` of a tagged enum, as a configuration names it.
pub(crate) fn tag(value: &impl Serialize) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value["type"].as_str().unwrap_or_default().to_owned()
}

/// A part that a tagged enum describes: its `type`, and its settings if it has some.
pub(crate) fn described(value: &impl Serialize) -> String {
    let mut settings = serde_json::to_value(value).unwrap_or_default();
    let kind = settings.as_object_mut().and_then(|settings| settings.remove("type"));
    let kind = kind.as_ref().and_then(Value::as_str).unwrap_or_default();
    match settings {
        Value::Object(settings) if settings.is_empty() => kind.to_owned(),
        settings => format!("{kind} {settings}"),
    }
}

/// Reads a variant without fields of a tagged enum, which serde by itself would let have any:
/// `#[serde(deserialize_with = "no_fields")]` on the variant.
///
/// # Errors
///
/// The first field there is, as unknown.
pub fn no_fields<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(), D::Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct NoFields {}
    NoFields::deserialize(deserializer).map(|NoFields {}| ())
}
