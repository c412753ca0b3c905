//! Methods of Python's strings and lists that chat templates call and that minijinja lacks.

use std::ops::Range;

use minijinja::value::{Kwargs, Tuple, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State, Value};
use minijinja_contrib::pycompat;

use crate::tokenizer::python_filters::named;

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
        ValueKind::Map | ValueKind::Seq if method == "copy" => return Ok(value.clone()),
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
        "split" | "rsplit" => split(text, method == "rsplit", args),
        "splitlines" => split_lines(text, args),
        "startswith" => has_affix(text, args, |text, affix| text.starts_with(affix)),
        "endswith" => has_affix(text, args, |text, affix| text.ends_with(affix)),
        "find" | "rfind" | "index" | "rindex" => position(text, method, args),
        "count" => search(text, args, |text, part| text.matches(part).count()).map(Value::from),
        "title" => from_args(args).map(|(): ()| Value::from(title(text))),
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
        "isdecimal" => from_args(args)
            .map(|(): ()| Value::from(!text.is_empty() && text.chars().all(char::is_numeric))),
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

/// Words with a capital first, where any character without case ends a word.
fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut inside = false;
    for character in text.chars() {
        if inside {
            out.extend(character.to_lowercase());
        } else {
            out.extend(character.to_uppercase());
        }
        inside = character.is_uppercase() || character.is_lowercase();
    }
    out
}

/// `split(sep=None, maxsplit=-1)`, or from the right; at runs of white space without a separator.
fn split(text: &str, from_right: bool, args: &[Value]) -> Result<Value, Error> {
    let (separator, most, options): (Option<Value>, Option<i64>, Kwargs) = from_args(args)?;
    let separator = named(separator, "sep", &options)?.filter(|separator| !separator.is_none());
    let most = named(most, "maxsplit", &options)?.and_then(|most| usize::try_from(most).ok());
    options.assert_all_used()?;
    let Some(separator) = separator else {
        return Ok(Value::from_iter(split_words(text, from_right, most)));
    };
    let separator = separator.as_str().filter(|separator| !separator.is_empty());
    let separator = separator.ok_or_else(|| invalid("a separator is a text that is not empty"))?;
    let parts = most.map_or(usize::MAX, |most| most.saturating_add(1));
    Ok(if from_right {
        let mut parts: Vec<&str> = text.rsplitn(parts, separator).collect();
        parts.reverse();
        Value::from_iter(parts)
    } else {
        text.splitn(parts, separator).collect()
    })
}

/// The words between runs of white space, and the rest after `most` of them as it is.
fn split_words(text: &str, from_right: bool, most: Option<usize>) -> Vec<&str> {
    let trim = if from_right { str::trim_end } else { str::trim_start };
    let mut words = Vec::new();
    let mut rest = trim(text);
    while !rest.is_empty() {
        let open = most.is_none_or(|most| words.len() < most);
        let cut = if from_right {
            rest.rfind(char::is_whitespace)
        } else {
            rest.find(char::is_whitespace)
        };
        let Some(cut) = cut.filter(|_| open) else {
            words.push(rest);
            break;
        };
        let space = rest[cut..].chars().next().map_or(0, char::len_utf8);
        let (before, behind) = (&rest[..cut], &rest[cut + space..]);
        let (word, other) = if from_right { (behind, before) } else { (before, behind) };
        words.push(word);
        rest = trim(other);
    }
    if from_right {
        words.reverse();
    }
    words
}

/// `splitlines(keepends=False)`.
fn split_lines(text: &str, args: &[Value]) -> Result<Value, Error> {
    let (keeps, options): (Option<bool>, Kwargs) = from_args(args)?;
    let keeps = named(keeps, "keepends", &options)?.unwrap_or(false);
    options.assert_all_used()?;
    let is_end =
        |c: char| matches!(c, '\n'..='\r' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}');
    let mut lines = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let line = rest.find(is_end).unwrap_or(rest.len());
        let end = if rest[line..].starts_with("\r\n") {
            2
        } else {
            rest[line..].chars().next().map_or(0, char::len_utf8)
        };
        lines.push(&rest[..if keeps { line + end } else { line }]);
        rest = &rest[line + end..];
    }
    Ok(Value::from_iter(lines))
}

/// Whether a text, or the part of it between two places, has one of the affixes.
fn has_affix(text: &str, args: &[Value], has: impl Fn(&str, &str) -> bool) -> Result<Value, Error> {
    let (affixes, start, end): (Value, Option<i64>, Option<i64>) = from_args(args)?;
    let list: Vec<Value> = match affixes.as_str() {
        Some(_) => vec![affixes.clone()],
        None => affixes.try_iter()?.collect(),
    };
    let part = between(text, start, end).map(|(part, _)| part);
    for affix in list {
        let affix = affix.as_str().ok_or_else(|| invalid("an affix is a text"))?;
        if part.is_some_and(|part| has(part, affix)) {
            return Ok(Value::from(true));
        }
    }
    Ok(Value::from(false))
}

/// The result of `look` for a part in a text, or between two places of it.
fn search<T: Default>(
    text: &str,
    args: &[Value],
    look: impl Fn(&str, &str) -> T,
) -> Result<T, Error> {
    let (part, start, end): (&str, Option<i64>, Option<i64>) = from_args(args)?;
    Ok(between(text, start, end).map(|(text, _)| look(text, part)).unwrap_or_default())
}

/// Place of a part, in characters.
fn position(text: &str, method: &str, args: &[Value]) -> Result<Value, Error> {
    let (_, start, end): (&str, Option<i64>, Option<i64>) = from_args(args)?;
    let offset = between(text, start, end).map_or(0, |(_, offset)| offset);
    let from_right = method.starts_with('r');
    let found = search(text, args, |text, part| {
        let at = if from_right { text.rfind(part) } else { text.find(part) };
        at.map(|at| text[..at].chars().count())
    })?;
    match found {
        Some(at) => Ok(Value::from(offset + at)),
        None if method.ends_with("find") => Ok(Value::from(-1)),
        None => Err(invalid("substring not found")),
    }
}

/// The characters from `start` to `end`, either of which may count from the end, and how many lie ahead of them.
fn between(text: &str, start: Option<i64>, end: Option<i64>) -> Option<(&str, usize)> {
    let count = text.chars().count();
    let place = |at: i64| match usize::try_from(at) {
        Ok(at) => at,
        Err(_) => count.saturating_sub(usize::try_from(at.unsigned_abs()).unwrap_or(count)),
    };
    let (start, end) = (start.map_or(0, place), end.map_or(count, place).min(count));
    let byte = |at: usize| text.char_indices().nth(at).map_or(text.len(), |(byte, _)| byte);
    (start <= end).then(|| (&text[byte(start)..byte(end)], start))
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
