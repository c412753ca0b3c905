//! Place of each row in the cache, and the rows that attend together.

use std::cmp::Reverse;
use std::ops::Range;

/// Cost of one more group in a step, in positions of one row that attention reads instead. Measured on two
/// cores with SmolLM2-135M. Between 3000 and 100000 it made no difference for evenly spread lengths, and
/// smaller values slowed such work down.
pub(super) const GROUP_COST: usize = 5000;

/// Cost of moving one position of a row to another place, in positions that attention reads.
const MOVE_COST: usize = 2;

/// Rows of similar length attend together, so that a long one costs the others nothing.
///
/// That is for kinds of numbers without a kernel that takes each row by itself. With one, all rows are one group.
///
/// A group is a range of places, padded to the longest row in it. All rows grow by one position in a
/// step, so the best layout stays best until rows come or go. Then rows may lie badly, and are moved
/// once padding has cost as much as moving them does.
#[derive(Debug)]
pub(super) struct Layout {
    /// [`GROUP_COST`]; `None` if all rows are one group for any lengths.
    group_cost: Option<usize>,
    /// The row at each place.
    rows: Vec<usize>,
    plan: Option<Plan>,
    /// Positions that were read since the last move and would not have been with rows in order.
    regret: usize,
}

/// Attention of the rows in their present places.
#[derive(Debug)]
struct Plan {
    groups: Vec<Range<usize>>,
    /// Positions that a step reads and would not read with places in the order `better`.
    excess: usize,
    /// The places by the length of their rows, the longest first.
    better: Vec<usize>,
    /// Cost of the moves.
    moving: usize,
}

/// A row's way from one place to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Move {
    pub(super) from: usize,
    pub(super) to: usize,
}

impl Layout {
    pub(super) const fn new(group_cost: Option<usize>) -> Self {
        Self { group_cost, rows: Vec::new(), plan: None, regret: 0 }
    }

    pub(super) const fn len(&self) -> usize {
        self.rows.len()
    }

    /// The row at each place.
    pub(super) fn rows(&self) -> &[usize] {
        &self.rows
    }

    /// The place of each row.
    pub(super) fn places(&self) -> Vec<usize> {
        let mut places = vec![0; self.rows.len()];
        for (place, &row) in self.rows.iter().enumerate() {
            places[row] = place;
        }
        places
    }

    /// Adds `count` rows behind the others.
    pub(super) fn push(&mut self, count: usize) {
        self.rows.extend(self.rows.len()..self.rows.len() + count);
        self.plan = None;
    }

    /// Keeps the rows `kept`, which get new numbers in this order, and closes the gaps. A row that is
    /// listed twice is copied.
    pub(super) fn retain(&mut self, kept: &[usize]) -> Vec<Move> {
        let places = self.places();
        let mut rows = vec![None; kept.len()];
        let mut waiting = Vec::new();
        for (new, &old) in kept.iter().enumerate() {
            match rows.get_mut(places[old]) {
                Some(place) if place.is_none() => *place = Some(new),
                _ => waiting.push((new, places[old])),
            }
        }
        let mut waiting = waiting.into_iter();
        let mut moves = Vec::new();
        self.rows.clear();
        for (to, row) in rows.into_iter().enumerate() {
            // As many rows wait as places are free.
            let row = row.or_else(|| {
                waiting.next().map(|(new, from)| {
                    moves.push(Move { from, to });
                    new
                })
            });
            self.rows.extend(row);
        }
        self.plan = None;
        moves
    }

    /// Places that attend together in a step of rows with `lens` positions, and the moves before it.
    pub(super) fn arrange(&mut self, lens: &[usize]) -> (Vec<Range<usize>>, Vec<Move>) {
        let Some(group_cost) = self.group_cost else {
            return (std::iter::once(0..self.len()).collect(), Vec::new());
        };
        let plan = match self.plan.take() {
            Some(plan) => plan,
            None => Plan::new(&self.rows, lens, group_cost),
        };
        self.regret += plan.excess;
        if plan.excess == 0 || self.regret < plan.moving {
            return (self.plan.insert(plan).groups.clone(), Vec::new());
        }
        self.regret = 0;
        let moves = plan.better.iter().enumerate();
        let moves = moves.map(|(to, &from)| Move { from, to }).filter(|m| m.from != m.to);
        let moves = moves.collect();
        self.rows = plan.better.iter().map(|&place| self.rows[place]).collect();
        let plan = Plan::new(&self.rows, lens, group_cost);
        (self.plan.insert(plan).groups.clone(), moves)
    }
}

impl Plan {
    fn new(rows: &[usize], lens: &[usize], group_cost: usize) -> Self {
        let here = rows.iter().map(|&row| lens[row]).collect::<Vec<_>>();
        let mut better = (0..rows.len()).collect::<Vec<_>>();
        better.sort_by_key(|&place| Reverse(here[place]));
        let (groups, cost) = partition(&here, group_cost);
        let in_order = better.iter().map(|&place| here[place]).collect::<Vec<_>>();
        let (_, least) = partition(&in_order, group_cost);
        let moved = better.iter().enumerate().filter(|(to, from)| to != *from);
        let moving = MOVE_COST * moved.map(|(_, &from)| here[from]).sum::<usize>();
        Self { groups, excess: cost - least, better, moving }
    }
}

