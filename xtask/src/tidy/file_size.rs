//! No file is longer than 600 lines, and no example than 99; tests do not count.

use super::{Finding, tree::SourceFile, tree::Tree};

const LIMIT: usize = 600;
const EXAMPLE_LIMIT: usize = 99;

/// Files that may be longer, each with the reason.
const LONGER: [(&str, &str); 0] = [];

/// Runs the check.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    tree.rust(&[""])
        .filter(|file| !is_test(&file.path) && !LONGER.iter().any(|(path, _)| *path == file.path))
        .filter_map(|file| {
            let lines = lines_without_tests(file);
            let limit = if file.path.starts_with("examples/") { EXAMPLE_LIMIT } else { LIMIT };
            (lines > limit).then(|| {
                let advice = "split the file by concept, or shorten the example";
                let message = format!("{lines} lines, at most {limit} are allowed; {advice}");
                Finding::new(&file.path, limit + 1, message)
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
            ("examples/d.rs", &"x\n".repeat(100)),
            ("examples/e.rs", &"x\n".repeat(99)),
        ]);
        let paths: Vec<_> = check(&tree).into_iter().map(|finding| finding.path).collect();
        assert_eq!(paths, ["src/a.rs", "examples/d.rs"]);
    }
}
