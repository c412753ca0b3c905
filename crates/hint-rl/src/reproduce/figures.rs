//! Figures F1 to F5, with intervals.

use std::collections::BTreeMap;

use anyhow::Result;
use hint_grpo::metrics;
use serde_json::{Value, json};

use super::arms::{Arm, Section};
use super::report::{At, Report};
use super::results::{Part, RunResult};
use super::stats::{Interval, average};
use super::svg::{Line, chart};

/// Most places of a curve; neighbors are averaged.
const PLACES: u64 = 50;

/// One place of a curve of an arm.
#[derive(Debug, Clone, Copy)]
struct Place {
    step: f64,
    tokens: f64,
    value: Interval,
}

/// The name of an arm, with the places of its curve.
type Curve = (&'static str, Vec<Place>);

/// Affinity of a kind of tokens, the arms that a figure shows of it, and the names of its parts.
type Source = (&'static str, Section, [String; 3]);

fn sources() -> [Source; 4] {
    let own = |names: [&str; 3]| names.map(str::to_owned);
    let families =
        [metrics::AFFINITY_SOURCE_EUR, metrics::AFFINITY_SOURCE_UC, metrics::AFFINITY_SOURCE_VALUE];
    [
        (
            "all trained tokens",
            Section::Methods,
            own([metrics::AFFINITY_EUR, metrics::AFFINITY_UC, metrics::AFFINITY_VALUE]),
        ),
        (
            "hinted completions",
            Section::Ablation,
            families.map(|family| metrics::member(family, "hinted")),
        ),
        (
            "hinted completions, of behavior",
            Section::Ratio,
            own([
                metrics::AFFINITY_BEHAVIOR_EUR,
                metrics::AFFINITY_BEHAVIOR_UC,
                metrics::AFFINITY_BEHAVIOR_VALUE,
            ]),
        ),
        (
            "the hint that teaches",
            Section::Teaching,
            own([
                metrics::AFFINITY_TEACHER_EUR,
                metrics::AFFINITY_TEACHER_UC,
                metrics::AFFINITY_TEACHER_VALUE,
            ]),
        ),
    ]
}

impl Report<'_> {
    /// The figures, as HTML.
    ///
    /// # Errors
    ///
    /// As [`Report::tables`].
    pub(super) fn figures(&self) -> Result<String> {
        let mut html = String::from(
            "<h2>Figures</h2><p>Means over seeds, with 95 % intervals by a bootstrap over seeds, and over problems where \
             there are some. Metrics are averaged over neighboring steps. Every figure is ours.</p><div class=\"figures\">",
        );
        for (distribution, name) in
            [("in", "F1: accuracy by level"), ("out", "F1: accuracy by level, out of distribution")]
        {
            html += &chart(name, ("level", "accuracy"), &self.lines_by_level(distribution)?);
        }
        let metric = |title: &str, name: &str, section| {
            let curves = self.arms().filter(|(arm, _)| arm.is_in(section));
            let curves = curves.map(|(arm, runs)| (arm.name, metric_curve(runs, name)));
            let curves = curves.collect::<Vec<_>>();
            chart(title, ("step", title), &lines(&curves, |place| place.step))
        };
        let of_methods = |arm: &Arm| arm.is_in(Section::Methods);
        let held_out = self.held_out_curves("in", of_methods)?;
        let accuracy = |title: &str, x: &str, place: &dyn Fn(&Place) -> f64| {
            chart(title, (x, "held-out accuracy"), &lines(&held_out, place))
        };
        html += &accuracy("F2: held-out accuracy by step", "step", &|place| place.step);
        html += &metric("F2: reward", metrics::REWARD, Section::Methods);
        for (of, section, names) in &sources() {
            for (name, part) in names.iter().zip(["EUR", "UC", "Affinity"]) {
                html += &metric(&format!("F3: {part} of {of}"), name, *section);
            }
        }
        html += &metric("F4: entropy", metrics::ENTROPY_TRAINED, Section::Methods);
        html += &accuracy("F5: held-out accuracy by sampled tokens", "sampled tokens", &|place| {
            place.tokens
        });
        let per_step = self.prompts_per_step as f64;
        html += &accuracy("F5: held-out accuracy by problems seen", "problems", &|place| {
            place.step * per_step
        });
        html += &metric(
            "F5: share of all-wrong groups",
            metrics::ROLLOUT_ALL_WRONG_FRAC,
            Section::Methods,
        );
        Ok(html + "</div>\n")
    }

    /// Final accuracy against the level.
    fn lines_by_level(&self, distribution: &str) -> Result<Vec<Line>> {
        let mut lines = Vec::new();
        for (arm, runs) in self.arms().filter(|(arm, _)| arm.is_in(Section::Methods)) {
            let mut line = Line { name: arm.name.to_owned(), points: Vec::new(), band: Vec::new() };
            for slice in self.slices.of_distribution(distribution) {
                let level = match &slice.1 {
                    Some(Part::Level(level)) => level.parse::<f64>().ok(),
                    _ => None,
                };
                if let (Some(level), Some(one)) = (level, self.accuracy(runs, slice, At::End)?) {
                    line.points.push((level, one.mean));
                    line.band.push((one.low, one.high));
                }
            }
            lines.push(line);
        }
        Ok(lines)
    }

    /// Held-out accuracy of a distribution at each evaluation.
    fn held_out_curves(
        &self,
        distribution: &str,
        chosen: impl Fn(&Arm) -> bool,
    ) -> Result<Vec<Curve>> {
        let Some(all) = self.slices.of_distribution(distribution).next() else {
            return Ok(Vec::new());
        };
        let mut curves = Vec::new();
        for (arm, runs) in self.arms().filter(|(arm, _)| chosen(arm)) {
            let mut places = Vec::new();
            let evaluations = runs.iter().map(|run| run.points.len()).min().unwrap_or(0);
            for at in 0..evaluations {
                let mut rows = Vec::new();
                for run in runs {
                    rows.push(self.slices.select(all, &run.points[at].outcomes)?);
                }
                let tokens = runs.iter().map(|run| run.points[at].tokens as f64);
                let tokens = average(&tokens.collect::<Vec<_>>());
                if let Some(value) = Interval::of(&rows) {
                    places.push(Place { step: runs[0].points[at].step as f64, tokens, value });
                }
            }
            curves.push((arm.name, places));
        }
        Ok(curves)
    }

    /// Every curve of every arm by step, as JSON: rows of step, mean, lower and upper end of the interval. Those of
    /// accuracy have sampled tokens at the end.
    ///
    /// # Errors
    ///
    /// As [`Report::tables`].
    pub(super) fn curves_json(&self) -> Result<Value> {
        let mut all = serde_json::Map::new();
        for (arm, runs) in self.arms() {
            let names = runs.iter().flat_map(|run| run.curves.keys());
            let names = names.collect::<std::collections::BTreeSet<_>>();
            let row = |place: &Place| {
                json!([place.step, place.value.mean, place.value.low, place.value.high])
            };
            let mut of_arm = serde_json::Map::new();
            for name in names {
                let rows = metric_curve(runs, name).iter().map(row).collect::<Vec<_>>();
                of_arm.insert(name.clone(), json!(rows));
            }
            all.insert(arm.name.to_owned(), Value::Object(of_arm));
        }
        for distribution in ["in", "out"] {
            for (arm, places) in self.held_out_curves(distribution, |_| true)? {
                let rows = places.iter().map(|place| {
                    json!([
                        place.step,
                        place.value.mean,
                        place.value.low,
                        place.value.high,
                        place.tokens
                    ])
                });
                all[arm][format!("accuracy/{distribution}")] = json!(rows.collect::<Vec<_>>());
            }
        }
        Ok(Value::Object(all))
    }
}

/// A metric by step, at [`PLACES`] places at most.
fn metric_curve(runs: &[RunResult], name: &str) -> Vec<Place> {
    let values = || runs.iter().filter_map(|run| run.curves.get(name));
    let last = values().flatten().map(|(step, _)| *step).max().unwrap_or(0);
    let width = last.div_ceil(PLACES).max(1);
    // Of each place, the mean step and the mean value of each run that has some there.
    let mut at = BTreeMap::<u64, (Vec<f64>, Vec<f64>)>::new();
    for curve in values() {
        let mut of_run = BTreeMap::<u64, (Vec<f64>, Vec<f64>)>::new();
        for (step, value) in curve {
            let place = of_run.entry(step.saturating_sub(1) / width).or_default();
            place.0.push(*step as f64);
            place.1.push(*value);
        }
        for (place, (steps, values)) in of_run {
            let place = at.entry(place).or_default();
            place.0.push(average(&steps));
            place.1.push(average(&values));
        }
    }
    let place = |(steps, values): &(Vec<f64>, Vec<f64>)| {
        let value = Interval::over(values)?;
        Some(Place { step: average(steps), tokens: 0.0, value })
    };
    at.values().filter_map(place).collect()
}

/// A line per arm.
fn lines(curves: &[Curve], x: impl Fn(&Place) -> f64) -> Vec<Line> {
    let line = |(name, places): &Curve| Line {
        name: (*name).to_owned(),
        points: places.iter().map(|place| (x(place), place.value.mean)).collect(),
        band: places.iter().map(|place| (place.value.low, place.value.high)).collect(),
    };
    curves.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reproduce::arms::chosen;

    /// 100 steps make 50 places of two steps each; a step that one run lacks moves no other.
    #[test]
    fn a_curve_averages_neighbors_and_keeps_steps_apart() {
        let run = |seed, skipped: u64, value: f64| RunResult {
            arm: chosen(&["grpo".to_owned()]).unwrap()[0],
            seed,
            points: Vec::new(),
            curves: BTreeMap::from([(
                "reward".to_owned(),
                (1..=100).filter(|step| *step > skipped).map(|step| (step, value)).collect(),
            )]),
            seconds: 0.0,
        };
        let curve = metric_curve(&[run(0, 0, 0.0), run(1, 2, 1.0)], "reward");
        assert_eq!((curve.len(), curve[0].step, curve[49].step), (50, 1.5, 99.5));
        assert_eq!((curve[0].value.mean, curve[0].value.seeds), (0.0, 1));
        let Interval { mean, low, high, seeds } = curve[1].value;
        assert_eq!((mean, low, high, seeds), (0.5, 0.0, 1.0, 2));
        assert!(metric_curve(&[run(0, 0, 0.0)], "loss").is_empty());
    }
}
