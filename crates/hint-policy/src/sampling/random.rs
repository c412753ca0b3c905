//! Random numbers that depend only on their coordinates.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Separates these streams from other uses of the same seed.
const DOMAIN: &[u8; 24] = b"hint-policy sampling v1\0";

/// The random numbers of one completion: number `t` belongs to completion position `t`.
///
/// `ChaCha` counts blocks within a stream. So each number depends only on the request's seed, the
/// completion's index and the position, not on other requests.
#[derive(Debug, Clone)]
pub(crate) struct CompletionRng(ChaCha8Rng);

impl CompletionRng {
    pub(crate) fn new(seed: u64, completion: u64) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..].copy_from_slice(DOMAIN);
        let mut rng = ChaCha8Rng::from_seed(key);
        rng.set_stream(completion);
        Self(rng)
    }

    /// The next number, uniform in `[0, 1)` with 53 random bits.
    pub(crate) fn next_uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 * (-53.0_f64).exp2()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_depend_only_on_their_coordinates() {
        let mut whole = CompletionRng::new(7, 3);
        let numbers: Vec<f64> = (0..40).map(|_| whole.next_uniform()).collect();
        let mut later = CompletionRng::new(7, 3);
        later.0.set_word_pos(2 * 39);
        assert_eq!(later.next_uniform().to_bits(), numbers[39].to_bits());
        assert_ne!(CompletionRng::new(7, 4).next_uniform().to_bits(), numbers[0].to_bits());
        assert_ne!(CompletionRng::new(8, 3).next_uniform().to_bits(), numbers[0].to_bits());
    }

    #[test]
    fn numbers_lie_in_the_unit_interval() {
        let mut rng = CompletionRng::new(0, 0);
        assert!((0..10_000).map(|_| rng.next_uniform()).all(|u| (0.0..1.0).contains(&u)));
    }
}
