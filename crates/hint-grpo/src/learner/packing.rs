//! Assignment of rows to forward passes.

use crate::metrics::{self, Metrics};
use crate::warning::Warning;

/// Micro-batches: rows that share a forward pass, by index, shortest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Packing {
    /// Every row is in exactly one of them.
    pub(crate) batches: Vec<Vec<usize>>,
    /// The virtual worker of each.
    workers: Vec<usize>,
    /// Tokens of each micro-batch, padding included.
    padded: Vec<usize>,
    /// Tokens of all rows.
    tokens: usize,
    max_tokens: usize,
}

impl Packing {
    /// Packs rows of `lens` tokens into micro-batches of at most `max_tokens` tokens, padding included.
    /// A row that is longer than that has a micro-batch of its own.
    ///
    /// ```text
    /// minimize   Σ_b ( |b| · max_{i∈b} len_i + F ),   |b| · max_{i∈b} len_i ≤ max_tokens        (PACK-1)
    /// ```
    ///
    /// `F` is the fixed cost of a forward and backward pass, in tokens: a sixteenth of `max_tokens`. No other partition
    /// costs less. For given sizes of the micro-batches, rows in order of their length make the longest row of each as
    /// short as possible. So the best partition cuts the sorted rows. Depends on its arguments alone. Source: (PACK-1)
    /// in [the book](../../../book/math.html#micro-batches).
    pub(crate) fn new(lens: &[usize], max_tokens: usize) -> Self {
        let mut order = (0..lens.len()).collect::<Vec<_>>();
        order.sort_by_key(|&row| lens[row]);
        let fixed = (max_tokens / 16).max(1);
        // Of the first `end` rows: what they cost at least, and where their last micro-batch starts.
        let mut best = vec![(0_usize, 0_usize)];
        for end in 1..=order.len() {
            let longest = lens[order[end - 1]];
            let mut choice = (usize::MAX, end - 1);
            for start in (0..end).rev() {
                let padded = longest.saturating_mul(end - start);
                if end - start > 1 && padded > max_tokens {
                    break;
                }
                let cost = best[start].0.saturating_add(padded).saturating_add(fixed);
                // Of equals the larger micro-batch.
                if cost <= choice.0 {
                    choice = (cost, start);
                }
            }
            best.push(choice);
        }
        let mut batches = Vec::new();
        let mut end = order.len();
        while end > 0 {
            let start = best[end].1;
            batches.push(order[start..end].to_vec());
            end = start;
        }
        batches.reverse();
        let longest = |batch: &Vec<usize>| batch.last().map_or(0, |&row| lens[row]);
        let padded = batches.iter().map(|batch| batch.len() * longest(batch)).collect();
        let workers = vec![0; batches.len()];
        Self { batches, workers, padded, tokens: lens.iter().sum(), max_tokens }
    }

    /// As [`Packing::new`] for each of `workers` virtual workers, to which the rows are dealt in the order of their length.
    pub(crate) fn dealt(lens: &[usize], max_tokens: usize, workers: usize) -> Self {
        if workers == 1 {
            return Self::new(lens, max_tokens);
        }
        let mut order = (0..lens.len()).collect::<Vec<_>>();
        order.sort_by_key(|&row| lens[row]);
        let mut all = Self::new(&[], max_tokens);
        for worker in 0..workers {
            let rows = order.iter().skip(worker).step_by(workers).copied().collect::<Vec<_>>();
            let own = Self::new(&rows.iter().map(|&row| lens[row]).collect::<Vec<_>>(), max_tokens);
            all.workers.extend(own.batches.iter().map(|_| worker));
            let named = |batch: Vec<usize>| batch.into_iter().map(|at| rows[at]).collect();
            all.batches.extend(own.batches.into_iter().map(named));
            all.padded.extend(own.padded);
            all.tokens += own.tokens;
        }
        all
    }

    /// The micro-batches of the virtual workers that `owns` picks, with their indices.
    pub(crate) fn of(
        &self,
        owns: impl Fn(usize) -> bool,
    ) -> impl Iterator<Item = (usize, &[usize])> {
        let batches = self.batches.iter().zip(&self.workers).enumerate();
        let own = batches.filter(move |(_, (_, worker))| owns(**worker));
        own.map(|(index, (batch, _))| (index, batch.as_slice()))
    }

    /// Micro-batches that exceed the budget, each with a single row.
    fn oversized(&self) -> impl Iterator<Item = usize> {
        self.padded.iter().copied().filter(|padded| *padded > self.max_tokens)
    }

