//! Exact rational numbers that remember how they are written.
//!
//! Templates mix whole numbers, decimals and fractions. Floating point would make `0.1 * 3` differ
//! from `0.3` and turn "is a whole number" into a guess, so everything is a ratio of integers.

use std::cmp::Ordering;
use std::fmt;

/// How a number that is not whole is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Notation {
    /// Came from whole numbers only.
    Whole,
    /// `3/4`
    Fraction,
    /// `0.75`
    Decimal,
}

/// A rational number in lowest terms, with a positive denominator.
#[derive(Debug, Clone, Copy)]
pub struct Number {
    num: i128,
    den: i128,
    notation: Notation,
}

impl Number {
    /// A whole number.
    pub fn whole(value: i128) -> Self {
        Self { num: value, den: 1, notation: Notation::Whole }
    }

    /// `num / den` in lowest terms, or `None` if `den` is 0.
    pub fn ratio(num: i128, den: i128, notation: Notation) -> Option<Self> {
        let divisor = gcd(num, den);
        if den == 0 {
            return None;
        }
        let sign = den.signum();
        Some(Self { num: sign * (num / divisor), den: sign * (den / divisor), notation })
    }

    /// Reads `12`, `-3`, `0.25` or `1/2`; thousands separators are accepted.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Some((num, den)) = text.split_once('/') {
            let (num, den) = (parse_integer(num)?, parse_integer(den)?);
            return Self::ratio(num, den, Notation::Fraction);
        }
        if let Some((whole, decimals)) = text.split_once('.') {
            if decimals.is_empty() || !decimals.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            let den = 10_i128.checked_pow(u32::try_from(decimals.len()).ok()?)?;
            let negative = whole.starts_with('-');
            let whole = if whole.is_empty() { 0 } else { parse_integer(whole)? };
            let decimals: i128 = decimals.parse().ok()?;
            let decimals = if negative { -decimals } else { decimals };
            return Self::ratio(
                whole.checked_mul(den)?.checked_add(decimals)?,
                den,
                Notation::Decimal,
            );
        }
        parse_integer(text).map(Self::whole)
    }

    /// The same value in another notation.
    #[must_use]
    pub fn with_notation(self, notation: Notation) -> Self {
        Self { notation, ..self }
    }

    /// The value if it is whole.
    pub fn as_whole(self) -> Option<i128> {
        (self.den == 1).then_some(self.num)
    }

    /// Whether the value is whole.
    pub fn is_whole(self) -> bool {
        self.den == 1
    }

    /// Whether the value is 0.
    pub fn is_zero(self) -> bool {
        self.num == 0
    }

    /// Sum, or `None` on overflow.
    pub fn plus(self, other: Self) -> Option<Self> {
        let num = self.num.checked_mul(other.den)?.checked_add(other.num.checked_mul(self.den)?)?;
        Self::ratio(num, self.den.checked_mul(other.den)?, self.notation.max(other.notation))
    }

    /// Difference, or `None` on overflow.
    pub fn minus(self, other: Self) -> Option<Self> {
        self.plus(other.negated()?)
    }

    /// Product, or `None` on overflow.
    pub fn times(self, other: Self) -> Option<Self> {
        let (num, den) = (self.num.checked_mul(other.num)?, self.den.checked_mul(other.den)?);
        Self::ratio(num, den, self.notation.max(other.notation))
    }

    /// Quotient, or `None` on overflow and division by 0. Of two whole numbers it is a decimal.
    pub fn over(self, other: Self) -> Option<Self> {
        let (num, den) = (self.num.checked_mul(other.den)?, self.den.checked_mul(other.num)?);
        let notation = match self.notation.max(other.notation) {
            Notation::Whole => Notation::Decimal,
            notation => notation,
        };
        Self::ratio(num, den, notation)
    }

    /// The negative, or `None` on overflow.
    pub fn negated(self) -> Option<Self> {
        Some(Self { num: self.num.checked_neg()?, ..self })
    }

    /// The largest whole number that is not larger.
    #[must_use]
    pub fn floor(self) -> Self {
        Self::whole(self.num.div_euclid(self.den))
    }

    /// The whole number next to it in the direction of 0.
    #[must_use]
    pub fn truncate(self) -> Self {
        Self::whole(self.num / self.den)
    }

    /// Rounded to `digits` decimals; ties go to the even neighbor.
    pub fn round(self, digits: u32) -> Option<Self> {
        let scale = Self::whole(10_i128.checked_pow(digits)?);
        let scaled = self.times(scale)?;
        let floor = scaled.floor();
        let rest = scaled.minus(floor)?;
        let half = Self::ratio(1, 2, Notation::Whole)?;
        let up = match rest.cmp(&half) {
            Ordering::Less => false,
            Ordering::Greater => true,
            Ordering::Equal => floor.num % 2 != 0,
        };
        let rounded = if up { floor.plus(Self::whole(1))? } else { floor };
        Some(rounded.over(scale)?.with_notation(self.notation))
    }

    /// The decimal form, or `None` if it does not end within nine places.
    pub fn to_decimal(self) -> Option<String> {
        const PLACES: u32 = 9;
        let scale = 10_i128.pow(PLACES);
        let scaled = self.num.checked_mul(scale)?;
        if scaled % self.den != 0 {
            return None;
        }
        let digits = (scaled / self.den).unsigned_abs();
        let unit = scale.unsigned_abs();
        let sign = if self.num < 0 { "-" } else { "" };
        let (whole, rest) = (digits / unit, digits % unit);
        let rest = format!("{rest:0width$}", width = PLACES as usize);
        let rest = rest.trim_end_matches('0');
        let point = if rest.is_empty() { "" } else { "." };
        Some(format!("{sign}{whole}{point}{rest}"))
    }

    /// As it is written in a text, or `None` for a decimal that does not end.
    pub fn to_text(self) -> Option<String> {
        match self.notation {
            _ if self.den == 1 => Some(self.num.to_string()),
            Notation::Fraction => Some(format!("{}/{}", self.num, self.den)),
            Notation::Whole | Notation::Decimal => self.to_decimal(),
        }
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        (self.num, self.den) == (other.num, other.den)
    }
}

