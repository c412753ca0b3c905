//! Answers in words whose meaning is mathematics, a date or a time of day.

use crate::math::parse::calendar::{date, time_of_day};
use crate::math::tree::node::{Expr, Node};
use crate::number::word::cardinal;

/// Bytes beyond which a text is no such phrase.
const MAX_BYTES: usize = 80;

/// What a whole text says if it is a phrase: `no solution`, `twelve`, `March 14, 2015`, `3:30 p.m.`
pub(crate) fn phrase(text: &str) -> Option<Node> {
    if text.len() > MAX_BYTES || !text.bytes().any(|byte| byte.is_ascii_alphabetic()) {
        return None;
    }
    let words = plain_words(text)?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if let [word] = words.as_slice()
        && let Some(value) = cardinal(word)
    {
        return Some(Node::Expr(Expr::integer(value)));
    }
    match words.as_slice() {
        ["no", "solution" | "solutions"]
        | ["no", "real", "solution" | "solutions"]
        | ["the", "empty", "set"]
        | ["empty", "set"] => Some(Node::Set(Vec::new())),
        ["all", "reals"]
        | ["all", "real", "numbers" | "values"]
        | ["any", "real", "number"]
        | ["real", "numbers"] => Some(Node::NumberSet('R')),
        ["dne"] | ["does", "not", "exist"] => Some(Node::text("does not exist")),
        _ => time_of_day(&words).or_else(|| date(&words)),
    }
}

/// The words of a text in lower case, without text commands, dollar signs and punctuation; `None` if there is any
/// other mathematics in it.
fn plain_words(text: &str) -> Option<Vec<String>> {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if c == '\\' {
            let command =
                ["\\text{", "\\textbf{", "\\textit{", "\\mathrm{", "\\mbox{", "\\ ", "\\,"]
                    .into_iter()
                    .find(|command| rest.starts_with(command))?;
            plain.push(' ');
            rest = &rest[command.len()..];
            continue;
        }
        match c {
            '}' | '~' | ',' | ';' => plain.push(' '),
            '$' | '.' | '"' | '\'' => {}
            ':' => plain.push(c),
            _ if c.is_alphanumeric() || c.is_whitespace() => plain.extend(c.to_lowercase()),
            _ => return None,
        }
        rest = &rest[c.len_utf8()..];
    }
    Some(plain.split_whitespace().map(ToOwned::to_owned).collect())
}
