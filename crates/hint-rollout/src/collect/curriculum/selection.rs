//! Selection of the problems of a step.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::collect::curriculum::record::{ProblemSuccess, SuccessRecord};
use crate::data::Problems;
use crate::error::{RolloutError, Violations};
use crate::run::{EpochOrder, Seed, no_fields};
use crate::sample::SuccessCount;

/// Selection of the problems of a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum ProblemSelection {
    /// Each problem once per epoch; every epoch has another order.
    #[serde(deserialize_with = "no_fields")]
    Epochs,
    /// At random, weighted to problems that the policy solves only sometimes without a hint (CUR-1).
    /// No problem is taken twice in a step while others are left.
    Curriculum {
        /// Weight of a problem that is always or never solved. A problem that is solved half the
        /// time, or was never asked, has weight 1. In `(0, 1]`.
        floor: f64,
    },
    /// A mixture of data sets. Each draw picks one of them at random, by its weight, and takes its next
    /// problem. Each problem comes once per epoch of its data set.
    Mixture {
        /// Column that names the data set of a problem; `dataset` where several files are read.
        #[serde(default = "dataset")]
        by: String,
        /// Weight of each data set, positive. Problems of others are not drawn.
        weights: BTreeMap<String, f64>,
    },
}

fn dataset() -> String {
    crate::data::DATASET.to_owned()
}

impl ProblemSelection {
    /// Indices of the next `count` problems: the run's problems `drawn..`, of which `in_step` were drawn
    /// in this step. A function of the arguments before `kept` alone, so that a resumed run takes the
    /// same ones.
    pub(crate) fn next(
        &self,
        problems: &dyn Problems,
        count: usize,
        place: &DrawContext<'_>,
        kept: &mut Draws,
    ) -> Result<Vec<usize>, RolloutError> {
        let positions = place.drawn..place.drawn + count as u64;
        match self {
            Self::Epochs => Ok(kept.order.take(place.run, problems.len(), positions)),
            Self::Mixture { by, weights } => {
                mixture(problems, (by, weights), place.run, positions, kept)
            }
            Self::Curriculum { floor } => {
                let order = race(problems, place.record, *floor, place.step.named("curriculum"))?;
                let taken = place.in_step..place.in_step + count;
                Ok(taken.map(|at| order[at % order.len()]).collect())
            }
        }
    }

    pub(crate) fn check(&self, at: &mut Violations) {
        match self {
            Self::Epochs => {}
            Self::Curriculum { floor } => at.positive_share("floor", *floor),
            Self::Mixture { weights, .. } => {
                at.require(!weights.is_empty(), "weights", "must name a data set", "none");
                for (name, weight) in weights {
                    at.within("weights", |at| at.positive(name, *weight));
                }
            }
        }
    }

    /// Reports data sets of a mixture that no problem is from.
    pub(crate) fn check_problems(
        &self,
        problems: &dyn Problems,
        at: &mut Violations,
    ) -> Result<(), RolloutError> {
        let Self::Mixture { by, weights } = self else { return Ok(()) };
        let found = problems.by_column(by)?;
        for name in weights.keys() {
            let expected = format!("must be a value of the column `{by}` of some problem");
            at.require(found.contains_key(name), "weights", expected, name);
        }
        Ok(())
    }
}

/// Orders and counts that selections keep from step to step.
#[derive(Debug, Default)]
pub(crate) struct Draws {
    /// Of an epoch over all problems.
    order: EpochOrder,
    counts: DrawCounts,
    /// Of an epoch over each data set of a mixture.
    orders: BTreeMap<String, EpochOrder>,
}

/// Number of draws from each data set of a mixture before a position. It follows from the seed, so that
/// a resumed run needs no cursors. It is kept from step to step to avoid counting from the start.
#[derive(Debug, Default)]
struct DrawCounts {
    /// Key of the counts: the seed, and the weight of each data set.
    of: Option<(Seed, Vec<(String, f64)>)>,
    position: u64,
    by_name: BTreeMap<String, u64>,
}