    /// Adds number, size and padding of the micro-batches of one optimizer step.
    pub(crate) fn report(&self, metrics: &mut Metrics, warnings: &mut Vec<Warning>) {
        let padded = self.padded.iter().sum::<usize>() as f64;
        let padding = padded - self.tokens as f64;
        metrics.add(metrics::MICRO_BATCHES, self.batches.len() as f64, 1.0);
        metrics.add(metrics::MICRO_BATCH_PADDING, padding, padded);
        metrics.add(metrics::MICRO_BATCH_OVERSIZED, self.oversized().count() as f64, 1.0);
        for tokens in &self.padded {
            metrics.add_max(metrics::MICRO_BATCH_TOKENS, *tokens as f64);
        }
        if let Some(tokens) = self.oversized().max() {
            let rows = self.oversized().count();
            warnings.push(Warning::OversizedRows { rows, tokens, budget: self.max_tokens });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(batches: &[Vec<usize>], lens: &[usize], max_tokens: usize) -> Option<usize> {
        batches
            .iter()
            .map(|batch| {
                let padded = batch.len() * batch.iter().map(|&row| lens[row]).max()?;
                let fits = batch.len() == 1 || padded <= max_tokens;
                fits.then_some(padded + (max_tokens / 16).max(1))
            })
            .sum()
    }

    /// The least cost over all partitions of the rows from `next` on, added to `batches`.
    fn least(
        batches: &mut Vec<Vec<usize>>,
        next: usize,
        lens: &[usize],
        max_tokens: usize,
    ) -> Option<usize> {
        if next == lens.len() {
            return cost(batches, lens, max_tokens);
        }
        let mut found = None;
        for index in 0..=batches.len() {
            if index == batches.len() {
                batches.push(Vec::new());
            }
            batches[index].push(next);
            let candidate = least(batches, next + 1, lens, max_tokens);
            found = [found, candidate].into_iter().flatten().min();
            batches[index].pop();
            if batches[index].is_empty() {
                batches.pop();
            }
        }
        found
    }

    #[test]
    fn no_partition_of_seven_rows_costs_less() {
        for case in 0..60_u64 {
            let seed = hint_rollout::Seed::new(case);
            let draw = |index: u64| usize::try_from(seed.child(index).value() % 30).expect("small");
            let lens = (0..7).map(|row| 1 + draw(row)).collect::<Vec<_>>();
            let max_tokens = 10 + 3 * draw(99);
            let packing = Packing::new(&lens, max_tokens);
            let found = cost(&packing.batches, &lens, max_tokens);
            assert_eq!(
                found,
                least(&mut Vec::new(), 0, &lens, max_tokens),
                "{lens:?} {max_tokens}"
            );
            let mut rows = packing.batches.concat();
            rows.sort_unstable();
            assert_eq!(rows, (0..7).collect::<Vec<_>>());
        }
    }

    #[test]
    fn memory_does_not_depend_on_the_order_of_the_rows() {
        let lens = [90, 10, 12, 88, 11, 95, 10, 9];
        let packing = Packing::new(&lens, 200);
        let mut reversed = lens;
        reversed.reverse();
        let other = Packing::new(&reversed, 200);
        assert_eq!(packing.padded, other.padded);
        assert!(packing.padded.iter().all(|padded| *padded <= 200), "{packing:?}");
        // Five short rows together, two long ones, and the longest.
        assert_eq!(packing.padded, [60, 180, 95]);
    }

    #[test]
    fn rows_are_dealt_to_workers_by_length() {
        let lens = [9, 2, 7, 3, 3];
        let packing = Packing::dealt(&lens, 12, 2);
        let of = |worker| packing.of(|other| other == worker).collect::<Vec<_>>();
        // In order of length: rows 1, 3, 4, 2, 0.
        assert_eq!(of(0), [(0, &[1, 4][..]), (1, &[0][..])]);
        assert_eq!(of(1), [(2, &[3][..]), (3, &[2][..])]);
        assert_eq!((packing.tokens, packing.padded.iter().sum::<usize>()), (24, 25));
        assert_eq!(Packing::dealt(&lens, 12, 1), Packing::new(&lens, 12));
        // A worker may have nothing.
        assert_eq!(Packing::dealt(&[4], 12, 3).batches, [[0]]);
    }

    #[test]
    fn a_row_beyond_the_budget_is_alone_and_is_reported() {
        let packing = Packing::new(&[3, 50, 4], 20);
        assert_eq!(packing.batches, [vec![0, 2], vec![1]]);
        let (mut metrics, mut warnings) = (Metrics::new(), Vec::new());
        packing.report(&mut metrics, &mut warnings);
        assert_eq!(warnings, [Warning::OversizedRows { rows: 1, tokens: 50, budget: 20 }]);
        assert!(warnings[0].to_string().contains("run.max_tokens_per_micro_batch"));
        assert_eq!(metrics.get(metrics::MICRO_BATCH_OVERSIZED), Some(1.0));
        assert_eq!(metrics.get(metrics::MICRO_BATCH_TOKENS), Some(50.0));
        assert_eq!(metrics.get(metrics::MICRO_BATCHES), Some(2.0));
        assert_eq!(metrics.get(metrics::MICRO_BATCH_PADDING), Some(1.0 / 58.0));
        assert!(Packing::new(&[], 20).batches.is_empty());
    }
}
