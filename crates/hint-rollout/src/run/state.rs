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
