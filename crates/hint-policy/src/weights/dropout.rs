//! Dropout whose mask is a function of a seed alone.

use tch::{Device, Kind, Tensor};

use crate::tensor::{len, size};

/// `x` with a share `rate` of its elements replaced by 0 and the others divided by `1 - rate`.
/// The same seed and shape give the same mask on every device.
pub(crate) fn apply(x: &Tensor, rate: f64, seed: u64) -> Tensor {
    let shape = x.size();
    let count = shape.iter().map(|&size| len(size)).product();
    let mask = if x.device() == Device::Cpu {
        Tensor::from_slice(&keep(count, rate, seed))
    } else {
        keep_in_tensors(count, rate, seed, x.device())
    };
    let mask = mask.view(shape.as_slice()).to_kind(x.kind());
    x * (mask * (1.0 / (1.0 - rate)))
}

/// Number of the 2^32 values of 32 bits for which an element is dropped.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate below 1 of 2^32 fits"
)]
fn dropped(rate: f64) -> u32 {
    (rate * f64::from(u32::MAX)) as u32
}

/// Elements of `count` that stay.
fn keep(count: usize, rate: f64, seed: u64) -> Vec<bool> {
    let dropped = dropped(rate);
    let mut kept = Vec::with_capacity(count + 1);
    for index in 0..count.div_ceil(2) as u64 {
        let bits = mix(seed, index);
        #[expect(clippy::cast_possible_truncation, reason = "the lower half")]
        kept.extend([(bits >> 32) as u32 >= dropped, bits as u32 >= dropped]);
    }
    kept.truncate(count);
    kept
}

/// Pairs whose mask is computed at a time on a device, in a dozen tensors of 64 MiB.
const PAIRS: i64 = 1 << 23;

/// As [`keep`], computed on `device`, so that no mask is sent there. `[count]`, `Bool`.
fn keep_in_tensors(count: usize, rate: f64, seed: u64, device: Device) -> Tensor {
    keep_in_parts(count, rate, seed, device, PAIRS)
}

fn keep_in_parts(count: usize, rate: f64, seed: u64, device: Device, at_a_time: i64) -> Tensor {
    // Products and sums of `Int64` wrap as those of `u64` do; shifts copy the sign, which is masked away.
    let shifted = |z: &Tensor, by: i64| {
        z.bitwise_right_shift_tensor_scalar(by).bitwise_and((1 << (64 - by)) - 1)
    };
    let mixed = |z: &Tensor, by: i64| z.bitwise_xor_tensor(&shifted(z, by));
    let pairs = size(count.div_ceil(2));
    let part = |start: i64| {
        let end = (start + at_a_time).min(pairs);
        let index = Tensor::arange_start(start + 1, end + 1, (Kind::Int64, device));
        let z = index * STEP.cast_signed() + seed.cast_signed();
        let z = mixed(&z, 30) * FACTORS[0].cast_signed();
        let z = mixed(&z, 27) * FACTORS[1].cast_signed();
        let z = mixed(&z, 31);
        let halves = [shifted(&z, 32), z.bitwise_and(i64::from(u32::MAX))];
        Tensor::stack(&halves, 1).view([-1]).ge(i64::from(dropped(rate)))
    };
    let starts = (0..pairs.max(1)).step_by(usize::try_from(at_a_time).unwrap_or(1));
    let parts = starts.map(part).collect::<Vec<_>>();
    Tensor::cat(&parts, 0).narrow(0, 0, size(count))
}

/// Constants of `SplitMix64`.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
const FACTORS: [u64; 2] = [0xBF58_476D_1CE4_E5B9, 0x94D0_49BB_1331_11EB];

/// Number `index` of the sequence that `seed` starts (SplitMix64).
pub(crate) const fn mix(seed: u64, index: u64) -> u64 {
    let mut z = seed.wrapping_add(index.wrapping_add(1).wrapping_mul(STEP));
    z = (z ^ (z >> 30)).wrapping_mul(FACTORS[0]);
    z = (z ^ (z >> 27)).wrapping_mul(FACTORS[1]);
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
    fn masks_are_the_same_on_every_device() {
        for (count, rate, seed) in
            [(0, 0.5, 1), (1, 0.5, 2), (1001, 0.1, u64::MAX), (4096, 0.9, 1 << 63)]
        {
            let mask = keep_in_tensors(count, rate, seed, Device::Cpu);
            assert_eq!(Vec::<bool>::try_from(mask).unwrap(), keep(count, rate, seed));
            let in_parts = keep_in_parts(count, rate, seed, Device::Cpu, 100);
            assert_eq!(Vec::<bool>::try_from(in_parts).unwrap(), keep(count, rate, seed));
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
