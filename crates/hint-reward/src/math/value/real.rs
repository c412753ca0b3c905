//! Real numbers with about 31 digits, as unevaluated sums of two doubles.

use std::cmp::Ordering;
use std::ops::{Add, Div, Mul, Neg, Sub};

use num_bigint::BigInt;
use num_traits::{Signed, ToPrimitive, Zero};

use crate::math::tree::node::Rational;

/// An unevaluated sum `high + low`, with `|low|` at most half a unit in the last place of `high`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Real {
    high: f64,
    low: f64,
}

/// Relative error of one arithmetic operation, with room to spare.
pub(crate) const EPSILON: f64 = 1.0e-31;

/// Relative error of one function, with room to spare.
pub(crate) const FUNCTION_EPSILON: f64 = 1.0e-28;

pub(crate) const PI: Real = Real { high: std::f64::consts::PI, low: 1.224_646_799_147_353_2e-16 };
pub(crate) const E: Real = Real { high: std::f64::consts::E, low: 1.445_646_891_729_250_2e-16 };
const LN_2: Real = Real { high: std::f64::consts::LN_2, low: 2.319_046_813_846_299_6e-17 };
const HALF_PI: [f64; 3] =
    [std::f64::consts::FRAC_PI_2, 6.123_233_995_736_766e-17, -1.497_384_904_859_17e-33];

/// Largest magnitude whose sine is computed: beyond it the reduction by π loses too many digits.
const MAX_ANGLE: f64 = 1.0e6;

impl Real {
    pub(crate) const ZERO: Self = Self { high: 0.0, low: 0.0 };
    pub(crate) const ONE: Self = Self { high: 1.0, low: 0.0 };

    pub(crate) fn from_f64(value: f64) -> Self {
        Self { high: value, low: 0.0 }
    }

