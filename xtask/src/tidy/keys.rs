//! Keys of the configuration and options of the program that pages and messages name are there.

use std::collections::BTreeMap;

use super::markdown::Markdown;
use super::{Finding, tree::SourceFile, tree::Tree};

/// The reference of keys: a TOML file in which comments name keys without a default.
const REFERENCE: &str = "docs/configuration.md";

/// The pages whose options are those of the program; other pages name those of other programs, too.
const OPTIONS_OF: [&str; 3] = ["docs/trl.md", "docs/debugging.md", "docs/choosing.md"];

/// Options that are not fields of the program's options.
const OTHER_OPTIONS: [&str; 2] = ["max-model-len", "help"];

/// Runs the check.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let Some(reference) = tree.file(REFERENCE) else { return Vec::new() };
    let tables = tables(&Markdown::parse(&reference.text));
    let mut findings = Vec::new();
    let speaks = |file: &&SourceFile| {
        let is_page = file.extension() == Some("md") && file.name() != "CHANGELOG.md";
        is_page || (file.is_rust() && file.path.starts_with("crates/"))
    };
    for file in tree.files.iter().filter(speaks) {
        for (number, line) in file.lines() {
            for key in spans(line).filter_map(key) {
                if !is_known(&tables, key) {
                    let message = format!("`{REFERENCE}` has no key `{key}`; correct the name");
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

/// The words of each table of the reference, by its name.
fn tables(page: &Markdown) -> BTreeMap<String, String> {
    let mut tables = BTreeMap::<String, String>::new();
    for (_, _, text) in page.code.iter().filter(|(_, language, _)| language == "toml") {
        let mut table = String::new();
        for line in text.lines() {
            let header = line.trim_start_matches(['#', ' ']);
            if let Some(name) = header.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
                name.0.trim_start_matches('[').clone_into(&mut table);
            }
            let words = tables.entry(table.clone()).or_default();
            words.push_str(line);
            words.push('\n');
        }
    }
    tables
}

/// Whether a table, or a word of a table, is that key.
fn is_known(tables: &BTreeMap<String, String>, key: &str) -> bool {
    if tables.contains_key(key) {
        return true;
    }
    let mut table = key;
    while let Some((parent, _)) = table.rsplit_once('.') {
        if let Some(words) = tables.get(parent) {
            let is_word = |c: char| c.is_alphanumeric() || c == '_';
            let mut rest = key[parent.len() + 1..].split('.');
            return rest.all(|part| words.split(|c| !is_word(c)).any(|word| word == part));
        }
        table = parent;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: &str = "```toml\n[run]\nsteps = 1\n# max_staleness = 4\n\n[loss.objective]\n\
                        type = \"a\"  # or \"b\" with max_ratio\n\n# [[optimizer.groups]]\n# frozen = false\n```\n";

    #[track_caller]
    fn found(line: &str, expected: &[&str]) {
        let program = ("crates/hint-rl/src/options.rs", "pub dry_run: bool,\n");
        let tree = Tree::of(&[(REFERENCE, KEYS), ("docs/trl.md", line), program]);
        let findings = check(&tree);
        assert_eq!(findings.len(), expected.len(), "{line}: {findings:?}");
        for (finding, part) in findings.iter().zip(expected) {
            assert!(finding.message.contains(part), "{finding}");
        }
    }

    #[test]
    fn keys_and_options_must_exist() {
        found("`run.steps`, `run.max_staleness`, `loss.objective.max_ratio = 2`", &[]);
        found("`loss.objective`, `optimizer.groups.frozen`, `run.rs`, `rollout/step`", &[]);
        found("`run.stops` and `loss.objective.clip`", &["`run.stops`", "`loss.objective.clip`"]);
        found("`--dry-run` and `--dry-ran X`", &["`--dry-ran`"]);
    }
}
