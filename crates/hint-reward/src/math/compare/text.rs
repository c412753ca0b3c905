//! Comparison of words.

use crate::math::lex::vocabulary::TEXT_GROUPS;
use crate::math::parse::phrase::sought;
use crate::math::parse::stance::{doubts, has, words_of};

/// Whether two texts say the same, up to case, white space and punctuation around words.
pub(crate) fn same_text(a: &str, b: &str) -> bool {
    let (a, b) = (words(a), words(b));
    !a.is_empty() && a == b
}

/// Whether two answers in words differ only in articles, hyphens and white space.
pub(crate) fn same_words(a: &str, b: &str) -> bool {
    let joined = |text: &str| {
        let letters = text.to_lowercase();
        letters.chars().filter(|c| c.is_alphanumeric()).collect::<String>()
    };
    let both_named = names_series(a) && names_series(b);
    if said(a, both_named) == said(b, both_named) {
        return true;
    }
    // `no such number` says of the number that it does not exist.
    let is_absence = |absent: &str, named: &str| {
        let noun = named.strip_prefix("no such ");
        absent == "does not exist" && noun.is_some_and(|noun| sought(noun).is_some())
    };
    if is_absence(a, b) || is_absence(b, a) {
        return true;
    }
    let letters = |text: &str| text.chars().all(|c| c.is_alphabetic() || matches!(c, ' ' | '-'));
    same_text(a, b) || (letters(a) && letters(b) && joined(a).len() > 5 && joined(a) == joined(b))
}

/// Words for the things that converge or diverge.
const SERIES: [&str; 3] = ["series", "sequence", "integral"];

fn names_series(text: &str) -> bool {
    words_of(text).any(|word| has(&SERIES, word))
}

/// The words of an answer in one form: `absolutely convergent` and `converges absolutely`. The thing that converges counts
/// where both answers name it.
fn said(text: &str, both_named: bool) -> Vec<String> {
    let mut words = words(text);
    for word in &mut words {
        match word.as_str() {
            "convergent" => "converges".clone_into(word),
            "divergent" => "diverges".clone_into(word),
            _ => {}
        }
    }
    let speaks_of_series = |word: &String| matches!(word.as_str(), "converges" | "diverges");
    if words.iter().filter(|word| speaks_of_series(word)).count() == 1
        && !words.iter().any(|word| doubts(word))
    {
        words.retain(|word| {
            !(matches!(word.as_str(), "it" | "is") || (!both_named && has(&SERIES, word)))
        });
        words.sort();
    }
    words
}

/// Whether two texts name the same winner, one of them in a sentence: `Alice wins` and `Alice`.
pub(crate) fn same_winner(a: &str, b: &str) -> bool {
    let ((first, wins), (second, wins_too)) = (winner(a), winner(b));
    (wins || wins_too) && is_name(&first) && same_text(&first, &second)
}

/// The name in `Alice wins` and `The second player has a winning strategy`, and whether it is in such a sentence.
fn winner(text: &str) -> (String, bool) {
    const VERBS: [&str; 8] = [
        " wins",
        " will win",
        " always wins",
        " can always win",
        " wins the game",
        " has a winning strategy",
        " can guarantee a win",
        " can force a win",
    ];
    const MAX_BYTES: usize = 100;
    if text.len() > MAX_BYTES || !text.contains(char::is_alphabetic) {
        return (String::new(), false);
    }
    let plain = text.replace("\\text{", " ").replace(['{', '}', '$', '.'], "");
    let plain = plain.trim();
    match VERBS.iter().find_map(|verb| plain.strip_suffix(verb)) {
        Some(name) => (name.trim().to_owned(), true),
        None => (plain.to_owned(), false),
    }
}

/// Whether a text is a name of at most three words, which deny nothing.
fn is_name(text: &str) -> bool {
    text.chars().all(|c| c.is_alphabetic() || c == ' ')
        && text.split_whitespace().count() <= 3
        && !doubts(text)
        && !words_of(text).any(|word| has(&["who", "or", "either"], word))
}

fn words(text: &str) -> Vec<String> {
    let words = text.split(|c: char| c.is_whitespace() || matches!(c, '-' | '_' | ','));
    let trimmed = words.map(|word| word.trim_matches(|c: char| !c.is_alphanumeric()));
    // `A` may be a name; as an article it stands in front.
    let is_article = |index: usize, word: &str| {
        matches!(word, "the" | "The" | "a" | "an" | "An")
            || (index == 0 && word == "A" && text.len() > 3)
    };
    let named = trimmed.filter(|word| !word.is_empty()).enumerate();
    named
        .filter(|(index, word)| !is_article(*index, word))
        .map(|(_, word)| word.to_lowercase())
        .collect()
}

/// Whether two texts have the same words and formulas, set in any way. Text commands, dollar signs, sizing commands,
/// articles and a final full stop do not count. Single letters and formulas keep their case.
pub(crate) fn same_wording(a: &str, b: &str) -> bool {
    let (a, b) = (wording(a), wording(b));
    !a.is_empty() && a == b
}

