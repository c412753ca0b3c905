//! Which problems a step takes, and a fingerprint of all of them.

use hint_rollout::Seed;

/// The indices of step `step` (from 0), `count` of `len`: the next ones of an endless stream in which
/// every epoch is a new permutation. A pure function of its arguments, so a resumed run needs no
/// cursor.
pub(crate) fn indices(len: usize, count: usize, seed: u64, step: u64) -> Vec<usize> {
    let (len64, count) = (len as u64, count as u64);
    let seed = Seed::new(seed).named("epoch");
    let mut order: (Option<u64>, Vec<usize>) = (None, Vec::new());
    (step * count..(step + 1) * count)
        .map(|position| {
            let (epoch, index) = (position / len64, position % len64);
            if order.0 != Some(epoch) {
                order = (Some(epoch), permutation(len, seed.child(epoch)));
            }
            order.1[usize::try_from(index).expect("an index below a length fits")]
        })
        .collect()
}

/// `0..len` in `count` parts of nearly equal size, in an order that depends on `seed` alone. One part is
/// `0..len` as it is, and parts that would be empty are left out.
pub(crate) fn parts(len: usize, count: usize, seed: Seed) -> Vec<Vec<usize>> {
    let order = if count <= 1 { (0..len).collect() } else { permutation(len, seed) };
    let count = count.max(1);
    let cut = |part: usize| part * len / count;
    let parts = (0..count).map(|part| order[cut(part)..cut(part + 1)].to_vec());
    parts.filter(|part| !part.is_empty()).collect()
}

/// A permutation of `0..len` that depends on `seed` alone: indices by the hash of their position,
/// which stays the same in every release.
fn permutation(len: usize, seed: Seed) -> Vec<usize> {
    let mut order = (0..len).collect::<Vec<_>>();
    order.sort_by_key(|&index| (seed.child(index as u64).value(), index));
    order
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
    fn permutations_are_permutations_and_differ_by_seed() {
        let first = permutation(50, Seed::new(1));
        let mut sorted = first.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..50).collect::<Vec<_>>());
        assert_ne!(first, permutation(50, Seed::new(2)));
    }

    #[test]
    fn every_epoch_takes_every_item_once() {
        // 4 steps of 3 are two epochs of 6.
        let taken = (0..4).flat_map(|step| indices(6, 3, 7, step)).collect::<Vec<_>>();
        for epoch in taken.chunks(6) {
            let mut sorted = epoch.to_vec();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2, 3, 4, 5]);
        }
        assert_ne!(taken[..6], taken[6..]);
    }

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

    #[test]
    fn a_step_may_be_longer_than_the_data() {
        assert_eq!(indices(2, 5, 0, 0).len(), 5);
    }
}
