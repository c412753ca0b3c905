//! Small things: work to be done has an issue, no trailing spaces, `expect` instead of `allow`, file names that say something.

use super::{Finding, tree::SourceFile, tree::Tree};

// Taken apart, or this file would find itself.
const LATER: &str = concat!("TO", "DO");
const NEVER: [&str; 2] = [concat!("FIX", "ME"), concat!("XX", "X")];

const EMPTY_NAMES: [&str; 6] =
    ["utils.rs", "util.rs", "helpers.rs", "common.rs", "types.rs", "base.rs"];

/// Runs the check.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    tree.files.iter().filter(|file| file.name() != "Cargo.lock").flat_map(check_file).collect()
}

fn check_file(file: &SourceFile) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut find =
        |line: usize, message: &str| findings.push(Finding::new(&file.path, line, message));
    if EMPTY_NAMES.contains(&file.name()) {
        find(1, "the name of the file says nothing; name it after the concept in it");
    }
    let source =
        matches!(file.extension(), Some("rs" | "toml" | "py" | "sh")) || file.name() == "run";
    let data = file.extension() == Some("json");
    for (number, line) in file.lines() {
        if line.ends_with([' ', '\t']) && !data {
            find(number, "trailing spaces; remove them");
        }
        if source && line.match_indices(LATER).any(|(at, _)| !has_issue(&line[at + LATER.len()..]))
        {
            find(number, &format!("{LATER} without an issue; write `{LATER}(#12): …`, or do it"));
        }
        if source && NEVER.iter().any(|word| line.contains(word)) {
            find(number, &format!("a note to yourself; write `{LATER}(#12): …`, or do it"));
        }
    }
    if file.is_rust() {
        for (number, code) in file.code_lines() {
            if code.contains("#[allow(") || code.contains("#![allow(") {
                find(number, "`allow`; write `#[expect(lint, reason = \"…\")]`");
            }
        }
    }
    findings
}

/// Whether `rest` starts with `(#12)`.
fn has_issue(rest: &str) -> bool {
    rest.strip_prefix("(#")
        .and_then(|rest| rest.split_once(')'))
        .is_some_and(|(number, _)| number.parse::<u32>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn found(path: &str, text: &str, expected: &[&str]) {
        let findings = check(&Tree::of(&[(path, text)]));
        assert_eq!(findings.len(), expected.len(), "{findings:?}");
        for (finding, part) in findings.iter().zip(expected) {
            assert!(finding.message.contains(part), "{finding}");
        }
    }

    #[test]
    fn work_to_be_done_needs_an_issue() {
        found("a.rs", &format!("// {LATER}(#12): more.\n"), &[]);
        found("a.rs", &format!("// {LATER}: more.\n"), &["without an issue"]);
        found("a.rs", &format!("// {}: more.\n", NEVER[0]), &["note to yourself"]);
        found("a.md", &format!("{LATER} is a word here.\n"), &[]);
    }

    #[test]
    fn trailing_spaces_are_found() {
        found("a.md", "a \nb\n", &["trailing"]);
        found("tests/golden/a.json", "a \n", &[]);
    }

    #[test]
    fn allow_is_found_in_code_only() {
        found("a.rs", "#![allow(dead_code)]\n// #[allow(x)]\n", &["`allow`"]);
    }

    #[test]
    fn empty_names_are_found() {
        found("crates/a/src/utils.rs", "", &["says nothing"]);
    }
}