/// The cheapest division of `lens` into ranges, and its cost. Each range costs `group_cost`, and
/// for each of its members the largest length in it.
fn partition(lens: &[usize], group_cost: usize) -> (Vec<Range<usize>>, usize) {
    // For each end, the least cost up to it and where its last range starts.
    let mut best = vec![(0, 0)];
    for end in 1..=lens.len() {
        let mut longest = 0;
        let mut least = (usize::MAX, 0);
        for start in (0..end).rev() {
            longest = longest.max(lens[start]);
            let cost = best[start].0 + longest * (end - start) + group_cost;
            least = least.min((cost, start));
        }
        best.push(least);
    }
    let mut groups = Vec::new();
    let mut end = lens.len();
    while end > 0 {
        let start = best[end].1;
        groups.push(start..end);
        end = start;
    }
    groups.reverse();
    (groups, best[lens.len()].0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn only(group: Range<usize>) -> Vec<Range<usize>> {
        std::iter::once(group).collect()
    }

    #[test]
    fn a_long_row_costs_the_others_nothing() {
        assert_eq!(partition(&[900, 30, 31, 29], 50), (vec![0..1, 1..4], 900 + 3 * 31 + 2 * 50));
        assert_eq!(partition(&[40, 30, 31, 29], 50), (only(0..4), 4 * 40 + 50));
        assert_eq!(partition(&[], 50), (vec![], 0));
    }

    #[test]
    fn rows_are_moved_once_padding_has_cost_as_much() {
        let mut layout = Layout::new(Some(10));
        layout.push(3);
        let mut lens = vec![20, 100, 20];
        // Apart they cost 3 · 10 + 140, in order 2 · 10 + 140; moving two of them costs 2 · 120.
        let mut steps = 0;
        let moves = loop {
            let (groups, moves) = layout.arrange(&lens);
            if !moves.is_empty() {
                assert_eq!(groups, [0..1, 1..3]);
                break moves;
            }
            assert_eq!(groups, [0..1, 1..2, 2..3]);
            for len in &mut lens {
                *len += 1;
            }
            steps += 1;
        };
        assert_eq!(steps, 2 * 120 / 10 - 1);
        assert_eq!(moves, [Move { from: 1, to: 0 }, Move { from: 0, to: 1 }]);
        assert_eq!(layout.rows(), [1, 0, 2]);
        assert_eq!(layout.arrange(&lens), (vec![0..1, 1..3], vec![]));
    }

    #[test]
    fn one_group_needs_no_order() {
        let mut layout = Layout::new(None);
        layout.push(2);
        for _ in 0..1000 {
            assert_eq!(layout.arrange(&[1, 5000]), (only(0..2), vec![]));
        }
    }

    proptest! {
        #[test]
        fn every_row_keeps_what_is_at_its_place(
            changes in prop::collection::vec((0_usize..4, prop::collection::vec(any::<prop::sample::Index>(), 0..6)), 1..12),
        ) {
            // What the cache holds at each place, and what each row should find there.
            let (mut cache, mut rows, mut lens) = (Vec::new(), Vec::<usize>::new(), Vec::new());
            let mut layout = Layout::new(Some(3));
            let apply = |cache: &mut Vec<usize>, moves: &[Move]| {
                let before = cache.clone();
                let last = moves.iter().map(|row| row.to + 1).max().unwrap_or(0);
                cache.resize(last.max(cache.len()), usize::MAX);
                for &Move { from, to } in moves {
                    cache[to] = before[from];
                }
            };
            let mut fresh = 0..;
            for (added, kept) in changes {
                let added = fresh.by_ref().take(added).collect::<Vec<_>>();
                cache.truncate(rows.len());
                cache.extend(&added);
                rows.extend(&added);
                lens.extend(added.iter().map(|row| 1 + row * 7 % 40));
                layout.push(added.len());
                for _ in 0..20 {
                    if rows.is_empty() {
                        break;
                    }
                    let (groups, moves) = layout.arrange(&lens);
                    apply(&mut cache, &moves);
                    prop_assert_eq!(groups.iter().map(ExactSizeIterator::len).sum::<usize>(), rows.len());
                    prop_assert!(groups.windows(2).all(|pair| pair[0].end == pair[1].start));
                    for len in &mut lens {
                        *len += 1;
                    }
                }
                if !rows.is_empty() {
                    let kept = kept.iter().map(|index| index.index(rows.len())).collect::<Vec<_>>();
                    apply(&mut cache, &layout.retain(&kept));
                    rows = kept.iter().map(|&row| rows[row]).collect();
                    lens = kept.iter().map(|&row| lens[row]).collect();
                }
                let places = layout.places();
                for (row, content) in rows.iter().enumerate() {
                    prop_assert_eq!(cache[places[row]], *content);
                }
            }
        }
    }
}
