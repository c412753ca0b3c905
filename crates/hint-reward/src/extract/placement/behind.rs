//! The text behind a box.

use super::commands::{OPERATORS, SEPARATORS, SIGNS};
use crate::math::lex::units::{is_unit, is_unit_letter};
use crate::math::parse::counted::computes;
use crate::number::numbers_in;

/// Units in words that a number in front of them takes, beside those of the table.
const SCALES: [&str; 10] = [
    "percent",
    "dozen",
    "hundred",
    "thousand",
    "million",
    "billion",
    "trillion",
    "lakh",
    "crore",
    "percentage",
];

/// The unit that a value takes from the text behind its box, if nothing there makes it a part of something.
pub(super) fn closed(behind: &str, groups: usize, in_formula: bool) -> Option<String> {
    let mut rest = behind;
    for _ in 0..groups {
        rest = rest.trim_start().strip_prefix('}')?;
    }
    let mut in_formula = in_formula;
    let mut suffix = String::new();
    loop {
        let trimmed = rest.trim_start_matches([' ', '\t', '\n', '~']);
        let spaced = trimmed.len() < rest.len();
        if rest[..rest.len() - trimmed.len()].contains('\n') && !in_formula {
            return (!goes_on(trimmed)).then_some(suffix);
        }
        rest = trimmed;
        let mut chars = rest.chars();
        let Some(first) = chars.next() else { return Some(suffix) };
        let next = chars.as_str();
        let is_digit = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
        if let Some(command) = rest.strip_prefix('\\') {
            match behind_command(command, &mut suffix, &mut in_formula) {
                Command::Passes(behind) => rest = behind,
                Command::Ends => return Some(suffix),
                Command::Words(words) => return with_words(suffix, words),
                Command::Joins => return None,
            }
            continue;
        }
        match first {
            '$' => {
                (in_formula, rest) = (false, next.trim_start_matches('$'));
                if is_ordinal(rest) {
                    return Some(suffix);
                }
                if touches(rest) {
                    return None;
                }
            }
            '%' => {
                suffix.push_str("\\%");
                rest = next;
            }
            '°' => {
                suffix.push_str("^\\circ");
                rest = next;
            }
            '^' => {
                let ring = ["\\circ", "{\\circ}", "°", "{°}"];
                rest = ring.into_iter().find_map(|ring| next.strip_prefix(ring))?;
                suffix.push_str("^\\circ");
            }
            '.' | ',' | ':' => return (!is_digit(next)).then_some(suffix),
            '=' | '≈' | '&' | ';' | '⇒' | '→' | '|' | '}' | '`' | '#' => {
                return Some(suffix);
            }
            ')' | ']' => rest = next,
            '!' | '"' | '\'' => return (!in_formula).then_some(suffix),
            '?' => return None,
            '*' | '_' if !in_formula && !spaced => rest = next.trim_start_matches(['*', '_']),
            '-' if !in_formula && next.starts_with(['-', ' ']) => {
                return (!is_digit(next.trim_start_matches(['-', ' ']))).then_some(suffix);
            }
            '<' if !in_formula
                && next.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/' || c == '|') =>
            {
                return Some(suffix);
            }
            '(' => {
                let inside =
                    next.trim_start().trim_start_matches("\\text{").trim_start_matches('\\');
                let is_words = inside.chars().take_while(|c| c.is_alphabetic()).nth(1).is_some();
                let apart = spaced && !in_formula;
                return (apart || is_words).then_some(suffix);
            }
            _ if first.is_ascii_alphanumeric() => {
                return if in_formula || !spaced { None } else { with_words(suffix, rest) };
            }
            _ if first.is_ascii() || "×÷±√·−≠≤≥‰‱′″²³".contains(first) => {
                return None;
            }
            _ => return Some(suffix),
        }
    }
}

/// The effect of a command behind a box.
enum Command<'t> {
    /// None; this text is behind it.
    Passes(&'t str),
    /// It ends the formula.
    Ends,
    /// It holds words.
    Words(&'t str),
    /// It takes the box into a larger formula.
    Joins,
}

/// Reads a command without its backslash. A percent or degree sign joins the suffix.
fn behind_command<'t>(command: &'t str, suffix: &mut String, in_formula: &mut bool) -> Command<'t> {
    if let Some(behind) =
        [",", ";", ":", "!", " "].into_iter().find_map(|space| command.strip_prefix(space))
    {
        return Command::Passes(behind);
    }
    if let Some(behind) = command.strip_prefix('%') {
        suffix.push_str("\\%");
        return Command::Passes(behind);
    }
    if command.starts_with([')', ']']) {
        *in_formula = false;
        let behind = &command[1..];
        return if touches(behind) { Command::Joins } else { Command::Passes(behind) };
    }
    if command.starts_with('\\') {
        return Command::Ends;
    }
    let name = command.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
    let argument = &command[name.len()..];
    match name {
        "text" | "mathrm" | "textrm" | "mbox" | "textbf" => argument
            .trim_start()
            .strip_prefix('{')
            .and_then(|words| words.split('}').next())
            .map_or(Command::Joins, Command::Words),
        "right" => Command::Passes(argument.trim_start_matches([')', ']', '.'])),
        "degree" | "circ" => {
            suffix.push_str("^\\circ");
            Command::Ends
        }
        _ if SEPARATORS.contains(&name) => Command::Ends,
        _ => Command::Joins,
    }
}

