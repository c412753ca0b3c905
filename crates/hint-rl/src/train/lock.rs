//! One process per run.

use std::fs::{File, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};

/// Keeps other processes out of the folder of a run, with all its methods, as long as it lives. The kernel releases it
/// whenever the process ends, so it is never stale.
#[derive(Debug)]
pub(crate) struct RunLock {
    _file: File,
}

impl RunLock {
    /// Locks `dir`, which is created if need be.
    pub(crate) fn take(dir: &Path) -> Result<Self> {
        let path = dir.join(".lock");
        let failed = || format!("cannot lock `{}`", path.display());
        std::fs::create_dir_all(dir).with_context(failed)?;
        let mut options = File::options();
        let mut file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .with_context(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut owner = String::new();
                // Only for the message.
                let _ = file.read_to_string(&mut owner);
                bail!(
                    "`{}` is in use by {}; wait for it, or choose another folder",
                    dir.display(),
                    owner.trim()
                );
            }
            // Some network file systems have no locks.
            Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {
                note!(
                    "warning: `{}` cannot be locked; start no other process there",
                    dir.display()
                );
            }
            Err(TryLockError::Error(error)) => return Err(error).with_context(failed),
        }
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        file.set_len(0)
            .and_then(|()| write!(file, "process {} on {}", std::process::id(), host.trim()))
            .with_context(failed)?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_has_one_process_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("hint");
        let lock = RunLock::take(&dir).unwrap();
        let error = RunLock::take(&dir).unwrap_err().to_string();
        let owner = format!("in use by process {} on ", std::process::id());
        assert!(error.contains(&owner), "{error}");
        drop(lock);
        RunLock::take(&dir).unwrap();
    }
}
