//! Whether the text in front of a value states it.
//!
//! The sentence that leads to a value doubts nothing. It is empty, or ends with a formula, a mark or a word of [`LEADS`].
//! If it speaks of an answer, all its words are those of an announcement ([`ANNOUNCING`]). So `Twice the answer is`
//! states nothing. A box, an announcement and the last formula follow this rule.

use crate::extract::words::{
    ANNOUNCING, ANSWERS, ASSERTING, LEADING_PAIRS, LEADS, MEASURES, OBJECTS, STEPS,
};
use crate::math::parse::stance::{doubts, has, supposes_or_judges, words_of};

/// Bytes in front of a value that are read.
const MAX_SENTENCE: usize = 500;

/// Whether the text in front of a value leads to it.
pub(crate) fn leads(before: &str) -> bool {
    states(before, |clause, words| {
        ends_open(clause) || words.split_last().is_none_or(|(last, rest)| is_lead(rest, last))
    })
}

/// Whether the text in front of a formula leads to it, or labels it: `The matrix is:`.
pub(crate) fn leads_or_labels(before: &str) -> bool {
    let is_labeled = before.trim_end_matches([' ', '\n', '*']).ends_with(':');
    if is_labeled { states(before, |_, _| true) } else { leads(before) }
}

/// Whether words lead to a value with the last of them.
fn is_lead(rest: &[&str], last: &str) -> bool {
    let is = |at: usize, words: &[&str]| {
        rest.len().checked_sub(at).is_some_and(|at| has(words, rest[at]))
    };
    let is_of_attempt =
        || has(&["was", "were"], last) && rest.iter().any(|word| has(&["my", "i"], word));
    (has(LEADS, last) && !is_of_attempt())
        || LEADING_PAIRS.iter().any(|(first, second)| has(&[second], last) && is(1, &[first]))
        || (has(&["of"], last) && is(1, MEASURES) && is(2, &["a", "an"]))
        || (has(MEASURES, last) && is(1, &["has", "have"]))
        || (has(OBJECTS, last)
            && is(1, &["the", "a", "an", "ordered"])
            && rest.iter().rev().skip(1).take(2).any(|word| has(&["is", "are", "equals"], word)))
}

/// Whether the sentence that a text ends with doubts nothing, and ends in a way that leads to a value.
fn states(before: &str, leads: impl Fn(&str, &[&str]) -> bool) -> bool {
    let before = &before[before.ceil_char_boundary(before.len().saturating_sub(MAX_SENTENCE))..];
    let sentence = last_sentence(before);
    if is_counterfactual(sentence) || is_in_base(sentence) {
        return false;
    }
    let sentence = asserted(sentence);
    if doubts_statement(sentence) {
        return false;
    }
    let line = sentence.rfind('\n').map_or(sentence, |at| &sentence[at + 1..]);
    let is_alone = !line.contains(char::is_alphanumeric);
    let words: Vec<&str> = prose(sentence).collect();
    // `The square of the result is`
    let is_of_result = |at: usize| {
        has(&["of"], words[at])
            && words[at + 1..]
                .iter()
                .find(|word| !has(&["the", "this", "that"], word))
                .is_some_and(|word| has(&["result", "it", "answer"], word))
            && !at.checked_sub(1).is_some_and(|at| has(&["value"], words[at]))
    };
    if (0..words.len()).any(is_of_result)
        || words.iter().any(|word| has(&["intermediate", "typical"], word))
    {
        return false;
    }
    let speaks_of_answer = words.iter().any(|word| has(ANSWERS, word));
    if (speaks_of_answer && !words.iter().all(|word| has(ANNOUNCING, word)))
        || !words.windows(3).all(asserts)
    {
        return false;
    }
    let clause = last_clause(sentence);
    let words: Vec<&str> = prose(clause).collect();
    // `Completing the square,`
    let is_step = sentence.trim_end_matches([' ', '$', '\\', '(', '[']).ends_with([',', ':'])
        && words.first().is_some_and(|word| has(STEPS, word));
    is_alone || is_step || leads(clause, &words)
}

