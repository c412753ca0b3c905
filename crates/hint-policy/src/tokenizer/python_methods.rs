//! Methods of Python's strings and lists that chat templates call and that minijinja lacks.

use std::ops::Range;

use minijinja::value::{Tuple, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State, Value};
use minijinja_contrib::pycompat;

/// A method that minijinja lacks: one of these, or of `pycompat`.
pub(super) fn call(
    state: &mut State<'_, '_>,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    match value.kind() {
        ValueKind::String => {
            if let Some(result) = value.as_str().and_then(|text| of_string(text, method, args)) {
                return result;
            }
        }
        ValueKind::Seq if method == "index" => {
            let (wanted,): (Value,) = from_args(args)?;
            let found = value.try_iter()?.position(|item| item == wanted);
            return found.map(Value::from).ok_or_else(|| invalid("the item is not in the list"));
        }
        ValueKind::Map if method == "copy" => return Ok(value.clone()),
        _ => {}
    }
    pycompat::unknown_method_callback(state, value, method, args)
}

fn of_string(text: &str, method: &str, args: &[Value]) -> Option<Result<Value, Error>> {
    Some(match method {
        "removeprefix" => from_args(args)
            .map(|(prefix,): (&str,)| Value::from(text.strip_prefix(prefix).unwrap_or(text))),
        "removesuffix" => from_args(args)
            .map(|(suffix,): (&str,)| Value::from(text.strip_suffix(suffix).unwrap_or(text))),
        "partition" => {
            from_args(args).map(|(separator,): (&str,)| match text.split_once(separator) {
                Some((before, after)) => tuple([before, separator, after]),
                None => tuple([text, "", ""]),
            })
        }
        "rpartition" => {
            from_args(args).map(|(separator,): (&str,)| match text.rsplit_once(separator) {
                Some((before, after)) => tuple([before, separator, after]),
                None => tuple(["", "", text]),
            })
        }
        "rsplit" => from_args(args).map(|(separator, most): (Option<&str>, Option<i64>)| {
            rsplit(text, separator, most.and_then(|most| usize::try_from(most).ok()))
        }),
        "index" => position(text, args, |text, part| text.find(part)),
        "rindex" => position(text, args, |text, part| text.rfind(part)),
        "zfill" => from_args(args).map(|(width,): (usize,)| {
            let (sign, digits) = match text.strip_prefix(['+', '-']) {
                Some(digits) => (&text[..1], digits),
                None => ("", text),
            };
            let zeros = "0".repeat(width.saturating_sub(text.chars().count()));
            Value::from(format!("{sign}{zeros}{digits}"))
        }),
        "ljust" => padded(args, text, |missing, _| 0..missing),
        "center" => padded(args, text, |missing, width| {
            // As Python does it: an odd space goes to the left of an odd width.
            missing / 2 + (missing & width & 1)..missing
        }),
        "rjust" => padded(args, text, |missing, _| missing..missing),
        "casefold" => from_args(args).map(|(): ()| Value::from(text.to_lowercase())),
        "swapcase" => from_args(args).map(|(): ()| {
            let swap = |character: char| -> String {
                if character.is_uppercase() {
                    character.to_lowercase().collect()
                } else {
                    character.to_uppercase().collect()
                }
            };
            Value::from(text.chars().map(swap).collect::<String>())
        }),
        _ => return None,
    })
}

/// Splits from the right, at runs of white space without a separator.
fn rsplit(text: &str, separator: Option<&str>, most: Option<usize>) -> Value {
    let mut parts: Vec<&str> = match (separator, most) {
        (Some(separator), None) => text.rsplit(separator).collect(),
        (Some(separator), Some(most)) => text.rsplitn(most + 1, separator).collect(),
        (None, most) => {
            let mut parts = Vec::new();
            let mut rest = text.trim_end();
            while !rest.is_empty() {
                let cut = rest
                    .rfind(char::is_whitespace)
                    .filter(|_| most.is_none_or(|m| parts.len() < m));
                let Some(cut) = cut else {
                    parts.push(rest.trim_start());
                    break;
                };
                let space = rest[cut..].chars().next().map_or(0, char::len_utf8);
                parts.push(&rest[cut + space..]);
                rest = rest[..cut].trim_end();
            }
            parts
        }
    };
    parts.reverse();
    Value::from_iter(parts)
}

/// Place of a part, in characters.
fn position(
    text: &str,
    args: &[Value],
    find: impl Fn(&str, &str) -> Option<usize>,
) -> Result<Value, Error> {
    let (part,): (&str,) = from_args(args)?;
    let at = find(text, part).ok_or_else(|| invalid("substring not found"))?;
    Ok(Value::from(text[..at].chars().count()))
}

/// `text` filled up to a width: `split` cuts the missing characters into those before it and those behind.
fn padded(
    args: &[Value],
    text: &str,
    split: impl Fn(usize, usize) -> Range<usize>,
) -> Result<Value, Error> {
    let (width, fill): (usize, Option<&str>) = from_args(args)?;
    let fill = fill.unwrap_or(" ");
    let split = split(width.saturating_sub(text.chars().count()), width);
    Ok(Value::from(format!("{}{text}{}", fill.repeat(split.start), fill.repeat(split.len()))))
}

fn tuple(parts: [&str; 3]) -> Value {
    Tuple::from(parts.map(Value::from)).into()
}

fn invalid(message: &'static str) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}
