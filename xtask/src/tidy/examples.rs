//! Every example starts with its purpose, the command that runs it, what it prints and how long it takes.

use super::{Finding, tree::Tree};

/// Runs the check.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.rust(&["examples/"]) {
        let is_example = file.path.matches('/').count() == 1 && file.name() != "build.rs";
        if !is_example {
            continue;
        }
        let header: String = file
            .text
            .lines()
            .take_while(|line| line.starts_with("//!"))
            .map(|line| line.to_lowercase() + "\n")
            .collect();
        let mut expect = |what: &str, words: &[&str]| {
            if !words.iter().any(|word| header.contains(word)) {
                let message = format!(
                    "the header does not give {what}; a `//!` line must contain one of {words:?}"
                );
                findings.push(Finding::new(&file.path, 1, message));
            }
        };
        expect("the command", &["cargo run", "cargo xtask run"]);
        expect("the expected output", &["output", "prints", "writes"]);
        expect("the time it takes", &["second", "minute", "hour"]);
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_gives_command_output_and_time() {
        let whole = "//! Shows x.\n//!\n//! `cargo run --example x` takes a second and prints 1.\n";
        let tree = Tree::of(&[
            ("examples/x.rs", whole),
            ("examples/src/lib.rs", "//! Shared.\n"),
            ("examples/build.rs", "//! B.\n"),
            ("examples/y.rs", "//! Shows y.\nfn main() {} // cargo run\n"),
        ]);
        let findings = check(&tree);
        assert_eq!(findings.len(), 3, "{findings:?}");
        assert!(findings.iter().all(|finding| finding.path == "examples/y.rs"));
    }
}
