//! The answer that a sentence starts with, and whether a sentence only supposes or denies.

use crate::extract::formula::{MAX_WORDS, math_segments};
use crate::math::answer::{Readable, is_readable};
use crate::math::fuel::Stop;
use crate::math::lex::units::is_unit;
use crate::math::parse::counted::computes;
use crate::math::parse::stance::{has, retracts, takes_back, words_of};
use crate::math::reader::Reader;
use crate::number::numbers_in;

/// Places at which an answer may end and its sentence continue, the widest reading first.
const MAX_CUTS: usize = 12;

/// The answer a line starts with: all of it, if it reads as one. Otherwise it is the longest head that does, up to a mark
/// or a word that continues.
pub(crate) fn leading_answer(line: &str, reader: &mut Reader) -> Result<Option<String>, Stop> {
    let line = line.trim().trim_end_matches(['*', ' ']);
    if is_readable(line, MAX_WORDS, reader)? != Readable::No {
        return Ok(Some(without_full_stop(line).trim_end_matches(['*', ' ']).to_owned()));
    }
    let mut cuts = cuts(line);
    let skipped = cuts.len().saturating_sub(MAX_CUTS);
    for at in cuts.drain(..).skip(skipped).rev() {
        let head = line[..at].trim_end_matches([' ', ',', ';', ':', '.', '*']);
        if head.is_empty() || head.len() > 400 {
            continue;
        }
        if !goes_on_saying(&line[at..]) {
            continue;
        }
        // "7. Or 8."
        let rest = line[at..].trim_start_matches(|c: char| !c.is_alphanumeric());
        let offers = ["or ", "otherwise", "else ", "alternatively"];
        if offers.iter().any(|word| {
            rest.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word))
        }) {
            return Ok(None);
        }
        let readable = is_readable(head, MAX_WORDS, reader)?;
        // A name with a sentence behind it is the subject of that sentence.
        let is_explained = [" because ", " since "].iter().any(|word| line[at..].starts_with(word));
        if readable == Readable::Answer
            || (readable == Readable::Symbol
                && (line[at..].starts_with(['.', ',']) || is_explained))
        {
            return Ok(Some(head.to_owned()));
        }
    }
    Ok(None)
}

/// Whether a line may continue with this behind its answer. A word of these classes gives a reason or an origin. Any
/// other may change the answer: `12, doubled`, `12, give or take`, `12 by 15`.
fn goes_on_saying(rest: &str) -> bool {
    const REASONS: [&str; 14] = [
        "since",
        "because",
        "which",
        "i.e",
        "hence",
        "therefore",
        "thus",
        "so",
        "instead",
        "rather",
        "not",
        "meaning",
        "namely",
        "none",
    ];
    const CONTINUATIONS: [&str; 34] = [
        "as",
        "of",
        "where",
        "that",
        "and",
        "by",
        "from",
        "after",
        "given",
        "using",
        "obtained",
        "attained",
        "achieved",
        "in",
        "or",
        "respectively",
        "it",
        "we",
        "the",
        "this",
        "there",
        "these",
        "i",
        "such",
        "is",
        "are",
        "our",
        "ways",
        "but",
        "at",
        "text",
        "to",
        "you",
        "was",
    ];
    if rest.starts_with(['.', '\u{3002}', ';', '!', '—', '–']) {
        return true;
    }
    let behind = rest.trim_start_matches([',', ' ', '*', '$', '\\']);
    if behind.is_empty()
        || behind.starts_with(['(', '.', '∎'])
        || !behind.starts_with(char::is_alphabetic)
    {
        return true;
    }
    let end = behind.find(|c: char| !c.is_alphanumeric()).unwrap_or(behind.len());
    let word = &behind[..end];
    let clause = behind.split(['.', ';', ',']).next().unwrap_or(behind);
    if !word.is_ascii() || has(&REASONS, word) || behind.starts_with("i.e") {
        return true;
    }
    if gives_cause(behind) {
        return true;
    }
    // `12 as a percentage of 20`, `12 by 15`, `12 after adding 3`
    let may_compute = has(&["as", "by", "after", "to", "from", "of"], word);
    has(&CONTINUATIONS, word) && (!may_compute || numbers_in(clause).is_empty())
}

