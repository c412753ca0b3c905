//! The only `unsafe` of this workspace: memory-mapped files, and a setting of the C library.

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
pub(crate) fn map_file(path: &Path) -> Result<Mmap, PolicyError> {
    let read = |source| PolicyError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(read)?;
    // SAFETY: the map is private to this process, read-only, and dropped before loading returns.
    // Changing a checkpoint in place while it is being loaded is undefined behavior, as for every
    // reader that maps; our own writer never does so: it renames a complete file into place.
    unsafe { Mmap::map(&file) }.map_err(read)
}

/// Tells the C library to keep memory that is freed, for this process to use again. Returns whether
/// it does.
///
/// By default glibc gives large blocks back to the kernel, which clears them anew for the next
/// tensor: in training on a CPU that is a tenth to a fifth of the time. It is a setting of the whole
/// process, so it is for programs to decide, at their start; libraries leave it alone. Memory in
/// use does not grow, but what the process once had it keeps.
///
/// `false` where the C library is another one.
pub fn keep_freed_memory() -> bool {
    keep()
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "the C library has no safe interface")]
fn keep() -> bool {
    // SAFETY: `mallopt` takes two numbers, may be called at any time and locks its own state.
    unsafe {
        libc::mallopt(libc::M_MMAP_MAX, 0) == 1 && libc::mallopt(libc::M_TRIM_THRESHOLD, -1) == 1
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn keep() -> bool {
    false
}
