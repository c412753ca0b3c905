//! Filters of jinja2 whose arguments or results differ from minijinja's.
#![expect(clippy::needless_pass_by_value, reason = "the signature of a filter")]

use minijinja::value::{ArgType, Kwargs, ValueKind};
use minijinja::{Error, Value};

/// `default(value, default_value='', boolean=False)`.
pub(super) fn default(
    value: Value,
    default_value: Option<Value>,
    boolean: Option<bool>,
    options: Kwargs,
) -> Result<Value, Error> {
    let default_value = named(default_value, "default_value", &options)?;
    let boolean = named(boolean, "boolean", &options)?.unwrap_or(false);
    options.assert_all_used()?;
    let is_missing = value.is_undefined() || (boolean && !value.is_true());
    Ok(if is_missing { default_value.unwrap_or_else(|| Value::from("")) } else { value })
}

/// `int(value, default=0, base=10)`: the default for what is no number.
pub(super) fn int(
    value: &Value,
    default: Option<Value>,
    base: Option<u32>,
    options: Kwargs,
) -> Result<Value, Error> {
    let default = named(default, "default", &options)?.unwrap_or_else(|| Value::from(0));
    let base = named(base, "base", &options)?.unwrap_or(10);
    options.assert_all_used()?;
    let Some(text) = number(value) else { return Ok(default) };
    let digits = match base {
        16 => text.trim_start_matches("0x").trim_start_matches("0X"),
        8 => text.trim_start_matches("0o"),
        2 => text.trim_start_matches("0b"),
        _ => &text,
    };
    let whole = (2..=36).contains(&base).then(|| i64::from_str_radix(digits, base).ok()).flatten();
    if let Some(whole) = whole {
        return Ok(Value::from(whole));
    }
    let float = text.parse::<f64>().ok().filter(|float| float.abs() < 9e18);
    #[expect(clippy::cast_possible_truncation, reason = "the fraction is cut off in Python too")]
    Ok(float.map_or(default, |float| Value::from(float as i64)))
}

/// `float(value, default=0.0)`.
pub(super) fn float(
    value: &Value,
    default: Option<Value>,
    options: Kwargs,
) -> Result<Value, Error> {
    let default = named(default, "default", &options)?.unwrap_or_else(|| Value::from(0.0));
    options.assert_all_used()?;
    let float = number(value).and_then(|text| text.parse::<f64>().ok());
    Ok(float.map_or(default, Value::from))
}

/// `e(value)`: text with the characters that mean something in HTML written as jinja2 writes them.
pub(super) fn escape(value: &Value) -> Value {
    if value.is_safe() {
        return value.clone();
    }
    let mut out = String::new();
    for c in value.to_string().chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\'' => out.push_str("&#39;"),
            '"' => out.push_str("&#34;"),
            c => out.push(c),
        }
    }
    Value::from_safe_string(out)
}

/// The text of what Python takes for a number.
fn number(value: &Value) -> Option<String> {
    match value.kind() {
        ValueKind::Bool => Some(u8::from(value.is_true()).to_string()),
        ValueKind::Number => Some(value.to_string()),
        ValueKind::String => {
            let text = value.as_str()?.trim();
            let is_number = !text.starts_with('_') && !text.ends_with('_') && !text.contains("__");
            is_number.then(|| text.replace('_', ""))
        }
        _ => None,
    }
}

/// An argument that is given by its place or by its name.
pub(super) fn named<'a, T>(
    given: Option<T>,
    name: &'a str,
    options: &'a Kwargs,
) -> Result<Option<T>, Error>
where
    Option<T>: ArgType<'a, Output = Option<T>>,
{
    match given {
        Some(value) => Ok(Some(value)),
        None => options.get::<Option<T>>(name),
    }
}
