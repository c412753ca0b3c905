//! Number literals, with the separators people put into them.

use num_bigint::BigInt;
use num_traits::Zero;

use crate::math::fuel::Stop;
use crate::math::lex::token::Literal;
use crate::math::tree::node::Rational;

/// Digits beyond which a literal is not read: conversion costs the square of the length.
const MAX_DIGITS: usize = 3000;

/// Largest decimal exponent of scientific notation that is read.
const MAX_EXPONENT: i32 = 4000;

/// Reading of a comma between digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Commas {
    /// Between groups of three at the top level it separates thousands, elsewhere items.
    Usual,
    /// The other way round: groups of three are items, and a single comma is a decimal point.
    Unusual,
    /// Always between items.
    Separate,
}

/// A literal with the findings of its reading.
pub(crate) struct Read<'a> {
    pub(crate) literal: Literal<'a>,
    /// Bytes read.
    pub(crate) length: usize,
    /// Whether another [`Commas`] would read it differently.
    pub(crate) ambiguous: bool,
}

/// Reads the literal a text starts with: a digit, or a point and a digit. `nested` marks a literal in
/// brackets, where commas separate items.
pub(crate) fn read_literal(text: &str, commas: Commas, nested: bool) -> Result<Read<'_>, Stop> {
    let bytes = text.as_bytes();
    let mut at = digits(bytes, 0);
    let mut whole = text[..at].to_owned();
    let mut ambiguous = false;
    let mut decimal_comma = None;
    if at > 0 {
        let (grouped, end, soft) = thousands(text, at);
        if !grouped.is_empty() {
            // A group that starts with a zero is no number of its own.
            let must_join = soft || grouped.iter().any(|group| group.starts_with('0'));
            let may_join = whole.len() <= 3 && !whole.starts_with('0');
            if may_join && (must_join || (!nested && commas == Commas::Usual)) {
                for group in &grouped {
                    whole.push_str(group);
                }
                at = end;
                ambiguous = !must_join;
            } else if !nested {
                ambiguous = true;
            }
        } else if let Some(end) = indian(bytes, at) {
            whole.extend(text[at..end].chars().filter(char::is_ascii_digit));
            at = end;
        } else if !nested && commas != Commas::Separate && bytes.get(at) == Some(&b',') {
            let fraction = digits(bytes, at + 1);
            // `3,14` and `0,5` may have a decimal comma; `2,5` is a list.
            let is_long = fraction > at + 2 || (fraction > at + 1 && whole == "0");
            let single = is_long && !matches!(bytes.get(fraction), Some(b',' | b'.'));
            if single {
                ambiguous = true;
                if commas == Commas::Unusual {
                    decimal_comma = Some(at + 1..fraction);
                    at = fraction;
                }
            }
        }
    }
    let raw_end = at;
    let mut fraction = "";
    let mut repeating = String::new();
    let mut is_decimal = false;
    if let Some(range) = decimal_comma {
        fraction = &text[range];
        is_decimal = true;
    } else if bytes.get(at) == Some(&b'.') {
        let end = digits(bytes, at + 1);
        let behind = &text[end..];
        let (repeat, length) = repetend(behind, &text[at + 1..end]);
        let point_ends_number = end == at + 1 && repeat.is_empty();
        // `5.` at the end of a sentence is 5; `5.x` is not read as a decimal either.
        if !point_ends_number {
            fraction = &text[at + 1..end];
            repeating = repeat;
            at = end + length;
            is_decimal = true;
        }
    }
    if whole.len() + fraction.len() + repeating.len() > MAX_DIGITS {
        return Err(Stop::Unreadable("a number with too many digits"));
    }
    let mut value = decimal_value(&whole, fraction, &repeating)
        .ok_or(Stop::Unreadable("a malformed number"))?;
    let mut places = i32::try_from(fraction.len()).unwrap_or(i32::MAX);
    if let Some((exponent, length)) = exponent(&text[at..]) {
        if exponent.abs() > MAX_EXPONENT {
            return Err(Stop::Unreadable("an exponent that is too large"));
        }
        let power = Rational::from_integer(BigInt::from(10).pow(exponent.unsigned_abs()));
        value = if exponent < 0 { value / power } else { value * power };
        places -= exponent;
        at += length;
    }
    // A repeating decimal is exact.
    let places = (is_decimal && repeating.is_empty()).then_some(places);
    Ok(Read { literal: Literal { value, places, raw: &text[..raw_end] }, length: at, ambiguous })
}

