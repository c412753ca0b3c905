//! `hint-rl prepare`: fetches a public data set and writes it in the HINT format, one problem a line.
//!
//! ```text
//! hint-rl prepare gsm-symbolic --instances 5 --seed 0 --out gsm.jsonl
//! hint-rl prepare champ --out champ.jsonl
//! ```
//!
//! Prints how many problems were written, which were skipped and why, and what share of the hints
//! gives something away (`hint-rl audit` lists them). About 20 MB are downloaded once; a second run is offline and takes under a
//! second.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use hint_rollout::{Hint, LeakDetector, LeakKind, Problem};

use super::{
    CHAMP, Champ, Fetcher, GSM_SYMBOLIC, GsmSymbolic, SourceProblem, cache_root, write_jsonl,
};

/// Fetches problems and writes them as JSONL.
#[derive(Debug, Args)]
pub struct Options {
    #[command(subcommand)]
    source: Source,
}

/// A data set.
#[derive(Debug, Subcommand)]
pub enum Source {
    /// Grade-school problems; the Meta-Hint is derived from the worked answer.
    GsmSymbolic {
        /// New problems to draw from each template, besides the original.
        #[arg(long, default_value_t = 0)]
        instances: usize,
        /// Seed of the draws.
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// Where to write.
        #[arg(long)]
        out: PathBuf,
    },
    /// Competition problems with human-written hints and concepts.
    Champ {
        /// Where to write.
        #[arg(long)]
        out: PathBuf,
    },
}

/// Runs the command.
///
/// # Errors
///
/// A package that cannot be fetched, a file that cannot be written.
pub fn run(options: Options) -> anyhow::Result<()> {
    #[expect(clippy::disallowed_methods, reason = "a program finds the user's cache folder")]
    let [xdg, home] = ["XDG_CACHE_HOME", "HOME"].map(|name| std::env::var_os(name).map(Into::into));
    let fetcher = Fetcher::new(cache_root(xdg, home)?);
    let mut notice = |line: &str| note!("{line}");
    match options.source {
        Source::GsmSymbolic { instances, seed, out } => {
            let folder = fetcher.fetch(&GSM_SYMBOLIC, &mut notice)?;
            let source = GsmSymbolic::load(&folder)?;
            let mut problems = source.base_problems();
            problems.extend(source.draw(instances, seed)?);
            let mut skipped = BTreeMap::new();
            for (_, reason) in source.unsupported() {
                *skipped.entry(format!("template not drawn from: {reason}")).or_default() += 1;
            }
            finish(&problems, &skipped, &out)
        }
        Source::Champ { out } => {
            let file = fetcher.fetch(&CHAMP, &mut notice)?;
            let source = Champ::load(&file)?;
            let skipped = source.skipped.iter().map(|(r, count)| ((*r).to_owned(), *count));
            finish(&source.problems, &skipped.collect(), &out)
        }
    }
}

fn finish(
    problems: &[SourceProblem],
    skipped: &BTreeMap<String, usize>,
    out: &Path,
) -> anyhow::Result<()> {
    write_jsonl(out, problems)?;
    let detector = LeakDetector::new();
    let leaks = problems.iter().cloned().map(Problem::from).filter_map(|problem| {
        let hint = Hint::new(problem.hint.clone()?);
        Some(detector.leaks(&problem, &hint).iter().map(|leak| leak.kind).collect::<Vec<_>>())
    });
    let leaks = leaks.collect::<Vec<_>>();
    let share = |kind| {
        let count = leaks.iter().filter(|kinds| kinds.contains(&kind)).count();
        format!("{count} of {} ({:.1} %)", leaks.len(), percent(count, leaks.len()))
    };
    say!("problems                      {:>6}  {}", problems.len(), out.display());
    say!("skipped                       {:>6}", skipped.values().sum::<usize>());
    for (reason, count) in skipped {
        say!("  {count:>5}  {reason}");
    }
    say!("hints with the answer         {}", share(LeakKind::Answer));
    say!("hints with a step's value     {}", share(LeakKind::Step));
    Ok(())
}

fn percent(count: usize, of: usize) -> f64 {
    if of == 0 { 0.0 } else { 100.0 * count as f64 / of as f64 }
}