impl Eq for Number {}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        // Saturating is exact for the magnitudes that `checked_*` lets through.
        self.num.saturating_mul(other.den).cmp(&other.num.saturating_mul(self.den))
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_text() {
            Some(text) => f.write_str(&text),
            None => write!(f, "{}/{}", self.num, self.den),
        }
    }
}

fn gcd(a: i128, b: i128) -> i128 {
    let (mut a, mut b) = (a, b);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    // i128::MIN has no absolute value; a divisor of 1 leaves the ratio as it is.
    a.checked_abs().filter(|divisor| *divisor != 0).unwrap_or(1)
}

/// A whole number with an optional sign; commas only between groups of three digits.
fn parse_integer(text: &str) -> Option<i128> {
    let text = text.trim();
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text),
    };
    let mut groups = digits.split(',');
    let mut plain = groups.next()?.to_owned();
    let grouped = digits.contains(',');
    if grouped && plain.len() > 3 {
        return None;
    }
    for group in groups {
        if group.len() != 3 {
            return None;
        }
        plain.push_str(group);
    }
    if plain.is_empty() || !plain.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(sign * plain.parse::<i128>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(Number::parse(text).and_then(Number::to_text).as_deref(), Some(expected));
    }

    #[test]
    fn numbers_keep_their_notation() {
        check("42", "42");
        check("-7", "-7");
        check("400,000", "400000");
        check("0.250", "0.25");
        check("-0.5", "-0.5");
        check("2/4", "1/2");
        check("8/4", "2");
    }

    #[test]
    fn malformed_numbers_are_none() {
        for text in ["", "-", "1.", "1.x", "1/0", "1,00", "12a", "1/2/3", "1e5"] {
            assert_eq!(Number::parse(text), None, "{text}");
        }
    }

    #[test]
    fn arithmetic_is_exact_and_decimals_win_over_fractions() {
        let tenth = Number::parse("0.1").unwrap();
        assert_eq!(tenth.times(Number::whole(3)), Number::parse("0.3"));
        let third = Number::parse("1/3").unwrap();
        assert_eq!(third.times(Number::whole(3)).unwrap().as_whole(), Some(1));
        assert_eq!(third.plus(tenth).unwrap().to_text(), None);
        assert_eq!(Number::whole(1).over(Number::whole(4)).unwrap().to_text().unwrap(), "0.25");
        assert_eq!(Number::whole(i128::MAX).plus(Number::whole(1)), None);
        assert_eq!(Number::whole(1).over(Number::whole(0)), None);
    }

    #[test]
    fn rounding_ties_go_to_even() {
        let round = |text: &str, digits| Number::parse(text).unwrap().round(digits).unwrap();
        assert_eq!(round("2.5", 0), Number::whole(2));
        assert_eq!(round("3.5", 0), Number::whole(4));
        assert_eq!(round("-1.2", 0), Number::whole(-1));
        assert_eq!(round("1.255", 2), Number::parse("1.26").unwrap());
        assert_eq!(Number::parse("-3.5").unwrap().floor(), Number::whole(-4));
        assert_eq!(Number::parse("-3.5").unwrap().truncate(), Number::whole(-3));
    }
}
