//! The formulas of a text.

use std::ops::Range;

/// Words that still count as an answer when a whole text is one.
pub(crate) const MAX_WORDS: usize = 3;

/// Formulas between delimiters, with the span of the whole including the delimiters.
pub(crate) fn math_segments(text: &str) -> Vec<(&str, Range<usize>)> {
    let bytes = text.as_bytes();
    let mut segments = Vec::new();
    let mut at = 0;
    // What is not closed here is not closed further on, so each sign is searched without success only once.
    let mut unclosed: Vec<&str> = Vec::new();
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
        let length = match close {
            "$" => closing_dollar(behind),
            _ if unclosed.contains(&close) => None,
            _ => behind.find(close),
        };
        let Some(length) = length else {
            if close != "$" && !unclosed.contains(&close) {
                unclosed.push(close);
            }
            at = start;
            continue;
        };
        let end = start + length;
        segments.push((&text[start..end], at..end + close.len()));
        at = end + close.len();
    }
    segments
}

/// Place of the dollar sign that closes a formula. A sign before a digit, or with a space on its inner side only, is
/// money: `$5 and $7`.
fn closing_dollar(behind: &str) -> Option<usize> {
    // Signs that may be money before the one that closes: with a limit the time is linear in the text.
    const MAX_MONEY: usize = 32;
    let opens_with_space = behind.starts_with(char::is_whitespace);
    behind.match_indices('$').take(MAX_MONEY).map(|(at, _)| at).find(|at| {
        let (inside, outside) = (&behind[..*at], &behind[at + 1..]);
        !inside.ends_with('\\')
            && inside.ends_with(char::is_whitespace) == opens_with_space
            && !outside.starts_with(|c: char| c.is_ascii_digit())
    })
}
