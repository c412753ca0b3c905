//! The parts of a rollout batch, and a fingerprint of the training data.

use hint_rollout::Seed;

/// `0..len` in `count` parts of nearly equal size, in an order that depends on `seed` alone. One part is
/// `0..len` as it is, and parts that would be empty are left out.
pub(crate) fn parts(len: usize, count: usize, seed: Seed) -> Vec<Vec<usize>> {
    let order = if count <= 1 { (0..len).collect() } else { seed.permutation(len) };
    let count = count.max(1);
    let cut = |part: usize| part * len / count;
    let parts = (0..count).map(|part| order[cut(part)..cut(part + 1)].to_vec());
    parts.filter(|part| !part.is_empty()).collect()
}

/// Number of items, and CRC-32 over their parts in order.
pub(crate) fn fingerprint<'a, P>(items: impl Iterator<Item = P>) -> String
where
    P: IntoIterator<Item = &'a [u8]>,
{
    let mut hasher = crc32fast::Hasher::new();
    let mut count = 0;
    for item in items {
        count += 1;
        for part in item {
            hasher.update(part);
            hasher.update(&[0]);
        }
    }
    format!("{count}-{:08x}", hasher.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_have_every_item_once_and_change_with_the_seed() {
        let first = parts(10, 4, Seed::new(1));
        assert_eq!(first.iter().map(Vec::len).collect::<Vec<_>>(), [2, 3, 2, 3]);
        let mut sorted = first.concat();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..10).collect::<Vec<_>>());
        assert_ne!(first, parts(10, 4, Seed::new(2)));
        assert_eq!(parts(3, 1, Seed::new(1)), [[0, 1, 2]]);
        assert_eq!(parts(2, 5, Seed::new(1)).len(), 2);
    }
}
