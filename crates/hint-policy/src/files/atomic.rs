//! Replacing files so that a reader or a crash sees the old content or the new, never a mixture.

use std::fs::{self, File};
use std::path::Path;

use crate::error::PolicyError;

/// Lets `fill` write a temporary file beside `path`, flushes it to disk and renames it to `path`.
pub(crate) fn replace(
    path: &Path,
    fill: impl FnOnce(&Path) -> std::io::Result<()>,
) -> Result<(), PolicyError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    let temporary = path.with_file_name(name);
    // `fill` may replace the file by one that only its owner can read (safetensors does); a file
    // created here shows which permissions are usual.
    let written = File::create(&temporary)
        .and_then(|file| file.metadata())
        .and_then(|usual| {
            fill(&temporary)?;
            fs::set_permissions(&temporary, usual.permissions())
        })
        .and_then(|()| File::open(&temporary)?.sync_all())
        .and_then(|()| fs::rename(&temporary, path));
    written.map_err(|source| {
        // The first error is the one to report; a leftover file is harmless.
        drop(fs::remove_file(&temporary));
        PolicyError::Write { path: path.to_owned(), source }
    })
}

/// Replaces the content of a text file.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), PolicyError> {
    replace(path, |temporary| fs::write(temporary, text))
}