/// Whether the word in front of a clause with `that` asserts it: `it follows that the total is`, not `it is a lie that`.
fn asserts(words: &[&str]) -> bool {
    const SUBJECTS: &[&str] = &["the", "it", "we", "there", "this", "our", "they", "0"];
    let [verb, that, subject] = words else { return true };
    !has(&["that"], that) || !has(SUBJECTS, subject) || has(ASSERTING, verb) || *verb == "0"
}

/// Whether a sentence doubts its value. A negation in a relative clause does not.
fn doubts_statement(sentence: &str) -> bool {
    const RELATIVE: &[&str] = &[
        " that are not ",
        " that is not ",
        " that do not ",
        " that does not ",
        " that cannot ",
        " not divisible ",
    ];
    let ends_with_link =
        words_of(sentence).last().is_some_and(|word| has(&["is", "are", "equals"], word));
    if !ends_with_link || !RELATIVE.iter().any(|phrase| sentence.contains(phrase)) {
        return doubts(sentence);
    }
    doubts(&RELATIVE.iter().fold(sentence.to_owned(), |text, phrase| text.replace(phrase, " ")))
}

/// The sentence that a text ends with. A line without a mark at its end may lead to the next line.
fn last_sentence(text: &str) -> &str {
    let text_end = text.trim_end_matches(|c: char| c.is_whitespace() || OPENING.contains(&c)).len();
    let ends = |(at, c): (usize, char)| {
        let behind = &text[at + c.len_utf8()..];
        matches!(c, '.' | '!' | '?' | '。')
            && (c == '。'
                || behind.starts_with([' ', '$', '*', '"', '\n', ')'])
                || at + 1 == text_end)
    };
    let start = text.char_indices().rev().find(|place| ends(*place));
    let sentence = &text[start.map_or(0, |(at, c)| at + c.len_utf8())..];
    // Of the lines in front, only the last one may lead here.
    let mut lines = sentence
        .rmatch_indices('\n')
        .map(|(at, _)| at)
        .filter(|at| sentence[at + 1..].contains(char::is_alphanumeric));
    lines.next().map_or(sentence, |at| &sentence[at + 1..])
}

/// Marks that open something in front of a value.
const OPENING: &[char] = &['$', '*', '_', '(', '[', '{', '"', '~', '#', '|', '-'];

/// The part of a sentence behind the word that draws its conclusion, or behind its reason.
pub(crate) fn asserted(sentence: &str) -> &str {
    const CONCLUSIONS: &[&str] =
        &[", so ", ", hence", ", thus", ", therefore", "; ", " and so ", ", but "];
    const REASONS: &[&str] = &["since ", "because ", "although "];
    let body = sentence.trim_start();
    let conclusion =
        CONCLUSIONS.iter().filter_map(|word| body.rfind(word).map(|at| at + word.len())).max();
    if let Some(start) = conclusion {
        return behind_no(&body[start..]);
    }
    let body = behind_no(body);
    // `It is not 17 but 18`
    if let Some((denied, stated)) = body.rsplit_once(" but ")
        && words_of(denied).any(|word| has(&["not"], word))
    {
        return stated;
    }
    let gives_reason = REASONS
        .iter()
        .any(|word| body.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word)));
    let clause = [", the ", ", our ", ", we ", ", it ", ", there "]
        .iter()
        .filter_map(|opening| body.rfind(opening))
        .max()
        .or_else(|| if gives_reason { body.find(", ") } else { None });
    match clause {
        Some(at) if gives_reason || !supposes_or_judges(&body[..at]) => behind_no(&body[at + 1..]),
        _ => body,
    }
}

/// The text behind a `No` that answers the text before it.
fn behind_no(text: &str) -> &str {
    let text = text.trim_start();
    ["No,", "No:", "no,", "no:"].iter().find_map(|no| text.strip_prefix(no)).unwrap_or(text)
}

