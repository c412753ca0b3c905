//! Answers that name one of several choices, or say yes or no, and then explain.

use crate::math::lex::vocabulary::TEXT_GROUPS;
use crate::math::parse::stance::{denies_subject, opens_anew, takes_back};

/// Bytes beyond which a text is no name with an explanation.
const MAX_BYTES: usize = 1000;

/// Name in an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Named<'a> {
    pub(crate) what: What,
    /// Text behind the name; empty if there is none.
    pub(crate) rest: &'a str,
}

/// A choice or a polar answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// A letter, in upper case.
    Choice(char),
    Yes,
    No,
    True,
    False,
}

/// Name in a text that starts with a marked name: `B`, `(B) 12`, `\textbf{(B)}\ 12`, `B. 12`, `Option B`,
/// `Yes, because …`.
pub(crate) fn named(text: &str) -> Option<Named<'_>> {
    if text.len() > MAX_BYTES {
        return None;
    }
    choice(text).or_else(|| polar(text))
}

/// The letter of the choice a text names, in upper case.
pub(crate) fn named_choice(text: &str) -> Option<char> {
    match choice(text)?.what {
        What::Choice(letter) => Some(letter),
        _ => None,
    }
}

fn choice(text: &str) -> Option<Named<'_>> {
    const TITLES: [&str; 6] = ["Option ", "option ", "Choice ", "choice ", "Answer ", "answer "];
    let mut rest = text.trim().trim_start_matches(['$', '*', ' ']);
    let wrappers = TEXT_GROUPS.into_iter().chain(["\\mathbf{"]);
    let mut groups = 0_usize;
    let mut titled = false;
    loop {
        if let Some(behind) = wrappers.clone().find_map(|wrapper| rest.strip_prefix(wrapper)) {
            groups += 1;
            rest = behind.trim_start();
        } else if let Some(behind) = TITLES.into_iter().find_map(|title| rest.strip_prefix(title)) {
            titled = true;
            rest = behind.trim_start();
        } else {
            break;
        }
    }
    let bracketed = rest.strip_prefix(['(', '[']);
    let rest = bracketed.unwrap_or(rest).trim_start();
    let letter = rest.chars().next().filter(|c| matches!(c, 'A'..='J' | 'a'..='j'))?;
    // A small letter may be a variable.
    if letter.is_ascii_lowercase()
        && bracketed.is_none()
        && !titled
        && rest.len() > 1
        && !matches!(&rest[1..], ")" | ").")
    {
        return None;
    }
    if letter.is_ascii_lowercase() && bracketed.is_none() && !titled && rest.len() == 1 {
        return None;
    }
    let mut behind = rest[1..].trim_start_matches(' ');
    let mut marked = titled;
    if let Some(closed) = behind.strip_prefix([')', ']']) {
        marked = true;
        behind = closed;
    } else if bracketed.is_some() {
        return None;
    }
    for _ in 0..groups {
        behind = behind.trim_start_matches([' ', '~']);
        // The group may hold the explanation too, `\text{(A) 12}`.
        if let Some(closed) = behind.strip_prefix('}') {
            behind = closed;
        }
    }
    if let Some(explained) = behind.strip_prefix(['.', ':']).filter(|rest| rest.starts_with(' ')) {
        marked = true;
        behind = explained;
    }
    let separated = behind.starts_with([' ', '~', ':']) || behind.starts_with("\\ ");
    let rest = explanation(behind);
    let is_name = rest.is_empty()
        || (marked
            && (separated || groups > 0)
            && !goes_on(rest)
            && !denies_subject(rest)
            && !opens_anew(rest)
            && !(rest.trim_start_matches("\\text{").trim_start().starts_with('(')
                && takes_back(rest)));
    is_name.then(|| Named { what: What::Choice(letter.to_ascii_uppercase()), rest })
}

/// Text behind a letter, without spaces, marks and the brace of a group that holds both.
fn explanation(behind: &str) -> &str {
    const SPACES: [&str; 6] = ["\\ ", "\\,", "\\;", "\\:", "\\quad", "\\qquad"];
    let mut rest = behind;
    loop {
        rest = rest.trim_start_matches(['$', '*', ' ', '.', '}', '~', ':']);
        match SPACES.into_iter().find_map(|space| rest.strip_prefix(space)) {
            Some(behind) => rest = behind,
            None => break,
        }
    }
    rest = rest.trim_end_matches(['$', '*', ' ', '.', '~', ':']);
    while rest.ends_with('}') && rest.matches('}').count() > rest.matches('{').count() {
        rest = rest[..rest.len() - 1].trim_end_matches(['$', '*', ' ', '.', '~', ':']);
    }
    if rest == "\\" { "" } else { rest }
}

/// Whether the text behind a letter makes it a part of something: `+ (B)`, `and (C)`, `(D)`.
fn goes_on(rest: &str) -> bool {
    let joined = [
        "and",
        "or",
        "text{and",
        "text{ and",
        "text{or",
        "text{ or",
        "cdot",
        "times",
        "div",
        "pm",
        "cup",
        "cap",
        "in ",
        "le",
        "ge",
        "ne",
    ];
    let rest = rest.trim_start_matches('\\');
    rest.starts_with(['+', '=', '*', '/', '^', '_', '<', '>', '&', ',', ';', '|', '!', '\''])
        || joined.into_iter().any(|word| rest.starts_with(word))
        || rest
            .as_bytes()
            .windows(3)
            .any(|window| window[0] == b'(' && window[1].is_ascii_uppercase() && window[2] == b')')
}

fn polar(text: &str) -> Option<Named<'_>> {
    const LIMITS: [&str; 7] = ["wait", "but", "only", "if", "unless", "except", "when"];
    const WORDS: [(&str, What, &str); 4] = [
        ("yes", What::Yes, "no"),
        ("no", What::No, "yes"),
        ("true", What::True, "false"),
        ("false", What::False, "true"),
    ];
    let text = text.trim().trim_start_matches(['*', '"']);
    let text = text.strip_prefix("\\text{").unwrap_or(text);
    let end = text.bytes().position(|b| !b.is_ascii_alphabetic()).unwrap_or(text.len());
    let (first, behind) = text.split_at(end);
    let (_, what, opposite) =
        WORDS.into_iter().find(|(word, ..)| word.eq_ignore_ascii_case(first))?;
    let rest = behind.trim_matches(['}', '*', '"', '.', ' ']);
    // "No real solutions" says something else than no.
    let is_explained = rest.is_empty() || behind.starts_with([',', ';', '.', ':']);
    let contradicts = rest.split(|c: char| !c.is_ascii_alphabetic()).any(|word| {
        word.eq_ignore_ascii_case(opposite)
            || LIMITS.iter().any(|limit| word.eq_ignore_ascii_case(limit))
    });
    (is_explained && !contradicts).then_some(Named { what, rest })
}
