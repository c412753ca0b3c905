//! `hint-prepare`: fetches a public data set once and writes it as JSONL, one problem per line.
//!
//! ```text
//! cargo run --release --bin hint-prepare -- gsm-symbolic
//! cargo run --release --bin hint-prepare -- champ --out champ.jsonl
//! ```
//!
//! Without `--out` the file goes where `hint-rl train --problems gsm-symbolic` finds it. Prints how many
//! problems were written, and how many were skipped for which reason. About 20 MB are downloaded once; a
//! second run is offline and takes under a second.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line program talks to its user"
)]
#![forbid(unsafe_code)]

mod champ;
mod gsm_symbolic;
mod problem;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, ValueEnum};
use hint_rl::fetch::Fetcher;
use hint_rl::tiny::swaps;

use crate::champ::Champ;
use crate::problem::{SourceProblem, write_jsonl};

/// Fetches a public data set and writes it as JSONL.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Program {
    /// The data set.
    #[arg(value_enum)]
    source: Source,

    /// File to write [default: where `hint-rl` finds it by its name].
    #[arg(long, value_name = "FILE.jsonl")]
    out: Option<PathBuf>,
}

/// A data set.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Source {
    /// Grade-school problems; the hint is the worked answer without its numbers.
    GsmSymbolic,
    /// Competition problems with human-written hints and concepts.
    Champ,
    /// The task of the embedded model: `examples/tiny/problems.jsonl` is its first 256 lines.
    Swaps,
}

fn main() -> Result<()> {
    let program = Program::parse();
    let fetcher = Fetcher::of_user()?;
    let mut notice = |line: &str| eprintln!("{line}");
    let (name, problems, skipped) = match program.source {
        Source::GsmSymbolic => {
            let folder = fetcher.fetch(&gsm_symbolic::PACKAGE, &mut notice)?;
            ("gsm-symbolic", gsm_symbolic::problems(&folder)?, BTreeMap::new())
        }
        Source::Champ => {
            let champ = Champ::load(&fetcher.fetch(&champ::PACKAGE, &mut notice)?)?;
            ("champ", champ.problems, champ.skipped)
        }
        Source::Swaps => {
            let (problems, _) = swaps::problems(0);
            let problems = problems.into_iter().map(SourceProblem::from).collect();
            ("swaps", problems, BTreeMap::new())
        }
    };
    let out = program.out.unwrap_or_else(|| fetcher.prepared(name));
    write_jsonl(&out, &problems)?;
    println!("problems {:>6}  {}", problems.len(), out.display());
    for (reason, count) in skipped {
        println!("skipped  {count:>6}  {reason}");
    }
    Ok(())
}

/// The content of a package in the user's cache, for tests that are skipped without it.
#[cfg(test)]
fn cached(package: &hint_rl::fetch::Package) -> Option<PathBuf> {
    let path = Fetcher::of_user().ok()?.path(package);
    if !path.exists() {
        println!("skipped: `{}` is not fetched; run `hint-prepare`", path.display());
        return None;
    }
    Some(path)
}
