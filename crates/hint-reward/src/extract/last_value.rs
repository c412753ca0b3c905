//! The last formula of a text, where nothing announces the answer.

use crate::extract::formula::{MAX_WORDS, math_segments};
use crate::extract::language::is_english;
use crate::extract::lead::leads_or_labels;
use crate::extract::separator::is_separator;
use crate::extract::stated::stated_number;
use crate::math::answer::{Readable, is_readable, is_same_answer};
use crate::math::fuel::Stop;
use crate::math::lex::units::is_unit;
use crate::math::parse::stance::{has, words_of};
use crate::math::reader::Reader;

/// The last formula that is more than a name, with those that form a list with it.
pub(crate) fn last_math(text: &str, reader: &mut Reader) -> Result<Option<String>, Stop> {
    reader.fuel.spend(text.len() as u64)?;
    let segments = math_segments(text);
    for index in (0..segments.len()).rev().take(8) {
        let (content, span) = &segments[index];
        let before = &text[..span.start];
        if is_part_of(&text[span.end..]) {
            continue;
        }
        if !leads_or_labels(before) {
            return Ok(None);
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
        let readable = is_readable(content, MAX_WORDS, reader)?;
        if readable == Readable::Symbol {
            // "the largest $n$ is 34"
            if let Some(number) = stated_number(&text[span.end..], reader)? {
                return Ok(Some(number));
            }
            if index > 0 {
                continue;
            }
        }
        // `$3\sqrt{2}$ units, or approximately $4.243$ units`
        if let Some((exact, exact_span)) = index.checked_sub(1).map(|before| &segments[before])
            && is_rounding(&text[exact_span.end..span.start])
            && leads_or_labels(&text[..exact_span.start])
        {
            let is_same = is_same_answer(exact, content, reader)?;
            return Ok(is_same.then(|| exact.trim().to_owned()));
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

/// Whether the text between two formulas makes the second a rounding of the first: `units, or approximately`.
fn is_rounding(between: &str) -> bool {
    const ROUNDINGS: [&str; 6] =
        ["approximately", "about", "roughly", "around", "approx", "\u{2248}"];
    let words: Vec<&str> = words_of(between).collect();
    let Some((last, rest)) = words.split_last() else { return between.contains('\u{2248}') };
    !between.contains(['.', '\n'])
        && has(&ROUNDINGS, last)
        && rest
            .iter()
            .all(|word| has(&["or", "which", "is", "units", "square"], word) || is_unit(word))
}

/// Whether words behind a formula take a part of something else: `of the original value`.
fn is_part_of(behind: &str) -> bool {
    const OTHERS: [&str; 6] = ["original", "answer", "value", "previous", "result", "other"];
    let clause = behind.split(['.', ',', ';', '\n']).next().unwrap_or(behind);
    let mut words = words_of(clause);
    words.next().is_some_and(|word| has(&["of"], word)) && words.any(|word| has(&OTHERS, word))
}
