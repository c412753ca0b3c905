//! JSON by schema.

use serde_json::Value;

use crate::error::RewardError;
use crate::input::RewardInput;
use crate::verifier::contract::Verifier;
use crate::verifier::extracted::{compared, no_answer, unusable};
use crate::verifier::verdict::Judgment;

/// A verifier for structured output: the JSON of the completion is valid under a schema, and equals the reference where
/// that is JSON.
///
/// The JSON is the last fenced block, else the whole completion, else its last object or list. The schema of the
/// problem's row, in the column `schema`, comes before the verifier's own. With an empty reference the schema decides.
///
/// # Examples
///
/// ```
/// use hint_reward::{RewardInput, Verdict, Verifier, verifier::JsonMatch};
/// use serde_json::json;
///
/// let schema = json!({"type": "object", "required": ["x"], "properties": {"x": {"type": "integer"}}});
/// let verifier = JsonMatch::new(&schema)?;
/// let verdict = |completion, reference| verifier.verify(&RewardInput::new(completion, reference)).verdict;
/// assert_eq!(verdict("Here: {\"x\": 3}", ""), Verdict::Correct);
/// assert_eq!(verdict("{\"x\": \"3\"}", ""), Verdict::Incorrect);
/// assert_eq!(verdict("{\"x\": 4}", "{\"x\": 3}"), Verdict::Incorrect);
/// assert_eq!(verdict("no JSON", ""), Verdict::NoAnswer);
/// # Ok::<(), hint_reward::RewardError>(())
/// ```
#[derive(Debug, Clone)]
pub struct JsonMatch {
    schema: jsonschema::Validator,
}

impl JsonMatch {
    /// Returns the verifier for a JSON schema.
    ///
    /// # Errors
    ///
    /// [`RewardError::Setting`] if it is no schema.
    pub fn new(schema: &Value) -> Result<Self, RewardError> {
        let schema = jsonschema::validator_for(schema).map_err(|error| RewardError::Setting {
            name: "schema",
            got: error.to_string(),
            expected: "a JSON schema",
        })?;
        Ok(Self { schema })
    }
}

impl Verifier for JsonMatch {
    fn verify(&self, input: &RewardInput<'_>) -> Judgment {
        let own = match input.column("schema").map(jsonschema::validator_for) {
            Some(Err(error)) => {
                return unusable(format!("the column `schema` is no schema: {error}"));
            }
            Some(Ok(schema)) => Some(schema),
            None => None,
        };
        let schema = own.as_ref().unwrap_or(&self.schema);
        let found = json_in(input.completion);
        Judgment::over(input, |reference| {
            let expected = match reference.trim() {
                "" => None,
                text => match serde_json::from_str::<Value>(text) {
                    Ok(expected) => Some(expected),
                    Err(error) => return unusable(format!("the reference is no JSON: {error}")),
                },
            };
            let Some(found) = &found else {
                return no_answer(input, "the completion has no JSON");
            };
            let text = found.to_string();
            if let Err(error) = schema.validate(found) {
                let reason = format!("at `{}`: {error}", error.instance_path());
                return compared(false, &text, reference, &reason);
            }
            let equal = expected.is_none_or(|expected| expected == *found);
            compared(equal, &text, reference, "the JSON differs from the reference")
        })
    }
}

/// The JSON value of a completion.
fn json_in(completion: &str) -> Option<Value> {
    let fenced = completion.rsplit("```").nth(1).map(|block| block.trim_start_matches("json"));
    if let Some(value) = fenced.and_then(|block| serde_json::from_str(block.trim()).ok()) {
        return Some(value);
    }
    if let Ok(value @ (Value::Object(_) | Value::Array(_))) =
        serde_json::from_str(completion.trim())
    {
        return Some(value);
    }
    // The last value that starts at a bracket and is complete.
    let mut found = None;
    let mut at = 0;
    let mut tries = 0;
    while let Some(start) = completion[at..].find(['{', '[']).map(|offset| at + offset) {
        tries += 1;
        if tries > 1000 {
            break;
        }
        let mut values =
            serde_json::Deserializer::from_str(&completion[start..]).into_iter::<Value>();
        match values.next() {
            Some(Ok(value)) => {
                found = Some(value);
                at = start + values.byte_offset();
            }
            _ => at = start + 1,
        }
    }
    found
}
