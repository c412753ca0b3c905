//! `unsafe` occurs in one file, the one that calls C, and every other crate forbids it.

use super::code::words;
use super::{Finding, tree::Tree};

/// The one file that may.
const AUDITED: &str = "crates/hint-policy/src/ffi.rs";

/// The crate that file is in.
const EXCEPTION: &str = "crates/hint-policy/src/lib.rs";

const KEYWORD: &str = "unsafe";

/// Runs the check.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.rust(&[""]) {
        if file.path != AUDITED {
            for (line, code) in file.code_lines() {
                if words(&code).any(|word| word == KEYWORD) {
                    findings.push(Finding::new(
                        &file.path,
                        line,
                        format!("`{KEYWORD}` outside `{AUDITED}`; do without it"),
                    ));
                }
            }
        }
        let is_crate_root = file.path.starts_with("crates/") && file.path.ends_with("/src/lib.rs");
        if is_crate_root && file.path != EXCEPTION && !file.text.contains("#![forbid(unsafe_code)]")
        {
            let message = "the crate does not forbid unsafe code; add `#![forbid(unsafe_code)]`";
            findings.push(Finding::new(&file.path, 1, message));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_count(path: &str, text: &str, expected: usize) {
        assert_eq!(check(&Tree::of(&[(path, text)])).len(), expected);
    }

    #[test]
    fn keyword_is_found_outside_the_audited_file() {
        check_count("crates/a/src/b.rs", "let x = unsafe { y() };", 1);
        check_count("crates/a/src/b.rs", "// This is unsafe.\nlet x = \"unsafe\";", 0);
        check_count(AUDITED, "let x = unsafe { y() };", 0);
    }

    #[test]
    fn crate_roots_forbid_it() {
        check_count("crates/a/src/lib.rs", "//! A.\n", 1);
        check_count("crates/a/src/lib.rs", "//! A.\n#![forbid(unsafe_code)]\n", 0);
        check_count(EXCEPTION, "//! P.\n", 0);
    }
}
