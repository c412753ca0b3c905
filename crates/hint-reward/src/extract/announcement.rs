//! Announced answers: `The answer is 12`.
//!
//! An announcement counts where the text around it states it, by the rules of [`crate::extract::lead`] and [`crate::extract::closing`].

use crate::extract::closing::{Tail, tail};
use crate::extract::lead::leads;
use crate::extract::sentence::{leading_answer, without_full_stop};
use crate::math::fuel::Stop;
use crate::math::reader::Reader;

/// Kinds of announcements in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Announced {
    /// Nothing.
    No,
    Answer(String),
    /// An answer that its own sentence, or the text behind it, denies, supposes or takes back.
    Denied,
}

/// Announcements of an answer in English.
const PHRASES: [&str; 21] = [
    "answer is",
    "answer** is",
    "answer should be",
    "answer to the question is",
    "answer to the problem is",
    "answer to this question is",
    "answer to this problem is",
    "answer turns out to be",
    "answer must be",
    "answer:",
    "answer are",
    "answer =",
    "answers are",
    "answers:",
    "answer**:",
    "option is",
    "choice is",
    "option:",
    "ans:",
    "ans.",
    "ans =",
];

/// Announcements of an answer in other languages. The value alone follows them.
const FOREIGN: [&str; 27] = [
    "\u{7b54}\u{6848}\u{662f}",
    "\u{7b54}\u{6848}\u{4e3a}",
    "\u{7b54}\u{6848}:",
    "\u{7b54}\u{6848} :",
    "\u{7b54}\u{6848}]",
    "\u{7b54}\u{6848}\u{9009}",
    "\u{6545}\u{9009}",
    "\u{5e94}\u{9009}",
    "\u{5171}\u{6709}",
    "\u{7b54}\u{3048}\u{306f}",
    "\u{b2f5}\u{c740}",
    "\u{627}\u{644}\u{62c}\u{648}\u{627}\u{628} \u{647}\u{648}",
    "antwort ist",
    "antwort lautet",
    "antwort:",
    "l\u{f6}sung ist",
    "l\u{f6}sung lautet",
    "ergebnis ist",
    "respuesta es",
    "respuesta final es",
    "respuesta:",
    "r\u{e9}ponse est",
    "r\u{e9}ponse finale est",
    "r\u{e9}ponse:",
    "risposta \u{e8}",
    "resposta \u{e9}",
    "\u{43e}\u{442}\u{432}\u{435}\u{442}:",
];

/// The last announcement of a text. A tolerant reader allows reasons and checks behind it.
pub(crate) fn announced(
    text: &str,
    is_tolerant: bool,
    reader: &mut Reader,
) -> Result<Announced, Stop> {
    const FILLERS: &[&str] = &[
        "indeed ",
        "clearly ",
        "obviously ",
        "approximately ",
        "about ",
        "exactly ",
        "simply ",
        "just ",
        "therefore ",
        "thus ",
        "then ",
        "equal to ",
    ];
    reader.fuel.spend(text.len() as u64)?;
    let Some((before, behind, is_english)) = split(text) else { return Ok(Announced::No) };
    let behind = behind.trim_start_matches([':', ' ', '*', '\n', '\t', '}', '_']);
    // A formula may run over several lines; anything else ends with its line.
    let is_formula = ["$$", "\\[", "\\begin"].iter().any(|open| behind.starts_with(open));
    let line = if is_formula { behind } else { behind.lines().next().unwrap_or_default() };
    let line = line.trim().trim_end_matches(['*', ' ']);
    let line = line.split(" <eoa>").next().unwrap_or(line);
    let line = line.split("<|").next().unwrap_or(line);
    let line = FILLERS.iter().find_map(|word| line.strip_prefix(word)).unwrap_or(line);
    // `not 13 but 14`
    let line = match line.strip_prefix("not ").and_then(|rest| rest.split_once(" but ")) {
        Some((denied, stated)) if !denied.contains(['.', ',']) => stated,
        _ => line,
    };
    // Another language is not read.
    if line.starts_with("not ") || (is_english && !leads(before)) {
        return Ok(Announced::Denied);
    }
    if let Some(found) = leading_answer(line, reader)? {
        // Behind the words in front of it, such as the 13 of `not 13 but 1`.
        let from = behind.find(line).unwrap_or(0);
        let end = behind[from..].find(&*found).map_or(from, |at| from + at + found.len());
        let is_stated = match tail(&behind[end..], &found, reader)? {
            Tail::Closes => true,
            Tail::Explains(_) => is_tolerant,
            Tail::Opens => false,
        };
        return Ok(if is_stated { Announced::Answer(found) } else { Announced::Denied });
    }
    // "The answer is less than 12" is an answer that no number elsewhere in the text is better than.
    Ok(if line.contains(|c: char| c.is_alphanumeric()) {
        Announced::Answer(without_full_stop(line).to_owned())
    } else {
        Announced::No
    })
}

/// The text up to the last announcing phrase, the text behind it, and whether the phrase is English.
fn split(text: &str) -> Option<(&str, &str, bool)> {
    // ASCII lower case keeps every byte position.
    let lowered = text.to_ascii_lowercase();
    // A part of each phrase: most texts have none.
    let has_any = |parts: &[&str]| parts.iter().any(|part| lowered.contains(part));
    let phrases: &[&str] = if has_any(&["ans", "option", "choice"]) { &PHRASES } else { &[] };
    let may_be_foreign = !lowered.is_ascii() || has_any(&["antwort", "ergebnis", "respuesta"]);
    let foreign: &[&str] = if may_be_foreign { &FOREIGN } else { &[] };
    let ends = phrases.iter().chain(foreign).filter_map(|phrase| {
        // `ans:` is no end of `means:`.
        let mut places = lowered.rmatch_indices(phrase).map(|(at, _)| at);
        let at = places.find(|at| !lowered[..*at].ends_with(|c: char| c.is_ascii_alphabetic()))?;
        Some(at + phrase.len())
    });
    let end = ends.max()?;
    let is_english = PHRASES.iter().any(|phrase| lowered[..end].ends_with(phrase));
    Some((&text[..end], &text[end..], is_english))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_announces_only_what_it_states() {
        for text in [
            "The answer is 12.",
            "I get 3, so the final answer is 12",
            "**Final Answer:** 12",
            "Hence we conclude that the answer is 12, not 13.",
            "The answer is not 13 but 12.",
        ] {
            let found = announced(text, true, &mut Reader::new(100_000));
            assert_eq!(found.ok(), Some(Announced::Answer("12".to_owned())), "{text}");
        }
        for text in [
            "It is false that the answer is 12.",
            "The naive answer is 12.",
            "Wrong answer: 12",
            "The opposite of the answer is 12.",
            "If it were even, the answer is 12.",
            "The answer is 12. Scratch that, 13.",
            "The answer is 12, which is wrong.",
        ] {
            let found = announced(text, true, &mut Reader::new(100_000));
            assert_eq!(found.ok(), Some(Announced::Denied), "{text}");
        }
    }
}
