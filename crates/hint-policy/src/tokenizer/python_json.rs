//! JSON as Python's `json.dumps` writes it, which chat templates expect of `tojson`.

use std::fmt::Write as _;

use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{Error, ErrorKind};
use serde_json::{Map, Value};

use crate::tokenizer::python_filters::named;

/// Spaces that `tojson` indents by at most.
const WIDEST: i64 = 1024;

/// The text of one level: itself, or as many spaces.
fn indentation(indent: &minijinja::Value) -> Result<String, Error> {
    if let Some(text) = indent.as_str() {
        return Ok(text.to_owned());
    }
    let width = i64::try_from(indent.clone())?.max(0);
    if width > WIDEST {
        let message = format!("`indent` is {width}, and {WIDEST} at most");
        return Err(Error::new(ErrorKind::InvalidOperation, message));
    }
    Ok(" ".repeat(usize::try_from(width).unwrap_or_default()))
}

/// The filter `tojson`, with the arguments that transformers gives it.
#[expect(clippy::needless_pass_by_value, reason = "the signature of a filter")]
pub(super) fn to_json(
    value: &minijinja::Value,
    arguments: Rest<minijinja::Value>,
    options: Kwargs,
) -> Result<minijinja::Value, Error> {
    let mut arguments = arguments.0.into_iter();
    let mut next = || arguments.next();
    let (ensure_ascii, indent, separators, sort_keys) = (next(), next(), next(), next());
    let is_set = |value: &minijinja::Value| !value.is_none();
    let is_true = |value: Option<minijinja::Value>| value.is_some_and(|value| value.is_true());
    let indent = named(indent, "indent", &options)?.filter(is_set);
    let indent = match &indent {
        None => None,
        Some(indent) => Some(indentation(indent)?),
    };
    let separators = match named(separators, "separators", &options)?.filter(is_set) {
        None => None,
        Some(texts) => {
            let texts: Vec<minijinja::Value> = texts.try_iter()?.collect();
            let texts: Vec<Option<&str>> = texts.iter().map(minijinja::Value::as_str).collect();
            let [Some(between), Some(colon)] = texts[..] else {
                let message = "`separators` are two strings";
                return Err(Error::new(ErrorKind::InvalidOperation, message));
            };
            Some((between.to_owned(), colon.to_owned()))
        }
    };
    let dump = DumpOptions {
        indent,
        separators,
        ensure_ascii: is_true(named(ensure_ascii, "ensure_ascii", &options)?),
        sort_keys: is_true(named(sort_keys, "sort_keys", &options)?),
    };
    options.assert_all_used()?;
    Ok(minijinja::Value::from_safe_string(dump.dumps(&json(value)?)))
}

/// A value as JSON, with keys as Python writes them.
fn json(value: &minijinja::Value) -> Result<Value, Error> {
    let failed = |what: String| Error::new(ErrorKind::BadSerialization, what);
    match value.kind() {
        ValueKind::Map => {
            let mut map = Map::new();
            for key in value.try_iter()? {
                let name = match key.kind() {
                    ValueKind::String => key.as_str().unwrap_or_default().to_owned(),
                    ValueKind::None | ValueKind::Bool | ValueKind::Number => {
                        DumpOptions::default().dumps(&json(&key)?)
                    }
                    other => return Err(failed(format!("a {other} is no key of JSON"))),
                };
                map.insert(name, json(&value.get_item(&key)?)?);
            }
            Ok(Value::Object(map))
        }
        ValueKind::Seq | ValueKind::Iterable => {
            value.try_iter()?.map(|item| json(&item)).collect::<Result<_, _>>().map(Value::Array)
        }
        ValueKind::None | ValueKind::Bool | ValueKind::Number | ValueKind::String => {
            serde_json::to_value(value).map_err(|error| failed(error.to_string()))
        }
        other => Err(failed(format!("a {other} value is no JSON"))),
    }
}

/// The options of `json.dumps` that transformers passes on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct DumpOptions {
    /// One step of it.
    pub(super) indent: Option<String>,
    /// Between items, and between a key and its value; Python's defaults depend on `indent`.
    pub(super) separators: Option<(String, String)>,
    pub(super) ensure_ascii: bool,
    pub(super) sort_keys: bool,
}

