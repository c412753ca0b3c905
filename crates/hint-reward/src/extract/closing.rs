//! Whether the text behind a value leaves its statement as it is.
//!
//! A value is closed by a unit or a counted thing, by words of [`CLOSING`], and by the same value again. Everything else
//! leaves it open. A tolerant reader then looks for an explanation.

use crate::extract::placement::{is_layout, power_of_unit};
use crate::extract::sentence::gives_cause;
use crate::extract::words::{ANSWERS, CLOSING, EXPLAINING, LEADS, REASONS};
use crate::math::answer::is_same_answer;
use crate::math::fuel::Stop;
use crate::math::parse::counted::is_counted;
use crate::math::parse::stance::{doubts, has, opens_anew, retracts, takes_back, words_of};
use crate::math::reader::Reader;

/// Bytes behind a value in which it may be doubted.
const MAX_REMARK: usize = 300;

/// The effect of a text behind a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tail<'a> {
    /// Nothing: the statement ends there.
    Closes,
    /// It gives reasons or checks. They may name another value.
    Explains(&'a str),
    /// It may change the value or take it back.
    Opens,
}

/// The effect of the text behind a value on its statement.
pub(crate) fn tail<'a>(
    behind: &'a str,
    value: &str,
    reader: &mut Reader,
) -> Result<Tail<'a>, Stop> {
    if behind.contains(['✗', '✘', '❌', '🚫', '❎']) {
        return Ok(Tail::Opens);
    }
    // A box that the end of the text cuts off holds nothing.
    let behind = behind.trim_end().strip_suffix("\\boxed{").unwrap_or(behind);
    let behind = without_courtesies(behind);
    let counted = behind_counted(behind, matches!(value, "1" | "0" | "-1"));
    let rest = behind_closing(counted);
    if rest.is_empty() {
        return Ok(if renames(counted) { Tail::Opens } else { Tail::Closes });
    }
    if rest.len() < 200 && !rest.contains('?') {
        let repeated = rest.trim_end_matches(['.', ' ', '$', '*', '\n', '\\', ')', ']']);
        match is_same_answer(value, repeated, reader) {
            Ok(true) => return Ok(Tail::Closes),
            Err(Stop::OutOfFuel) => return Err(Stop::OutOfFuel),
            _ => {}
        }
    }
    Ok(if explains(counted, rest) { Tail::Explains(counted) } else { Tail::Opens })
}

/// A text without the sentences of courtesy at its end, which say nothing about the answer.
fn without_courtesies(text: &str) -> &str {
    const COURTESIES: &[&str] = &[
        "let me know if you have any questions",
        "let me know if you have any other questions",
        "let me know if you have any further questions",
        "let me know if you need anything else",
        "let me know if you need further help",
        "let me know if you need further clarification",
        "let me know if you need any further clarification",
        "let me know if you'd like more details",
        "please let me know if you have any questions",
        "feel free to ask",
        "feel free to ask if you have any questions",
        "feel free to ask if you have any more questions",
        "i hope this helps",
        "hope this helps",
        "i hope that helps",
        "thank you",
        "thank you for reading",
        "thanks for reading",
        "happy to help",
    ];
    let mut text = text;
    loop {
        let body = text.trim_end_matches([' ', '\n', '.', '!', '*', '😊', '_']);
        let start = body.rfind(['.', '!', '?', '\n', '$', ']', '}']).map_or(0, |at| at + 1);
        let sentence = body[start..].trim_matches([' ', '*', '_']);
        if !COURTESIES.iter().any(|known| known.eq_ignore_ascii_case(sentence)) {
            return text;
        }
        text = &text[..start];
    }
}

/// Whether a text of closing words says behind its first clause that something else is the answer: `, and the answer is
/// odd`, `. The final answer is the largest of these`. It may say that this is the answer, or that the answer is correct.
fn renames(text: &str) -> bool {
    const NOUNS: &[&str] = &[
        "answer",
        "answers",
        "value",
        "values",
        "solution",
        "solutions",
        "result",
        "correct",
        "right",
        "true",
        "total",
        "sum",
        "largest",
        "smallest",
        "number",
        "integer",
        "question",
        "problem",
        "asked",
        "expected",
        "required",
        "desired",
    ];
    const PRONOUNS: &[&str] = &["this", "that", "it", "these", "which", "what"];
    const AGREEING: &[&str] = &[
        "correct", "right", "true", "checked", "verified", "complete", "found", "unique", "above",
        "here", "it", "this", "that", "as", "and", "done", "indeed", "thus", "shown", "proved",
        "reached", "obtained",
    ];
    let is_end = |c: char| matches!(c, '.' | ',' | ';' | '!' | '\n' | '—' | '–');
    let mut clauses =
        text.split(is_end).flat_map(|part| part.split(" and ")).flat_map(|part| part.split(" so "));
    clauses.next();
    clauses.any(|clause| {
        let words: Vec<&str> = words_of(clause).collect();
        let verb = words.iter().position(|word| has(&["is", "are", "was", "be"], word));
        let names = |words: &[&str]| words.iter().any(|word| has(NOUNS, word));
        let Some(verb) = verb else {
            let asks = words.iter().any(|word| has(&["question", "problem", "asked"], word));
            return asks || (clause.contains(':') && names(&words));
        };
        let (subject, predicate) = (&words[..verb], &words[verb + 1..]);
        let is_pronoun = subject.last().is_none_or(|word| has(PRONOUNS, word));
        let agrees = !predicate.is_empty() && predicate.iter().all(|word| has(AGREEING, word));
        !is_pronoun && !agrees && (names(subject) || names(predicate))
    })
}

