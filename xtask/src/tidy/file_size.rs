//! No file is longer than 600 lines; tests do not count.

use super::{Finding, tree::SourceFile, tree::Tree};

const LIMIT: usize = 600;

/// Files that may be longer, each with the reason.
const LONGER: [(&str, &str); 0] = [];

/// Runs the check.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    tree.rust(&[""])
        .filter(|file| !is_test(&file.path) && !LONGER.iter().any(|(path, _)| *path == file.path))
        .filter_map(|file| {
            let lines = lines_without_tests(file);
            (lines > LIMIT).then(|| {
                Finding::new(
                    &file.path,
                    LIMIT + 1,
                    format!(
                        "{lines} lines, at most {LIMIT} are allowed; split the file by concept"
                    ),
                )
            })
        })
        .collect()
}

fn is_test(path: &str) -> bool {
    path.split('/').any(|part| part == "tests" || part == "tests.rs" || part == "benches")
}

/// The lines above the unit tests.
fn lines_without_tests(file: &SourceFile) -> usize {
    let lines: Vec<&str> = file.text.lines().collect();
    lines
        .windows(2)
        .position(|pair| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod "))
        .unwrap_or(lines.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_above_the_tests_count() {
        let long = "x\n".repeat(LIMIT + 1);
        let tested = format!("{}#[cfg(test)]\nmod tests {{\n{long}}}\n", "x\n".repeat(LIMIT));
        let tree = Tree::of(&[
            ("src/a.rs", &long),
            ("src/b.rs", &tested),
            ("crates/x/tests/it/c.rs", &long),
        ]);
        let paths: Vec<_> = check(&tree).into_iter().map(|finding| finding.path).collect();
        assert_eq!(paths, ["src/a.rs"]);
    }
}
