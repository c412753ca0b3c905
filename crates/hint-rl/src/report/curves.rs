//! Curves as numbers: a row for some steps, a column for each metric that the run has.

use std::collections::BTreeSet;

use comfy_table::{CellAlignment, Table, presets::NOTHING};
use hint_grpo::metrics;
use hint_grpo::verdict::History;

use crate::run_log::{RunLog, mean};

/// The values of a column, with their steps.
pub(super) type Curve = Vec<(u64, f64)>;

/// The table; nothing if the run has no metrics yet.
pub(super) fn table(log: &RunLog, rows: usize) -> Option<Table> {
    let columns = columns(log);
    let steps = columns.iter().flat_map(|(_, curve)| curve.iter().map(|(step, _)| *step));
    let steps = steps.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>();
    if steps.is_empty() {
        return None;
    }
    let mut table = Table::new();
    table.load_preset(NOTHING);
    table.set_header(std::iter::once("step").chain(columns.iter().map(|(name, _)| name.as_str())));
    for steps in steps.chunks(steps.len().div_ceil(rows)) {
        let (first, last) = (steps[0], steps[steps.len() - 1]);
        let label = if first == last { first.to_string() } else { format!("{first}–{last}") };
        let cells = columns.iter().map(|(_, curve)| {
            let within = curve.iter().filter(|(step, _)| (first..=last).contains(step));
            mean(within.map(|(_, value)| *value)).map_or_else(String::new, number)
        });
        table.add_row(std::iter::once(label).chain(cells));
    }
    for column in table.column_iter_mut() {
        column.set_cell_alignment(CellAlignment::Right);
        column.set_padding((0, 1));
    }
    Some(table)
}

/// The columns that have a value.
fn columns(log: &RunLog) -> Vec<(String, Curve)> {
    let column = |title: &str, name: &str| (title.to_owned(), log.values(name).collect());
    let mut columns = vec![
        column("reward", metrics::REWARD),
        column("nll", metrics::NLL),
        column("pass", metrics::ROLLOUT_PASS_RATE),
        column("all\nwrong", metrics::ROLLOUT_ALL_WRONG_FRAC),
        ("after\nhints".to_owned(), wrong_after_hints(log)),
        column("cut\noff", metrics::COMPLETIONS_CLIPPED_RATIO),
        column("entropy", metrics::ENTROPY_TRAINED),
        column("kl", metrics::KL),
    ];
    for family in [metrics::AFFINITY_SOURCE_VALUE, metrics::AFFINITY_BEHAVIOR_SOURCE_VALUE] {
        let drawn = if family == metrics::AFFINITY_SOURCE_VALUE { "" } else { ", drawn" };
        let sources = log.metrics.iter().filter_map(|line| line.as_object());
        let sources = sources.flat_map(|line| line.keys());
        let sources = sources.filter(|name| *name != metrics::AFFINITY_BEHAVIOR_VALUE);
        let sources = sources.filter_map(|name| metrics::which(family, name));
        // Without a hint, the ratio that trains is the one to the distribution that drew the tokens.
        let sources = sources.filter(|source| drawn.is_empty() || *source != "plain");
        for source in sources.collect::<BTreeSet<_>>() {
            let title = format!("affinity\n{source}{drawn}");
            columns.push(column(&title, &metrics::member(family, source)));
        }
    }
    columns.push(column("held\nout", metrics::EVAL_AVG));
    columns.retain(|(_, curve): &(String, Curve)| !curve.is_empty());
    columns
}

/// Share of groups in which every completion is wrong, with hints where they were given; nothing for a run
/// without hints.
pub(super) fn wrong_after_hints(log: &RunLog) -> Curve {
    let hints = log.values(metrics::HINT_HINTED_FRAC).any(|(_, hinted)| hinted > 0.0);
    let after = |line: &serde_json::Value| {
        let (_, after) = History::wrong_after_hints(|name| line[name].as_f64())?;
        Some((line["step"].as_u64()?, after))
    };
    log.metrics.iter().filter(|_| hints).filter_map(after).collect()
}

/// Three decimals, or an exponent for smaller numbers.
pub(super) fn number(value: f64) -> String {
    if value != 0.0 && value.abs() < 0.001 { format!("{value:.1e}") } else { format!("{value:.3}") }
}
