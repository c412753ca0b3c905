//! Keys of the configuration and options of the program that pages and messages name are there.

use super::config::{has_key, types};
use super::{Finding, tree::SourceFile, tree::Tree};

/// The pages whose options are those of the program; other pages name those of other programs, too.
const OPTIONS_OF: [&str; 3] = ["docs/trl.md", "docs/debugging.md", "docs/choosing.md"];

/// Options that are not fields of the program's options.
const OTHER_OPTIONS: [&str; 2] = ["max-model-len", "help"];

/// Runs the check.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let types = types(tree);
    let mut findings = Vec::new();
    let speaks = |file: &&SourceFile| {
        let is_page = file.extension() == Some("md") && file.name() != "CHANGELOG.md";
        is_page || (file.is_rust() && file.path.starts_with("crates/"))
    };
    for file in tree.files.iter().filter(speaks) {
        for (number, line) in file.lines() {
            for key in spans(line).filter_map(key) {
                if !has_key(&types, key) {
                    let message = format!("a configuration has no key `{key}`; correct the name");
                    findings.push(Finding::new(&file.path, number, message));
                }
            }
        }
    }
    let program: String =
        tree.rust(&["crates/hint-rl/src/"]).map(|file| file.text.as_str()).collect();
    for file in tree.files.iter().filter(|file| OPTIONS_OF.contains(&file.path.as_str())) {
        for (number, line) in file.lines() {
            for option in spans(line).filter_map(|span| span.strip_prefix("--")) {
                let name = option.split([' ', '=']).next().unwrap_or(option);
                let field = format!("{}: ", name.replace('-', "_"));
                if !program.contains(&field) && !OTHER_OPTIONS.contains(&name) {
                    let message = format!("hint-rl has no option `--{name}`; correct the name");
                    findings.push(Finding::new(&file.path, number, message));
                }
            }
        }
    }
    findings
}

/// Text between backticks in a line.
fn spans(line: &str) -> impl Iterator<Item = &str> {
    let closed = line.matches('`').count() / 2;
    line.split('`').skip(1).step_by(2).take(closed)
}

/// The key that a piece of code is, or begins with: `run.steps`, `advantage.type = "mean_only"`.
fn key(span: &str) -> Option<&str> {
    let key = span.split([' ', '=', '}']).next()?;
    let (table, rest) = key.split_once('.')?;
    let is_name = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_lowercase())
            && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    let files = ["rs", "md", "toml", "json", "jsonl", "lock", "py", "json_schema"];
    let is_file = files.iter().any(|extension| rest.ends_with(extension));
    (TABLES.contains(&table) && rest.split('.').all(is_name) && !is_file).then_some(key)
}

/// The tables of a configuration whose names are not also those of something else.
const TABLES: [&str; 8] =
    ["advantage", "evaluation", "loss", "optimizer", "rollout", "rollout_table", "run", "verifier"];

#[cfg(test)]
mod tests {
    use super::*;

    const TYPES: &str = "#[derive(Deserialize)] pub struct GrpoConfig { run: RunConfig }
        #[derive(Deserialize)] pub struct RunConfig { steps: u64 }";

    #[track_caller]
    fn found(line: &str, expected: &[&str]) {
        let program = ("crates/hint-rl/src/options.rs", "pub dry_run: bool,\n");
        let types = ("crates/a/src/lib.rs", TYPES);
        let tree = Tree::of(&[types, ("docs/trl.md", line), program]);
        let findings = check(&tree);
        assert_eq!(findings.len(), expected.len(), "{line}: {findings:?}");
        for (finding, part) in findings.iter().zip(expected) {
            assert!(finding.message.contains(part), "{finding}");
        }
    }

    #[test]
    fn keys_and_options_must_exist() {
        found("`run.steps = 2`, `run.rs`, `rollout/step`, `x.steps`", &[]);
        found("`run.stops` and `run.steps.x`", &["`run.stops`", "`run.steps.x`"]);
        found("`--dry-run` and `--dry-ran X`", &["`--dry-ran`"]);
    }
}