/// End of the run of digits at `at`.
fn digits(bytes: &[u8], at: usize) -> usize {
    at + bytes[at.min(bytes.len())..].iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// Groups of exactly three digits behind the first, their end, and a flag. The flag marks a separator that only
/// stands inside numbers (`{,}`, a thin space, a space).
fn thousands(text: &str, mut at: usize) -> (Vec<&str>, usize, bool) {
    const SOFT: [&str; 9] =
        ["{,}", ",\\!", "\\,", "\\ ", "\u{202f}", "\u{a0}", "\u{2009}", "~", " "];
    let mut groups = Vec::new();
    let mut soft = false;
    let bytes = text.as_bytes();
    loop {
        let rest = &text[at..];
        let (mut start, is_soft) =
            match SOFT.into_iter().find(|separator| rest.starts_with(separator)) {
                Some(separator) => (at + separator.len(), true),
                None if rest.starts_with(',') => (at + 1, false),
                None => break,
            };
        if is_soft && !text[at..].starts_with(' ') {
            start += text[start..].len() - text[start..].trim_start_matches(' ').len();
        }
        let end = digits(bytes, start);
        if end != start + 3 {
            // `1,000,00` and `1 000 5` are no grouped numbers.
            if end > start && !(is_soft && text[at..].starts_with(' ')) && !groups.is_empty() {
                return (Vec::new(), at, false);
            }
            break;
        }
        groups.push(&text[start..end]);
        soft |= is_soft;
        at = end;
    }
    (groups, at, soft)
}

/// The end of `12,34,567`: groups of two digits and a last one of three, as in India.
fn indian(bytes: &[u8], first: usize) -> Option<usize> {
    let mut at = first;
    let mut groups = 0;
    while bytes.get(at) == Some(&b',') {
        let end = digits(bytes, at + 1);
        match end - at - 1 {
            2 => groups += 1,
            3 if groups > 0 && first <= 2 && bytes.get(end) != Some(&b',') => return Some(end),
            _ => return None,
        }
        at = end;
    }
    None
}

/// The repeating digits behind a decimal with these digits, and the length of how they are written:
/// `0.\overline{3}`, `0.\bar3`, `0.(3)`, `0.333…`.
fn repetend(text: &str, fraction: &str) -> (String, usize) {
    if let Some(found) = dotted(text) {
        return found;
    }
    let (digits, length) = barred(text, fraction);
    (digits.to_owned(), length)
}

/// The digits of `\\dot{1}8\\dot{5}`, with a dot over the first and the last.
fn dotted(text: &str) -> Option<(String, usize)> {
    let mark = |text: &str| {
        let rest = text.strip_prefix("\\dot")?;
        let inner = rest.strip_prefix('{');
        let digit = inner.unwrap_or(rest).chars().next().filter(char::is_ascii_digit)?;
        let closed = inner.is_none_or(|inner| inner[1..].starts_with('}'));
        closed.then(|| (digit, "\\dot".len() + if inner.is_some() { 3 } else { 1 }))
    };
    let (first, start) = mark(text)?;
    let end = digits(text.as_bytes(), start);
    let (last, length) = mark(&text[end..])?;
    Some((format!("{first}{}{last}", &text[start..end]), end + length))
}

fn barred<'a>(text: &'a str, fraction: &'a str) -> (&'a str, usize) {
    for name in ["\\overline", "\\bar", "\\dot"] {
        let Some(rest) = text.strip_prefix(name) else { continue };
        if let Some(inner) = rest.strip_prefix('{') {
            let end = digits(inner.as_bytes(), 0);
            if end > 0 && inner[end..].starts_with('}') {
                return (&inner[..end], name.len() + end + 2);
            }
        } else if rest.starts_with(|c: char| c.is_ascii_digit()) {
            return (&rest[..1], name.len() + 1);
        }
    }
    if fraction.is_empty()
        && let Some(inner) = text.strip_prefix('(')
    {
        let end = digits(inner.as_bytes(), 0);
        if end > 0 && inner[end..].starts_with(')') {
            return (&inner[..end], end + 2);
        }
    }
    let dots = ["\\ldots", "\\dots", "\\cdots", "...", "…"];
    if let Some(dots) = dots.into_iter().find(|dots| text.starts_with(dots)) {
        // Digits that have already repeated: one three times, several twice.
        for period in 1..=fraction.len() / 2 {
            let (head, block) = fraction.split_at(fraction.len() - period);
            let before = head.strip_suffix(block);
            let repeats = before.is_some_and(|before| period > 1 || before.ends_with(block));
            if repeats {
                return (block, dots.len());
            }
        }
    }
    ("", 0)
}

/// The exponent of scientific notation, `e3` or `E-5`, with its length.
fn exponent(text: &str) -> Option<(i32, usize)> {
    let rest = text.strip_prefix(['e', 'E'])?;
    let sign = usize::from(rest.starts_with(['+', '-']));
    let end = digits(rest.as_bytes(), sign);
    if end == sign || rest[end..].starts_with(|c: char| c.is_ascii_alphabetic()) {
        return None;
    }
    Some((rest[..end].trim_start_matches('+').parse().unwrap_or(i32::MAX), 1 + end))
}

/// The exact value of `whole.fraction repeating…`.
fn decimal_value(whole: &str, fraction: &str, repeating: &str) -> Option<Rational> {
    if fraction.is_empty() && repeating.is_empty() {
        return Some(Rational::from_integer(integer(whole)?));
    }
    let scale = BigInt::from(10).pow(u32::try_from(fraction.len()).ok()?);
    let mut value = Rational::new(integer(&format!("{whole}{fraction}"))?, scale.clone());
    if !repeating.is_empty() {
        let nines = BigInt::from(10).pow(u32::try_from(repeating.len()).ok()?) - 1;
        value += Rational::new(integer(repeating)?, nines * scale);
    }
    Some(value)
}

fn integer(digits: &str) -> Option<BigInt> {
    if digits.is_empty() {
        return Some(BigInt::zero());
    }
    if digits.len() <= 18 {
        return digits.parse::<i64>().ok().map(BigInt::from);
    }
    BigInt::parse_bytes(digits.as_bytes(), 10)
}
