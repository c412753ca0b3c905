//! Text files, and files whose content differs from their name.

use std::path::Path;

use crate::error::PolicyError;

/// Reads a text file.
pub(crate) fn read(path: &Path) -> Result<String, PolicyError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| PolicyError::Read { path: path.to_owned(), source })?;
    refuse_pointer(path, text.as_bytes())?;
    Ok(text)
}

/// Refuses a file that Git LFS left in place of a large one.
pub(crate) fn refuse_pointer(path: &Path, content: &[u8]) -> Result<(), PolicyError> {
    if content.starts_with(b"version https://git-lfs.github.com/spec/") {
        return Err(PolicyError::Corrupt {
            path: path.to_owned(),
            reason: "it is a pointer of Git LFS, not the file; run `git lfs pull` in its folder"
                .into(),
        });
    }
    Ok(())
}
