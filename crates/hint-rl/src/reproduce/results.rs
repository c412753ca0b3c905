//! Results of the runs, read back from their folders.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use hint_grpo::{RunDir, metrics};
use hint_rollout::Problem;
use hint_rollout::evaluate::Evaluation;
use serde::Serialize;

use super::arms::Arm;
use super::held_out::{DISTRIBUTION, SET, original};
use crate::run_log::RunLog;

/// One slice of the held-out problems: all of a distribution, or a part of it.
pub(super) type Slice = (String, Option<Part>);

/// A part of a distribution.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// One of its sets, with its place in the file.
    Set(usize, String),
    /// One level of all its sets.
    Level(String),
}

impl Part {
    /// Its name in a table.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Set(_, name) => name.clone(),
            Self::Level(level) => format!("level {level}"),
        }
    }
}

/// The name of a slice in its distribution.
pub(super) fn part_name(slice: &Slice) -> String {
    slice.1.as_ref().map_or_else(|| "all".to_owned(), Part::name)
}

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
    /// Metrics by step: those of [`curves`] that the run has.
    pub(super) curves: BTreeMap<String, Vec<(u64, f64)>>,
    pub(super) seconds: f64,
}

/// The metrics that figures and data show. EUR, UC and Affinity are of all trained tokens, and of each kind of
/// completion. Others are of the distribution that sampled, and of the hint that teaches.
pub(super) fn curves() -> Vec<String> {
    let all = [
        metrics::REWARD,
        metrics::ROLLOUT_PASS_RATE,
        metrics::ROLLOUT_ALL_WRONG_FRAC,
        metrics::ENTROPY_TRAINED,
        metrics::AFFINITY_VALUE,
        metrics::AFFINITY_EUR,
        metrics::AFFINITY_UC,
        metrics::AFFINITY_BEHAVIOR_VALUE,
        metrics::AFFINITY_BEHAVIOR_EUR,
        metrics::AFFINITY_BEHAVIOR_UC,
        metrics::AFFINITY_TEACHER_VALUE,
        metrics::AFFINITY_TEACHER_EUR,
        metrics::AFFINITY_TEACHER_UC,
        metrics::TEACHER_DELTA,
    ];
    let families =
        [metrics::AFFINITY_SOURCE_VALUE, metrics::AFFINITY_SOURCE_EUR, metrics::AFFINITY_SOURCE_UC];
    let of_kinds = families
        .iter()
        .flat_map(|family| KINDS.into_iter().map(|kind| metrics::member(family, kind)));
    all.into_iter().map(str::to_owned).chain(of_kinds).collect()
}

/// Kinds of completions whose Affinity a run measures apart.
const KINDS: [&str; 4] = ["plain", "hinted", "prefix", "demonstration"];

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
        let mut found = BTreeMap::new();
        for name in curves() {
            let values = log.values(&name).collect::<Vec<_>>();
            if !values.is_empty() {
                found.insert(name, values);
            }
        }
        let seconds = log.total(metrics::timings::STEP);
        Ok(Some(Self { arm, seed, points, curves: found, seconds }))
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

/// Share of correct completions of each problem, over all its copies.
fn outcomes(evaluation: &Evaluation) -> BTreeMap<String, f64> {
    let mut counts = BTreeMap::<&str, (usize, usize)>::new();
    for one in &evaluation.problems {
        let count = counts.entry(original(&one.id)).or_default();
        *count = (count.0 + one.correct, count.1 + one.verdicts.len());
    }
    let share = |(correct, count): (usize, usize)| correct as f64 / count.max(1) as f64;
    counts.into_iter().map(|(id, count)| (id.to_owned(), share(count))).collect()
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
        let (mut missing, mut sets) = (0, Vec::new());
        for problem in problems.iter().filter(|problem| original(&problem.id) == problem.id) {
            let mut points = runs.iter().flat_map(|run| &run.points);
            if points.any(|point| !point.outcomes.contains_key(&problem.id)) {
                missing += 1;
                continue;
            }
            let distribution = problem.text_of(DISTRIBUTION).unwrap_or_default();
            let mut parts = vec![None];
            if let Some(set) = problem.text_of(SET) {
                let place = sets.iter().position(|known| *known == set);
                let place = place.unwrap_or_else(|| {
                    sets.push(set.clone());
                    sets.len() - 1
                });
                parts.push(Some(Part::Set(place, set)));
            }
            parts.extend(problem.level.clone().map(|level| Some(Part::Level(level))));
            for part in parts {
                ids.entry((distribution.clone(), part)).or_default().push(problem.id.clone());
            }
        }
        Self { ids, missing }
    }

    /// The slices of one distribution: all of it, then its sets and its levels.
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