    /// The nearest value of a rational, within 1e-31 relative; `None` beyond the range of doubles.
    pub(crate) fn from_rational(value: &Rational) -> Option<Self> {
        if value.is_zero() {
            return Some(Self::ZERO);
        }
        if value.is_integer()
            && let Some(small) = value.numer().to_i64()
        {
            return Some(Self::from_i64(small));
        }
        let (numerator, up) = Self::from_big(value.numer())?;
        let (denominator, down) = Self::from_big(value.denom())?;
        let result = (numerator / denominator).scaled(i32::try_from(up - down).ok()?);
        result.is_normal().then_some(result)
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "the rounded value is back within a bit of i64"
    )]
    fn from_i64(value: i64) -> Self {
        let high = value as f64;
        let low = (i128::from(value) - high as i128) as f64;
        quick_two_sum(high, low)
    }

    /// The leading 126 bits, and the power of two that was taken out.
    fn from_big(value: &BigInt) -> Option<(Self, i64)> {
        let bits = value.bits();
        let shift = bits.saturating_sub(126);
        let top = (value.magnitude() >> shift).to_u128()?;
        let high = top as f64;
        let rest = top.wrapping_sub(high.to_u128()?).cast_signed();
        let mut result = quick_two_sum(high, rest as f64);
        if value.is_negative() {
            result = -result;
        }
        Some((result, i64::try_from(shift).ok()?))
    }

    /// Times a power of two.
    fn scaled(self, power: i32) -> Self {
        // In two steps, as the power of two alone may leave the range.
        let half = power / 2;
        let (first, second) = (2f64.powi(half), 2f64.powi(power - half));
        Self { high: self.high * first * second, low: self.low * first * second }
    }

    pub(crate) fn to_f64(self) -> f64 {
        self.high
    }

    pub(crate) fn is_zero(self) -> bool {
        self.high == 0.0
    }

    pub(crate) fn is_negative(self) -> bool {
        self.high < 0.0
    }

    /// Neither zero nor infinite nor so small that digits are lost.
    pub(crate) fn is_normal(self) -> bool {
        self.high.is_finite() && self.high.abs() > 1e-270
    }

    pub(crate) fn is_finite(self) -> bool {
        self.high.is_finite() && self.low.is_finite()
    }

    pub(crate) fn abs(self) -> Self {
        if self.is_negative() { -self } else { self }
    }

    pub(crate) fn sqrt(self) -> Self {
        if self.high <= 0.0 {
            return Self::ZERO;
        }
        let guess = Self::from_f64(self.high.sqrt());
        // One Newton step doubles the digits.
        (guess + self / guess).scaled(-1)
    }

    pub(crate) fn floor(self) -> Self {
        let high = self.high.floor();
        if high.total_cmp(&self.high).is_eq() {
            quick_two_sum(high, self.low.floor())
        } else {
            Self::from_f64(high)
        }
    }

    /// e to this power; infinite beyond the range of doubles.
    pub(crate) fn exp(self) -> Self {
        if self.high > 700.0 {
            return Self::from_f64(f64::INFINITY);
        }
        if self.high < -600.0 {
            return Self::ZERO;
        }
        let k = (self.high / LN_2.high).round();
        let reduced = (self - LN_2 * Self::from_f64(k)).scaled(-6);
        // expm1 by its series, then squared six times through (1 + u)² − 1 = u(2 + u), which keeps small u exact.
        let mut term = reduced;
        let mut sum = reduced;
        for n in 2..16 {
            term = term * reduced / Self::from_f64(f64::from(n));
            sum = sum + term;
        }
        for _ in 0..6 {
            sum = sum * (sum + Self::from_f64(2.0));
        }
        #[expect(clippy::cast_possible_truncation, reason = "k is at most 1010 in magnitude")]
        let power = k as i32;
        (sum + Self::ONE).scaled(power)
    }

    /// Natural logarithm of a positive number.
    pub(crate) fn ln(self) -> Self {
        let guess = Self::from_f64(self.high.ln());
        // Newton on exp(y) = x. The quotient x·exp(−y) is near 1, so nothing is lost.
        let step = |y: Self| y + self * (-y).exp() - Self::ONE;
        step(step(guess))
    }

    /// Sine and cosine; `None` for an angle too large to reduce.
    pub(crate) fn sin_cos(self) -> Option<(Self, Self)> {
        if self.high.abs() > MAX_ANGLE {
            return None;
        }
        let turns = (self.high / HALF_PI[0]).round();
        let mut reduced = self;
        for part in HALF_PI {
            reduced = reduced - two_product(turns, part);
        }
        let square = reduced * reduced;
        let (mut sine, mut cosine) = (reduced, Self::ONE);
        let (mut sine_term, mut cosine_term) = (reduced, Self::ONE);
        for n in 1..14 {
            let n = f64::from(2 * n);
            cosine_term = -(cosine_term * square) / Self::from_f64(n * (n - 1.0));
            sine_term = -(sine_term * square) / Self::from_f64(n * (n + 1.0));
            cosine = cosine + cosine_term;
            sine = sine + sine_term;
        }
        #[expect(clippy::cast_possible_truncation, reason = "turns is below 1e6 in magnitude")]
        let quadrant = (turns as i64).rem_euclid(4);
        Some(match quadrant {
            0 => (sine, cosine),
            1 => (cosine, -sine),
            2 => (-sine, -cosine),
            _ => (-cosine, sine),
        })
    }

    /// The angle of the point `(x, self)`.
    pub(crate) fn atan2(self, x: Self) -> Self {
        let guess = Self::from_f64(self.high.atan2(x.high));
        let Some((sine, cosine)) = guess.sin_cos() else { return Self::ZERO };
        let radius = (self * self + x * x).sqrt();
        if radius.is_zero() {
            return Self::ZERO;
        }
        // The sine of the remaining angle, which is about 1e-16: its cube does not count.
        guess + (self * cosine - x * sine) / radius
    }
}

impl PartialOrd for Real {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match self.high.partial_cmp(&other.high) {
            Some(Ordering::Equal) => self.low.partial_cmp(&other.low),
            ordering => ordering,
        }
    }
}

