//! Which problems a step takes.

use serde::{Deserialize, Serialize};

use crate::collect::curriculum::record::SuccessRecord;
use crate::data::Problem;
use crate::error::Violations;
use crate::run::{Seed, no_fields};

/// Which problems a step takes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
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
}

impl ProblemSelection {
    /// Indices of the next `count` problems: the run's problems `drawn..`, of which `in_step` were drawn
    /// in this step. A function of the arguments alone, so that a resumed run takes the same ones.
    pub(crate) fn next(
        self,
        problems: &[Problem],
        count: usize,
        place: &DrawContext<'_>,
    ) -> Vec<usize> {
        let first = place.drawn;
        match self {
            Self::Epochs => place.run.epochs(problems.len(), first..first + count as u64),
            Self::Curriculum { floor } => {
                let order = race(problems, place.record, floor, place.step.named("curriculum"));
                (place.in_step..place.in_step + count).map(|at| order[at % order.len()]).collect()
            }
        }
    }

    pub(crate) fn check(self, at: &mut Violations) {
        if let Self::Curriculum { floor } = self {
            at.positive_share("floor", floor);
        }
    }
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
