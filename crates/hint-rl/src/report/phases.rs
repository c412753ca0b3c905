//! Time of a run by phase.

use comfy_table::{CellAlignment, Table, presets::NOTHING};
use hint_grpo::metrics::timings;

use crate::run_log::RunLog;

const PHASES: [(&str, &str); 5] = [
    ("rollout", timings::ROLLOUT),
    ("update", timings::UPDATE),
    ("sync", timings::SYNC),
    ("evaluation", timings::EVALUATION),
    ("checkpoint", timings::CHECKPOINT),
];

/// The table; nothing if the run had no clock.
pub(super) fn table(log: &RunLog) -> Option<Table> {
    let seconds = PHASES.map(|(phase, name)| (phase, log.total(name)));
    let total = seconds.iter().map(|(_, seconds)| seconds).sum::<f64>();
    if total <= 0.0 {
        return None;
    }
    let mut table = Table::new();
    table.load_preset(NOTHING).set_header(["phase", "seconds", "share"]);
    for (phase, seconds) in seconds {
        let share = format!("{:.0} %", 100.0 * seconds / total);
        table.add_row([phase.to_owned(), format!("{seconds:.1}"), share]);
    }
    // The evaluation before the first step is no step.
    let tokens = log.total(timings::TOKENS) / log.total(timings::STEP);
    if tokens.is_finite() {
        table.add_row(["tokens/s".to_owned(), format!("{tokens:.0}"), String::new()]);
    }
    let bytes = log.timings.iter().filter_map(|line| line[timings::PEAK_MEMORY].as_f64());
    let mebibytes = bytes.fold(0.0, f64::max) / f64::from(1 << 20);
    if mebibytes > 0.0 {
        table.add_row(["peak MiB".to_owned(), format!("{mebibytes:.0}"), String::new()]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    Some(table)
}
