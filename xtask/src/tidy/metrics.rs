//! The metric keys of the code are those of the table in the documentation.

use std::collections::BTreeMap;

use super::{Finding, tree::Tree};

const CODE: &str = "crates/hint-grpo/src/metrics.rs";
const DOCUMENT: &str = "docs/configuration.md";

/// Runs the check.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let code = tree.file(CODE).map_or_else(BTreeMap::new, |file| constants(&file.text));
    let document = tree.file(DOCUMENT).map_or_else(BTreeMap::new, |file| table(&file.text));
    let mut findings = Vec::new();
    for (key, line) in &code {
        if !is_key(key) {
            let message = format!("`{key}` is not a metric key; write `area/name` in lower case");
            findings.push(Finding::new(CODE, *line, message));
        } else if !document.contains_key(key) {
            let message = format!(
                "metric `{key}` is not in the table of `{DOCUMENT}`; add a row to its metrics section"
            );
            findings.push(Finding::new(CODE, *line, message));
        }
    }
    for (key, line) in document.iter().filter(|(key, _)| !code.contains_key(*key)) {
        findings.push(Finding::new(
            DOCUMENT,
            *line,
            format!("metric `{key}` is not in `{CODE}`; add the constant, or remove the row"),
        ));
    }
    findings
}

/// The keys of `pub const NAME: &str = "area/name";`, which rustfmt may break into two lines.
fn constants(text: &str) -> BTreeMap<String, usize> {
    let mut keys = BTreeMap::new();
    for (at, _) in text.match_indices("pub const ") {
        let statement = text[at..].split(';').next().unwrap_or_default();
        let Some((declaration, value)) = statement.split_once('=') else { continue };
        let key = value.trim().strip_prefix('"').and_then(|value| value.strip_suffix('"'));
        if let (true, Some(key)) = (declaration.contains("&str") && !declaration.contains('['), key)
        {
            keys.insert(key.to_owned(), text[..at].matches('\n').count() + 1);
        }
    }
    keys
}

/// The keys in backticks in the first column of the tables below a heading that says "metric". `reward/<name>` stands for
/// the prefix `reward/`.
fn table(text: &str) -> BTreeMap<String, usize> {
    let mut keys = BTreeMap::new();
    // Depth of the heading of the section we are in, if it is about metrics.
    let mut section = None;
    for (index, line) in text.lines().enumerate() {
        let depth = line.chars().take_while(|&c| c == '#').count();
        if depth > 0 {
            section = section.filter(|outer| depth > *outer);
            if section.is_none() && line.to_lowercase().contains("metric") {
                section = Some(depth);
            }
        }
        let Some(row) = line.trim_start().strip_prefix('|').filter(|_| section.is_some()) else {
            continue;
        };
        let cell = row.split('|').next().unwrap_or_default();
        for key in cell.split('`').skip(1).step_by(2) {
            let key = key.split('<').next().unwrap_or_default();
            if is_key(key) {
                keys.insert(key.to_owned(), index + 1);
            }
        }
    }
    keys
}

fn is_key(key: &str) -> bool {
    key.starts_with(|c: char| c.is_ascii_lowercase())
        && key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn found(code: &str, document: &str, expected: &[&str]) {
        let findings = check(&Tree::of(&[(CODE, code), (DOCUMENT, document)]));
        assert_eq!(findings.len(), expected.len(), "{findings:?}");
        for (finding, part) in findings.iter().zip(expected) {
            assert!(finding.message.contains(part), "{finding}");
        }
    }

    #[test]
    fn constants_and_rows_must_agree() {
        let code =
            "pub const EUR: &str = \"affinity/eur\";\npub const REWARD: &str =\n    \"reward/\";\n";
        found(
            code,
            "## Metrics\n| key |\n|---|\n| `affinity/eur` | x |\n| `reward/<name>` | y |\n",
            &[],
        );
        found(code, "# Metrics\n| `affinity/eur` |\n", &["`reward/` is not in the table"]);
        let more = "# Metrics\n| `affinity/eur` |\n## From TRL\n| `reward/<name>` |\n| `loss` |\n";
        found(code, more, &["`loss` is not in `crates"]);
        found("pub const X: &str = \"Misc X\";\n", "", &["is not a metric key"]);
    }

    #[test]
    fn other_constants_and_tables_are_left_alone() {
        let code = "pub const N: usize = 3;\nconst S: &str = \"a\";\n";
        found(code, "## Keys\n| `kl_coef` | x |\n## Metrics\n## Files\n| `summary` |\n", &[]);
    }
}
