//! Labels of equations and numbers of deviations: those in the code are those in the documents.

use std::collections::BTreeMap;

use super::{Finding, tree::SourceFile, tree::Tree};

const EQUATIONS: &str = "docs/math.md";
const DEVIATIONS: &str = "docs/deviations.md";

/// Names of standards, which resemble labels.
const NOT_LABELS: [&str; 5] = ["UTF", "SHA", "ISO", "RFC", "CC"];

/// Folders with the code and the tests of this project. This package, whose tests make labels up, is not
/// among them.
const CODE: [&str; 3] = ["crates/", "examples/", "tests/"];

/// Path and line where something was seen first.
type Places = BTreeMap<String, (String, usize)>;

/// Runs the check.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = compare(
        &places(tree.rust(&CODE), labels),
        &places(tree.file(EQUATIONS).into_iter(), labels),
        "equation",
        EQUATIONS,
    );
    findings.extend(compare(
        &places(tree.rust(&CODE), deviations_in_code),
        &places(tree.file(DEVIATIONS).into_iter(), deviations_in_document),
        "deviation",
        DEVIATIONS,
    ));
    findings
}

fn places<'a>(
    files: impl Iterator<Item = &'a SourceFile>,
    find: fn(&str) -> Vec<String>,
) -> Places {
    let mut places = Places::new();
    for file in files {
        for (number, line) in file.lines() {
            for name in find(line) {
                places.entry(name).or_insert_with(|| (file.path.clone(), number));
            }
        }
    }
    places
}

fn compare(code: &Places, document: &Places, what: &str, path: &str) -> Vec<Finding> {
    let missing = code.iter().filter(|(name, _)| !document.contains_key(*name)).map(
        |(name, (file, line))| {
            Finding::new(
                file,
                *line,
                format!("{what} {name} is not in `{path}`; describe it there, or correct the name"),
            )
        },
    );
    let unused = document.iter().filter(|(name, _)| !code.contains_key(*name)).map(|(name, (file, line))| {
        Finding::new(file, *line, format!("{what} {name} is not in the code; name it where it is implemented, or remove it"))
    });
    missing.chain(unused).collect()
}

/// The labels `(ABC-1)` of a line.
fn labels(line: &str) -> Vec<String> {
    line.split('(')
        .skip(1)
        .filter_map(|rest| rest.split_once(')').map(|(inside, _)| inside))
        .filter(|inside| {
            inside.split_once('-').is_some_and(|(prefix, number)| {
                prefix.len() >= 2
                    && prefix.starts_with(|c: char| c.is_ascii_uppercase())
                    && prefix.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit())
                    && !NOT_LABELS.contains(&prefix)
                    && !number.is_empty()
                    && number.chars().all(|c| c.is_ascii_digit())
            })
        })
        .map(|inside| format!("({inside})"))
        .collect()
}

/// The numbers of `Deviation D3`.
fn deviations_in_code(line: &str) -> Vec<String> {
    let words: Vec<&str> = words(line).collect();
    words
        .windows(2)
        .filter(|pair| pair[0] == "Deviation")
        .map(|pair| pair[1])
        .filter(|word| is_deviation(word))
        .map(str::to_owned)
        .collect()
}

fn deviations_in_document(line: &str) -> Vec<String> {
    words(line).filter(|word| is_deviation(word)).map(str::to_owned).collect()
}

fn is_deviation(word: &str) -> bool {
    word.strip_prefix('D')
        .is_some_and(|number| !number.is_empty() && number.chars().all(|c| c.is_ascii_digit()))
}

/// The words of a line: runs of letters, digits and underscores.
fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_told_from_standards_and_prose() {
        assert_eq!(
            labels("(AFF-1) and (GRPO-3), not (UTF-8), (a-1), (X-1), (AFF-x) or [AFF-2]"),
            ["(AFF-1)", "(GRPO-3)"]
        );
        assert_eq!(labels("(see (AFF-1))"), ["(AFF-1)"]);
    }

    #[track_caller]
    fn found(code: &str, math: Option<&str>, deviations: Option<&str>, expected: &[(&str, &str)]) {
        let mut files = vec![("crates/a/src/b.rs", code)];
        files.extend(math.map(|text| (EQUATIONS, text)));
        files.extend(deviations.map(|text| (DEVIATIONS, text)));
        let findings = check(&Tree::of(&files));
        assert_eq!(findings.len(), expected.len(), "{findings:?}");
        for (finding, (path, part)) in findings.iter().zip(expected) {
            assert!(finding.path == *path && finding.message.contains(part), "{finding}");
        }
    }

    #[test]
    fn code_and_document_must_have_the_same_labels() {
        found("// (AFF-1)\n", Some("## (AFF-1)\n"), None, &[]);
        found(
            "// (AFF-1)\n",
            Some("## (AFF-2)\n"),
            None,
            &[
                ("crates/a/src/b.rs", "(AFF-1) is not in"),
                (EQUATIONS, "(AFF-2) is not in the code"),
            ],
        );
        found(
            "// (AFF-1)\n",
            None,
            None,
            &[("crates/a/src/b.rs", "(AFF-1) is not in `docs/math.md`")],
        );
        found("// None.\n", None, None, &[]);
    }

    #[test]
    fn code_and_document_must_have_the_same_deviations() {
        found("// Deviation D3: guard.\n", None, Some("## D3\n"), &[]);
        found("// Deviation D3: guard.\n", None, None, &[("crates/a/src/b.rs", "deviation D3")]);
        found(
            "// A 3D plot.\n",
            None,
            Some("## D4 old\n"),
            &[(DEVIATIONS, "D4 is not in the code")],
        );
    }
}
