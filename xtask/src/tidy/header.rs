//! Every Rust file starts with `//!` and one sentence about its content.

use super::{Finding, tree::Tree};

/// Runs the check.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    tree.rust(&[""])
        .filter(|file| !file.text.starts_with("//! "))
        .map(|file| {
            Finding::new(
                &file.path,
                1,
                "the file does not start with `//! `; say in one sentence what it is",
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_without_header_is_found() {
        let tree =
            Tree::of(&[("a.rs", "//! A.\n"), ("b.rs", "use std;\n"), ("c.py", "import c\n")]);
        let paths: Vec<_> = check(&tree).into_iter().map(|finding| finding.path).collect();
        assert_eq!(paths, ["b.rs"]);
    }
}
