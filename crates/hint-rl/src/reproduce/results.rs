//! Results of the runs, read back from their folders.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use hint_grpo::{RunDir, metrics};
use hint_rollout::Problem;
use hint_rollout::evaluate::Evaluation;
use serde::Serialize;

use super::arms::Arm;
use super::scale::DISTRIBUTION;
use crate::run_log::RunLog;

/// One slice of the held-out problems: a distribution, and a level of it or all of them.
pub(super) type Slice = (String, Option<String>);

/// One evaluation of a run.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Point {
    pub(super) step: u64,
    /// Completion tokens sampled up to it, or learned from in a supervised run.
    pub(super) tokens: u64,
    /// Share of correct completions of each held-out problem, by its id.
    #[serde(skip)]
    pub(super) outcomes: BTreeMap<String, f64>,
}

/// One run: an arm with a seed.
#[derive(Debug, Clone)]
pub(super) struct RunResult {
    pub(super) arm: &'static Arm,
    pub(super) seed: u64,
    pub(super) points: Vec<Point>,
    /// Metrics by step.
    pub(super) curves: BTreeMap<&'static str, Vec<(u64, f64)>>,
    pub(super) seconds: f64,
}

/// The metrics that figures show.
pub(super) const CURVES: [&str; 8] = [
    metrics::REWARD,
    metrics::ROLLOUT_PASS_RATE,
    metrics::ROLLOUT_ALL_WRONG_FRAC,
    metrics::ENTROPY_TRAINED,
    metrics::AFFINITY_VALUE,
    metrics::AFFINITY_EUR,
    metrics::AFFINITY_UC,
    metrics::AFFINITY_BEHAVIOR_VALUE,
];

impl RunResult {
    /// Reads the run in `dir`, if it has taken all its `steps`.
    ///
    /// # Errors
    ///
    /// A file that is damaged.
    pub(super) fn read(
        dir: &Path,
        arm: &'static Arm,
        seed: u64,
        steps: u64,
    ) -> Result<Option<Self>> {
        if !is_done(dir, steps)? {
            return Ok(None);
        }
        let log = RunLog::read(dir)?;
        let mut points = Vec::new();
        let mut tokens = 0;
        for step in 0..=steps {
            let of_step = log.timings.iter().filter(|line| line["step"].as_u64() == Some(step));
            tokens +=
                of_step.filter_map(|line| line[metrics::timings::TOKENS].as_u64()).sum::<u64>();
            if let Some(evaluation) = RunDir::evaluation(dir, step)? {
                points.push(Point { step, tokens, outcomes: outcomes(&evaluation) });
            }
        }
        let curves = CURVES.into_iter().map(|name| (name, log.values(name).collect()));
        let seconds = log.total(metrics::timings::STEP);
        Ok(Some(Self { arm, seed, points, curves: curves.collect(), seconds }))
    }

    /// The last evaluation.
    pub(super) fn last(&self) -> &Point {
        &self.points[self.points.len() - 1]
    }

    /// The run at `budget` sampled tokens, on the line between the evaluations before and after. `None` where it was not
    /// reached, and for supervised runs, which sample nothing.
    pub(super) fn at_tokens(&self, budget: u64) -> Option<Point> {
        let after = self.points.iter().position(|point| point.tokens >= budget)?;
        if self.arm.is_supervised() {
            return None;
        }
        let (before, after) = (&self.points[after.saturating_sub(1)], &self.points[after]);
        let span = (after.tokens - before.tokens).max(1) as f64;
        let share = budget.saturating_sub(before.tokens) as f64 / span;
        let between = |(id, value): (&String, &f64)| {
            let start = before.outcomes.get(id).unwrap_or(value);
            (id.clone(), start + (value - start) * share)
        };
        let outcomes = after.outcomes.iter().map(between).collect();
        Some(Point { step: after.step, tokens: budget, outcomes })
    }

    /// The mean of a metric over its steps.
    pub(super) fn mean(&self, name: &str) -> Option<f64> {
        crate::run_log::mean(self.curves.get(name)?.iter().map(|(_, value)| *value))
    }
}

/// Whether the run in `dir` has taken all its steps.
///
/// # Errors
///
/// An evaluation that is damaged.
pub(super) fn is_done(dir: &Path, steps: u64) -> Result<bool> {
    let checkpoints = RunDir::checkpoints(dir).unwrap_or_default();
    let done = checkpoints.last().is_some_and(|(step, _)| *step >= steps);
    Ok(done && RunDir::evaluation(dir, steps)?.is_some())
}

fn outcomes(evaluation: &Evaluation) -> BTreeMap<String, f64> {
    let share = |correct: usize, count: usize| correct as f64 / count.max(1) as f64;
    let outcomes = evaluation.problems.iter();
    outcomes.map(|one| (one.id.clone(), share(one.correct, one.verdicts.len()))).collect()
}

/// The held-out problems, by slice.
#[derive(Debug)]
pub(super) struct Slices {
    /// Ids of the problems of each slice.
    ids: BTreeMap<Slice, Vec<String>>,
    /// Problems of the file that not every evaluation has.
    pub(super) missing: usize,
}

impl Slices {
    /// The slices of the held-out problems that every evaluation of the runs has. A run leaves out problems that are too
    /// long or cannot be judged, and those beyond `evaluation.max_problems`.
    pub(super) fn of(problems: &[Problem], runs: &[RunResult]) -> Self {
        let mut ids = BTreeMap::<Slice, Vec<String>>::new();
        let mut missing = 0;
        for problem in problems {
            let mut points = runs.iter().flat_map(|run| &run.points);
            if points.any(|point| !point.outcomes.contains_key(&problem.id)) {
                missing += 1;
                continue;
            }
            let distribution = problem.text_of(DISTRIBUTION).unwrap_or_default();
            let levels = [None, problem.level.clone()]
                .into_iter()
                .take(1 + usize::from(problem.level.is_some()));
            for level in levels {
                ids.entry((distribution.clone(), level)).or_default().push(problem.id.clone());
            }
        }
        Self { ids, missing }
    }

    /// The slices of one distribution: all of it, then its levels.
    pub(super) fn of_distribution<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Slice> {
        self.ids.keys().filter(move |(distribution, _)| distribution == name)
    }

    /// The problems of a slice at one evaluation.
    ///
    /// # Errors
    ///
    /// An evaluation without one of them.
    pub(super) fn select(
        &self,
        slice: &Slice,
        outcomes: &BTreeMap<String, f64>,
    ) -> Result<Vec<f64>> {
        let ids = self.ids.get(slice).map_or(&[][..], Vec::as_slice);
        let one = |id: &String| {
            outcomes.get(id).copied().with_context(|| format!("an evaluation lacks `{id}`"))
        };
        ids.iter().map(one).collect()
    }
}
