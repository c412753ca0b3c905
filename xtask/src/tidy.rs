//! The checks of this repository alone: they need no libtorch and no compiled code, and each is a file of its own.
//!
//! They run as `cargo xtask tidy`, as part of `cargo xtask lint`, and as a test of this package.

mod api;
mod book;
mod config;
mod dependencies;
mod equations;
mod examples;
mod file_size;
mod header;
mod imports;
mod keys;
mod language;
pub(crate) mod markdown;
mod messages;
mod metrics;
mod modules;
mod pins;
mod presets;
mod reports;
mod tree;
mod unsafe_code;

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::tidy::tree::Tree;

/// Something to fix, and how.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    /// Path from the root of the repository.
    path: String,
    /// Line, counted from 1.
    line: usize,
    /// The fault; then, after a semicolon, the fix.
    message: String,
}

impl Finding {
    fn new(path: impl Into<String>, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.into(), line, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

/// Looks at the tree and returns its findings.
type Check = fn(&Tree) -> Vec<Finding>;

/// Every check, by name.
const CHECKS: [(&str, Check); 16] = [
    ("header", header::check),
    ("file size", file_size::check),
    ("dependencies", dependencies::check),
    ("modules", modules::check),
    ("what follows from the code", stale),
    ("examples", examples::check),
    ("equations and deviations", equations::check),
    ("metrics", metrics::check),
    ("pins", pins::check),
    ("reports", reports::check),
    ("book", book::check),
    ("keys and options", keys::check),
    ("imports", imports::check),
    ("messages", messages::check),
    ("language", language::check),
    ("unsafe code", unsafe_code::check),
];

/// Runs every check, prints the findings, and fails if there are any.
pub(crate) fn run(repo: &Path) -> Result<()> {
    let tree = Tree::load(repo)?;
    let mut count = 0;
    for (name, check) in CHECKS {
        for finding in check(&tree) {
            eprintln!("{finding} [{name}]");
            count += 1;
        }
    }
    if count > 0 {
        bail!("tidy found {count} things to fix");
    }
    eprintln!("tidy: {} checks, {} files", CHECKS.len(), tree.files.len());
    Ok(())
}

/// Files that follow from the code, each with the text that it must have.
type Written = fn(&Tree) -> Vec<(String, String)>;

/// The module table, public items, and pages of the book.
const WRITTEN: [Written; 5] =
    [modules::written, api::written, metrics::written, config::written, presets::written];

/// Most differences that are shown of one file.
const SHOWN: usize = 20;

/// Differences between files and what follows from the code.
fn stale(tree: &Tree) -> Vec<Finding> {
    let files = WRITTEN.iter().flat_map(|written| written(tree));
    files.flat_map(|(path, text)| differences(tree, &path, &text)).collect()
}

fn differences(tree: &Tree, path: &str, expected: &str) -> Vec<Finding> {
    let found = tree.file(path).map_or("", |file| &file.text);
    let lines = |text| str::lines(text).collect::<BTreeSet<_>>();
    let (old, new) = (lines(found), lines(expected));
    let gone = old.difference(&new).map(|line| format!("- {line}"));
    let mut changes: Vec<_> =
        gone.chain(new.difference(&old).map(|line| format!("+ {line}"))).collect();
    if changes.is_empty() && found != expected {
        changes.push("lines stand in another order".to_owned());
    }
    let more = changes.len().saturating_sub(SHOWN);
    changes.truncate(SHOWN);
    changes.extend((more > 0).then(|| format!("{more} more")));
    let finding = |change: String| {
        Finding::new(path, 1, format!("{change}; if it is meant, run `cargo xtask bless`"))
    };
    changes.into_iter().map(finding).collect()
}

/// Writes everything that follows from the code.
pub(crate) fn bless(repo: &Path) -> Result<()> {
    let tree = Tree::load(repo)?;
    for (path, text) in WRITTEN.iter().flat_map(|written| written(&tree)) {
        if tree.file(&path).is_none_or(|file| file.text != text) {
            let path = repo.join(path);
            std::fs::create_dir_all(path.parent().unwrap_or(repo))
                .and_then(|()| std::fs::write(&path, text))
                .with_context(|| format!("cannot write `{}`", path.display()))?;
            eprintln!("wrote {}", path.display());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repository_is_tidy() -> Result<()> {
        let manifest_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
        run(manifest_dir.parent().expect("xtask is a folder of the repository"))
    }

    #[track_caller]
    fn check(found: &str, expected: &str, differences: &[&str]) {
        let tree = Tree::of(&[("a.md", found)]);
        let messages: Vec<_> = super::differences(&tree, "a.md", expected)
            .into_iter()
            .map(|finding| finding.message.split(';').next().unwrap_or_default().to_owned())
            .collect();
        assert_eq!(messages, differences);
    }

    #[test]
    fn a_file_differs_by_its_lines() {
        check("a\nb\n", "a\nb\n", &[]);
        check("a\nb\n", "a\nc\n", &["- b", "+ c"]);
        check("a\nb\n", "b\na\n", &["lines stand in another order"]);
        let many: Vec<_> = ('a'..='v').map(|line| format!("+ {line}")).collect();
        let shown = many.iter().take(20).map(String::as_str).chain(["2 more"]);
        let text = many.join("\n").replace("+ ", "");
        check("", &text, &shown.collect::<Vec<_>>());
    }
}
