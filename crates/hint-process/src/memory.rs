//! Peak memory, and folders that are in memory.

use std::path::Path;

/// Largest resident memory of this process so far, in bytes, as Linux counts it. GPU memory is not
/// part of it.
pub fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// Whether the files of a folder are in memory, as those of a `tmpfs` are. On Linux only; elsewhere no folder is.
pub fn is_in_memory(folder: &Path) -> bool {
    #[cfg(target_os = "linux")]
    {
        use nix::sys::statfs::{TMPFS_MAGIC, statfs};
        statfs(folder).is_ok_and(|found| found.filesystem_type() == TMPFS_MAGIC)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = folder;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_for_shared_memory_is_in_memory() {
        // Not every container has one.
        let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
        let has =
            |kind: &str| mounts.lines().any(|line| line.contains(&format!(" /dev/shm {kind} ")));
        assert_eq!(is_in_memory(Path::new("/dev/shm")), has("tmpfs"));
        assert!(!is_in_memory(Path::new("/proc")) && !is_in_memory(Path::new("/no/such/folder")));
    }

    #[test]
    fn the_peak_is_that_of_a_real_process() {
        // Only Linux has the file.
        if cfg!(target_os = "linux") {
            assert!(peak_memory().unwrap() > 1 << 20);
        }
    }
}
