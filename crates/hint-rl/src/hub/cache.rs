//! The cache of the Hub on this machine: what is there, and whether a file is what it should be.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Component, Path, PathBuf};

use data_encoding::HEXLOWER;
use hf_hub::{Cache, Repo};
use sha2::{Digest, Sha256};

use super::{HubError, HubName};

/// What the Hub says about a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct FileInfo {
    pub(super) bytes: Option<u64>,
    /// Of a large file.
    pub(super) sha256: Option<String>,
    /// The name of its content in the cache.
    pub(super) etag: Option<String>,
}

/// The folder of a repository.
pub(super) fn folder(cache: &Cache, repo: &Repo) -> PathBuf {
    cache.path().join(repo.folder_name())
}

/// The commit of `name` that the cache has last seen, and the files of it that are there.
pub(super) fn snapshot(
    cache: &Cache,
    repo: &Repo,
    name: &HubName,
) -> Option<(String, Vec<String>)> {
    let folder = folder(cache, repo);
    let commit = if name.is_pinned() {
        name.revision().to_owned()
    } else {
        std::fs::read_to_string(folder.join("refs").join(name.revision())).ok()?.trim().to_owned()
    };
    let root = cache.repo(repo.clone()).pointer_path(&commit);
    let (mut files, mut open) = (Vec::new(), vec![root.clone()]);
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).ok()?.flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if path.exists()
                && let Some(name) = path.strip_prefix(&root).ok().and_then(Path::to_str)
            {
                files.push(name.to_owned());
            }
        }
    }
    files.sort();
    (!files.is_empty()).then_some((commit, files))
}

/// Whether a name stays inside a folder.
pub(super) fn is_inside(name: &str) -> bool {
    let mut steps = Path::new(name).components();
    !name.is_empty() && steps.all(|step| matches!(step, Component::Normal(_)))
}

/// Compares a downloaded file with what the Hub said.
///
/// # Errors
///
/// What differs.
pub(super) fn check(path: &Path, info: &FileInfo) -> Result<(), String> {
    let failed = |error: std::io::Error| error.to_string();
    let mut file = File::open(path).map_err(failed)?;
    let found = file.metadata().map_err(failed)?.len();
    if let Some(expected) = info.bytes.filter(|expected| *expected != found) {
        return Err(format!("{found} bytes in place of {expected}"));
    }
    let Some(expected) = &info.sha256 else { return Ok(()) };
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        let read = file.read(&mut buffer).map_err(failed)?;
        if read == 0 {
            break;
        }
        hasher.update(&buffer[..read]);
    }
    if HEXLOWER.encode(&hasher.finalize()) == *expected {
        Ok(())
    } else {
        Err("its SHA-256 is another".to_owned())
    }
}

/// Removes a damaged file: its content, and the link to it.
pub(super) fn remove(link: &Path) {
    // What is not there needs no removing; what cannot be removed fails again when it is fetched.
    if let Ok(content) = link.canonicalize() {
        let _ = std::fs::remove_file(content);
    }
    let _ = std::fs::remove_file(link);
}

/// A folder of links to `files` of a snapshot, since a file of problems may be one of many in its own folder.
/// It lies beside the snapshots and goes with them.
///
/// # Errors
///
/// A folder that cannot be written.
pub(super) fn folder_of(root: &Path, snapshot: &Path, files: &[PathBuf]) -> Result<(), HubError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| HubError::Cache { path, source }
    };
    std::fs::create_dir_all(root).map_err(failed(root))?;
    for file in files {
        let name = file.strip_prefix(snapshot).unwrap_or(file).to_string_lossy().replace('/', "--");
        let link = root.join(name);
        if std::fs::read_link(&link).is_ok_and(|target| target == *file) {
            continue;
        }
        match std::fs::remove_file(&link) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(&link)(error)),
            _ => {}
        }
        match std::os::unix::fs::symlink(file, &link) {
            // Another process made it.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            made => made.map_err(failed(&link))?,
        }
    }
    Ok(())
}
