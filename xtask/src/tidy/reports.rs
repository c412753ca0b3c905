//! The tests that `docs/reports.md` names are there.

use std::collections::BTreeSet;

use super::{Finding, tree::SourceFile, tree::Tree};

const REPORTS: &str = "docs/reports.md";

/// Runs the check.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let functions = tree
        .rust(&["crates/", "tests/"])
        .flat_map(SourceFile::lines)
        .filter_map(|(_, line)| line.trim_start().strip_prefix("fn ")?.split('(').next())
        .collect::<BTreeSet<_>>();
    let missing = |(number, line): (usize, &str)| {
        let test = named_test(line).filter(|test| !functions.contains(test))?;
        let message = format!("there is no test `{test}`; name the one that shows it");
        Some(Finding::new(REPORTS, number, message))
    };
    tree.file(REPORTS).into_iter().flat_map(SourceFile::lines).filter_map(missing).collect()
}

/// The test in the last cell of a row of a table.
fn named_test(line: &str) -> Option<&str> {
    let cell = line.strip_suffix(" |")?.rsplit(" | ").next()?;
    cell.strip_prefix('`')?.strip_suffix('`')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_stands_in_the_last_cell() {
        assert_eq!(named_test("| [a/b#1](x) | `y` happens | z | `a_test` |"), Some("a_test"));
        assert_eq!(named_test("| report | what | here | shown by |"), None);
    }
}
