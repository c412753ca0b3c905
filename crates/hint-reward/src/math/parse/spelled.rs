//! Numbers in words: `three hundred and forty-two`, `two and a half`, `minus three`, `seventy-five percent`, `四分之三`.

use num_traits::One;

use crate::math::tree::node::{Expr, Node, Rational};
use crate::number::{NumberRole, is_number_word, numbers_in};

/// Bytes beyond which a text is no number in words.
const MAX_BYTES: usize = 100;

/// The number that a whole text spells.
pub(crate) fn spelled_number(text: &str) -> Option<Node> {
    if text.len() > MAX_BYTES {
        return None;
    }
    let text = text.trim().trim_end_matches('.').trim();
    if let Some(value) = chinese(text) {
        return Some(Node::Expr(Expr::Number(value)));
    }
    let lowered = text.to_ascii_lowercase();
    let mut words = lowered.as_str();
    let mut sign = Rational::one();
    for (name, factor) in [("minus ", -1), ("negative ", -1), ("plus ", 1), ("exactly ", 1)] {
        if let Some(rest) = words.strip_prefix(name) {
            (words, sign) = (rest.trim_start(), Rational::from_integer(factor.into()));
            break;
        }
    }
    let percent =
        [" percent", " per cent", "%"].into_iter().find_map(|suffix| words.strip_suffix(suffix));
    let (words, scale) = match percent {
        Some(rest) => (rest.trim_end(), Rational::new(1.into(), 100.into())),
        None => (words, Rational::one()),
    };
    if sign.is_one()
        && scale.is_one()
        && let Some(decimal) = point(words)
    {
        return Some(Node::Expr(decimal));
    }
    // A number in digits alone is read elsewhere, with its notation.
    let in_digits = words.bytes().all(|byte| !byte.is_ascii_alphabetic());
    let has_digit = words.bytes().any(|byte| byte.is_ascii_digit());
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, ' ' | '-' | '.' | ',');
    if !words.chars().all(allowed) || (in_digits && (sign.is_one() || !has_digit)) {
        return None;
    }
    // "a dozen", "a half"
    let counted =
        ["a ", "an "].into_iter().find_map(|article| words.strip_prefix(article)).unwrap_or(words);
    // Most words are none, and the first tells.
    let first = counted.split([' ', '-']).next().unwrap_or_default();
    if !has_digit && !is_number_word(first) {
        return None;
    }
    let [mention] = <[_; 1]>::try_from(numbers_in(counted)).ok()?;
    let whole = mention.span == (0..counted.len());
    let states = match mention.role {
        NumberRole::Quantity | NumberRole::Fraction => true,
        NumberRole::Loose => counted == "one",
        _ => false,
    };
    if !whole || !states || (has_digit && !in_digits) {
        return None;
    }
    let value = mention.readings.first()?.value() * sign * scale;
    Some(Node::Expr(Expr::Number(value)))
}

/// `one point five`, digit by digit behind the point.
fn point(words: &str) -> Option<Expr> {
    let (whole, digits) = words.split_once(" point ")?;
    let mut places = 0;
    let ten = Rational::from_integer(10.into());
    let Node::Expr(Expr::Number(mut value)) = spelled_number(whole)? else { return None };
    let mut unit = Rational::one();
    for digit in digits.split(' ') {
        let Node::Expr(Expr::Number(digit)) = spelled_number(digit)? else { return None };
        if !digit.is_integer() || digit >= ten {
            return None;
        }
        unit /= &ten;
        value += digit * &unit;
        places += 1;
    }
    Some(Expr::Decimal { value, places })
}

/// A Chinese numeral: digits with 十百千万亿, 分之 for a fraction, 负 for minus, 半 for a half.
fn chinese(text: &str) -> Option<Rational> {
    if text.is_ascii() {
        return None;
    }
    if let Some(rest) = text.strip_prefix('负') {
        return chinese(rest).map(|value| -value);
    }
    if let Some((denominator, numerator)) = text.split_once("分之") {
        let (numerator, denominator) = (whole(numerator)?, whole(denominator)?);
        let hundred = denominator == 0 && text.starts_with('百');
        let denominator = if hundred { 100 } else { denominator };
        return (denominator > 0).then(|| Rational::new(numerator.into(), denominator.into()));
    }
    if text == "半" || text == "一半" {
        return Some(Rational::new(1.into(), 2.into()));
    }
    whole(text).map(|value| Rational::from_integer(value.into()))
}

fn whole(text: &str) -> Option<i64> {
    let (mut total, mut section, mut digit) = (0_i64, 0_i64, None::<i64>);
    let mut seen = false;
    for c in text.chars() {
        seen = true;
        let value = match c {
            '零' | '〇' => 0,
            '一' => 1,
            '二' | '两' => 2,
            '三' => 3,
            '四' => 4,
            '五' => 5,
            '六' => 6,
            '七' => 7,
            '八' => 8,
            '九' => 9,
            '十' | '百' | '千' => {
                let unit = if c == '十' {
                    10
                } else if c == '百' {
                    100
                } else {
                    1000
                };
                section = section.checked_add(digit.take().unwrap_or(1) * unit)?;
                continue;
            }
            '万' | '亿' => {
                let unit = if c == '万' { 10_000 } else { 100_000_000 };
                let part = section + digit.take().unwrap_or(0);
                total = total.checked_add(part)?.checked_mul(unit)?;
                section = 0;
                continue;
            }
            _ => return None,
        };
        // Two digits in a row are no numeral of this kind, except for the filler 零.
        if digit.is_some_and(|digit| digit != 0) {
            return None;
        }
        digit = Some(value);
    }
    seen.then(|| total + section + digit.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_words_are_read() {
        for (text, numerator, denominator) in [
            ("thirty-six", 36, 1),
            ("four hundred and seven", 407, 1),
            ("two dozen", 24, 1),
            ("a dozen", 12, 1),
            ("eighteen hundred", 1800, 1),
            ("three and a half", 7, 2),
            ("five sixths", 5, 6),
            ("minus twelve", -12, 1),
            ("negative 4", -4, 1),
            ("forty percent", 2, 5),
            ("two million", 2_000_000, 1),
            ("五分之二", 2, 5),
            ("三百二十一", 321, 1),
            ("负十五", -15, 1),
        ] {
            let expected =
                Node::Expr(Expr::Number(Rational::new(numerator.into(), denominator.into())));
            assert_eq!(spelled_number(text), Some(expected), "{text}");
        }
        for text in [
            "",
            "12",
            "x",
            "the third",
            "two or three",
            "one of them",
            "5 cm",
            "3 and 4",
            "Step two",
        ] {
            assert_eq!(spelled_number(text), None, "{text}");
        }
    }
}
