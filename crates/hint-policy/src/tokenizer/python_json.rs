//! JSON as Python's `json.dumps` writes it, which chat templates expect of `tojson`.

use serde_json::Value;

/// `json.dumps(value, ensure_ascii=False, indent=indent)`.
pub(super) fn dumps(value: &Value, indent: Option<usize>) -> String {
    let mut out = String::new();
    write(value, indent, 0, &mut out);
    out
}

fn write(value: &Value, indent: Option<usize>, depth: usize, out: &mut String) {
    match value {
        Value::Array(items) => {
            let items = items.iter().map(|item| (None, item));
            write_items(('[', ']'), items, indent, depth, out);
        }
        Value::Object(entries) => {
            let entries = entries.iter().map(|(key, value)| (Some(key), value));
            write_items(('{', '}'), entries, indent, depth, out);
        }
        plain => out.push_str(&plain.to_string()),
    }
}

fn write_items<'a>(
    (open, close): (char, char),
    items: impl ExactSizeIterator<Item = (Option<&'a String>, &'a Value)>,
    indent: Option<usize>,
    depth: usize,
    out: &mut String,
) {
    let count = items.len();
    let new_line = |depth: usize, out: &mut String| {
        if let Some(indent) = indent.filter(|_| count > 0) {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent * depth));
        }
    };
    out.push(open);
    for (index, (key, value)) in items.enumerate() {
        if index > 0 {
            out.push_str(if indent.is_some() { "," } else { ", " });
        }
        new_line(depth + 1, out);
        if let Some(key) = key {
            out.push_str(&Value::from(key.as_str()).to_string());
            out.push_str(": ");
        }
        write(value, indent, depth + 1, out);
    }
    new_line(depth, out);
    out.push(close);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(json: &str, indent: Option<usize>, expected: &str) {
        let value: Value = serde_json::from_str(json).unwrap();
        assert_eq!(dumps(&value, indent), expected);
    }

    #[test]
    fn separators_are_those_of_python() {
        check(r#"{"a":[1,2.5,null],"b<":"ü\n"}"#, None, r#"{"a": [1, 2.5, null], "b<": "ü\n"}"#);
        check("[]", None, "[]");
        check(r#"{"a":[1],"b":{}}"#, Some(2), "{\n  \"a\": [\n    1\n  ],\n  \"b\": {}\n}");
    }
}