/// Whether a text gives a cause: `as there are four`, not `as a percentage`.
pub(crate) fn gives_cause(text: &str) -> bool {
    const SUBJECTS: [&str; 10] =
        ["there", "we", "they", "each", "every", "all", "both", "this", "these", "no"];
    let mut words = words_of(text);
    words.next().is_some_and(|word| has(&["as"], word))
        && words.next().is_some_and(|word| has(&SUBJECTS, word))
}

/// Places where a line may be cut: marks and words that continue it, outside formulas and brackets.
fn cuts(line: &str) -> Vec<usize> {
    const WORDS: [&str; 27] = [
        " instead of ",
        " rather than ",
        " — ",
        " – ",
        " which ",
        " because ",
        " since ",
        " as ",
        " so ",
        " and the ",
        " and that ",
        " but ",
        " meaning",
        " hence",
        " therefore",
        " is the only",
        " is our",
        ", i.e.",
        " after ",
        " by ",
        " in total",
        " altogether",
        " such ",
        " is required",
        " ways",
        " I hope",
        " \\text{ which",
    ];
    let segments = math_segments(line);
    // The first formula that ends behind the current place.
    let mut next = 0;
    let mut depth = 0_i32;
    let mut cuts = Vec::new();
    for (at, c) in line.char_indices() {
        while segments.get(next).is_some_and(|(_, span)| span.end <= at) {
            next += 1;
        }
        let inside = segments.get(next).is_some_and(|(_, span)| span.start < at);
        if depth == 0 && at > 0 && !inside {
            let rest = &line[at..];
            let mark = matches!(c, ',' | '.' | ';' | '\u{3002}')
                && (rest.len() == c.len_utf8()
                    || rest[c.len_utf8()..].starts_with([' ', '*', '\n'])
                    || c == '\u{3002}');
            // A list continues: `1, 2`.
            let goes_on = mark
                && c != '.'
                && rest[c.len_utf8()..].trim_start().starts_with(|c: char| {
                    c.is_ascii_digit() || matches!(c, '$' | '\\' | '-' | '(' | '[')
                });
            let closes = c == ' ' && next > 0 && segments[next - 1].1.end == at;
            let remark = rest.starts_with(" (") && is_remark(rest);
            if (mark && !goes_on)
                || closes
                || remark
                || (matches!(c, ' ' | ',') && WORDS.iter().any(|word| rest.starts_with(word)))
            {
                cuts.push(at);
            }
        }
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
    }
    cuts
}

/// Whether the text in brackets behind an answer leaves it unchanged: no number, unit, base or modulus.
pub(crate) fn is_remark(text: &str) -> bool {
    let inside = text.trim_start_matches([' ', '(']);
    let inside = inside.split(')').next().unwrap_or(inside);
    if ["not ", "since ", "because "].iter().any(|word| inside.starts_with(word)) {
        return !inside.starts_with("not the")
            && !inside.starts_with("not correct")
            && !retracts(inside);
    }
    if computes(inside)
        || takes_back(inside)
        || !inside.contains(char::is_alphanumeric)
        || words_of(inside)
            .any(|word| has(&["minus", "plus", "times", "doubled", "halved", "percent"], word))
    {
        return false;
    }
    !["per ", "mod", "base", "in "].iter().any(|word| inside.starts_with(word))
        && !inside.contains(['\\', '=', '<', '>', '$', '∈'])
        && (!text.starts_with(" (") || inside.starts_with("i.e.") || numbers_in(inside).is_empty())
        && inside.split(|c: char| !c.is_alphabetic()).all(|word| !is_unit(word))
}

pub(crate) fn without_full_stop(text: &str) -> &str {
    // The point of `\right.` is a delimiter, and three of them show that a list continues.
    if text.ends_with("\\right.") || text.ends_with("..") {
        text
    } else {
        text.trim_end_matches(['.', '\u{3002}'])
    }
}
