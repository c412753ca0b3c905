//! The last formula of a text, where nothing announces the answer.

use crate::extract::sentence::stated_number;
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
            if let Some(number) = stated_number(&text[span.end..], fuel)? {
                return Ok(Some(number));
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
pub(crate) fn math_segments(text: &str) -> Vec<(&str, std::ops::Range<usize>)> {
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
