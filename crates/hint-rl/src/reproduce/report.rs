//! The report of a reproduction: what it compares, and tables T1 to T3 and C1 to C3.

use std::borrow::Cow;

use anyhow::Result;
use hint_grpo::metrics;

use super::arms::{Arm, Section};
use super::html::Table;
use super::results::{Point, RunResult, Slice, Slices, part_name};
use super::stats::{Interval, Paired};

/// The runs that a report is about, and how it compares them.
#[derive(Debug)]
pub(super) struct Report<'r> {
    /// Finished runs, by arm in the order of the tables, then by seed.
    pub(super) runs: &'r [RunResult],
    pub(super) slices: &'r Slices,
    /// Sampled tokens at which arms are compared; `None` for the most that all runs of a pair of arms reached.
    pub(super) budget: Option<u64>,
    pub(super) prompts_per_step: u64,
}

/// At which evaluation a run is read.
#[derive(Debug, Clone, Copy)]
pub(super) enum At {
    /// Before training.
    Start,
    /// After the last step.
    End,
    /// At so many sampled tokens, between two evaluations.
    Tokens(u64),
}

impl At {
    fn of(self, run: &RunResult) -> Option<Cow<'_, Point>> {
        match self {
            Self::Start => run.points.first().map(Cow::Borrowed),
            Self::End => Some(Cow::Borrowed(run.last())),
            Self::Tokens(tokens) => run.at_tokens(tokens).map(Cow::Owned),
        }
    }
}

impl<'r> Report<'r> {
    /// The arms that have a finished run, with their runs.
    pub(super) fn arms(&self) -> impl Iterator<Item = (&'static Arm, &'r [RunResult])> {
        self.runs
            .chunk_by(|one, other| one.arm.name == other.arm.name)
            .map(|runs| (runs[0].arm, runs))
    }

