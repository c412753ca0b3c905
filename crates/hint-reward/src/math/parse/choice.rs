//! Answers that name one of several choices, or say yes or no, and then explain.

use crate::math::lex::vocabulary::TEXT_GROUPS;
use crate::math::parse::stance::{denies_subject, has, opens_anew, takes_back, words_of};

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

impl Named<'_> {
    /// Whether the words behind a yes or no leave it as it is. They may give its cause or an example, or repeat it as a short
    /// sentence. Other words may qualify it: `Yes, sometimes`. The text behind a letter was judged before.
    pub(crate) fn is_unqualified(&self) -> bool {
        let affirms = match self.what {
            What::Choice(_) => return true,
            What::Yes | What::True => true,
            What::No | What::False => false,
        };
        self.rest.is_empty() || is_reason(self.rest) || repeats(self.rest, affirms)
    }
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

/// Whether the text behind a letter makes it a part of something: `+ (B)`, `and (C)`, `(D)`, `C. D.`
fn goes_on(rest: &str) -> bool {
    const COMMANDS: [&str; 11] =
        ["cdot", "times", "div", "pm", "cup", "cap", "in", "le", "ge", "ne", "lor"];
    let command = rest.strip_prefix('\\').map(first_word);
    rest.starts_with(['+', '=', '*', '/', '^', '_', '<', '>', '&', ',', ';', '|', '!', '\''])
        || command.is_some_and(|command| COMMANDS.iter().any(|known| command.starts_with(known)))
        || names_another(rest)
        || rest
            .as_bytes()
            .windows(3)
            .any(|window| window[0] == b'(' && window[1].is_ascii_uppercase() && window[2] == b')')
}

/// Whether a text opens with a further choice: `or D`, `D`, `(D)`, `C) A`, `D. A`, not `A square` and `D = 4`.
fn names_another(rest: &str) -> bool {
    const JOINTS: [&str; 8] = ["or", "and", "nor", "also", "plus", "then", "not", "but"];
    let is_joint =
        |text: &str| JOINTS.iter().any(|joint| joint.eq_ignore_ascii_case(first_word(text)));
    let rest = rest.strip_prefix("\\text{").unwrap_or(rest).trim_start();
    let inside = rest.trim_start_matches(['(', '[', '$', '*']);
    let is_letter = |text: &str| matches!(first_word(text).as_bytes(), [b'A'..=b'J']);
    let is_marked = |text: &str| {
        text.starts_with([')', ']', '.', ',', ':', ';', '|', '&', '/', '}', '$', '\n'])
    };
    is_joint(rest)
        || (is_letter(inside) && {
            let behind = &inside[1..];
            let next = behind.trim_start();
            next.is_empty() || is_marked(behind) || is_joint(next) || is_letter(next)
        })
}

/// The letters that a text starts with.
fn first_word(text: &str) -> &str {
    &text[..text.bytes().position(|byte| !byte.is_ascii_alphabetic()).unwrap_or(text.len())]
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
    let (first, behind) = text.split_at(first_word(text).len());
    let (_, what, opposite) =
        WORDS.into_iter().find(|(word, ..)| word.eq_ignore_ascii_case(first))?;
    let rest = behind.trim_matches(['}', '*', '"', '.', ' ']);
    // "No real solutions" says something else than no.
    let is_explained = rest.is_empty() || behind.starts_with([',', ';', '.', ':']);
    let contradicts =
        words_of(rest).any(|word| word.eq_ignore_ascii_case(opposite) || has(&LIMITS, word));
    (is_explained && !contradicts).then_some(Named { what, rest })
}

/// Whether words give the cause of a statement or an example of it.
fn is_reason(rest: &str) -> bool {
    const CAUSES: [&str; 4] = ["because", "since", "as", "due"];
    const EXAMPLES: [&str; 5] =
        ["for example", "for instance", "e.g", "an example is", "and an example is"];
    // `as long as`, `as a rule`: limits.
    const LIMITED: [&str; 7] = ["long", "far", "a", "of", "soon", "often", "much"];
    let text = rest.trim_start_matches([',', ';', '.', ':', ' ']);
    let mut words = words_of(text);
    let (first, second) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    (has(&CAUSES, first) && !(has(&["as"], first) && has(&LIMITED, second)))
        || EXAMPLES.iter().any(|example| text.starts_with(example))
}

/// Whether words say the same as a short sentence: `it does` behind yes, `there is no such number` behind no.
fn repeats(rest: &str, affirms: bool) -> bool {
    const SUBJECTS: [&str; 6] = ["it", "they", "this", "that", "there", "we"];
    const VERBS: [&str; 9] = ["is", "are", "does", "do", "can", "will", "holds", "exists", "exist"];
    let text = rest.to_ascii_lowercase();
    let is_subject = |word: &str| has(&SUBJECTS, word);
    let is_verb = |word: &str| has(&VERBS, word);
    match words_of(&text).collect::<Vec<_>>().as_slice() {
        ["it" | "this", "is", "possible"]
        | ["such", "a" | "an", _, "exists"]
        | ["such", _, "exist" | "exists"] => affirms,
        ["it" | "this", "is", "impossible"]
        | ["it" | "this", "is", "not", "possible"]
        | ["such", "a" | "an", _, "does", "not", "exist"]
        | ["such", _, "do" | "does", "not", "exist"]
        | ["there", "is" | "are", "no", "such", _]
        | ["no", "such", _, "exists" | "exist"] => !affirms,
        [subject, verb] if is_subject(subject) && is_verb(verb) => affirms,
        [subject, verb, "not"] if is_subject(subject) && is_verb(verb) => !affirms,
        [subject, "cannot"] if is_subject(subject) => !affirms,
        [subject, verb] if is_subject(subject) => {
            !affirms && verb.strip_suffix("n't").is_some_and(is_verb)
        }
        _ => false,
    }
}