impl DumpOptions {
    /// `value` as JSON.
    pub(super) fn dumps(&self, value: &Value) -> String {
        let mut out = String::new();
        self.write(value, 0, &mut out);
        out
    }

    fn write(&self, value: &Value, depth: usize, out: &mut String) {
        match value {
            Value::Array(items) => {
                self.write_items(('[', ']'), items.iter().map(|item| (None, item)), depth, out);
            }
            Value::Object(entries) => {
                let mut entries: Vec<_> =
                    entries.iter().map(|(key, value)| (Some(key), value)).collect();
                if self.sort_keys {
                    entries.sort_by_key(|(key, _)| *key);
                }
                self.write_items(('{', '}'), entries.into_iter(), depth, out);
            }
            Value::String(text) => self.write_string(text, out),
            Value::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
                Some(float) => out.push_str(&python_float(float)),
                None => out.push_str(&number.to_string()),
            },
            Value::Null | Value::Bool(_) => out.push_str(&value.to_string()),
        }
    }

    fn write_items<'a>(
        &self,
        (open, close): (char, char),
        items: impl ExactSizeIterator<Item = (Option<&'a String>, &'a Value)>,
        depth: usize,
        out: &mut String,
    ) {
        let count = items.len();
        let (between, colon) = match &self.separators {
            Some((between, colon)) => (between.as_str(), colon.as_str()),
            None if self.indent.is_some() => (",", ": "),
            None => (", ", ": "),
        };
        let new_line = |depth: usize, out: &mut String| {
            if let Some(indent) = self.indent.as_ref().filter(|_| count > 0) {
                out.push('\n');
                out.extend(std::iter::repeat_n(indent.as_str(), depth));
            }
        };
        out.push(open);
        for (index, (key, value)) in items.enumerate() {
            if index > 0 {
                out.push_str(between);
            }
            new_line(depth + 1, out);
            if let Some(key) = key {
                self.write_string(key, out);
                out.push_str(colon);
            }
            self.write(value, depth + 1, out);
        }
        new_line(depth, out);
        out.push(close);
    }

    fn write_string(&self, text: &str, out: &mut String) {
        let quoted = Value::from(text).to_string();
        if !self.ensure_ascii {
            out.push_str(&quoted);
            return;
        }
        for character in quoted.chars() {
            if character.is_ascii() {
                out.push(character);
                continue;
            }
            for unit in character.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
}

/// A finite float as `repr` writes it: with an exponent below 1e-4 and from 1e16 on.
pub(super) fn python_float(float: f64) -> String {
    let scientific = format!("{float:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific };
    let size: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&size) {
        return format!("{float:?}");
    }
    let sign = if size < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", size.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(json: &str, options: &DumpOptions, expected: &str) {
        let value: Value = serde_json::from_str(json).unwrap();
        assert_eq!(options.dumps(&value), expected);
    }

    #[test]
    fn separators_are_those_of_python() {
        let plain = DumpOptions::default();
        check(r#"{"a":[1,2.5,null],"b<":"ü\n"}"#, &plain, r#"{"a": [1, 2.5, null], "b<": "ü\n"}"#);
        check("[]", &plain, "[]");
        let indent = DumpOptions { indent: Some("  ".into()), ..plain.clone() };
        check(r#"{"a":[1],"b":{}}"#, &indent, "{\n  \"a\": [\n    1\n  ],\n  \"b\": {}\n}");
        let separators = Some((",".to_owned(), ":".to_owned()));
        check(r#"{"a":[1,2]}"#, &DumpOptions { separators, ..plain }, r#"{"a":[1,2]}"#);
    }

    #[test]
    fn keys_are_sorted_and_characters_escaped_when_asked_for() {
        let options = DumpOptions { ensure_ascii: true, sort_keys: true, ..DumpOptions::default() };
        check(r#"{"b":"ü😀","a":1}"#, &options, r#"{"a": 1, "b": "\u00fc\ud83d\ude00"}"#);
    }

    #[test]
    fn exponents_have_a_sign_and_two_digits() {
        let plain = DumpOptions::default();
        check(
            "[1e-5, 1e100, 1.5e-7, 0.1, 3.0, 1e15, 1e16, 0.0001]",
            &plain,
            "[1e-05, 1e+100, 1.5e-07, 0.1, 3.0, 1000000000000000.0, 1e+16, 0.0001]",
        );
    }
}
