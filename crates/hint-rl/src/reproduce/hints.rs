//! T4, the audit of the hints, and the numbers that the paper published.

use std::collections::BTreeMap;

use hint_rollout::hint::leak::{LeakDetector, LeakKind};
use hint_rollout::{Hint, Problem};

use super::html::Table;

const COLUMNS: [&str; 3] = ["abstract_hint", "medium_hint", "direct_hint"];

/// Leaks of the hints of the training problems, by degree and level.
pub(super) fn audit(problems: &[Problem]) -> Table {
    let mut counts = BTreeMap::<(&str, String), [usize; 3]>::new();
    for problem in problems {
        for column in COLUMNS {
            let text = problem.text_of(column);
            let text = text.or_else(|| problem.hint.clone().filter(|_| column == COLUMNS[0]));
            let Some(text) = text else { continue };
            let leaks = LeakDetector::new().leaks(problem, &Hint::new(text));
            let has = |kind| usize::from(leaks.iter().any(|leak| leak.kind == kind));
            let level = problem.level.clone().unwrap_or_default();
            let count = counts.entry((column, level)).or_default();
            *count =
                [count[0] + 1, count[1] + has(LeakKind::Answer), count[2] + has(LeakKind::Step)];
        }
    }
    let row = |((column, level), [hints, answer, step]): ((&str, String), [usize; 3])| {
        vec![column.to_owned(), level, hints.to_string(), answer.to_string(), step.to_string()]
    };
    Table {
        id: "T4",
        title: "audit of the hints".to_owned(),
        about: "Hints of training problems in which the leak detector finds the answer or the value of a step; wrong hints are not looked for. (ours)"
            .to_owned(),
        header: ["hints", "level", "number", "answer", "step"].map(str::to_owned).to_vec(),
        rows: counts.into_iter().map(row).collect(),
    }
}

/// Accuracy by level of MATH, as HINT's paper has it.
pub(super) fn published() -> Table {
    let rows = [
        ["GRPO", "95.3", "92.2", "80.0", "76.6", "58.2"],
        ["BREAD", "97.7", "94.4", "81.0", "75.8", "58.2"],
        ["HINT", "95.3", "92.2", "81.9", "80.5", "66.4"],
    ];
    let header = ["method", "level 1", "level 2", "level 3", "level 4", "level 5"];
    Table {
        id: "P1",
        title: "what the paper reports".to_owned(),
        about: "Accuracy in percent by level of MATH. (paper)".to_owned(),
        header: header.map(str::to_owned).to_vec(),
        rows: rows.iter().map(|row| row.map(str::to_owned).to_vec()).collect(),
    }
}
