//! Texts with one spelling in the place of several, before they are read.

use std::borrow::Cow;

/// Commands that only spell one character: `1\text{,}234`, `\mu\mathrm{m}`.
pub(crate) fn respelled(text: Cow<'_, str>) -> Cow<'_, str> {
    const SPELLINGS: [(&str, &str); 13] = [
        ("{:}", ":"),
        ("\\|", "|"),
        ("US\\$", "\\$"),
        ("USD\\$", "\\$"),
        ("\\text{,}", "{,}"),
        ("\\mu\\mathrm{m}", "\\text{μm}"),
        ("\\mu\\text{m}", "\\text{μm}"),
        ("\\mu \\mathrm{m}", "\\text{μm}"),
        ("\\mathrm{\\mu m}", "\\text{μm}"),
        ("\\mu\\mathrm{s}", "\\text{μs}"),
        ("\\mu\\mathrm{g}", "\\text{μg}"),
        ("\\ \\Omega", "\\text{Ω}"),
        ("\\,\\Omega", "\\text{Ω}"),
    ];
    let text = with_currency(without_proof_end(text));
    let mut text = match slanted(&text).or_else(|| combination(&text)) {
        Some(fraction) => Cow::Owned(fraction),
        None => text,
    };
    for (from, to) in [("sq. ", "sq "), ("cu. ", "cu ")] {
        if text.contains(from) {
            text = Cow::Owned(text.replace(from, to));
        }
    }
    if !text.contains(['\\', '{']) {
        return text;
    }
    if ["{,}", "{:}", "mu", "Omega", "\\|", "\\$"].into_iter().any(|part| text.contains(part)) {
        for (from, to) in SPELLINGS {
            if text.contains(from) {
                text = Cow::Owned(text.replace(from, to));
            }
        }
    }
    if text.contains("\\times") && VECTORS.iter().any(|mark| text.contains(mark)) {
        text = Cow::Owned(crossed(&text));
    }
    // Mathematics inside a text command: `\text{if $n$ is odd}`.
    if text.contains('$') && text.contains("\\text") {
        text = Cow::Owned(opened_text(&text));
    }
    text
}

/// A text without the sign that ends a proof.
fn without_proof_end(text: Cow<'_, str>) -> Cow<'_, str> {
    const ENDS: [&str; 5] = ["\\blacksquare", "\\qed", "\\qedsymbol", "■", "∎"];
    let trimmed = text.trim_end_matches([' ', '$', '.']);
    match ENDS.iter().find_map(|end| trimmed.strip_suffix(end)) {
        Some(rest) if !rest.trim().is_empty() => {
            let open = rest.matches('$').count() % 2 == 1;
            let rest = rest.trim_end().trim_end_matches(['\\', ' ']);
            Cow::Owned(if open { format!("{rest}$") } else { rest.to_owned() })
        }
        _ => text,
    }
}

/// Currencies in front of their amount as the signs that they stand for: `USD 20`, `Rs. 500`. A dollar sign without a
/// partner is money too.
fn with_currency(text: Cow<'_, str>) -> Cow<'_, str> {
    const NAMES: [(&str, &str); 7] = [
        ("USD", "\\$"),
        ("US$", "\\$"),
        ("EUR", "€"),
        ("GBP", "£"),
        ("Rs.", "₹"),
        ("Rs", "₹"),
        ("INR", "₹"),
    ];
    let trimmed = text.trim_start();
    let trimmed = trimmed
        .strip_prefix("\\text{")
        .filter(|rest| NAMES.iter().any(|(name, _)| rest.starts_with(name)))
        .unwrap_or(trimmed);
    let is_amount =
        |rest: &str| rest.trim_start_matches([' ', '}']).starts_with(|c: char| c.is_ascii_digit());
    if let Some((sign, amount)) = NAMES.iter().find_map(|(name, sign)| {
        Some((sign, trimmed.strip_prefix(name).filter(|rest| is_amount(rest))?))
    }) {
        return Cow::Owned(format!("{sign}{}", amount.trim_start_matches([' ', '}'])));
    }
    match trimmed.strip_prefix('$') {
        Some(amount) if is_amount(amount) && !amount.contains('$') => {
            Cow::Owned(format!("\\${amount}"))
        }
        _ => text,
    }
}

/// Commands that mark a letter as a vector.
const VECTORS: [&str; 6] =
    ["\\vec", "\\overrightarrow", "\\mathbf", "\\boldsymbol", "\\bm", "\\hat"];

/// The `\times` in front of a vector as a command of its own, which no formula has. A cross product is no product of
/// numbers, and its order counts.
fn crossed(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once("\\times") {
        out.push_str(before);
        let next = behind.trim_start_matches([' ', '(', '[', '{']);
        let next = next.strip_prefix("\\left(").unwrap_or(next);
        let is_vector = VECTORS.iter().any(|mark| {
            next.strip_prefix(mark).is_some_and(|name| {
                name.trim_start_matches([' ', '{'])
                    .starts_with(|c: char| c.is_alphabetic() || c == '\\')
            })
        });
        out.push_str(if is_vector { "\\cross" } else { "\\times" });
        rest = behind;
    }
    out.push_str(rest);
    out
}

/// `^5/_6` as a fraction.
fn slanted(text: &str) -> Option<String> {
    let (upper, lower) = text.trim().strip_prefix('^')?.split_once('/')?;
    let part = |text: &str| {
        let inner = text
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'))
            .unwrap_or(text)
            .trim()
            .to_owned();
        (!inner.is_empty() && inner.bytes().all(|byte| byte.is_ascii_digit())).then_some(inner)
    };
    let lower = lower.trim_start_matches(' ').strip_prefix('_')?;
    Some(format!("\\frac{{{}}}{{{}}}", part(upper.trim())?, part(lower.trim())?))
}

/// `{}^{15}C_{4}` and `_{15}C_4` as a binomial coefficient.
fn combination(text: &str) -> Option<String> {
    let text = text.trim();
    let rest = text.strip_prefix("{}").unwrap_or(text).strip_prefix(['^', '_'])?;
    let number = |text: &str| {
        let inner = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or(text);
        let is_number = !inner.is_empty() && inner.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| inner.to_owned())
    };
    let (upper, lower) = rest.split_once("C_")?;
    Some(format!("\\binom{{{}}}{{{}}}", number(upper.trim())?, number(lower.trim())?))
}

/// `\text{if $n$ is odd}` as `\text{if }n\text{ is odd}`.
fn opened_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(at) = rest.find("\\text{") {
        let start = at + "\\text{".len();
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        let Some(end) = rest.find('}') else { break };
        let mut inside = &rest[..end];
        while let Some((before, behind)) = inside.split_once('$') {
            let Some((formula, behind)) = behind.split_once('$') else { break };
            out.extend([before, "}", formula, "\\text{"]);
            inside = behind;
        }
        out.push_str(inside);
        rest = &rest[end..];
    }
    out.push_str(rest);
    out
}