/// The text behind the unit or counted thing that a text starts with.
fn behind_counted(behind: &str, is_one: bool) -> &str {
    let mut text = behind;
    for open in ["\\)", "\\]", "\\,", "\\;", "\\ ", "\\text{", "\\textrm{", "\\mathrm{", "\\mbox{"]
    {
        text = text.trim_start_matches(['$', '}', '*', ' ', '~', ']', ')']);
        text = text.strip_prefix(open).unwrap_or(text);
    }
    let text = text.trim_start_matches(['$', ' ', '*']);
    let end = text.find(['.', ';', ',', '!', ':', '?', '{', '}', '(', '$', '\\', '\n']);
    let clause = &text[..end.unwrap_or(text.len())];
    // `misses a case`, `is among the values`
    let is_predicate = |(at, word): (usize, &str)| {
        let is_article = has(&["a", "an", "the"], word);
        (is_article && at < 2)
            || has(&["out", "too", "among"], word)
            || (!is_article && has(LEADS, word))
    };
    let is_thing = clause.starts_with(|c: char| c.is_ascii_alphabetic())
        && is_counted(clause.trim(), is_one)
        && !clause.split_whitespace().enumerate().any(is_predicate);
    if !is_thing {
        return behind;
    }
    let rest = &text[clause.len()..];
    // `cm$^2$`
    match power_of_unit(rest) {
        Some(_) => rest[1..].split_once('$').map_or(rest, |(_, rest)| rest),
        None => rest,
    }
}

/// The text from the first word or number that does not close a statement.
pub(crate) fn behind_closing(text: &str) -> &str {
    const TAKING: &[&str] = &["end", "tag", "label", "hspace", "vspace", "pmod", "color"];
    let mut rest = text;
    loop {
        let start = rest.find(|c: char| c.is_alphanumeric() || matches!(c, '\\' | '<' | '?'));
        let Some(start) = start else { return "" };
        rest = &rest[start..];
        if rest.starts_with('?') {
            return rest;
        }
        if let Some(tag) = rest.strip_prefix('<') {
            match tag.split_once('>') {
                Some((name, behind)) if !name.contains(' ') => rest = behind,
                _ => rest = tag,
            }
            continue;
        }
        if let Some(command) = rest.strip_prefix('\\') {
            let end = command.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(command.len());
            let (name, behind) = command.split_at(end);
            let is_layout = name.is_empty() || is_layout(name);
            if !is_layout {
                return rest;
            }
            rest = behind;
            if name.is_empty() && !behind.starts_with('\\') {
                rest =
                    rest.get(rest.chars().next().map_or(0, char::len_utf8)..).unwrap_or_default();
            }
            if TAKING.contains(&name) {
                rest = rest.split_once('}').map_or(rest, |(_, behind)| behind);
            }
            continue;
        }
        // `or equivalently 0.5`
        let same = ["or equivalently", "or approximately", "or about", "or simply"];
        if let Some(behind) = same.iter().find_map(|words| rest.strip_prefix(words)) {
            rest = behind;
            continue;
        }
        let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '\'')).unwrap_or(rest.len());
        // `for $n$`
        let is_variable = end == 1
            && rest[end..].starts_with('$')
            && text[..text.len() - rest.len()].ends_with('$')
            && rest.starts_with(|c: char| c.is_ascii_alphabetic());
        if !is_variable && !has(CLOSING, &rest[..end]) {
            return rest;
        }
        rest = &rest[end..];
    }
}

