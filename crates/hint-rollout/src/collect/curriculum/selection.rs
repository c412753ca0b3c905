//! Which problems a step takes.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::collect::curriculum::record::SuccessRecord;
use crate::data::Problem;
use crate::error::Violations;
use crate::run::{Seed, no_fields};

/// Which problems a step takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum ProblemSelection {
    /// Each problem once per epoch; every epoch has another order.
    #[serde(deserialize_with = "no_fields")]
    Epochs,
    /// At random, in favor of problems that the policy solves now and then without a hint (CUR-1). No
    /// problem is taken twice in a step while others are left.
    Curriculum {
        /// Weight of a problem that is always or never solved; one that is solved half the time, and
        /// one that was never asked, weigh 1. In `(0, 1]`.
        floor: f64,
    },
    /// A mixture of data sets: each draw is from one of them at random, as often as its weight says, and
    /// takes its next problem; each problem comes once per epoch of its data set.
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
    /// in this step. A function of the arguments before `counts` alone, so that a resumed run takes the
    /// same ones.
    pub(crate) fn next(
        &self,
        problems: &[Problem],
        count: usize,
        place: &DrawContext<'_>,
        counts: &mut DrawCounts,
    ) -> Vec<usize> {
        let first = place.drawn;
        match self {
            Self::Epochs => place.run.epochs(problems.len(), first..first + count as u64),
            Self::Mixture { by, weights } => {
                let positions = first..first + count as u64;
                mixture(problems, (by, weights), place.run, positions, counts)
            }
            Self::Curriculum { floor } => {
                let order = race(problems, place.record, *floor, place.step.named("curriculum"));
                (place.in_step..place.in_step + count).map(|at| order[at % order.len()]).collect()
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
    pub(crate) fn check_problems(&self, problems: &[Problem], at: &mut Violations) {
        let Self::Mixture { by, weights } = self else { return };
        for name in weights.keys() {
            let is_there = |problem: &Problem| problem.text_of(by).as_deref() == Some(name);
            let expected = format!("must be a value of the column `{by}` of some problem");
            at.require(problems.iter().any(is_there), "weights", expected, name);
        }
    }
}

/// How often each data set of a mixture was drawn before a position. It follows from the seed, so that a
/// resumed run needs no cursors; kept from step to step, it is not counted from the start each time.
#[derive(Debug, Default)]
pub(crate) struct DrawCounts {
    /// What the counts are of: the seed, and the weight of each data set.
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
    problems: &[Problem],
    (by, weights): (&str, &BTreeMap<String, f64>),
    run: Seed,
    positions: Range<u64>,
    counts: &mut DrawCounts,
) -> Vec<usize> {
    let mut members = BTreeMap::<&str, Vec<usize>>::new();
    for (index, problem) in problems.iter().enumerate() {
        let name = problem.text_of(by);
        if let Some((name, _)) = name.and_then(|name| weights.get_key_value(&name)) {
            members.entry(name).or_default().push(index);
        }
    }
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
        let stream = seed.named(name).epochs(members.len(), start..start + count);
        streams.insert(*name, stream.into_iter().map(|index| members[index]));
    }
    names.iter().filter_map(|name| streams.get_mut(name)?.next()).collect()
}

/// What a selection depends on.
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

/// Weighted sampling without replacement: problem `i` arrives after an exponential time of rate `w_i`,
/// and the earliest come first (Efraimidis and Spirakis 2006).
fn race(problems: &[Problem], record: &SuccessRecord, floor: f64, seed: Seed) -> Vec<usize> {
    let arrival = |index: usize, problem: &Problem| {
        let uniform = 1.0 - seed.child(index as u64).unit();
        -uniform.ln() / weight(record, &problem.id, floor)
    };
    let mut order = problems
        .iter()
        .enumerate()
        .map(|(index, problem)| (arrival(index, problem), index))
        .collect::<Vec<_>>();
    order.sort_by(|left, right| left.0.total_cmp(&right.0).then(left.1.cmp(&right.1)));
    order.into_iter().map(|(_, index)| index).collect()
}

/// How much a problem teaches, by its un-hinted success on the last visit. (CUR-1)
fn weight(record: &SuccessRecord, problem_id: &str, floor: f64) -> f64 {
    let last = record.get(problem_id).map(|success| success.last).unwrap_or_default();
    let rate = (last.correct as f64 + 1.0) / (last.total as f64 + 2.0);
    floor + (1.0 - floor) * 4.0 * rate * (1.0 - rate)
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let draw = |positions, counts: &mut DrawCounts| {
            mixture(&problems, ("dataset", &weights), Seed::new(5), positions, counts)
        };
        let all = draw(0..4000, &mut DrawCounts::default());
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
        let mut counts = DrawCounts::default();
        assert_eq!(cuts.clone().map(|cut| draw(cut, &mut counts)).concat(), all);
        // Nor does it depend on what was counted: from the start, further on, of another run, or going back.
        assert_eq!(cuts.map(|cut| draw(cut, &mut DrawCounts::default())).concat(), all);
        let _ = mixture(&problems, ("dataset", &weights), Seed::new(6), 3000..3001, &mut counts);
        assert_eq!(draw(14..20, &mut counts), all[14..20]);
        assert_eq!(draw(3..9, &mut counts), all[3..9]);
        // Each draw is counted once, however the run is cut.
        assert_eq!(counts.position, 3);
        assert_eq!(counts.by_name.values().sum::<u64>(), 3);
        let mut at = Violations::new();
        let by = "dataset".to_owned();
        let selection = ProblemSelection::Mixture { by, weights };
        selection.check_problems(&problems[..4], &mut at);
        assert_eq!(
            at.finish().unwrap_err().to_string(),
            "weights: must be a value of the column `dataset` of some problem, found large"
        );
    }

    #[test]
    fn weights_are_largest_for_what_is_solved_half_the_time() {
        let counts = |correct, total| {
            let text = format!(
                r#"{{"p": {{"plain": {{"correct": 0, "total": 0}},
                    "last": {{"correct": {correct}, "total": {total}}},
                    "plain_after_hint": {{"correct": 0, "total": 0}},
                    "hinted": {{"correct": 0, "total": 0}}}}}}"#
            );
            serde_json::from_str::<SuccessRecord>(&text).unwrap()
        };
        let weight = |correct, total| weight(&counts(correct, total), "p", 0.25);
        // (4 + 1) / (8 + 2) is a half; a problem that was never asked is one, too.
        assert_eq!(weight(4, 8), 1.0);
        assert_eq!(super::weight(&SuccessRecord::default(), "p", 0.25), 1.0);
        // 1/10 and 9/10: 0.25 + 0.75 · 4 · 0.09.
        assert!((weight(0, 8) - 0.52).abs() < 1e-12);
        assert!((weight(8, 8) - 0.52).abs() < 1e-12);
    }

    #[test]
    fn the_race_follows_the_weights() {
        let problems = ["half", "never"].map(|id| Problem::new(id, "q", "a"));
        let text = r#"{"never": {"plain": {"correct": 0, "total": 98}, "last": {"correct": 0, "total": 98},
            "plain_after_hint": {"correct": 0, "total": 0}, "hinted": {"correct": 0, "total": 0}}}"#;
        let record = serde_json::from_str::<SuccessRecord>(text).unwrap();
        let first =
            (0..4000_u64).filter(|step| race(&problems, &record, 1e-9, Seed::new(*step))[0] == 1);
        // Weight 4 · 0.01 · 0.99 = 0.0396 against 1: a share of 0.0381, give or take 0.003.
        let share = first.count() as f64 / 4000.0;
        assert!((share - 0.0381).abs() < 0.012, "{share}");
    }
}
