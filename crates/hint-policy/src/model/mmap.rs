//! Memory-mapped files: the only `unsafe` of this workspace.

use std::fs::File;
use std::path::Path;

use memmap2::Mmap;

use crate::PolicyError;

/// Maps `path` read-only, so that loading a checkpoint does not first copy it into memory.
///
/// # Errors
///
/// [`PolicyError::Read`] naming the file.
#[expect(unsafe_code, reason = "memmap2 cannot rule out that another process truncates the file")]
pub(crate) fn map(path: &Path) -> Result<Mmap, PolicyError> {
    let read = |source| PolicyError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(read)?;
    // SAFETY: the map is private to this process, read-only, and dropped before loading returns.
    // Changing a checkpoint in place while it is being loaded is undefined behavior, as for every
    // reader that maps; our own writer never does so: it renames a complete file into place.
    unsafe { Mmap::map(&file) }.map_err(read)
}
