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
const CHECKS: [(&str, Check); 17] = [
    ("header", header::check),
    ("file size", file_size::check),
    ("dependencies", dependencies::check),
    ("modules", modules::check),
    ("public items", api::check),
    ("examples", examples::check),
    ("equations and deviations", equations::check),
    ("metrics", metrics::check),
    ("pins", pins::check),
    ("reports", reports::check),
    ("book", book::check),
    ("keys and options", keys::check),
    ("keys of the configuration", config::check),
    ("messages", messages::check),
    ("presets", presets::check),
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

/// Writes everything that follows from the code: module table, public items, and pages of the book.
pub(crate) fn bless(repo: &Path) -> Result<()> {
    let tree = Tree::load(repo)?;
    let table = modules::blessed(&tree).context("ARCHITECTURE.md has no table of modules")?;
    let files = api::blessed(&tree).into_iter().chain([("ARCHITECTURE.md".to_owned(), table)]);
    let files = files.chain(metrics::blessed(&tree)).chain(presets::blessed(&tree));
    let files = files.chain(config::blessed(&tree));
    write(repo, &tree, files)
}

fn write(
    repo: &Path,
    tree: &Tree,
    files: impl IntoIterator<Item = (String, String)>,
) -> Result<()> {
    for (path, text) in files {
        if tree.file(&path).is_none_or(|file| file.text != text) {
            let path = repo.join(path);
            std::fs::create_dir_all(path.parent().unwrap_or(repo))?;
            std::fs::write(&path, text)?;
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
}
