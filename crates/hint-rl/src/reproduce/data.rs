//! The report's numbers as JSON, and as one CSV row per run, evaluation and slice.

use std::fmt::Write as _;

use anyhow::Result;
use serde_json::{Value, json};

use super::report::{At, Report};
use super::results::{Point, RunResult, part_name};
use super::stats::average;

const DISTRIBUTIONS: [&str; 2] = ["in", "out"];

impl Report<'_> {
    /// One row per run, evaluation and slice.
    ///
    /// # Errors
    ///
    /// As [`Report::tables`].
    pub(super) fn csv(&self) -> Result<String> {
        let mut csv =
            "arm,origin,seed,step,tokens,distribution,part,problems,accuracy\n".to_owned();
        for run in self.runs {
            let (arm, mark, seed) = (run.arm.name, run.arm.origin.mark(), run.seed);
            for point in &run.points {
                let Point { step, tokens, .. } = point;
                for (distribution, part, problems, accuracy) in self.by_slice(point)? {
                    // Writing to a string cannot fail.
                    let _ = writeln!(
                        csv,
                        "{arm},{mark},{seed},{step},{tokens},{distribution},{part},{problems},{accuracy}"
                    );
                }
            }
        }
        Ok(csv)
    }

    /// Distribution, part, number of problems and accuracy of each slice.
    fn by_slice(&self, point: &Point) -> Result<Vec<(&'static str, String, usize, f64)>> {
        let mut found = Vec::new();
        for name in DISTRIBUTIONS {
            for slice in self.slices.of_distribution(name) {
                let values = self.slices.select(slice, &point.outcomes)?;
                found.push((name, part_name(slice), values.len(), average(&values)));
            }
        }
        Ok(found)
    }

    /// Runs with their evaluations, every comparison with the first arm, the questions, and the curves.
    ///
    /// # Errors
    ///
    /// As [`Report::tables`].
    pub(super) fn json(&self) -> Result<Value> {
        let runs = self.runs.iter().map(|run| self.run_json(run)).collect::<Result<Vec<_>>>()?;
        Ok(json!({
            "budget_tokens": self.budget, "runs": runs, "comparisons": self.comparisons()?,
            "questions": self.answers_json()?, "curves": self.curves_json()?,
        }))
    }

    fn run_json(&self, run: &RunResult) -> Result<Value> {
        let mut points = Vec::new();
        for point in &run.points {
            let slices = self.by_slice(point)?.into_iter();
            let accuracy = slices.map(|(distribution, part, problems, accuracy)| {
                json!({ "distribution": distribution, "part": part, "problems": problems, "accuracy": accuracy })
            });
            let accuracy = accuracy.collect::<Vec<_>>();
            points
                .push(json!({ "step": point.step, "tokens": point.tokens, "accuracy": accuracy }));
        }
        let means = run.curves.keys().map(|name| (name.clone(), json!(run.mean(name))));
        let means = means.collect::<serde_json::Map<_, _>>();
        Ok(json!({
            "arm": run.arm.name, "origin": run.arm.origin, "seed": run.seed, "seconds": run.seconds,
            "points": points, "means": means,
        }))
    }

    /// Every arm against the first one, on every slice.
    fn comparisons(&self) -> Result<Vec<Value>> {
        let Some(first) = self.first() else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for (arm, runs) in self.arms() {
            let is_first = arm.name == first[0].arm.name;
            let tokens = self.equal_tokens(runs, first);
            let places = [(At::End, None)].into_iter();
            let places = places.chain(tokens.map(|tokens| (At::Tokens(tokens), Some(tokens))));
            for (at, tokens) in places {
                let slices =
                    DISTRIBUTIONS.iter().flat_map(|name| self.slices.of_distribution(name));
                for slice in slices {
                    let paired =
                        if is_first { None } else { self.against(runs, first, slice, at)? };
                    found.push(json!({
                        "arm": arm.name, "against": first[0].arm.name, "distribution": slice.0,
                        "part": part_name(slice), "at": if tokens.is_some() { "equal_tokens" } else { "equal_steps" },
                        "tokens": tokens, "accuracy": self.accuracy(runs, slice, at)?, "paired": paired,
                    }));
                }
            }
        }
        Ok(found)
    }
}
