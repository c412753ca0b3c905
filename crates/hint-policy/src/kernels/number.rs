//! Numbers of kernels, and functions of many of them at a time.

use half::bf16;

use crate::ffi::Element;

/// Number of values that sums and maxima take side by side.
pub(super) const LANES: usize = 16;

/// A number that is computed with as `f32`.
pub(crate) trait Number: Element {
    fn wide(self) -> f32;
    /// The nearest number of this type, an even one of two.
    fn narrow(wide: f32) -> Self;
}

impl Number for f32 {
    #[inline(always)]
    fn wide(self) -> f32 {
        self
    }

    #[inline(always)]
    fn narrow(wide: f32) -> Self {
        wide
    }
}

impl Number for bf16 {
    #[inline(always)]
    fn wide(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    #[inline(always)]
    fn narrow(wide: f32) -> Self {
        let bits = wide.to_bits();
        let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1));
        // Rounding must not carry NaN into another number.
        let bits = if wide.is_nan() { bits | 0x0040_0000 } else { rounded };
        Self::from_bits((bits >> 16) as u16)
    }
}

/// Writes `numbers` as `f32` into `wide`.
#[inline(always)]
pub(super) fn widen<T: Number>(numbers: &[T], wide: &mut [f32]) {
    for (wide, number) in wide.iter_mut().zip(numbers) {
        *wide = number.wide();
    }
}

/// The nearest `f32`.
#[expect(clippy::cast_possible_truncation, reason = "it rounds")]
pub(super) fn single(x: f64) -> f32 {
    x as f32
}

/// `e^x` for `x` up to 88, to 2 units in the last place; 0 below -87.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    // Added to a number up to 2^22, it leaves the nearest integer in the last bits.
    const TO_INTEGER: f32 = 12_582_912.0;
    // `ln 2` in two parts, the first with few bits, so that its multiples are exact.
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let shifted = x * std::f32::consts::LOG2_E + TO_INTEGER;
    let power = shifted - TO_INTEGER;
    let rest = x - power * LN_2_HIGH - power * LN_2_LOW;
    // The series of the exponential function; `rest` is at most `ln 2 / 2`.
    let mut series = 1.0 / 5040.0;
    series = series * rest + 1.0 / 720.0;
    series = series * rest + 1.0 / 120.0;
    series = series * rest + 1.0 / 24.0;
    series = series * rest + 1.0 / 6.0;
    series = series * rest + 0.5;
    series = series * rest + 1.0;
    series = series * rest + 1.0;
    let scale = f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000));
    if x < -87.0 { 0.0 } else { series * scale }
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
pub(super) fn sigmoid(x: f32) -> f32 {
    let minus = -x;
    1.0 / (1.0 + exp(if minus > 87.0 { 87.0 } else { minus }))
}

/// `tanh x`, to 5 units in the last place.
#[inline(always)]
pub(super) fn tanh(x: f32) -> f32 {
    let (size, square) = (x.abs(), x * x);
    // The series, for small numbers; the quotient below would lose their last bits.
    let mut series = -1382.0 / 155_925.0;
    series = series * square + 62.0 / 2835.0;
    series = series * square - 17.0 / 315.0;
    series = series * square + 2.0 / 15.0;
    series = series * square - 1.0 / 3.0;
    series = series * square * x + x;
    let power = exp(-2.0 * size);
    let quotient = (1.0 - power) / (1.0 + power);
    if size < 0.4 { series } else { quotient.copysign(x) }
}

/// The largest of `values`; NaN is passed over.
#[inline(always)]
pub(super) fn max<T: Number>(values: &[T]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane = larger(*lane, value.wide());
        }
    }
    rest.iter().map(|value| value.wide()).chain(lanes).fold(f32::NEG_INFINITY, larger)
}

/// The sum of `values`, always in the same order.
#[inline(always)]
pub(super) fn sum(values: &[f32]) -> f32 {
    let mut lanes = [0.0; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += value;
        }
    }
    rest.iter().sum::<f32>() + of_lanes(&lanes)
}