impl DrawCounts {
    /// Counts the draws before `position`, each of which `drawn` names.
    fn advance<'n>(
        &mut self,
        of: (Seed, Vec<(String, f64)>),
        position: u64,
        drawn: impl Fn(u64) -> Option<&'n str>,
    ) {
        if self.of.as_ref() != Some(&of) || self.position > position {
            *self = Self { of: Some(of), ..Self::default() };
        }
        for name in (self.position..position).filter_map(drawn) {
            match self.by_name.get_mut(name) {
                Some(count) => *count += 1,
                None => {
                    self.by_name.insert(name.to_owned(), 1);
                }
            }
        }
        self.position = position;
    }
}

/// The `positions` of an endless stream over data sets.
fn mixture(
    problems: &dyn Problems,
    (by, weights): (&str, &BTreeMap<String, f64>),
    run: Seed,
    positions: Range<u64>,
    kept: &mut Draws,
) -> Result<Vec<usize>, RolloutError> {
    let Draws { counts, orders, .. } = kept;
    let found = problems.by_column(by)?;
    let weighted = found.iter().filter(|(name, _)| weights.contains_key(*name));
    let members =
        weighted.map(|(name, members)| (name.as_str(), members)).collect::<BTreeMap<_, _>>();
    let total = members.keys().map(|name| weights[*name]).sum::<f64>();
    let seed = run.named("mixture");
    // The data set of a position.
    let drawn = |position: u64| {
        let mut point = seed.child(position).unit() * total;
        let mut names = members.keys();
        let hit = names.find(|name| {
            point -= weights[**name];
            point < 0.0
        });
        hit.or(members.keys().next_back()).copied()
    };
    let of = members.keys().map(|name| ((*name).to_owned(), weights[*name])).collect();
    counts.advance((run, of), positions.start, drawn);
    let names = positions.filter_map(drawn).collect::<Vec<_>>();
    let mut streams = BTreeMap::new();
    for (name, members) in &members {
        let count = names.iter().filter(|drawn| *drawn == name).count() as u64;
        let start = counts.by_name.get(*name).copied().unwrap_or(0);
        let order = orders.entry((*name).to_owned()).or_default();
        let stream = order.take(seed.named(name), members.len(), start..start + count);
        streams.insert(*name, stream.into_iter().map(|index| members[index]));
    }
    Ok(names.iter().filter_map(|name| streams.get_mut(name)?.next()).collect())
}

/// Inputs of a selection.
#[derive(Debug)]
pub(crate) struct DrawContext<'a> {
    /// Seed of the run.
    pub(crate) run: Seed,
    /// Seed of the step.
    pub(crate) step: Seed,
    /// Problems drawn since the start of the run.
    pub(crate) drawn: u64,
    /// Problems drawn in this step.
    pub(crate) in_step: usize,
    /// Success so far; the same for all draws of a step.
    pub(crate) record: &'a SuccessRecord,
}

/// Weighted sampling without replacement. Problem `i` arrives after an exponential time of rate `w_i`,
/// and the earliest come first (Efraimidis and Spirakis 2006).
fn race(
    problems: &dyn Problems,
    record: &SuccessRecord,
    floor: f64,
    seed: Seed,
) -> Result<Vec<usize>, RolloutError> {
    let mut weights = vec![weight(ProblemSuccess::default().last, floor); problems.len()];
    for (index, id) in problems.find(&record.ids().collect())? {
        let success = record.get(id).copied().unwrap_or_default();
        weights[index] = weight(success.last, floor);
    }
    let arrival = |(index, weight): (usize, f64)| {
        let uniform = 1.0 - seed.child(index as u64).unit();
        (-uniform.ln() / weight, index)
    };
    let mut order = weights.into_iter().enumerate().map(arrival).collect::<Vec<_>>();
    order.sort_by(|left, right| left.0.total_cmp(&right.0).then(left.1.cmp(&right.1)));
    Ok(order.into_iter().map(|(_, index)| index).collect())
}