fn wording(text: &str) -> Vec<String> {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.trim().trim_end_matches(['.', '$', ' ']);
    let mut wrapped = Vec::new();
    while let Some(c) = rest.chars().next() {
        if let Some(command) = TEXT_GROUPS.into_iter().find(|command| rest.starts_with(command)) {
            wrapped.push(true);
            plain.push(' ');
            rest = &rest[command.len()..];
            continue;
        }
        match c {
            '{' => {
                wrapped.push(false);
                plain.push(c);
            }
            '}' if wrapped.pop() == Some(true) => plain.push(' '),
            '$' | '~' => plain.push(' '),
            _ => plain.push(c),
        }
        rest = &rest[c.len_utf8()..];
    }
    let mut plain = without_single_groups(&plain);
    for (long, short) in [("\\geq ", "\\ge "), ("\\leq ", "\\le "), ("\\neq ", "\\ne ")] {
        if plain.contains(long) {
            plain = plain.replace(long, short);
        }
    }
    let mut words = Vec::new();
    for word in plain.split_whitespace() {
        let word = word.trim_end_matches('.');
        if word.is_empty() || matches!(word, "the" | "The" | "a" | "an") {
            continue;
        }
        let is_word = word.chars().all(char::is_alphabetic) && word.chars().count() > 2;
        words.push(if is_word { word.to_lowercase() } else { word.to_owned() });
    }
    // White space inside formulas says nothing, between words it does.
    let mut joined: Vec<String> = Vec::new();
    for word in words {
        let is_word = |text: &str| text.chars().all(char::is_alphabetic);
        match joined.last_mut() {
            Some(last) if !is_word(last) && !is_word(&word) => {
                let both_digits = last.ends_with(|c: char| c.is_ascii_digit())
                    && word.starts_with(|c: char| c.is_ascii_digit());
                if both_digits {
                    last.push(' ');
                }
                last.push_str(&word);
            }
            _ => joined.push(word),
        }
    }
    joined
}

/// A formula without the braces around one character: `\sqrt{2}` as `\sqrt2`.
fn without_single_groups(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('{') {
        let mut inside = rest[at + 1..].chars();
        let single = inside.next().filter(|c| c.is_alphanumeric() && inside.next() == Some('}'));
        out.push_str(&rest[..at]);
        if let Some(c) = single {
            out.push(c);
            rest = &rest[at + 2 + c.len_utf8()..];
        } else {
            out.push('{');
            rest = &rest[at + 1..];
        }
    }
    out.push_str(rest);
    out
}

/// A text in the form that is compared when it cannot be read: without white space, math delimiters and sizing
/// commands. White space between two digits stays: `1 2` is not `12`.
pub(crate) fn bare(text: &str) -> String {
    const DROPPED: [&str; 12] = [
        "\\left",
        "\\right",
        "\\displaystyle",
        "\\!",
        "\\,",
        "\\;",
        "\\:",
        "\\ ",
        "\\(",
        "\\)",
        "\\[",
        "\\]",
    ];
    const NAMES: [(&str, &str); 8] = [
        ("\\vee", "\\lor"),
        ("\\wedge", "\\land"),
        ("\\lnot", "\\neg"),
        ("\\rightarrow", "\\to"),
        ("\\geq", "\\ge"),
        ("\\leq", "\\le"),
        ("\\neq", "\\ne"),
        ("\\varnothing", "\\emptyset"),
    ];
    let mut result = String::with_capacity(text.len());
    let mut rest = text.trim();
    if !rest.ends_with("..") {
        rest = rest.trim_end_matches('.');
    }
    let mut gap = false;
    while let Some(c) = rest.chars().next() {
        if c == '\\' {
            if let Some(dropped) = DROPPED.into_iter().find(|dropped| is_command(rest, dropped)) {
                gap = true;
                rest = &rest[dropped.len()..];
                continue;
            }
            if let Some((long, short)) = NAMES.into_iter().find(|(long, _)| is_command(rest, long))
            {
                result.push_str(short);
                rest = &rest[long.len()..];
                continue;
            }
            if ["\\dfrac", "\\tfrac"].into_iter().any(|command| rest.starts_with(command)) {
                result.push_str("\\frac");
                rest = &rest[6..];
                continue;
            }
        }
        if c.is_whitespace() || c == '$' {
            gap = true;
        } else {
            if gap && c.is_ascii_digit() && result.ends_with(|last: char| last.is_ascii_digit()) {
                result.push(' ');
            }
            gap = false;
            result.push(c);
        }
        rest = &rest[c.len_utf8()..];
    }
    result
}

/// Whether the text starts with this command and not with a longer one.
fn is_command(text: &str, command: &str) -> bool {
    let Some(rest) = text.strip_prefix(command) else { return false };
    let is_word = command.len() > 2;
    !is_word || !rest.starts_with(|c: char| c.is_ascii_alphabetic())
}
