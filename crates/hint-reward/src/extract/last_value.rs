//! The last formula of a text, where nothing announces the answer.

use crate::extract::formula::{MAX_WORDS, math_segments};
use crate::extract::language::is_english;
use crate::extract::separator::is_separator;
use crate::extract::stated::stated_number;
use crate::math::answer::{Readable, is_readable};
use crate::math::fuel::{Fuel, Stop};

/// The last formula that is more than a name, with those that form a list with it.
pub(crate) fn last_math(text: &str, fuel: &mut Fuel) -> Result<Option<String>, Stop> {
    fuel.spend(text.len() as u64)?;
    let segments = math_segments(text);
    for index in (0..segments.len()).rev().take(8) {
        let (content, span) = &segments[index];
        let before = &text[..span.start];
        if is_denied(before) {
            continue;
        }
        // Another language may deny it.
        let sentence = before.rsplit(['\n', '.', ':', '\u{3002}']).next().unwrap_or(before);
        let behind = text[span.end..].split(['\n', '.', '\u{3002}']).next().unwrap_or_default();
        let is_foreign = |c: char| c.is_alphabetic() && c > '\u{3ff}';
        if (sentence.contains(char::is_alphabetic)
            && !sentence.contains('\\')
            && !is_english(sentence))
            || behind.contains(is_foreign)
        {
            return Ok(None);
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
    let start = before.ceil_char_boundary(before.len().saturating_sub(60));
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