/// Whether a text behind a value gives reasons and checks, and doubts nothing. `rest` is its part from the first word on
/// that closes no statement.
fn explains(behind: &str, rest: &str) -> bool {
    let own = own_sentence(behind);
    let in_own = behind.len() - rest.len() < own.len();
    let first = words_of(rest).next().unwrap_or_default();
    let between = &behind[..behind.len() - rest.len()];
    let is_direct = !between.contains(char::is_alphanumeric);
    // `3/4 of the cake`, `8 pears and the 2 plums remain`
    let is_part = [" of the ", " and the "].iter().any(|word| behind.contains(word))
        && words_of(between).next().is_some()
        && words_of(between).all(|word| has(&["of", "and", "the"], word))
        && !words_of(own).any(|word| has(ANSWERS, word) || has(&["value", "result"], word));
    let is_reason = gives_cause(own)
        || occurs(own)
        || has(REASONS, first)
        || names_count(own)
        || is_part
        || (is_direct && has(&["not", "instead", "rather"], first));
    if own.contains('?') || (in_own && !is_reason) {
        return false;
    }
    // `12, not 13`, `12, since no other number fits`
    let asides = ["not ", "instead of ", "rather than ", "since ", "because "];
    let end = asides.iter().filter_map(|word| own.find(word)).min().unwrap_or(own.len());
    let later = &behind[own.len()..];
    let near = &later[..later.floor_char_boundary(MAX_REMARK)];
    let offer = ["Let me know", "Feel free"].iter().filter_map(|words| near.find(words)).min();
    let near = &near[..offer.unwrap_or(near.len())];
    let is_doubted = [&own[..end], near].iter().any(|part| doubts(part) || takes_back(part));
    // `12 (since 12 is wrong)`, but also `12, instead of the wrong 13`
    let is_retracted = own[end..].starts_with(['s', 'b']) && retracts(&own[end..]);
    !is_doubted && !is_retracted && !opens_anew(later) && sentences(near).all(is_check)
}

/// Whether a text names the place of a value: `, attained at $x = 2$`, `, which occurs when`.
fn occurs(text: &str) -> bool {
    let mut words = words_of(text).skip_while(|word| has(&["which", "is", "and"], word));
    let verbs = ["attained", "achieved", "reached", "obtained", "occurs", "occurring", "happens"];
    words.next().is_some_and(|word| has(&verbs, word))
        && words.next().is_some_and(|word| has(&["at", "when", "for", "if", "by", "with"], word))
}

/// Whether a text says in a relative clause what a value counts: `, which is the number of weeks in a year`.
fn names_count(text: &str) -> bool {
    let inside = text.trim_start_matches([',', ' ', '$']);
    let counts = ["which is the number of ", "which is the total number of "];
    counts.iter().any(|count| inside.starts_with(count))
        && !inside.contains(|c: char| c.is_ascii_digit())
        && !words_of(inside).any(|word| has(ANSWERS, word))
}

/// Whether a sentence behind an answer closes its statement, explains it, or checks it by an equation.
fn is_check(sentence: &str) -> bool {
    let first = words_of(sentence).next().unwrap_or_default();
    let has_number = sentence.contains(|c: char| c.is_ascii_digit());
    behind_closing(sentence).is_empty()
        || (has(EXPLAINING, first) && (!has_number || sentence.contains('=')))
}

/// The sentences of a text.
fn sentences(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let sentence = own_sentence(rest);
        rest = &rest[sentence.len()..];
        (!sentence.is_empty()).then_some(sentence)
    })
}

/// The end of the sentence that a text begins in.
fn own_sentence(text: &str) -> &str {
    let ends = |(at, c): &(usize, char)| {
        *c == '\n'
            || (matches!(c, '.' | '!' | '?' | '。')
                && text[at + c.len_utf8()..].starts_with(|c: char| !c.is_alphanumeric()))
    };
    text.char_indices().find(ends).map_or(text, |(at, c)| &text[..at + c.len_utf8()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(texts: &[&str], is_expected: impl Fn(&Tail<'_>) -> bool) {
        for text in texts {
            let found = tail(text, "12", &mut Reader::new(100_000));
            assert!(found.as_ref().is_ok_and(&is_expected), "{text}: {found:?}");
        }
    }

    #[test]
    fn what_follows_a_value_closes_explains_or_opens_its_statement() {
        check(
            &[
                "",
                ".",
                "$ apples.",
                " square units.",
                "$, as desired. $\\blacksquare$",
                " is the final answer.",
                " is even.",
                " was found.",
                ". I hope it is correct.",
                "\n\nThe final answer is $12$.",
                "</answer>",
            ],
            |tail| *tail == Tail::Closes,
        );
        check(
            &[
                ", since 5 is not even.",
                ", not 13.",
                ". Check: 4 + 4 = 8.",
                ". We count each row once.",
            ],
            |tail| matches!(tail, Tail::Explains(_)),
        );
        check(
            &[
                " reversed.",
                " in base 7.",
                " is half the answer.",
                " is wrong.",
                ". Wait, no.",
                ". It is absurd.",
                "? Perhaps.",
                ", which we must double.",
                " or 13.",
                " ❌",
            ],
            |tail| *tail == Tail::Opens,
        );
    }
}
