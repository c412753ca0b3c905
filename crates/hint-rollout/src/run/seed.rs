//! Seeds derived from seeds, so that no random state has to be saved.

use std::ops::Range;

/// A node of a tree of seeds.
///
/// Every random decision of a run has a place in this tree (run, step, problem, stage). Its seed
/// depends on that place alone. A resumed run therefore needs no generator state, and adding a
/// stage does not shift the randomness of another.
///
/// ```
/// use hint_rollout::Seed;
///
/// let run = Seed::new(42);
/// assert_eq!(run.child(7).child(1).value(), run.child(7).child(1).value());
/// assert_ne!(run.child(7).child(1).value(), run.child(1).child(7).value());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Seed(u64);

impl Seed {
    /// The root of a tree.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The `index`-th child.
    #[must_use]
    pub const fn child(self, index: u64) -> Self {
        Self(mix(mix(self.0).wrapping_add(index)))
    }

    /// The child named `name`.
    #[must_use]
    pub const fn named(self, name: &str) -> Self {
        self.child(fnv1a(name.as_bytes()))
    }

    /// A number in `[0, 1)`, uniform over the seeds of a tree.
    pub const fn unit(self) -> f64 {
        (mix(self.0) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A permutation of `0..len`: indices by the hash of their position, which stays the same in every
    /// release.
    pub fn permutation(self, len: usize) -> Vec<usize> {
        let mut order = (0..len).collect::<Vec<_>>();
        order.sort_by_key(|&index| (self.child(index as u64).value(), index));
        order
    }

    /// The `positions` of an endless stream over `0..len` in which every epoch is another
    /// [permutation](Self::permutation). A function of its arguments, so that a resumed run needs no
    /// cursor.
    ///
    /// # Panics
    ///
    /// When `len` is 0 and `positions` is not empty.
    pub fn epochs(self, len: usize, positions: Range<u64>) -> Vec<usize> {
        EpochOrder::default().take(self, len, positions)
    }

    /// The seed itself.
    pub const fn value(self) -> u64 {
        self.0
    }
}

/// The permutation of an epoch, kept for the next call.
#[derive(Debug, Default)]
pub(crate) struct EpochOrder {
    /// Seed, length and epoch of the order.
    of: Option<(Seed, usize, u64)>,
    order: Vec<usize>,
}

impl EpochOrder {
    /// As [`Seed::epochs`].
    pub(crate) fn take(&mut self, seed: Seed, len: usize, positions: Range<u64>) -> Vec<usize> {
        let len64 = len as u64;
        positions
            .map(|position| {
                let (epoch, index) = (position / len64, position % len64);
                if self.of != Some((seed, len, epoch)) {
                    self.order = seed.named("epoch").child(epoch).permutation(len);
                    self.of = Some((seed, len, epoch));
                }
                self.order[usize::try_from(index).expect("an index below a length fits")]
            })
            .collect()
    }
}

/// The finalizer of `SplitMix64` (Steele, Lea and Flood 2014), with its increment.
const fn mix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// FNV-1a, 64 bit: stable across platforms and releases, unlike the hasher of the standard library.
pub(crate) const fn fnv1a(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut index = 0;
    while index < bytes.len() {
        hash = (hash ^ bytes[index] as u64).wrapping_mul(0x0000_0100_0000_01b3);
        index += 1;
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_stable_across_releases() {
        assert_eq!(Seed::new(0).child(0).value(), mix(mix(0)));
        // First output of `SplitMix64` seeded with 0, from its reference implementation.
        assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
    }

    #[test]
    fn permutations_are_permutations_and_differ_by_seed() {
        let first = Seed::new(1).permutation(50);
        let mut sorted = first.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..50).collect::<Vec<_>>());
        assert_ne!(first, Seed::new(2).permutation(50));
    }

    #[test]
    fn siblings_do_not_collide() {
        let mut seen = std::collections::HashSet::new();
        for step in 0..100 {
            for problem in 0..100 {
                assert!(seen.insert(Seed::new(42).child(step).child(problem).value()));
            }
        }
    }
}
