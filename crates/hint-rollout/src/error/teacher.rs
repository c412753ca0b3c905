//! Errors of a teacher.

use std::path::PathBuf;

use crate::error::http::HttpError;

/// Why a teacher gave no hint.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TeacherError {
    /// The server gave no usable answer.
    #[error("the teacher gave no hint for problem `{problem}` in {attempts} attempts")]
    Request {
        /// Problem id.
        problem: String,
        /// Requests made for it.
        attempts: usize,
        /// Why the last one failed.
        #[source]
        source: HttpError,
    },

    /// Nothing more may be spent.
    #[error(
        "the teacher's budget of {limit} {what} is used up before problem `{problem}` has a hint; \
         raise `source.budget.{what}`, or set `source.on_exhausted` to \"no_hint\" or \"dataset\""
    )]
    Budget {
        /// `requests` or `tokens`.
        what: &'static str,
        /// The bound.
        limit: u64,
        /// Problem id.
        problem: String,
    },

    /// The folder of answers cannot be used.
    #[error("cannot use the teacher's cache `{}`", path.display())]
    Cache {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}
