//! The last formula and the last number of a text, where nothing announces the answer.

use crate::extract::separator::is_separator;
use crate::math::answer::{Readable, is_readable};
use crate::math::fuel::{Fuel, Stop};

/// Words that still count as an answer when a whole text is one.
pub(crate) const MAX_WORDS: usize = 3;

/// The last formula that is more than a name, with those that form a list with it.
pub(crate) fn last_math(text: &str, fuel: &mut Fuel) -> Result<Option<String>, Stop> {
    fuel.spend(text.len() as u64)?;
    let segments = math_segments(text);
    for index in (0..segments.len()).rev().take(8) {
        let (content, span) = &segments[index];
        if is_denied(&text[..span.start]) {
            continue;
        }
        let readable = is_readable(content, MAX_WORDS, fuel)?;
        if readable == Readable::Symbol {
            // "the largest $n$ is 34"
            if let Some((number, at)) = last_number(text)
                && at >= span.end
            {
                return Ok(Some(number.to_owned()));
            }
            if index > 0 {
                continue;
            }
        }
        let mut parts = vec![content.trim()];
        let mut start = span.start;
        for (earlier, span) in segments[..index].iter().rev() {
            if !is_separator(&text[span.end..start]) {
                break;
            }
            parts.push(earlier.trim());
            start = span.start;
        }
        parts.reverse();
        return Ok(Some(parts.join(", ")));
    }
    Ok(None)
}

/// Formulas between delimiters, with the span of the whole including the delimiters.
fn math_segments(text: &str) -> Vec<(&str, std::ops::Range<usize>)> {
    let bytes = text.as_bytes();
    let mut segments = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &text.as_bytes()[at..];
        let (open, close) = if rest.starts_with(b"$$") {
            ("$$", "$$")
        } else if rest.starts_with(b"$") {
            ("$", "$")
        } else if rest.starts_with(b"\\(") {
            ("\\(", "\\)")
        } else if rest.starts_with(b"\\[") {
            ("\\[", "\\]")
        } else {
            at += if rest[0] == b'\\' { 2 } else { 1 };
            continue;
        };
        let start = at + open.len();
        let behind = &text[start..];
        let length = if close == "$" { closing_dollar(behind) } else { behind.find(close) };
        let Some(length) = length else {
            at = start;
            continue;
        };
        let end = start + length;
        segments.push((&text[start..end], at..end + close.len()));
        at = end + close.len();
    }
    segments
}

/// Where the dollar sign is that closes a formula. A sign before a digit, or with a space on its inner side only, is
/// money: `$5 and $7`.
fn closing_dollar(behind: &str) -> Option<usize> {
    let opens_with_space = behind.starts_with(char::is_whitespace);
    behind.match_indices('$').map(|(at, _)| at).find(|at| {
        let (inside, outside) = (&behind[..*at], &behind[at + 1..]);
        !inside.ends_with('\\')
            && inside.ends_with(char::is_whitespace) == opens_with_space
            && !outside.starts_with(|c: char| c.is_ascii_digit())
    })
}

/// Whether what stands before a number says that it is not the answer: `not 12`, `less than 12`, `between 3 and 5`.
fn is_denied(before: &str) -> bool {
    const DENIALS: [&str; 17] = [
        " not",
        "n't",
        "(not",
        "cannot",
        "less than",
        "greater than",
        "more than",
        "fewer than",
        "larger than",
        "smaller than",
        "instead of",
        "rather than",
        "other than",
        "except",
        "between",
        "≠",
        "!=",
    ];
    let mut start = before.len().saturating_sub(60);
    while !before.is_char_boundary(start) {
        start += 1;
    }
    let clause = before[start..].to_ascii_lowercase();
    let mut clause = clause.trim_end_matches([' ', '$', '*', '(', '"', '\\']);
    if let Some(head) = clause.strip_suffix(" and")
        && let Some((_, between)) = head.rsplit_once("between ")
        && !between.contains(['.', ';', '\n'])
    {
        return true;
    }
    for filler in [" equal to", " be", " is", " exactly", " the"] {
        clause = clause.strip_suffix(filler).unwrap_or(clause);
    }
    DENIALS.into_iter().any(|denial| clause.ends_with(denial))
}

/// The last number of a sentence and where it starts; none if its line has TeX commands, which it may belong to.
pub(crate) fn last_number(text: &str) -> Option<(&str, usize)> {
    let bytes = text.as_bytes();
    let mut found = None;
    let mut at = 0;
    while at < bytes.len() {
        let starts = bytes[at].is_ascii_digit()
            || (bytes[at] == b'.' && bytes.get(at + 1).is_some_and(u8::is_ascii_digit));
        if !starts {
            at += 1;
            continue;
        }
        let mut end = at;
        while end < bytes.len() {
            let next_is_digit = bytes.get(end + 1).is_some_and(u8::is_ascii_digit);
            match bytes[end] {
                b'0'..=b'9' => end += 1,
                b',' | b'.' | b'/' | b'e' | b'E' if next_is_digit => end += 1,
                _ => break,
            }
        }
        let before = at.checked_sub(1).map(|index| bytes[index]);
        let is_part = before
            .is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'^' | b'{'));
        let is_negative = before == Some(b'-')
            && at.checked_sub(2).is_none_or(|index| {
                matches!(bytes[index], b' ' | b'=' | b'(' | b':' | b'$' | b'\n')
            });
        let start = if is_negative { at - 1 } else { at };
        // `5_2`, `5^n` and `5!` are no numbers, and neither is any before them the answer.
        let is_base = bytes.get(end).is_some_and(|byte| matches!(byte, b'_' | b'^' | b'!'));
        if is_base && !text[end..].starts_with("! ") && end + 1 < bytes.len() {
            found = None;
            at = end;
            continue;
        }
        let behind = text[end..].trim_start();
        let percent = behind.starts_with('%') || behind.starts_with("percent");
        if !is_part && !is_denied(&text[..start]) {
            let stop = match (percent, behind.starts_with('%')) {
                (true, true) => text.len() - behind.len() + 1,
                (true, false) => text.len() - behind.len() + 7,
                _ => end,
            };
            found = Some((&text[start..stop], start));
        }
        at = end.max(at + 1);
    }
    let (number, start) = found?;
    let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
    let line_end = text[start..].find('\n').map_or(text.len(), |newline| start + newline);
    (!text[line_start..line_end].contains('\\')).then_some((number, start))
}
