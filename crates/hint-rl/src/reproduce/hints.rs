//! T4, the audit of the hints, and the numbers that the paper published.

use anyhow::Result;
use hint_reward::verifier::VerifierConfig;
use hint_rollout::{DatasetHints, HintProvider, HintRequest, Problem};

use super::html::Table;
use crate::audit::{HintCounts, hint_counts};

const COLUMNS: [&str; 3] = ["abstract_hint", "medium_hint", "direct_hint"];

/// The hints of the training problems by degree and level, as a run with this verifier judges them. A degree is left out
/// where a problem has no such column.
///
/// # Errors
///
/// A verifier that cannot be built.
pub(super) fn audit(problems: &[Problem], verifier: &VerifierConfig) -> Result<Vec<HintCounts>> {
    let has = |column: &&str| {
        let source = DatasetHints::column(*column);
        problems.iter().all(|problem| source.hint(&HintRequest::new(problem)).is_ok())
    };
    let columns = COLUMNS.iter().filter(|column| has(column));
    let columns = columns.map(|column| (*column).to_owned()).collect::<Vec<_>>();
    if columns.is_empty() { Ok(Vec::new()) } else { hint_counts(problems, &columns, verifier) }
}

/// The audit as a table.
pub(super) fn table(counts: &[HintCounts]) -> Table {
    let row = |count: &HintCounts| {
        let HintCounts { column, level, problems, hints, answer, step, wrong } = count;
        let numbers = [problems, hints, answer, step, wrong].map(ToString::to_string);
        [column.clone(), level.clone()].into_iter().chain(numbers).collect()
    };
    let header = ["hints", "level", "problems", "hints", "answer", "step", "wrong"];
    Table {
        id: "T4",
        title: "audit of the hints".to_owned(),
        about: "Hints of training problems that give the answer or the value of a step away, or state another answer than \
                the reference. (ours)"
            .to_owned(),
        header: header.map(str::to_owned).to_vec(),
        rows: counts.iter().map(row).collect(),
    }
}

/// Accuracy by level of MATH and averages over sets, as HINT's paper has them.
pub(super) fn published() -> [Table; 2] {
    let rows = [
        ["GRPO", "95.3", "92.2", "80.0", "76.6", "58.2"],
        ["BREAD", "97.7", "94.4", "81.0", "75.8", "58.2"],
        ["HINT", "95.3", "92.2", "81.9", "80.5", "66.4"],
    ];
    let header = ["method", "level 1", "level 2", "level 3", "level 4", "level 5"];
    let levels = Table {
        id: "P1",
        title: "what the paper reports".to_owned(),
        about: "Accuracy in percent by level of MATH. (paper)".to_owned(),
        header: header.map(str::to_owned).to_vec(),
        rows: rows.iter().map(|row| row.map(str::to_owned).to_vec()).collect(),
    };
    let rows = [
        ["Qwen2.5-7B", "39.9", "42.9", "55.1", "57.3"],
        ["Qwen2.5-3B", "29.0", "33.8", "42.2", "44.9"],
        ["Llama-3.1-8B", "10.6", "12.8", "43.1", "48.2"],
    ];
    let header = ["model", "GRPO, in", "HINT, in", "GRPO, out", "HINT, out"];
    let averages = Table {
        id: "P2",
        title: "what the paper reports on average".to_owned(),
        about: "Mean accuracy in percent over the sets in and out of distribution. (paper)"
            .to_owned(),
        header: header.map(str::to_owned).to_vec(),
        rows: rows.iter().map(|row| row.map(str::to_owned).to_vec()).collect(),
    };
    [levels, averages]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn leaks_and_wrong_hints_are_counted_by_degree_and_level() {
        let problem = |id: &str, hint: &str, direct: &str| {
            let mut problem = Problem::new(id, "3 + 4?", "7").with_hint(hint);
            problem.level = Some("1".to_owned());
            problem.columns.insert("direct_hint".to_owned(), json!(direct));
            problem
        };
        let problems = [
            problem("a", "Add.", "The answer is 7."),
            problem("b", "Add them.", r"It is \boxed{8}."),
        ];
        let counts = audit(&problems, &VerifierConfig::default()).unwrap();
        let of = |column: &str| {
            let found = counts.iter().find(|count| count.column == column).unwrap();
            (found.level.as_str(), found.hints, found.answer, found.wrong)
        };
        assert_eq!(of("abstract_hint"), ("1", 2, 0, 0));
        assert_eq!(of("direct_hint"), ("1", 2, 1, 1));
        assert_eq!(counts.len(), 2, "no problem has a medium hint");
        assert_eq!(table(&counts).rows.len(), 2);
    }
}
