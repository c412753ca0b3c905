//! JSON whose numbers keep their digits.

use std::borrow::Cow;

/// Parses JSON. A number that would lose digits is read as a text, and one that JSON does not have as null.
pub(super) fn parse_json<T: serde::de::DeserializeOwned>(json: &str) -> serde_json::Result<T> {
    serde_json::from_str(&readable(json))
}

/// JSON in which every number that would lose digits is a text, and a number that JSON does not have is null.
fn readable(json: &str) -> Cow<'_, str> {
    let bytes = json.as_bytes();
    let mut changed: Option<String> = None;
    let (mut at, mut copied) = (0, 0);
    while at < bytes.len() {
        let start = at;
        let replaced = match bytes[at] {
            b'"' => {
                at += 1;
                while at < bytes.len() && bytes[at] != b'"' {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                at += 1;
                continue;
            }
            b'-' | b'0'..=b'9' | b'N' | b'I' => {
                let word = ["NaN", "-Infinity", "Infinity"]
                    .into_iter()
                    .find(|word| bytes[at..].starts_with(word.as_bytes()));
                let is_part = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
                let len = bytes[at..].iter().take_while(|byte| is_part(byte)).count();
                at += word.map_or(len, str::len).max(1);
                let number = &json[start..at];
                let loses_digits = || match serde_json::from_str::<serde_json::Number>(number) {
                    Ok(read) => read.to_string() != number,
                    // Beyond the range of floats.
                    Err(_) => serde_json::from_str::<serde::de::IgnoredAny>(number).is_ok(),
                };
                match word {
                    Some(_) => Some("null".to_owned()),
                    None if loses_digits() => Some(format!("\"{number}\"")),
                    None => None,
                }
            }
            _ => {
                at += 1;
                continue;
            }
        };
        if let Some(text) = replaced {
            let changed = changed.get_or_insert_default();
            changed.push_str(&json[copied..start]);
            changed.push_str(&text);
            copied = at;
        }
    }
    match changed {
        Some(changed) => Cow::Owned(changed + &json[copied..]),
        None => Cow::Borrowed(json),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_digits() {
        for (json, expected) in [
            ("[12345678901234567890123, 4.0, 7]", "[\"12345678901234567890123\", 4.0, 7]"),
            (
                "{\"a\": 0.10, \"b\": \"1.00, \\\" 2.00\"}",
                "{\"a\": \"0.10\", \"b\": \"1.00, \\\" 2.00\"}",
            ),
            ("{\"a\": -1.50e3}", "{\"a\": \"-1.50e3\"}"),
            ("[1e999, -2E+400]", "[\"1e999\", \"-2E+400\"]"),
            ("[1e, 1.]", "[1e, 1.]"),
            ("[NaN, -Infinity, Infinity, \"NaN\", -3]", "[null, null, null, \"NaN\", -3]"),
            ("Not JSON: -", "Not JSON: -"),
        ] {
            assert_eq!(readable(json), expected);
        }
    }
}
