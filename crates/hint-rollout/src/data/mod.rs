//! Data: problems, hints, and which problems are held out from training.
//!
//! A [`Problem`] is one row of a data set. [`read_problems`] reads a file of them, recognizes its [`Columns`], and
//! names the line of every fault. A [`Hint`] is a text together with its kind ([`HintKind`]). Its level is a share of
//! what its provider can give ([`HintLevel`]). [`DataConfig`] configures the files. It reads them into a
//! [`ProblemSet`], which keeps on disk the part that is too much for memory. [`HeldOut`] names the problems that
//! evaluation uses and training does not.
//!
//! Nothing in this module samples, scores or prompts. Everything else builds on it.

mod columns;
mod config;
mod exact_json;
mod files;
mod held_out;
mod hint;
mod path;
mod problem;
mod read;
mod rows;
mod set;
mod spill;

pub use columns::Columns;
pub(crate) use config::DATASET;
pub use config::{DataConfig, DataFile, ReadProblems};
pub use files::named_split;
pub use held_out::{HeldOut, Removed, Split, is_held_out};
pub use hint::{AllowedLeak, Hint, HintKind, HintLevel};
pub use problem::{Problem, Turn};
pub use read::{DroppedRows, parse_problems, read_problems, read_problems_from};
pub use rows::parse_row;
pub use set::{ByText, ProblemSet, ProblemSetBuilder, Problems};