impl Neg for Real {
    type Output = Self;

    fn neg(self) -> Self {
        Self { high: -self.high, low: -self.low }
    }
}

impl Add for Real {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let high = two_sum(self.high, other.high);
        let low = two_sum(self.low, other.low);
        let first = quick_two_sum(high.high, high.low + low.high);
        quick_two_sum(first.high, first.low + low.low)
    }
}

impl Sub for Real {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self + -other
    }
}

impl Mul for Real {
    type Output = Self;

    fn mul(self, other: Self) -> Self {
        let product = two_product(self.high, other.high);
        quick_two_sum(product.high, product.low + (self.high * other.low + self.low * other.high))
    }
}

impl Div for Real {
    type Output = Self;

    fn div(self, other: Self) -> Self {
        let first = self.high / other.high;
        let rest = self - other * Self::from_f64(first);
        let second = rest.high / other.high;
        let rest = rest - other * Self::from_f64(second);
        quick_two_sum(first, second) + Self::from_f64(rest.high / other.high)
    }
}

/// Error-free sum for any magnitudes (Knuth).
fn two_sum(a: f64, b: f64) -> Real {
    let high = a + b;
    let part = high - a;
    Real { high, low: (a - (high - part)) + (b - part) }
}

/// Error-free sum for `|a| >= |b|` (Dekker).
fn quick_two_sum(a: f64, b: f64) -> Real {
    let high = a + b;
    Real { high, low: b - (high - a) }
}

/// Error-free product.
fn two_product(a: f64, b: f64) -> Real {
    let high = a * b;
    Real { high, low: a.mul_add(b, -high) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(actual: Real, expected: Real) {
        let error = (actual - expected).abs().to_f64();
        let scale = expected.abs().to_f64().max(1e-3);
        assert!(error <= 1e-29 * scale, "{actual:?} is not {expected:?}: {error:e}");
    }

    fn r(value: f64) -> Real {
        Real::from_f64(value)
    }

    #[test]
    fn elementary_functions_agree_with_each_other() {
        for value in [0.001, 0.3, 0.5, 1.0, 2.0, 3.7, 10.0, 123.456] {
            let x = r(value);
            check(x.ln().exp(), x);
            check(x.sqrt() * x.sqrt(), x);
            check((x + r(1.0)).ln().exp(), x + r(1.0));
            let (sine, cosine) = x.sin_cos().expect("a small angle");
            check(sine * sine + cosine * cosine, Real::ONE);
            let (double, _) = (x + x).sin_cos().expect("a small angle");
            check(double, r(2.0) * sine * cosine);
        }
        for value in [-1.4, -0.2, 0.7, 1.2] {
            let (sine, cosine) = r(value).sin_cos().expect("a small angle");
            check(sine.atan2(cosine), r(value));
        }
    }

    #[test]
    fn constants_carry_31_digits() {
        check(Real::ONE.exp(), E);
        check(r(2.0).ln(), LN_2);
        check(Real::ZERO.atan2(-Real::ONE), PI);
        check(Real::ONE.atan2(Real::ZERO), PI / r(2.0));
    }

    #[test]
    fn rationals_round_correctly_and_overflow_is_none() {
        let third = Rational::new(1.into(), 3.into());
        check(Real::from_rational(&third).expect("in range") * r(3.0), Real::ONE);
        let huge = Rational::from_integer(BigInt::from(10).pow(400));
        assert!(Real::from_rational(&huge).is_none());
        assert!(Real::from_rational(&huge.recip()).is_none());
        let long = Rational::new(BigInt::from(10).pow(300) + 1, BigInt::from(10).pow(299));
        check(Real::from_rational(&long).expect("in range"), r(10.0));
        let big = Rational::from_integer(BigInt::from(i64::MAX));
        check(Real::from_rational(&big).expect("in range") + Real::ONE, r(2f64.powi(63)));
    }
}
