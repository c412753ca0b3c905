//! One process per folder.

use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::path::Path;
use std::time::Duration;

use super::files::write_error;
use crate::error::GrpoError;

/// `ENOLCK` of Linux: NFS without its lock daemon.
const NO_LOCKS: i32 = 37;
/// Further attempts to take a lock, and the pause before each.
const TRIES: usize = 10;
const PAUSE: Duration = Duration::from_millis(100);

/// Keeps other processes out of a folder as long as it lives. The kernel releases it whenever the process ends,
/// so it is never stale. A [`RunDir`](super::RunDir) holds one.
///
/// ```
/// use hint_grpo::run_dir::FolderLock;
///
/// # let folder = tempfile::tempdir()?;
/// let lock = FolderLock::take(folder.path())?;
/// let error = FolderLock::take(folder.path()).expect_err("it is locked");
/// assert!(error.to_string().contains("is in use by process"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
    is_held: bool,
}

impl FolderLock {
    /// Locks `dir`, which is created if need be.
    ///
    /// # Errors
    ///
    /// [`GrpoError::InUse`] with the process and the host that hold it; [`GrpoError::Write`].
    pub fn take(dir: &Path) -> Result<Self, GrpoError> {
        let path = dir.join(".lock");
        fs::create_dir_all(dir).map_err(write_error(dir))?;
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(&path).map_err(write_error(&path))?;
        let mut locked = file.try_lock();
        for _ in 0..TRIES {
            // Who looks at a run holds its lock for a moment.
            if !matches!(locked, Err(TryLockError::WouldBlock)) {
                break;
            }
            std::thread::sleep(PAUSE);
            locked = file.try_lock();
        }
        let is_held = match locked {
            Ok(()) => true,
            Err(TryLockError::WouldBlock) => {
                let mut owner = String::new();
                // Only for the message.
                let _ = file.read_to_string(&mut owner);
                let owner = if owner.is_empty() { "another process" } else { owner.trim() };
                return Err(GrpoError::InUse { path: dir.to_path_buf(), owner: owner.to_owned() });
            }
            // Some network file systems have no locks.
            Err(TryLockError::Error(error))
                if error.kind() == ErrorKind::Unsupported
                    || error.raw_os_error() == Some(NO_LOCKS) =>
            {
                tracing::warn!(dir = %dir.display(), "cannot be locked; start no other process there");
                false
            }
            Err(TryLockError::Error(error)) => return Err(write_error(&path)(error)),
        };
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        file.set_len(0)
            .and_then(|()| write!(file, "process {} on {}", std::process::id(), host.trim()))
            .map_err(write_error(&path))?;
        Ok(Self { _file: file, is_held })
    }

    /// Whether others are kept out. Not on a file system without locks.
    pub const fn is_held(&self) -> bool {
        self.is_held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_process_at_a_time() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let dir = folder.path().join("hint");
        let lock = FolderLock::take(&dir).expect("it is free");
        assert!(lock.is_held());
        let error = FolderLock::take(&dir).expect_err("it is locked").to_string();
        let owner = format!("in use by process {} on ", std::process::id());
        assert!(error.contains(&owner), "{error}");
        drop(lock);
        FolderLock::take(&dir).expect("it is free again");
    }
}
