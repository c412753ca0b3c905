//! The root of every crate forbids `unsafe`, except two, which permit it in one file each, the one that calls C.
//!
//! The lints of the workspace deny it elsewhere, so it is enough that no other attribute lifts them.

use super::{Finding, tree::Tree};

/// The files that may.
const AUDITED: [&str; 2] = ["crates/hint-dist/src/ffi.rs", "crates/hint-policy/src/ffi.rs"];

/// The roots of the crates that these files are in.
const EXCEPTIONS: [&str; 2] = ["crates/hint-dist/src/lib.rs", "crates/hint-policy/src/lib.rs"];

/// Attribute of a crate root.
const FORBID: &str = "#![forbid(unsafe_code)]";

/// This file, whose tests name the lint.
const OWN: &str = "xtask/src/tidy/unsafe_code.rs";

/// Runs the check.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.rust(&[""]).filter(|file| file.path != OWN) {
        let is_root = file.path.ends_with("/src/lib.rs") || file.path.ends_with("/src/main.rs");
        if is_root
            && file.path.starts_with("crates/")
            && !EXCEPTIONS.contains(&&*file.path)
            && !file.text.contains(FORBID)
        {
            let message = format!("the crate does not forbid unsafe code; add `{FORBID}`");
            findings.push(Finding::new(&file.path, 1, message));
        }
        let permits = |line: &str| {
            let names = line.trim_start().starts_with('#') && line.contains("unsafe_code");
            names && !line.contains("forbid(unsafe_code)")
        };
        let lines =
            file.lines().filter(|(_, line)| !AUDITED.contains(&&*file.path) && permits(line));
        findings.extend(lines.map(|(line, _)| {
            let audited = AUDITED.join("` and `");
            Finding::new(&file.path, line, format!("`unsafe` outside `{audited}`; do without it"))
        }));
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
    fn only_the_audited_files_permit_it() {
        let permit = "#[expect(unsafe_code, reason = \"C\")]";
        check_count("crates/a/src/b.rs", permit, 1);
        check_count("examples/a.rs", "#![allow(dead_code, unsafe_code)]", 1);
        check_count("crates/a/src/b.rs", "// This is unsafe.", 0);
        for path in AUDITED {
            check_count(path, permit, 0);
        }
    }

    #[test]
    fn crate_roots_forbid_it() {
        check_count("crates/a/src/lib.rs", "//! A.\n", 1);
        check_count("crates/a/src/main.rs", "//! A.\n", 1);
        check_count("crates/a/src/lib.rs", "//! A.\n#![forbid(unsafe_code)]\n", 0);
        for path in EXCEPTIONS {
            check_count(path, "//! P.\n", 0);
        }
    }
}