/// Weight of a problem by its un-hinted success on the last visit. (CUR-1)
fn weight(last: SuccessCount, floor: f64) -> f64 {
    let rate = (last.correct as f64 + 1.0) / (last.total as f64 + 2.0);
    floor + (1.0 - floor) * 4.0 * rate * (1.0 - rate)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Problem;

    #[test]
    fn every_epoch_takes_every_item_once() {
        // 4 steps of 3 are two epochs of 6.
        let taken = Seed::new(7).epochs(6, 0..12);
        for epoch in taken.chunks(6) {
            let mut sorted = epoch.to_vec();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2, 3, 4, 5]);
        }
        assert_ne!(taken[..6], taken[6..]);
        // A stream is the same however it is cut, and may be longer than the data.
        assert_eq!(taken[5..12], Seed::new(7).epochs(6, 5..12));
        assert_eq!(Seed::new(0).epochs(2, 0..5).len(), 5);
    }

    #[test]
    fn a_mixture_follows_its_weights_and_each_part_goes_through_its_epochs() {
        let problems = (0..12).map(|id| {
            let mut problem = Problem::new(id.to_string(), "q", "a");
            let name = if id < 4 { "small" } else { "large" };
            problem.columns.insert("dataset".to_owned(), name.into());
            problem
        });
        let problems = problems.collect::<Vec<_>>();
        let weights = BTreeMap::from([("small".to_owned(), 3.0), ("large".to_owned(), 1.0)]);
        let draw = |positions, kept: &mut Draws| {
            mixture(&problems, ("dataset", &weights), Seed::new(5), positions, kept).unwrap()
        };
        let all = draw(0..4000, &mut Draws::default());
        let small = all.iter().copied().filter(|index| *index < 4).collect::<Vec<_>>();
        // A share of 3/4, with a deviation of 0.007.
        assert!((small.len() as f64 / 4000.0 - 0.75).abs() < 0.03, "{}", small.len());
        for epoch in small.chunks_exact(4) {
            let mut sorted = epoch.to_vec();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2, 3]);
        }
        // A stream is the same however it is cut.
        let cuts = [0..13, 13..14, 14..4000];
        let mut kept = Draws::default();
        assert_eq!(cuts.clone().map(|cut| draw(cut, &mut kept)).concat(), all);
        // Nor does it depend on what was counted: from the start, further on, of another run, or going back.
        assert_eq!(cuts.map(|cut| draw(cut, &mut Draws::default())).concat(), all);
        let _ = mixture(&problems, ("dataset", &weights), Seed::new(6), 3000..3001, &mut kept);
        assert_eq!(draw(14..20, &mut kept), all[14..20]);
        assert_eq!(draw(3..9, &mut kept), all[3..9]);
        // Each draw is counted once, however the run is cut.
        assert_eq!(kept.counts.position, 3);
        assert_eq!(kept.counts.by_name.values().sum::<u64>(), 3);
        let mut at = Violations::new();
        let by = "dataset".to_owned();
        let selection = ProblemSelection::Mixture { by, weights };
        selection.check_problems(&problems[..4].to_vec(), &mut at).unwrap();
        assert_eq!(
            at.finish().unwrap_err().to_string(),
            "weights: must be a value of the column `dataset` of some problem, found large"
        );
    }

    #[test]
    fn weights_are_largest_for_what_is_solved_half_the_time() {
        let weight = |correct, total| weight(SuccessCount { correct, total }, 0.25);
        // (4 + 1) / (8 + 2) is a half; a problem that was never asked is one, too.
        assert_eq!(weight(4, 8), 1.0);
        assert_eq!(weight(0, 0), 1.0);
        // 1/10 and 9/10: 0.25 + 0.75 · 4 · 0.09.
        assert!((weight(0, 8) - 0.52).abs() < 1e-12);
        assert!((weight(8, 8) - 0.52).abs() < 1e-12);
    }

    #[test]
    fn the_race_follows_the_weights() {
        let problems = ["half", "never"].map(|id| Problem::new(id, "q", "a")).to_vec();
        let text = r#"{"never": {"plain": {"correct": 0, "total": 98}, "last": {"correct": 0, "total": 98},
            "plain_after_hint": {"correct": 0, "total": 0}, "hinted": {"correct": 0, "total": 0}}}"#;
        let record = serde_json::from_str::<SuccessRecord>(text).unwrap();
        let first = (0..4000_u64)
            .filter(|step| race(&problems, &record, 1e-9, Seed::new(*step)).unwrap()[0] == 1);
        // Weight 4 · 0.01 · 0.99 = 0.0396 against 1: a share of 0.0381, give or take 0.003.
        let share = first.count() as f64 / 4000.0;
        assert!((share - 0.0381).abs() < 0.012, "{share}");
    }
}
