//! Every package this workspace is built from may be used under a permissive license.

use serde_json::Value;

use super::{Finding, tree::Tree};

/// Identifiers of SPDX.
const PERMISSIVE: [&str; 13] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Runs the check.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let packages = tree.metadata["packages"].as_array().map_or(&[][..], Vec::as_slice);
    packages
        .iter()
        .filter_map(|package| {
            let license = package["license"].as_str();
            (!license.is_some_and(is_permissive)).then(|| {
                let name = package["name"].as_str().unwrap_or("?");
                let license = license.unwrap_or("no license");
                let message = format!("`{name}` has {license}, which is not on the list of permissive licenses; do without it");
                Finding::new("Cargo.lock", line_of(tree, package), message)
            })
        })
        .collect()
}

fn line_of(tree: &Tree, package: &Value) -> usize {
    let heading = format!("name = \"{}\"", package["name"].as_str().unwrap_or_default());
    let lock = tree.file("Cargo.lock");
    lock.and_then(|file| file.lines().find(|(_, line)| *line == heading))
        .map_or(1, |(number, _)| number)
}

/// Whether the expression can be satisfied with permissive licenses alone. `OR` binds weakest; `/` is its old spelling.
fn is_permissive(expression: &str) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let value = any(&words, &mut at);
    value && at == words.len()
}

fn any(words: &[&str], at: &mut usize) -> bool {
    let mut value = all(words, at);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        value |= all(words, at);
    }
    value
}

fn all(words: &[&str], at: &mut usize) -> bool {
    let mut value = one(words, at);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        value &= one(words, at);
    }
    value
}

fn one(words: &[&str], at: &mut usize) -> bool {
    let Some(&word) = words.get(*at) else { return false };
    *at += 1;
    if word == "(" {
        let value = any(words, at);
        let closed = words.get(*at) == Some(&")");
        *at += 1;
        return value && closed;
    }
    if words.get(*at) == Some(&"WITH") {
        let exception = words.get(*at + 1).copied().unwrap_or_default();
        *at += 2;
        return PERMISSIVE.contains(&format!("{word} WITH {exception}").as_str());
    }
    PERMISSIVE.contains(&word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_evaluated() {
        let check = |expression: &str, expected: bool| {
            assert_eq!(is_permissive(expression), expected, "{expression}");
        };
        check("MIT", true);
        check("MIT/Apache-2.0", true);
        check("GPL-3.0", false);
        check("GPL-3.0 OR MIT", true);
        check("GPL-3.0 AND MIT", false);
        check("(MIT OR Apache-2.0) AND Unicode-3.0", true);
        check("(MIT OR Apache-2.0) AND GPL-3.0", false);
        check("Apache-2.0 WITH LLVM-exception OR GPL-2.0", true);
        check("GPL-2.0 WITH Classpath-exception-2.0", false);
        check("(MIT", false);
        check("", false);
    }

    #[test]
    fn package_is_named_with_its_line() {
        let mut tree = Tree::of(&[("Cargo.lock", "[[package]]\nname = \"a\"\n")]);
        tree.metadata = serde_json::json!({"packages": [{"name": "a", "license": "GPL-3.0"}, {"name": "b", "license": "MIT"}]});
        let findings = check(&tree);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].line, 2);
    }
}
