//! The report of a reproduction: tables T1 to T4 and C1 to C3, figures F1 to F5, and the same as data.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::Result;
use hint_grpo::metrics;
use serde_json::{Value, json};

use super::arms::{Arm, Section};
use super::html::Table;
use super::results::{Point, RunResult, Slice, Slices};
use super::stats::{Interval, Paired};
use super::svg::{Line, chart};

/// The runs that a report is about, and how it compares them.
#[derive(Debug)]
pub(super) struct Report<'r> {
    /// Finished runs, by arm in the order of the tables, then by seed.
    pub(super) runs: &'r [RunResult],
    pub(super) slices: &'r Slices,
    /// Sampled tokens at which arms are compared.
    pub(super) budget: u64,
    pub(super) prompts_per_step: u64,
}

/// At which evaluation a run is read.
#[derive(Debug, Clone, Copy)]
enum At {
    /// Before training.
    Start,
    /// After the last step.
    End,
    /// At the budget, between two evaluations.
    Budget,
}

impl At {
    fn of(self, run: &RunResult, budget: u64) -> Option<Cow<'_, Point>> {
        match self {
            Self::Start => run.points.first().map(Cow::Borrowed),
            Self::End => Some(Cow::Borrowed(run.last())),
            Self::Budget => run.at_tokens(budget).map(Cow::Owned),
        }
    }
}

