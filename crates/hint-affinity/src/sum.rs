//! Sums in double-double arithmetic.

use std::ops::{Add, Div, Mul, Sub};

/// An unevaluated sum `high + low` of two doubles, about 106 significant bits.
///
/// The variance of the log-ratios comes from raw moments, `E[d²] − E[d]²`, because only raw moments can be added
/// across batches in any order. In plain doubles that difference loses everything once the spread is below 1e-8 of
/// the mean. In double-double it keeps 12 digits until the spread is below 1e-10 of the mean. The order of
/// summation moves the result by less than one unit in the last place of a double.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct DoubleDouble {
    high: f64,
    low: f64,
}

impl DoubleDouble {
    pub(crate) fn product(a: f64, b: f64) -> Self {
        let high = a * b;
        Self { high, low: a.mul_add(b, -high) }
    }

    pub(crate) fn to_f64(self) -> f64 {
        self.high + self.low
    }

    /// Error-free `a + b` for any magnitudes (Knuth).
    fn two_sum(a: f64, b: f64) -> Self {
        let high = a + b;
        let b_part = high - a;
        Self { high, low: (a - (high - b_part)) + (b - b_part) }
    }

    /// Error-free `a + b` for `|a| >= |b|` (Dekker).
    fn quick_two_sum(a: f64, b: f64) -> Self {
        let high = a + b;
        Self { high, low: b - (high - a) }
    }
}

impl From<f64> for DoubleDouble {
    fn from(value: f64) -> Self {
        Self { high: value, low: 0.0 }
    }
}

impl Add for DoubleDouble {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let high = Self::two_sum(self.high, other.high);
        let low = Self::two_sum(self.low, other.low);
        let first = Self::quick_two_sum(high.high, high.low + low.high);
        Self::quick_two_sum(first.high, first.low + low.low)
    }
}

impl Sub for DoubleDouble {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self + Self { high: -other.high, low: -other.low }
    }
}

impl Mul for DoubleDouble {
    type Output = Self;

    fn mul(self, other: Self) -> Self {
        let product = Self::product(self.high, other.high);
        let cross = self.high.mul_add(other.low, self.low * other.high);
        Self::quick_two_sum(product.high, product.low + cross)
    }
}

impl Div for DoubleDouble {
    type Output = Self;

    fn div(self, other: Self) -> Self {
        let first = self.high / other.high;
        let rest = self - other * first.into();
        let second = rest.high / other.high;
        let rest = rest - other * second.into();
        Self::quick_two_sum(first, second) + Self::from(rest.high / other.high)
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "the values are exact by construction")]
mod tests {
    use super::*;

    #[test]
    fn a_small_term_survives_a_large_one() {
        let sum = DoubleDouble::from(1e16) + DoubleDouble::from(1.0) - DoubleDouble::from(1e16);
        assert_eq!(sum.to_f64(), 1.0);
    }

    #[test]
    fn a_product_keeps_the_bits_a_double_drops() {
        // (1 + 2^-30)² = 1 + 2^-29 + 2^-60; the last term does not fit beside 1 in a double.
        let square = DoubleDouble::product(1.0 + 2f64.powi(-30), 1.0 + 2f64.powi(-30));
        let rest = square - DoubleDouble::from(1.0) - DoubleDouble::from(2f64.powi(-29));
        assert_eq!(rest.to_f64(), 2f64.powi(-60));
    }

    #[test]
    fn division_undoes_multiplication() {
        let third = DoubleDouble::from(1.0) / DoubleDouble::from(3.0);
        let rest = third * DoubleDouble::from(3.0) - DoubleDouble::from(1.0);
        assert!(rest.to_f64().abs() < 1e-30);
    }
}
