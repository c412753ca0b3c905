//! The reference of metrics and timings equals the tables in the code, and no other code invents a name.
//!
//! `cargo xtask bless` writes the reference.

use super::{Finding, tree::Tree};

const CODE: &str = "crates/hint-grpo/src/metrics/names.rs";
const DOCUMENT: &str = "docs/metrics.md";

/// Heads of the tables of the document, in the order of the tables in the code.
const HEADS: [&str; 2] = ["| metric | meaning |\n|---|---|\n", "| timing | meaning |\n|---|---|\n"];

/// Calls whose first argument is the name of a metric.
const CALLS: [&str; 5] = ["set", "set_some", "add", "add_min", "add_max"];

/// Runs the check.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let Some(code) = tree.file(CODE) else { return findings };
    for (line, name) in names(&code.text) {
        if !is_name(name) {
            let message = format!("`{name}` is no name of a metric; write `area/name`");
            findings.push(Finding::new(CODE, line, message));
        }
    }
    for file in tree.rust(&["crates/hint-grpo/src/"]).filter(|file| file.path != CODE) {
        let code = file.lines().filter(|(_, line)| !line.trim_start().starts_with("//"));
        for (line, code) in code {
            let invents = |call: &str| {
                ["\"", "format!"]
                    .iter()
                    .any(|name| code.contains(&format!("metrics.{call}({name}")))
            };
            if CALLS.iter().any(|call| invents(call)) {
                let message = format!("a metric without a constant; give it a row in `{CODE}`");
                findings.push(Finding::new(&file.path, line, message));
            }
        }
    }
    findings
}

/// The document with the tables of the code.
pub(super) fn written(tree: &Tree) -> Vec<(String, String)> {
    let (Some(document), Some(code)) = (tree.file(DOCUMENT), tree.file(CODE)) else {
        return Vec::new();
    };
    let mut text = document.text.clone();
    for (head, rows) in HEADS.iter().zip(tables(&code.text)) {
        let Some((before, rest)) = text.split_once(head) else { continue };
        let after = rest.split_inclusive('\n').skip_while(|line| line.starts_with('|'));
        text = format!("{before}{head}{rows}{}", after.collect::<String>());
    }
    vec![(DOCUMENT.to_owned(), text)]
}

/// The rows of each table of the code, in Markdown. A table begins with its name, `ALL`.
fn tables(code: &str) -> Vec<String> {
    let mut tables = Vec::new();
    let mut meaning = Vec::new();
    for line in code.lines().map(str::trim) {
        if line == "ALL" {
            tables.push(String::new());
            meaning.clear();
        } else if let Some(text) = line.strip_prefix("/// ") {
            meaning.push(text);
        } else if let (Some(name), Some(table)) = (name(line), tables.last_mut()) {
            table.extend(["| `", name, "` | ", &meaning.join(" "), " |\n"]);
            meaning.clear();
        }
    }
    tables
}

/// The name in a row `CONSTANT = "area/name";`.
fn name(line: &str) -> Option<&str> {
    let (constant, value) = line.trim().split_once(" = \"")?;
    let is_constant = constant.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    value.strip_suffix("\";").filter(|_| is_constant)
}

/// Each name with its line.
fn names(code: &str) -> impl Iterator<Item = (usize, &str)> {
    code.lines().zip(1..).filter_map(|(line, number)| Some((number, name(line)?)))
}

/// Lower case, apart from the word that stands for a member of a family.
fn is_name(name: &str) -> bool {
    name.split('/').all(|part| {
        let mut words = part.split('_');
        words.all(|word| {
            let of = |is: fn(&char) -> bool| word.chars().all(|c| is(&c));
            !word.is_empty()
                && (of(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
                    || of(char::is_ascii_uppercase))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &str = "/// About.\ntable! {\n    /// All.\n    ALL\n    /// The\n    /// reward.\n    \
                         REWARD = \"reward\";\n    /// Of one.\n    VERDICT = \"verdict/NAME\";\n}\n\
                         table! {\n    ALL\n    /// Time.\n    STEP = \"step_time\";\n}\n";

    fn document(rows: &str) -> String {
        format!("# M\n\n{}{rows}\nText.\n\n{}| `step_time` | Time. |\n", HEADS[0], HEADS[1])
    }

    const ROWS: &str = "| `reward` | The reward. |\n| `verdict/NAME` | Of one. |\n";

    #[test]
    fn the_reference_follows_the_code() {
        let old = document("| `reward` | Old. |\n");
        let files = written(&Tree::of(&[(CODE, NAMES), (DOCUMENT, &old)]));
        assert_eq!(files, [(DOCUMENT.to_owned(), document(ROWS))]);
    }

    #[test]
    fn names_are_constants_in_lower_case() {
        let bad = NAMES.replace("\"reward\"", "\"Reward mean\"");
        let text = document(&ROWS.replace("`reward`", "`Reward mean`"));
        let findings = check(&Tree::of(&[(CODE, &bad), (DOCUMENT, &text)]));
        assert!(findings[0].message.contains("no name"), "{findings:?}");
        for call in ["metrics.set(\"x\", 1.0);", "metrics.add(format!(\"x/{n}\"), 1.0, 1.0);"] {
            let file = ("crates/hint-grpo/src/run.rs", call);
            let whole = document(ROWS);
            let findings = check(&Tree::of(&[(CODE, NAMES), (DOCUMENT, &whole), file]));
            assert!(findings[0].message.contains("without a constant"), "{findings:?}");
        }
    }
}
