//! Why a dump cannot be used, and where in it.

use std::fmt;
use std::path::PathBuf;

use hint_affinity::AffinityError;
use parquet::errors::ParquetError;

/// Place of a completion in a file, counted from one.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place {
    /// A line of a JSON Lines file.
    Line(usize),
    /// A row of a Parquet file.
    Row(usize),
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(number) => write!(formatter, "line {number}"),
            Self::Row(number) => write!(formatter, "row {number}"),
        }
    }
}

/// Why a dump cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DumpError {
    /// The file cannot be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    /// The file begins as Parquet does and cannot be read as such.
    #[error(
        "`{}` is a Parquet file that cannot be read ({source}); compressions that can be read: \
         snappy, gzip, zstd, brotli, lz4, none",
        path.display()
    )]
    Parquet { path: PathBuf, source: ParquetError },
    /// The Parquet reader gave up on the file.
    #[error("`{}` is a damaged Parquet file; write it again", path.display())]
    Damaged { path: PathBuf },
    /// There is not a single completion in it.
    #[error("`{}` holds no completion", path.display())]
    Empty { path: PathBuf },
    /// A line is not a JSON object.
    #[error(
        "{place}: expected one JSON object per line ({source}); JSON has no NaN and no Infinity"
    )]
    Syntax { place: Place, source: serde_json::Error },
    /// A field is missing or has another type.
    #[error("{place}: `{field}`: expected {expected}, found {found}")]
    Field { place: Place, field: &'static str, expected: &'static str, found: String },
    /// A list has another length than the log-probabilities.
    #[error("{place}: `{field}` has {found} entries, `logprobs` has {expected}")]
    Length { place: Place, field: &'static str, found: usize, expected: usize },
    /// A token cannot be counted.
    #[error("{place}: {source}")]
    Token { place: Place, source: AffinityError },
}