impl Report<'_> {
    /// The arms that have a finished run, with their runs.
    fn arms(&self) -> impl Iterator<Item = (&'static Arm, &[RunResult])> {
        self.runs
            .chunk_by(|one, other| one.arm.name == other.arm.name)
            .map(|runs| (runs[0].arm, runs))
    }

    fn accuracy(&self, runs: &[RunResult], slice: &Slice, at: At) -> Result<Option<Interval>> {
        let mut means = Vec::new();
        for run in runs {
            let Some(point) = at.of(run, self.budget) else { return Ok(None) };
            let values = self.slices.select(slice, &point.outcomes)?;
            means.push(values.iter().sum::<f64>() / values.len().max(1) as f64);
        }
        Ok(Interval::over(&means))
    }

    /// Difference of an arm from the first one, on the seeds that both have.
    fn against(&self, runs: &[RunResult], slice: &Slice, at: At) -> Result<Option<Paired>> {
        let Some((first, baseline)) = self.arms().next() else { return Ok(None) };
        if first.name == runs[0].arm.name {
            return Ok(None);
        }
        let mut pairs = Vec::new();
        for run in runs {
            if let Some(other) = baseline.iter().find(|other| other.seed == run.seed) {
                let (one, other) = (at.of(run, self.budget), at.of(other, self.budget));
                let (Some(one), Some(other)) = (one, other) else { return Ok(None) };
                let select = |point: &Point| self.slices.select(slice, &point.outcomes);
                pairs.push((select(&one)?, select(&other)?));
            }
        }
        let pairs = pairs.iter().map(|(one, other)| (one.as_slice(), other.as_slice()));
        Ok(Paired::of(&pairs.collect::<Vec<_>>()))
    }

    /// A row per arm of a section: accuracy of a distribution by level, at equal steps and at equal tokens.
    fn table(
        &self,
        id: &'static str,
        title: &str,
        section: Section,
        distribution: &str,
    ) -> Result<Table> {
        let slices = self.slices.of_distribution(distribution).collect::<Vec<_>>();
        let Some((all, levels)) = slices.split_first() else {
            let (title, about) = (title.to_owned(), String::new());
            return Ok(Table { id, title, about, header: Vec::new(), rows: Vec::new() });
        };
        let first = self.arms().next().map_or("", |(arm, _)| arm.name);
        let mut header =
            vec!["arm".to_owned(), "source".to_owned(), "accuracy, equal steps".to_owned()];
        header.push(format!("− {first}"));
        header.push("p".to_owned());
        header.extend(
            levels.iter().map(|(_, level)| format!("level {}", level.as_deref().unwrap_or("?"))),
        );
        header.extend(
            ["equal tokens", "− first", "p", "tokens", "all wrong", "seeds"].map(str::to_owned),
        );
        let mut rows = Vec::new();
        let base = (self.runs, At::Start, "base", "paper");
        let arms = self.arms().filter(|(arm, _)| arm.is_in(section));
        let arms = arms.map(|(arm, runs)| (runs, At::End, arm.name, arm.origin.mark()));
        for (runs, at, name, mark) in std::iter::once(base).chain(arms) {
            // All runs of a seed start from the same weights and are evaluated on the same completions.
            let is_base = matches!(at, At::Start);
            let runs =
                if is_base { self.arms().next().map_or(runs, |(_, runs)| runs) } else { runs };
            if runs.is_empty() {
                continue;
            }
            let mut row =
                vec![name.to_owned(), mark.to_owned(), interval(self.accuracy(runs, all, at)?)];
            let paired = if is_base { None } else { self.against(runs, all, at)? };
            row.extend(difference(paired));
            for slice in levels {
                row.push(mean(self.accuracy(runs, slice, at)?));
            }
            if is_base {
                row.extend(["", "", "", "0", ""].map(str::to_owned));
            } else {
                let at_budget = self.accuracy(runs, all, At::Budget)?;
                let unread = if runs[0].arm.is_supervised() { "" } else { "not reached" };
                row.push(at_budget.map_or_else(|| unread.to_owned(), |one| interval(Some(one))));
                row.extend(difference(self.against(runs, all, At::Budget)?));
                let tokens = runs.iter().map(|run| run.last().tokens as f64).collect::<Vec<_>>();
                row.push(
                    Interval::over(&tokens)
                        .map_or_else(String::new, |one| format!("{:.0}", one.mean)),
                );
                let wrong = runs.iter().filter_map(|run| run.mean(metrics::ROLLOUT_ALL_WRONG_FRAC));
                row.push(mean(Interval::over(&wrong.collect::<Vec<_>>())));
            }
            row.push(runs.len().to_string());
            rows.push(row);
        }
        let about = format!(
            "Accuracy without hints, {} distribution. Intervals are 95 % over seeds (Student's t); p is a sign-flip \
             test over problems, on the seeds that both arms have. It ignores how training seeds vary, which the \
             interval shows, and is not corrected for the number of comparisons. Equal tokens: at {} sampled tokens, on \
             the line between two evaluations; demonstrations and passes of a teacher do not count.",
            if distribution == "in" { "in" } else { "out of" },
            self.budget
        );
        Ok(Table { id, title: title.to_owned(), about, header, rows })
    }

    /// The tables on accuracy.
    ///
    /// # Errors
    ///
    /// An evaluation of fewer problems than the file has.
    pub(super) fn tables(&self) -> Result<Vec<Table>> {
        let table = |id, title: &str, section, distribution: &str| {
            self.table(id, title, section, distribution)
        };
        Ok(vec![
            table("T1", "methods, in distribution", Section::Methods, "in")?,
            table("T2", "methods, out of distribution", Section::Methods, "out")?,
            table("T3", "ablation, in distribution", Section::Ablation, "in")?,
            table("T3b", "ablation, out of distribution", Section::Ablation, "out")?,
            table("C1", "ratio scheme and baseline, in distribution", Section::Ratio, "in")?,
            table("C1b", "ratio scheme and baseline, out of distribution", Section::Ratio, "out")?,
            table("C2", "placebo and unrelated hints, in distribution", Section::Placebo, "in")?,
            table(
                "C2b",
                "placebo and unrelated hints, out of distribution",
                Section::Placebo,
                "out",
            )?,
            table(
                "C3",
                "sampling or scoring under the hint, in distribution",
                Section::Teaching,
                "in",
            )?,
            table(
                "C3b",
                "sampling or scoring under the hint, out of distribution",
                Section::Teaching,
                "out",
            )?,
        ])
    }

    /// A line per arm of the section: the mean over seeds of values at common places.
    fn lines(&self, section: Section, values: impl Fn(&RunResult) -> Vec<(f64, f64)>) -> Vec<Line> {
        let arms = self.arms().filter(|(arm, _)| arm.is_in(section));
        let line = |(arm, runs): (&Arm, &[RunResult])| {
            let mut at = BTreeMap::<usize, (f64, f64, f64)>::new();
            for run in runs {
                for (place, (x, y)) in values(run).into_iter().enumerate() {
                    let sum = at.entry(place).or_default();
                    *sum = (sum.0 + x, sum.1 + y, sum.2 + 1.0);
                }
            }
            let points = at.into_values().map(|(x, y, count)| (x / count, y / count));
            Line { name: arm.name.to_owned(), points: points.collect() }
        };
        arms.map(line).collect()
    }

    /// The figures, as HTML.
    ///
    /// # Errors
    ///
    /// As [`Report::tables`].
    pub(super) fn figures(&self) -> Result<String> {
        let of_all = |point: &Point| -> f64 {
            let slice = ("in".to_owned(), None);
            let values = self.slices.select(&slice, &point.outcomes).unwrap_or_default();
            values.iter().sum::<f64>() / values.len().max(1) as f64
        };
        let curve = |name: &'static str, title: &str, section| {
            let values = |run: &RunResult| -> Vec<(f64, f64)> {
                run.curves[name].iter().map(|(step, value)| (*step as f64, *value)).collect()
            };
            chart(title, ("step", title), &self.lines(section, values))
        };
        let held_out = |title: &str, x: &str, place: &dyn Fn(&Point) -> f64| {
            let values = |run: &RunResult| -> Vec<(f64, f64)> {
                run.points.iter().map(|point| (place(point), of_all(point))).collect()
            };
            chart(title, (x, "held-out accuracy"), &self.lines(Section::Methods, values))
        };
        let mut html = String::from(
            "<h2>Figures</h2><p>Means over seeds; every figure is ours.</p><div class=\"figures\">",
        );
        for (distribution, name) in
            [("in", "F1: accuracy by level"), ("out", "F1: accuracy by level, out of distribution")]
        {
            html += &chart(name, ("level", "accuracy"), &self.by_level(distribution)?);
        }
        html += &held_out("F2: held-out accuracy by step", "step", &|point| point.step as f64);
        html += &curve(metrics::REWARD, "F2: reward", Section::Methods);
        html += &curve(metrics::AFFINITY_EUR, "F3: EUR", Section::Ablation);
        html += &curve(metrics::AFFINITY_UC, "F3: UC", Section::Ablation);
        html += &curve(metrics::AFFINITY_VALUE, "F3: Affinity", Section::Ablation);
        html +=
            &curve(metrics::AFFINITY_BEHAVIOR_VALUE, "F3: Affinity of behavior", Section::Methods);
        html += &curve(metrics::ENTROPY_TRAINED, "F4: entropy", Section::Methods);
        html += &held_out("F5: held-out accuracy by sampled tokens", "sampled tokens", &|point| {
            point.tokens as f64
        });
        let per_step = self.prompts_per_step as f64;
        html += &held_out("F5: held-out accuracy by problems seen", "problems", &|point| {
            point.step as f64 * per_step
        });
        html += &curve(
            metrics::ROLLOUT_ALL_WRONG_FRAC,
            "F5: share of all-wrong groups",
            Section::Methods,
        );
        Ok(html + "</div>\n")
    }

    /// Final accuracy against the level.
    fn by_level(&self, distribution: &str) -> Result<Vec<Line>> {
        let mut lines = Vec::new();
        for (arm, runs) in self.arms().filter(|(arm, _)| arm.is_in(Section::Methods)) {
            let mut points = Vec::new();
            for slice in self.slices.of_distribution(distribution) {
                let level = slice.1.as_deref().and_then(|level| level.parse::<f64>().ok());
                if let (Some(level), Some(one)) = (level, self.accuracy(runs, slice, At::End)?) {
                    points.push((level, one.mean));
                }
            }
            lines.push(Line { name: arm.name.to_owned(), points });
        }
        Ok(lines)
    }

    /// Everything as JSON, and as one CSV row per run, evaluation and slice.
    ///
    /// # Errors
    ///
    /// As [`Report::tables`].
    pub(super) fn data(&self) -> Result<(Value, String)> {
        let mut csv =
            "arm,origin,seed,step,tokens,distribution,level,problems,accuracy\n".to_owned();
        let mut runs = Vec::new();
        for run in self.runs {
            let mut points = Vec::new();
            for point in &run.points {
                let mut accuracy = Vec::new();
                for distribution in ["in", "out"] {
                    for slice in self.slices.of_distribution(distribution) {
                        let values = self.slices.select(slice, &point.outcomes)?;
                        let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
                        let level = slice.1.as_deref().unwrap_or("all");
                        let (arm, mark, seed) = (run.arm.name, run.arm.origin.mark(), run.seed);
                        let Point { step, tokens, .. } = point;
                        let count = values.len();
                        let _ = writeln!(
                            csv,
                            "{arm},{mark},{seed},{step},{tokens},{distribution},{level},{count},{mean}"
                        );
                        accuracy.push(json!({ "distribution": distribution, "level": level, "problems": count, "accuracy": mean }));
                    }
                }
                points.push(
                    json!({ "step": point.step, "tokens": point.tokens, "accuracy": accuracy }),
                );
            }
            let means = run.curves.keys().map(|name| ((*name).to_owned(), json!(run.mean(name))));
            let means = means.collect::<serde_json::Map<_, _>>();
            runs.push(json!({
                "arm": run.arm.name, "origin": run.arm.origin, "seed": run.seed, "seconds": run.seconds,
                "points": points, "means": means,
            }));
        }
        let all = |distribution: &str| (distribution.to_owned(), None);
        let mut comparisons = Vec::new();
        for (arm, runs) in self.arms() {
            for distribution in ["in", "out"] {
                for (name, at) in [("equal_steps", At::End), ("equal_tokens", At::Budget)] {
                    comparisons.push(json!({
                        "arm": arm.name, "distribution": distribution, "at": name,
                        "accuracy": self.accuracy(runs, &all(distribution), at)?,
                        "against_first": self.against(runs, &all(distribution), at)?,
                    }));
                }
            }
        }
        Ok((json!({ "budget_tokens": self.budget, "runs": runs, "comparisons": comparisons }), csv))
    }
}

fn interval(value: Option<Interval>) -> String {
    match value {
        None => String::new(),
        Some(one) if one.seeds == 1 => format!("{:.3}", one.mean),
        Some(one) => format!("{:.3} [{:.3}, {:.3}]", one.mean, one.low, one.high),
    }
}

fn mean(value: Option<Interval>) -> String {
    value.map_or_else(String::new, |one| format!("{:.3}", one.mean))
}

fn difference(paired: Option<Paired>) -> [String; 2] {
    match paired {
        None => [String::new(), String::new()],
        Some(Paired { difference: one, p }) => {
            let range = if one.seeds > 1 {
                format!(" [{:+.3}, {:+.3}]", one.low, one.high)
            } else {
                String::new()
            };
            [format!("{:+.3}{range}", one.mean), format!("{p:.4}")]
        }
    }
}
