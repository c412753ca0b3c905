//! `hint-rl problems`: writes the problems of a bundled family as JSONL.
//!
//! ```text
//! hint-rl problems chains --out chains.jsonl
//! hint-rl problems walks --held-out --count 200 --out walks.jsonl
//! ```
//!
//! Columns follow HINT's data: `question`, `answer`, `abstract_hint`, `medium_hint`, `direct_hint`. Further ones are
//! `id`, `level`, `solution` and `family`. The same command writes the same bytes.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::Args;
use hint_rollout::Problem;

use super::{FAMILIES, Family, family, problems};
use crate::problem_row::problem_lines;
use crate::process::replace_file;

/// Writes the problems of a bundled family as JSONL.
#[derive(Debug, Args)]
pub struct Options {
    /// `chains` or `walks`.
    family: String,
    /// File to write.
    #[arg(long, value_name = "FILE.jsonl")]
    out: PathBuf,
    /// Number of problems.
    #[arg(long, default_value_t = 1000)]
    count: usize,
    /// Write held-out problems, which no model of this repository was trained on.
    #[arg(long)]
    held_out: bool,
}

/// Runs the command.
///
/// # Errors
///
/// An unknown family, a file that cannot be written.
pub fn run(options: &Options) -> Result<()> {
    let Some(family) = family(&options.family) else {
        let names = FAMILIES.map(Family::name).join("`, `");
        bail!("`{}` is no family; families are `{names}`", options.family);
    };
    write(&options.out, &problems(family, options.held_out, options.count)?)?;
    note!("{} problems written to {}", options.count, options.out.display());
    Ok(())
}

/// Writes problems, one a line. The file appears whole, or stays as it was.
///
/// # Errors
///
/// A file that cannot be written.
pub(crate) fn write(path: &Path, problems: &[Problem]) -> Result<()> {
    replace_file(path, &problem_lines(problems))
}
