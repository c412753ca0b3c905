//! Evaluations on the terminal: a counter during one, and a table of its result.

use std::collections::BTreeMap;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, ContentArrangement, Table};
use hint_rollout::evaluate::{Estimate, Evaluation, EvaluationScores};
use hint_rollout::run::{Activity, Work};

use crate::terminal::live::Live;

/// Counts completions on a terminal, problems in lines elsewhere.
#[derive(Debug)]
pub(crate) struct Counter {
    name: String,
    live: Option<Live>,
    activity: Activity,
    problems: usize,
    /// Completions of each problem.
    each: usize,
}

impl Counter {
    /// A counter of `each` completions of `problems` problems, which the engine counts in `activity`.
    pub(crate) fn new(name: &str, problems: usize, each: usize, activity: &Activity) -> Self {
        activity.begin(Work::Evaluating, problems * each);
        let live = Live::counter(name, "completions", activity);
        Self { name: name.to_owned(), live, activity: activity.clone(), problems, each }
    }

    /// `done` problems are done.
    pub(crate) fn set(&mut self, done: usize) {
        self.activity.set(done * self.each);
        if self.live.is_none() {
            note!("{:>8} {done:>4}/{} problems", self.name, self.problems);
        }
    }
}

/// One row for all problems and one for each value of each column; greedy and sampled scores.
///
/// Panics never: every column of an evaluation has scores.
pub(crate) fn table(greedy: Option<&Evaluation>, sampled: Option<&Evaluation>) -> Table {
    let mut table = Table::new();
    // Many columns wrap in a narrow terminal.
    table.load_preset(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    let mut header = vec!["problems".to_owned(), String::new()];
    if greedy.is_some() {
        header.push("greedy".to_owned());
    }
    let count = sampled.map_or(1, |sampled| sampled.completions_per_problem);
    let ks = sampled.map_or_else(Vec::new, |sampled| {
        sampled.overall.pass_at.keys().copied().filter(|k| *k > 1).collect::<Vec<_>>()
    });
    let votes = sampled.is_some_and(|sampled| !sampled.overall.maj_at.is_empty());
    if sampled.is_some() {
        header.push(format!("avg@{count}"));
        header.extend(ks.iter().map(|k| format!("pass@{k}")));
        header.extend(ks.iter().filter(|_| votes).map(|k| format!("maj@{k}")));
    }
    header.extend(["tokens", "cut off"].map(str::to_owned));
    table.set_header(header);
    let any = sampled.or(greedy);
    let slices = std::iter::once(("all".to_owned(), None)).chain(
        any.into_iter().flat_map(|evaluation| &evaluation.by).flat_map(|(column, slices)| {
            slices.keys().map(move |value| (format!("{column} {value}"), Some((column, value))))
        }),
    );
    for (name, place) in slices {
        let of = |evaluation: &Evaluation| -> Option<EvaluationScores> {
            match place {
                None => Some(evaluation.overall.clone()),
                Some((column, value)) => evaluation.by.get(column)?.get(value).cloned(),
            }
        };
        let (greedy, sampled) = (greedy.and_then(of), sampled.and_then(of));
        let Some(any) = sampled.as_ref().or(greedy.as_ref()) else { continue };
        let mut row = vec![name, any.problems.to_string()];
        row.extend(greedy.as_ref().map(|scores| cell(scores.avg)));
        if let Some(scores) = &sampled {
            row.push(cell(scores.avg));
            row.extend(
                ks.iter().map(|k| scores.pass_at.get(k).map_or_else(String::new, |at| cell(*at))),
            );
            let majority = ks.iter().filter(|_| votes);
            row.extend(
                majority.map(|k| scores.maj_at.get(k).map_or_else(String::new, |at| cell(*at))),
            );
        }
        row.push(format!("{:.0}", any.lengths.mean));
        row.push(format!("{:.0} %", 100.0 * any.truncated_frac));
        table.add_row(row);
    }
    // 80 columns are enough without a space on the left.
    for column in table.column_iter_mut() {
        column.set_padding((0, 1));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Completions by the rule that found their answer: how many, and the share of correct ones.
pub(crate) fn rules(greedy: Option<&Evaluation>, sampled: Option<&Evaluation>) -> Table {
    let mut table = Table::new();
    table.load_preset(UTF8_FULL_CONDENSED);
    table.set_header(["answer found by", "completions", "correct"]);
    let mut counts = BTreeMap::<&str, (usize, usize)>::new();
    for (rule, count) in
        greedy.into_iter().chain(sampled).flat_map(|found| &found.overall.extracted_by)
    {
        let entry = counts.entry(rule).or_default();
        *entry = (entry.0 + count.total, entry.1 + count.correct);
    }
    for (rule, (total, correct)) in counts {
        let share = 100.0 * correct as f64 / total.max(1) as f64;
        table.add_row([rule.to_owned(), total.to_string(), format!("{share:.1} %")]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn cell(estimate: Estimate) -> String {
    let Estimate { value, low, high } = estimate;
    format!("{value:.3}\n{low:.2}–{high:.2}")
}