/// Whether a line computes with the value in front of it: `+ 1`, `\cdot 2`. An item of a list does not.
fn goes_on(text: &str) -> bool {
    let line = text.lines().next().unwrap_or_default();
    let inside = ["$$", "$", "\\(", "\\["].into_iter().find_map(|open| line.strip_prefix(open));
    let body = inside.unwrap_or(line).trim_start();
    if let Some(command) = body.strip_prefix('\\') {
        let name = command.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
        return name != "sqrt" && OPERATORS.contains(&name);
    }
    let mut chars = body.chars();
    let Some(sign) = chars.next().filter(|sign| SIGNS.contains(*sign)) else { return false };
    let behind = chars.as_str();
    // `---`, `**Check**`, `</p>`
    let is_mark = behind.starts_with(sign)
        || "√∛∜".contains(sign)
        || (sign == '<' && behind.starts_with(|c: char| c.is_alphabetic() || "/|!".contains(c)));
    let is_item = (inside.is_some() || !behind.trim_start().starts_with(|c: char| c.is_numeric()))
        && behind
            .split(|c: char| !c.is_alphabetic() && c != '\\')
            .any(|word| !word.contains('\\') && word.chars().nth(1).is_some());
    !is_mark && !is_item
}

/// Whether a text continues the text before it: `\boxed{1}` and a digit directly behind its dollar sign.
fn touches(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric() || "^/+".contains(c))
}

/// Whether a text starts with the ending of an ordinal: the `th` of `$n$th`.
fn is_ordinal(text: &str) -> bool {
    ["th", "st", "nd", "rd"].iter().any(|end| {
        text.strip_prefix(end)
            .is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric()))
    })
}

/// The power that a unit in front of a text has in a formula of its own: the 2 of `cm$^2$`.
pub(in crate::extract) fn power_of_unit(text: &str) -> Option<&'static str> {
    let power = text.strip_prefix("$^")?.trim_start_matches('{');
    let (digit, behind) = [("2", "2"), ("3", "3")]
        .into_iter()
        .find_map(|(sign, digit)| Some((digit, power.strip_prefix(sign)?)))?;
    behind.trim_start_matches('}').starts_with('$').then_some(digit)
}

/// The suffix with the unit that words start with; `None` if they compute with the value.
fn with_words(mut suffix: String, words: &str) -> Option<String> {
    let words = words.trim_start();
    let end =
        words.find(|c: char| !(c.is_alphabetic() || "/^·".contains(c))).unwrap_or(words.len());
    // `cm^2`
    let power = match words[..end].strip_suffix('^') {
        Some(_) => words[end..].bytes().take_while(u8::is_ascii_digit).count(),
        None => 0,
    };
    let end = end + power;
    let word = &words[..end];
    if computes(words) {
        return None;
    }
    let behind = words[end..].trim_start();
    // `\boxed{64} and a half`
    if word == "and" && numbers_in(behind).first().is_some_and(|number| number.span.start < 3) {
        return None;
    }
    if word == "or" {
        let same = ["equivalently", "approximately", "about", "roughly", "simply"];
        return same.iter().any(|same| behind.starts_with(same)).then_some(suffix);
    }
    let name = word.split(['/', '^']).next().unwrap_or(word);
    let squares = matches!(word, "square" | "cubic");
    let is_letter =
        is_unit_letter(word) && word != "A" && !behind.starts_with(char::is_alphanumeric);
    if is_letter || (is_unit(name) && word != "in") || SCALES.contains(&word) || squares {
        suffix.push_str("\\text{ ");
        suffix.push_str(word);
        // `cm$^2$`
        if let Some(power) = power_of_unit(&words[end..]) {
            suffix.extend(["^", power]);
        }
        if squares || behind.starts_with("per ") {
            let count = if squares { 1 } else { 2 };
            for next in behind.split(|c: char| !c.is_alphabetic()).take(count) {
                suffix.push(' ');
                suffix.push_str(next);
            }
        }
        suffix.push('}');
    }
    Some(suffix)
}
