//! The minibatches of a batch, each for one optimizer step.

use hint_rollout::Seed;

use super::sample::SampleBatch;
use crate::objective::StepTotals;

/// `0..len` in `count` parts of nearly equal size, in an order that depends on `seed` alone. One part is
/// all of `0..len`, and empty parts are left out.
pub(super) fn split(len: usize, count: usize, seed: Seed) -> Vec<Vec<usize>> {
    let order = if count <= 1 { (0..len).collect() } else { seed.permutation(len) };
    let count = count.max(1);
    let cut = |part: usize| part * len / count;
    let parts = (0..count).map(|part| order[cut(part)..cut(part + 1)].to_vec());
    parts.filter(|part| !part.is_empty()).collect()
}

/// Indices of the samples that one optimizer step trains on.
#[derive(Debug)]
pub(super) struct Minibatch {
    /// Samples of the policy objective that have a gradient.
    pub(super) policy: Vec<usize>,
    /// Counts for its denominators: also of samples without a gradient.
    pub(super) totals: StepTotals,
    /// Samples of the supervised loss, in the order of the groups.
    pub(super) sft: Vec<usize>,
    /// Whether the weights have not changed since the first optimizer step of the batch began.
    pub(super) is_first: bool,
    /// Whether the metric `entropy` counts these samples, since it counts all.
    pub(super) counts_all: bool,
}

impl Minibatch {
    /// The samples of `groups`. `has_gradient` marks those with a gradient of the policy objective.
    pub(super) fn new(
        batch: &SampleBatch,
        groups: &[usize],
        has_gradient: &[bool],
        is_first: bool,
    ) -> Self {
        let mut place = vec![None; batch.groups];
        for (position, &group) in groups.iter().enumerate() {
            place[group] = Some(position);
        }
        let (mut policy, mut sft, mut totals) = (Vec::new(), Vec::new(), StepTotals::new(0, 0));
        for (index, sample) in batch.samples.iter().enumerate() {
            let Some(position) = place[sample.group] else { continue };
            if sample.policy_weight.is_some() {
                totals.rows += 1;
                totals.tokens += sample.trained_tokens();
                if has_gradient[index] {
                    policy.push(index);
                }
            }
            if sample.sft_weight.is_some() {
                sft.push((position, index));
            }
        }
        sft.sort_unstable();
        let sft = sft.into_iter().map(|(_, index)| index).collect();
        Self { policy, totals, sft, is_first, counts_all: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_have_every_item_once_and_change_with_the_seed() {
        let first = split(10, 4, Seed::new(1));
        assert_eq!(first.iter().map(Vec::len).collect::<Vec<_>>(), [2, 3, 2, 3]);
        let mut sorted = first.concat();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..10).collect::<Vec<_>>());
        assert_ne!(first, split(10, 4, Seed::new(2)));
        assert_eq!(split(3, 1, Seed::new(1)), [[0, 1, 2]]);
        assert_eq!(split(2, 5, Seed::new(1)).len(), 2);
    }
}
