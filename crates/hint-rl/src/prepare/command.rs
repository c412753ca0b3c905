//! `hint-rl prepare`: fetches a public data set and writes it as JSONL, one problem per line.
//!
//! ```text
//! hint-rl prepare gsm-symbolic --out gsm.jsonl
//! hint-rl prepare champ --out champ.jsonl
//! ```
//!
//! Prints how many problems were written, and how many were skipped for which reason. About 20 MB are
//! downloaded once; a second run is offline and takes under a second.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueEnum};

use super::{CHAMP, Champ, Fetcher, GSM_SYMBOLIC, SourceProblem, gsm_symbolic, write_jsonl};
use crate::tiny::swaps;

/// Fetches problems and writes them as JSONL.
#[derive(Debug, Args)]
pub struct Options {
    /// The data set.
    #[arg(value_enum)]
    source: Source,

    /// Where to write.
    #[arg(long, value_name = "FILE.jsonl")]
    out: PathBuf,
}

/// A data set.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Source {
    /// Grade-school problems; the hint is the worked answer without its numbers.
    GsmSymbolic,
    /// Competition problems with human-written hints and concepts.
    Champ,
    /// The task of the embedded model: `examples/tiny/problems.jsonl` is its first 256 lines.
    Swaps,
}

/// Runs the command.
///
/// # Errors
///
/// A package that cannot be fetched, a file that cannot be written.
pub fn run(options: &Options) -> Result<()> {
    let fetcher = Fetcher::of_user()?;
    let mut notice = |line: &str| note!("{line}");
    let (problems, skipped) = match options.source {
        Source::GsmSymbolic => {
            (gsm_symbolic(&fetcher.fetch(&GSM_SYMBOLIC, &mut notice)?)?, BTreeMap::new())
        }
        Source::Champ => {
            let champ = Champ::load(&fetcher.fetch(&CHAMP, &mut notice)?)?;
            (champ.problems, champ.skipped)
        }
        Source::Swaps => {
            let (problems, _) = swaps::problems(0);
            (problems.into_iter().map(SourceProblem::from).collect(), BTreeMap::new())
        }
    };
    write_jsonl(&options.out, &problems)?;
    say!("problems {:>6}  {}", problems.len(), options.out.display());
    for (reason, count) in skipped {
        say!("skipped  {count:>6}  {reason}");
    }
    Ok(())
}
