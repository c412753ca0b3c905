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
    /// Share of correct completions of each held-out problem, in the order of the file.
    #[serde(skip)]
    pub(super) outcomes: Vec<f64>,
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

    /// The last evaluation within `budget` tokens.
    pub(super) fn within(&self, budget: u64) -> &Point {
        let within = self.points.iter().rev().find(|point| point.tokens <= budget);
        within.unwrap_or(&self.points[0])
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

fn outcomes(evaluation: &Evaluation) -> Vec<f64> {
    let share = |correct: usize, count: usize| correct as f64 / count.max(1) as f64;
    evaluation.problems.iter().map(|one| share(one.correct, one.verdicts.len())).collect()
}

/// The held-out problems, by slice.
#[derive(Debug)]
pub(super) struct Slices {
    /// Which problems each slice has, by their places in the file.
    places: BTreeMap<Slice, Vec<usize>>,
}

impl Slices {
    /// The slices of the held-out problems.
    pub(super) fn of(problems: &[Problem]) -> Self {
        let mut places = BTreeMap::<Slice, Vec<usize>>::new();
        for (place, problem) in problems.iter().enumerate() {
            let distribution = problem.text_of(DISTRIBUTION).unwrap_or_default();
            let levels = [None, problem.level.clone()]
                .into_iter()
                .take(1 + usize::from(problem.level.is_some()));
            for level in levels {
                places.entry((distribution.clone(), level)).or_default().push(place);
            }
        }
        Self { places }
    }

    /// The slices of one distribution: all of it, then its levels.
    pub(super) fn of_distribution<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Slice> {
        self.places.keys().filter(move |(distribution, _)| distribution == name)
    }

    /// The problems of a slice at one evaluation.
    ///
    /// # Errors
    ///
    /// An evaluation of fewer problems.
    pub(super) fn select(&self, slice: &Slice, outcomes: &[f64]) -> Result<Vec<f64>> {
        let places = self.places.get(slice).map_or(&[][..], Vec::as_slice);
        let one = |place: &usize| {
            let outcome = outcomes.get(*place).copied();
            outcome.context("an evaluation has fewer problems than the held-out file")
        };
        places.iter().map(one).collect()
    }
}