    /// The finished runs of an arm.
    pub(super) fn arm(&self, name: &str) -> Option<&'r [RunResult]> {
        self.arms().find(|(arm, _)| arm.name == name).map(|(_, runs)| runs)
    }

    /// The runs that others are compared with.
    pub(super) fn first(&self) -> Option<&'r [RunResult]> {
        self.arms().next().map(|(_, runs)| runs)
    }

    /// The most sampled tokens that all of these runs reached, or the budget. `None` for supervised runs, which sample
    /// nothing, and if one did not reach the budget.
    pub(super) fn equal_tokens(&self, one: &[RunResult], other: &[RunResult]) -> Option<u64> {
        let runs = || one.iter().chain(other);
        if runs().any(|run| run.arm.is_supervised()) {
            return None;
        }
        let reached = runs().map(|run| run.last().tokens).min()?;
        self.budget.map_or(Some(reached), |budget| (budget <= reached).then_some(budget))
    }

    /// Outcomes of the problems of a slice, a row per run. `None` if a run has none there.
    pub(super) fn outcomes(
        &self,
        runs: &[RunResult],
        slice: &Slice,
        at: At,
    ) -> Result<Option<Vec<Vec<f64>>>> {
        let mut rows = Vec::new();
        for run in runs {
            let Some(point) = at.of(run) else { return Ok(None) };
            rows.push(self.slices.select(slice, &point.outcomes)?);
        }
        Ok(Some(rows))
    }

    pub(super) fn accuracy(
        &self,
        runs: &[RunResult],
        slice: &Slice,
        at: At,
    ) -> Result<Option<Interval>> {
        Ok(self.outcomes(runs, slice, at)?.and_then(|rows| Interval::of(&rows)))
    }

    /// Difference of an arm from another, on the seeds that both have.
    pub(super) fn against(
        &self,
        runs: &[RunResult],
        others: &[RunResult],
        slice: &Slice,
        at: At,
    ) -> Result<Option<Paired>> {
        let mut pairs = Vec::new();
        for run in runs {
            if let Some(other) = others.iter().find(|other| other.seed == run.seed) {
                let (Some(one), Some(other)) = (at.of(run), at.of(other)) else { return Ok(None) };
                let select = |point: &Point| self.slices.select(slice, &point.outcomes);
                pairs.push((select(&one)?, select(&other)?));
            }
        }
        Ok(Paired::of(&pairs))
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
        let (Some((all, levels)), Some(first)) = (slices.split_first(), self.first()) else {
            return Ok(Table::empty(id, title));
        };
        let minus = format!("− {}", first[0].arm.name);
        let tests = [minus.as_str(), "p problems", "p seeds"];
        let mut header = words(&["arm", "source", "accuracy, equal steps"]);
        header.extend(words(&tests));
        header.extend(levels.iter().map(|slice| part_name(slice)));
        header.extend(words(&["equal tokens", "accuracy there"]));
        header.extend(words(&tests));
        header.extend(words(&["sampled tokens", "all wrong", "seeds"]));

        let mut base = words(&["base", "paper"]);
        base.push(interval(self.accuracy(first, all, At::Start)?));
        base.extend(difference(None));
        for slice in levels {
            base.push(interval(self.accuracy(first, slice, At::Start)?));
        }
        base.extend(words(&["", "", "", "", "", "0", ""]));
        base.push(first.len().to_string());
        let mut rows = vec![base];
        for (arm, runs) in self.arms().filter(|(arm, _)| arm.is_in(section)) {
            let is_first = arm.name == first[0].arm.name;
            let against = |at| if is_first { Ok(None) } else { self.against(runs, first, all, at) };
            let mut row = words(&[arm.name, arm.origin.mark()]);
            row.push(interval(self.accuracy(runs, all, At::End)?));
            row.extend(difference(against(At::End)?));
            for slice in levels {
                row.push(interval(self.accuracy(runs, slice, At::End)?));
            }
            if let Some(tokens) = self.equal_tokens(runs, first) {
                row.push(tokens.to_string());
                row.push(interval(self.accuracy(runs, all, At::Tokens(tokens))?));
                row.extend(difference(against(At::Tokens(tokens))?));
            } else {
                let unread = if arm.is_supervised() { "none sampled" } else { "not reached" };
                row.extend(words(&[unread, "", "", "", ""]));
            }
            let tokens = runs.iter().map(|run| run.last().tokens as f64).collect::<Vec<_>>();
            row.push(whole(Interval::over(&tokens)));
            let wrong = runs.iter().filter_map(|run| run.mean(metrics::ROLLOUT_ALL_WRONG_FRAC));
            row.push(interval(Interval::over(&wrong.collect::<Vec<_>>())));
            row.push(runs.len().to_string());
            rows.push(row);
        }
        let about = format!(
            "Accuracy without hints, {} distribution. Differences are on the same problems and the seeds that both arms \
             have. {METHOD} Equal tokens: {}, on the line between two evaluations; demonstrations and passes of a teacher \
             do not count. The columns of p are not corrected for the number of arms; table Q1 corrects.",
            if distribution == "in" { "in" } else { "out of" },
            self.budget.map_or_else(
                || "the most that every seed of both arms of a row sampled".to_owned(),
                |budget| format!("{budget}, by --budget")
            ),
        );
        Ok(Table { id, title: title.to_owned(), about, header, rows })
    }

    /// The tables on accuracy.
    ///
    /// # Errors
    ///
    /// An evaluation of fewer problems than the file has.
    pub(super) fn tables(&self) -> Result<Vec<Table>> {
        let mut tables = Vec::new();
        for (ids, title, section) in [
            (["T1", "T2"], "methods", Section::Methods),
            (["T3", "T3b"], "ablation", Section::Ablation),
            (["C1", "C1b"], "ratio scheme and baseline", Section::Ratio),
            (["C2", "C2b"], "placebo and unrelated hints", Section::Placebo),
            (["C3", "C3b"], "sampling or scoring under the hint", Section::Teaching),
        ] {
            let [inside, outside] = ids;
            let [of_inside, of_outside] =
                ["in", "out of"].map(|which| format!("{title}, {which} distribution"));
            tables.push(self.table(inside, &of_inside, section, "in")?);
            tables.push(self.table(outside, &of_outside, section, "out")?);
        }
        Ok(tables)
    }
}

/// How intervals and tests are made, for the reader of a table.
pub(super) const METHOD: &str = "Intervals are 95 % by a bootstrap that draws seeds and problems together; with few \
     seeds they are too narrow. p problems is a sign-flip test over problems, which ignores how seeds vary. p seeds is \
     Student's paired t over seeds, which conclusions need.";

fn words(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|cell| (*cell).to_owned()).collect()
}

pub(super) fn interval(value: Option<Interval>) -> String {
    value.map_or_else(String::new, |one| {
        let Interval { mean, low, high, .. } = one;
        if low < high { format!("{mean:.3} [{low:.3}, {high:.3}]") } else { format!("{mean:.3}") }
    })
}

fn whole(value: Option<Interval>) -> String {
    value.map_or_else(String::new, |one| {
        let Interval { mean, low, high, .. } = one;
        if low < high { format!("{mean:.0} [{low:.0}, {high:.0}]") } else { format!("{mean:.0}") }
    })
}

/// A difference with its interval, and both p.
pub(super) fn difference(paired: Option<Paired>) -> [String; 3] {
    let Some(Paired { difference: one, p_problems, p_seeds }) = paired else {
        return [String::new(), String::new(), String::new()];
    };
    let Interval { mean, low, high, .. } = one;
    let range = if low < high { format!(" [{low:+.3}, {high:+.3}]") } else { String::new() };
    [format!("{mean:+.3}{range}"), format!("{p_problems:.4}"), p_value(p_seeds)]
}

pub(super) fn p_value(p: Option<f64>) -> String {
    p.map_or_else(String::new, |p| format!("{p:.4}"))
}