/// The last clause that has words.
fn last_clause(sentence: &str) -> &str {
    let mut rest = sentence;
    loop {
        let mark = rest.char_indices().rev().find(|(at, c)| {
            matches!(c, ',' | ';' | ':' | '—' | '–')
                && !rest[at + c.len_utf8()..].starts_with(|c: char| c.is_ascii_digit())
        });
        let Some((at, c)) = mark else { return rest };
        let clause = &rest[at + c.len_utf8()..];
        if prose(clause).next().is_some() {
            return clause;
        }
        rest = &rest[..at];
    }
}

/// Words of a clause, with `0` for each number and formula.
fn prose(clause: &str) -> impl Iterator<Item = &str> {
    clause.split('$').enumerate().flat_map(|(index, part)| {
        let formula = (index % 2 == 1 && part.contains(char::is_alphanumeric)).then_some("0");
        let text = if index % 2 == 1 { "" } else { part };
        let pieces = text.split(['{', '}', ' ', '\t', '\n', '*', '_', '(', ')', '"', '~']);
        let words = pieces.flat_map(|piece| {
            let is_formula = piece.contains(char::is_alphanumeric)
                && (piece.starts_with('\\') || piece.contains(['=', '^', '+']));
            let text = if is_formula { "" } else { piece };
            let is_word = |word: &str| word.starts_with(char::is_alphabetic);
            let words = words_of(text).map(move |word| if is_word(word) { word } else { "0" });
            words.chain(is_formula.then_some("0"))
        });
        formula.into_iter().chain(words)
    })
}

/// Whether a clause ends with a formula or a mark, and not with a word.
fn ends_open(clause: &str) -> bool {
    let is_opening = |c: char| c.is_whitespace() || OPENING.contains(&c) || ",;:—–".contains(c);
    let mut text = clause.trim_end_matches(is_opening);
    for command in ["\\", "\\text", "\\textbf", "\\mathbf", "\\left", "\\displaystyle"] {
        text = text.strip_suffix(command).unwrap_or(text).trim_end_matches(is_opening);
    }
    let head = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    text.is_empty()
        || head.ends_with('\\')
        || text.ends_with(|c: char| !c.is_ascii_alphabetic() && c != '\'')
}

/// Whether a sentence tells what would have been: `Had we forgotten it,`.
fn is_counterfactual(sentence: &str) -> bool {
    let mut words = words_of(sentence);
    words.next().is_some_and(|word| has(&["had", "were"], word))
}

/// Whether a sentence names a base that is not ten: `In base 7, the total is`.
fn is_in_base(sentence: &str) -> bool {
    let mut words = words_of(sentence).skip_while(|word| !has(&["base"], word));
    words.next().is_some()
        && words
            .next()
            .is_some_and(|base| base.starts_with(|c: char| c.is_ascii_digit()) && base != "10")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_leads_to_its_value_or_does_not() {
        for text in [
            "",
            "The answer is ",
            "**Final Answer**\n",
            "Since 5 is not prime, the answer is ",
            "The number of integers that are not divisible by 3 is ",
            "It comes to a total of ",
            "The answer is not 17 but ",
            "We do not need more. So the total is ",
            "Thus $x = ",
            "6 * 7 = 42 ",
            "It is not prime, so ",
        ] {
            assert!(leads(text), "{text}");
        }
        for text in [
            "The answer is not ",
            "The answer is definitely not equal to ",
            "It is false that the answer is ",
            "The wrong answer is ",
            "Twice the answer is ",
            "The answer to the previous problem is ",
            "If it were even, we would get ",
            "Had we forgotten it, we get ",
            "In base 7, the total is ",
            "It is close to ",
            "We must avoid ",
            "The student found ",
            "It lies between 3 and ",
            "It is more than ",
            "Half of ",
            "My first impulse was ",
            "The answer, minus one, is ",
            "It is out of the question that we get ",
            "Wrong: ",
            "The answer is not\n",
        ] {
            assert!(!leads(text), "{text}");
        }
    }
}
