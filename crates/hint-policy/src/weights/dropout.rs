//! Dropout whose mask is a function of a seed alone.

use tch::Tensor;

use crate::tensor::len;

/// `x` with a share `rate` of its elements replaced by 0 and the others divided by `1 - rate`.
/// The same seed and shape give the same mask on every device.
pub(crate) fn apply(x: &Tensor, rate: f64, seed: u64) -> Tensor {
    let shape = x.size();
    let count = shape.iter().map(|&size| len(size)).product();
    let mask = Tensor::from_slice(&keep(count, rate, seed)).view(shape.as_slice());
    let mask = mask.to_device(x.device()).to_kind(x.kind());
    x * (mask * (1.0 / (1.0 - rate)))
}

/// Which of `count` elements stay.
fn keep(count: usize, rate: f64, seed: u64) -> Vec<bool> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate below 1 of 2^32 fits"
    )]
    let dropped = (rate * f64::from(u32::MAX)) as u32;
    let mut kept = Vec::with_capacity(count + 1);
    for index in 0..count.div_ceil(2) as u64 {
        let bits = mix(seed, index);
        #[expect(clippy::cast_possible_truncation, reason = "the lower half")]
        kept.extend([(bits >> 32) as u32 >= dropped, bits as u32 >= dropped]);
    }
    kept.truncate(count);
    kept
}

/// Number `index` of the sequence that `seed` starts (SplitMix64).
pub(crate) const fn mix(seed: u64, index: u64) -> u64 {
    let mut z = seed.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Whether `count` draws with probability `rate` may come out `hits` times (5 deviations).
#[cfg(test)]
fn plausible(hits: usize, count: usize, rate: f64) -> bool {
    let deviation = (count as f64 * rate * (1.0 - rate)).sqrt();
    (hits as f64 - count as f64 * rate).abs() <= 5.0 * deviation
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn the_rate_is_met_and_the_expectation_kept() {
        for rate in [0.05, 0.5, 0.9] {
            let x = Tensor::ones([100, 1001], (Kind::Double, Device::Cpu));
            let dropped = apply(&x, rate, 3);
            let zeros = dropped.eq(0.0).sum(Kind::Int64).int64_value(&[]);
            assert!(plausible(len(zeros), 100_100, rate), "{rate}: {zeros}");
            let kept = dropped.max().double_value(&[]);
            assert!((kept - 1.0 / (1.0 - rate)).abs() < 1e-12);
        }
    }

    #[test]
    fn masks_of_different_seeds_are_independent() {
        let (a, b) = (keep(100_000, 0.5, 1), keep(100_000, 0.5, 2));
        let equal = a.iter().zip(&b).filter(|(a, b)| a == b).count();
        assert!(plausible(equal, 100_000, 0.5), "{equal}");
        assert_eq!(keep(1001, 0.5, 1), keep(1001, 0.5, 1));
    }
}