/// The sum of products of `a` and `b`, always in the same order.
#[inline(always)]
pub(super) fn dot<T: Number>(a: &[T], b: &[T]) -> f32 {
    let mut lanes = [0.0; LANES];
    let ((a, rest_a), (b, rest_b)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.iter().zip(b) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += a.wide() * b.wide();
        }
    }
    rest_a.iter().zip(rest_b).map(|(a, b)| a.wide() * b.wide()).sum::<f32>() + of_lanes(&lanes)
}

#[inline(always)]
pub(super) fn of_lanes(lanes: &[f32; LANES]) -> f32 {
    let mut sums = *lanes;
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            sums[lane] += sums[lane + half];
        }
        half /= 2;
    }
    sums[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponentials_are_good_to_the_last_bits() {
        for step in 0..200_000 {
            let x = step as f32 * -4.5e-4 + 2.0;
            let (ours, exact) = (f64::from(exp(x)), f64::from(x).exp());
            if x >= -87.0 {
                assert!((ours / exact - 1.0).abs() < 2.5e-7, "{x}: {ours}, not {exact}");
            } else {
                assert_eq!(ours, 0.0, "{x}");
            }
        }
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn sigmoids_have_their_limits() {
        for (x, exact) in [(0.0, 0.5), (1e9, 1.0), (f32::INFINITY, 1.0), (2.0, 0.880_797_1)] {
            assert!((sigmoid(x) - exact).abs() < 1e-6, "{x}");
        }
        assert!(sigmoid(-1e9) < 1e-37);
    }

    #[test]
    fn hyperbolic_tangents_are_good_to_the_last_bits() {
        for step in -100_000..100_000 {
            let x = step as f32 * 1.3e-4;
            let (ours, exact) = (f64::from(tanh(x)), f64::from(x).tanh());
            assert!((ours - exact).abs() <= 5e-7 * exact.abs(), "{x}: {ours}, not {exact}");
        }
        for (x, exact) in [(1e9, 1.0), (-1e9, -1.0), (f32::NEG_INFINITY, -1.0), (1e-30, 1e-30)] {
            assert_eq!(tanh(x), exact, "{x}");
        }
        assert!(tanh(f32::NAN).is_nan());
    }

    #[test]
    fn bf16_is_rounded_as_half_does() {
        let special = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, 0.0, -0.0, 1e-40];
        let signalling = f32::from_bits(0x7f80_0001);
        let many = (0..100_000_u32).map(|i| f32::from_bits(i.wrapping_mul(2_654_435_761)));
        for x in special.into_iter().chain([signalling]).chain(many) {
            let (ours, theirs) = (<bf16 as Number>::narrow(x), bf16::from_f32(x));
            assert_eq!(ours.to_bits(), theirs.to_bits(), "{x}");
            assert_eq!(ours.wide().to_bits() >> 16, u32::from(theirs.to_bits()));
        }
    }

    #[test]
    fn sums_and_maxima_take_every_number() {
        for len in [0, 1, 15, 16, 17, 40] {
            let values: Vec<f32> = (0..len).map(|i| i as f32 - 50.0).collect();
            assert_eq!(sum(&values), values.iter().sum::<f32>());
            assert_eq!(dot(&values, &values), values.iter().map(|x| x * x).sum::<f32>());
            assert_eq!(max(&values), values.last().copied().unwrap_or(f32::NEG_INFINITY));
        }
    }

    #[test]
    fn products_of_bf16_are_summed_as_those_of_the_same_numbers_in_f32() {
        for len in [0, 1, 15, 16, 17, 40] {
            let number = |i: usize| <bf16 as Number>::narrow(i as f32 * 0.37 - 5.0);
            let numbers: Vec<bf16> = (0..len).map(number).collect();
            let mut wide = vec![0.0; len];
            widen(&numbers, &mut wide);
            assert_eq!(dot(&numbers, &numbers).to_bits(), dot(&wide, &wide).to_bits(), "{len}");
        }
    }
}
