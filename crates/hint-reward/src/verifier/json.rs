//! JSON by schema.

use serde_json::Value;

use crate::error::RewardError;
use crate::extract::extraction::behind_thinking;
use crate::input::RewardInput;
use crate::verifier::contract::Verifier;
use crate::verifier::extracted::{compared, no_answer, unusable};
use crate::verifier::verdict::Judgment;

/// Bytes at the end of a text that are searched for JSON without a fence.
const MAX_SEARCHED: usize = 65_536;

/// Brackets at which JSON may start that are tried.
const MAX_TRIES: usize = 1000;

/// A verifier for structured output. The JSON of the completion is valid under a schema, and equals the reference where
/// that is JSON.
///
/// The JSON is the last fenced block, else the whole completion, else its last object or list; thinking is ignored. `1`
/// and `1.0` are equal, and an object that names a member twice is incorrect. The schema of the
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
    text: String,
}

impl JsonMatch {
    /// Returns the verifier for a JSON schema.
    ///
    /// # Errors
    ///
    /// [`RewardError::Setting`] if it is no schema.
    pub fn new(schema: &Value) -> Result<Self, RewardError> {
        let text = schema.to_string();
        let schema = jsonschema::validator_for(schema).map_err(|error| RewardError::Setting {
            name: "schema",
            found: error.to_string(),
            expected: "a JSON schema",
        })?;
        Ok(Self { schema, text })
    }
}

impl Verifier for JsonMatch {
    fn name(&self) -> String {
        format!("JsonMatch with {}", self.text)
    }

    fn verify(&self, input: &RewardInput<'_>) -> Judgment {
        let own = match input.column("schema").map(jsonschema::validator_for) {
            Some(Err(error)) => {
                return unusable(format!("the column `schema` is no schema: {error}"));
            }
            Some(Ok(schema)) => Some(schema),
            None => None,
        };
        let schema = own.as_ref().unwrap_or(&self.schema);
        let found = json_in(behind_thinking(input.completion, false));
        Judgment::over(input, |reference| {
            let expected = match reference.trim() {
                "" => None,
                text => match serde_json::from_str::<Value>(text) {
                    Ok(expected) => Some(expected),
                    Err(error) => return unusable(format!("the reference is no JSON: {error}")),
                },
            };
            let Some((found, source)) = &found else {
                return no_answer(input, "the completion has no JSON");
            };
            let text = found.to_string();
            // The last of several members of one name would count: an answer names each once.
            if count_members(found) != count_colons(source) {
                return compared(false, &text, reference, "the JSON names a member twice");
            }
            if let Err(error) = schema.validate(found) {
                let reason = format!("at `{}`: {error}", error.instance_path());
                return compared(false, &text, reference, &reason);
            }
            let equal = expected.is_none_or(|expected| same_json(&expected, found));
            compared(equal, &text, reference, "the JSON differs from the reference")
        })
    }
}

/// Members of all objects in a value.
fn count_members(value: &Value) -> usize {
    match value {
        Value::Object(members) => {
            members.len() + members.values().map(count_members).sum::<usize>()
        }
        Value::Array(items) => items.iter().map(count_members).sum(),
        _ => 0,
    }
}

/// Members in written form: the colons of a valid JSON text that stand outside its strings.
fn count_colons(source: &str) -> usize {
    let (mut count, mut in_string, mut escaped) = (0, false, false);
    for byte in source.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            b':' if !in_string => count += 1,
            _ => {}
        }
    }
    count
}

/// Whether two values are the same, where `1` and `1.0` are one number.
fn same_json(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(first), Value::Number(second)) if first.is_f64() != second.is_f64() => {
            // Beyond 2⁵³ a float stands for several integers.
            let (first, second) = (first.as_f64(), second.as_f64());
            first.is_some_and(|value| value.abs() < 9_007_199_254_740_992.0) && first == second
        }
        (Value::Array(items), Value::Array(others)) => {
            items.len() == others.len() && items.iter().zip(others).all(|(a, b)| same_json(a, b))
        }
        (Value::Object(members), Value::Object(others)) => {
            members.len() == others.len()
                && members.iter().all(|(name, a)| others.get(name).is_some_and(|b| same_json(a, b)))
        }
        _ => a == b,
    }
}

/// The JSON value of a text, and how it is written.
fn json_in(text: &str) -> Option<(Value, &str)> {
    let whole = |text: &'_ str| serde_json::from_str::<Value>(text).ok();
    let fenced = text.rsplit("```").nth(1).map(|block| block.trim_start_matches("json").trim());
    if let Some(block) = fenced
        && let Some(value) = whole(block)
    {
        return Some((value, block));
    }
    if let Some(value) = whole(text).filter(|value| value.is_object() || value.is_array()) {
        return Some((value, text));
    }
    // The last value that starts at a bracket and is complete, near the end: a bracket that closes nowhere is read to
    // the end of the text.
    let text = &text[text.ceil_char_boundary(text.len().saturating_sub(MAX_SEARCHED))..];
    let mut found = None;
    let mut at = 0;
    let mut tries = 0;
    while let Some(start) = text[at..].find(['{', '[']).map(|offset| at + offset) {
        tries += 1;
        if tries > MAX_TRIES {
            break;
        }
        let mut values = serde_json::Deserializer::from_str(&text[start..]).into_iter::<Value>();
        match values.next() {
            Some(Ok(value)) => {
                at = start + values.byte_offset();
                found = Some((value, &text[start..at]));
            }
            _ => at = start + 1,
        }
    }
    found
}
