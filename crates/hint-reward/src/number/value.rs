//! An exact number, as texts state them.

use std::fmt;

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{Signed, Zero};

/// Digits beyond which a numeral is no quantity that anybody would compare.
const MAX_DIGITS: usize = 64;

/// A rational number. Equal values are equal, in every notation.
///
/// ```
/// use hint_reward::number::ExactNumber;
///
/// let parse = |text| ExactNumber::parse(text).expect("a number");
/// assert_eq!(parse("0.50"), parse("1/2"));
/// assert_eq!(parse("1,250").to_string(), "1250");
/// assert_eq!(ExactNumber::parse("12a"), None);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExactNumber(BigRational);

impl ExactNumber {
    /// A whole number.
    pub fn whole(value: i64) -> Self {
        Self(BigRational::from_integer(value.into()))
    }

    /// Reads `12`, `-3`, `.25`, `1,250.75` or `1/2`; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (negative, text) = match text.strip_prefix(['-', '−']) {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let value = match text.split_once('/') {
            Some((num, den)) => {
                let (num, den) = (integer(num.trim())?, integer(den.trim())?);
                (!den.is_zero()).then(|| BigRational::new(num, den))?
            }
            None => decimal(text)?,
        };
        Some(Self(if negative { -value } else { value }))
    }

    pub(crate) fn value(&self) -> &BigRational {
        &self.0
    }

    /// Whether the value is a whole number.
    pub fn is_whole(&self) -> bool {
        self.0.is_integer()
    }

    /// The value without its sign.
    #[must_use]
    pub fn magnitude(&self) -> Self {
        Self(self.0.abs())
    }

    pub(super) fn negated(&self) -> Self {
        Self(-self.0.clone())
    }

    pub(super) fn plus(&self, other: &Self) -> Self {
        Self(&self.0 + &other.0)
    }

    pub(super) fn times(&self, other: &Self) -> Self {
        Self(&self.0 * &other.0)
    }

    /// The quotient; `None` by 0.
    pub(super) fn over(&self, other: &Self) -> Option<Self> {
        (!other.0.is_zero()).then(|| Self(&self.0 / &other.0))
    }

    /// `1 / den`; `den` is not 0.
    pub(super) fn part(den: i64) -> Self {
        Self(BigRational::new(1.into(), den.into()))
    }
}

impl fmt::Display for ExactNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Digits, with commas only between groups of three.
fn integer(text: &str) -> Option<BigInt> {
    let mut groups = text.split(',');
    let first = groups.next()?;
    let grouped = text.contains(',');
    let well_formed = (!grouped || first.len() <= 3) && groups.all(|group| group.len() == 3);
    let digits = text.bytes().filter(|byte| *byte != b',').collect::<Vec<_>>();
    let is_number =
        !first.is_empty() && digits.len() <= MAX_DIGITS && digits.iter().all(u8::is_ascii_digit);
    (well_formed && is_number).then(|| BigInt::parse_bytes(&digits, 10))?
}

fn decimal(text: &str) -> Option<BigRational> {
    let Some((whole, decimals)) = text.split_once('.') else {
        return integer(text).map(BigRational::from_integer);
    };
    if decimals.contains(',') {
        return None;
    }
    let whole = if whole.is_empty() { BigInt::ZERO } else { integer(whole)? };
    let places = u32::try_from(decimals.len()).ok()?;
    let digits = integer(decimals)?;
    let scale = BigInt::from(10).pow(places);
    Some(BigRational::new(whole * &scale + digits, scale))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_numbers_are_none() {
        let huge = "9".repeat(65);
        for text in ["", "-", "1.", "1.x", "1/0", "1,00", "1234,567", "12a", "1/2/3", "1e5", &huge]
        {
            assert_eq!(ExactNumber::parse(text), None, "{text}");
        }
    }

    #[test]
    fn values_do_not_depend_on_the_notation() {
        for (left, right) in [("0.250", "1/4"), (".5", "2/4"), ("-0.5", "−1/2"), ("8/4", "2")] {
            assert_eq!(ExactNumber::parse(left), ExactNumber::parse(right), "{left} {right}");
            assert!(ExactNumber::parse(left).is_some());
        }
    }
}
