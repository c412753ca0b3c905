//! The cache of the Hub on this machine: its content, and the check of its files.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use data_encoding::HEXLOWER;
use hf_hub::{Cache, Repo};
use sha2::{Digest, Sha256};

use super::{HubError, HubName};

/// The Hub's metadata of a file.
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

/// Keeps the names of all files of a commit, beside its snapshots: a broken download leaves some of them.
pub(super) fn keep_listing(cache: &Cache, repo: &Repo, commit: &str, files: &[String]) {
    let path = listing_path(cache, repo, commit);
    // It serves times without a network only; a cache that cannot be written may still be read.
    let _ = write_listing(&path, files);
}

fn write_listing(path: &Path, files: &[String]) -> std::io::Result<()> {
    let Some(folder) = path.parent() else { return Ok(()) };
    std::fs::create_dir_all(folder)?;
    // For other users of the cache as well, as far as the umask lets them.
    let readable = std::fs::Permissions::from_mode(0o666);
    let mut file = tempfile::Builder::new().permissions(readable).tempfile_in(folder)?;
    file.write_all(&serde_json::to_vec(files)?)?;
    file.persist(path)?;
    Ok(())
}

/// The names of all files of a commit, if this program has seen them.
pub(super) fn listing(cache: &Cache, repo: &Repo, commit: &str) -> Option<Vec<String>> {
    let bytes = std::fs::read(listing_path(cache, repo, commit)).ok()?;
    serde_json::from_slice(&bytes).ok()
}

fn listing_path(cache: &Cache, repo: &Repo, commit: &str) -> PathBuf {
    folder(cache, repo).join("hint-rl").join(format!("{commit}.json"))
}

/// Whether a name stays inside a folder.
pub(super) fn is_inside(name: &str) -> bool {
    let mut steps = Path::new(name).components();
    !name.is_empty() && steps.all(|step| matches!(step, Component::Normal(_)))
}

/// Compares a downloaded file with the Hub's metadata.
///
/// # Errors
///
/// The difference.
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

/// A folder of links to `files` of a snapshot. A file of problems may be one of many in its own folder. It lies beside
/// the snapshots and goes with them. Links to other files, such as those of a larger request, are removed.
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
    let mut names = BTreeSet::new();
    for file in files {
        let name = file.strip_prefix(snapshot).unwrap_or(file).to_string_lossy().replace('/', "--");
        let link = root.join(&name);
        if !std::fs::read_link(&link).is_ok_and(|target| target == *file) {
            // Takes the place of another link at once, also beside another process.
            let fresh = root.join(format!(".{name}.{}", std::process::id()));
            let _ = std::fs::remove_file(&fresh);
            std::os::unix::fs::symlink(file, &fresh)
                .and_then(|()| std::fs::rename(&fresh, &link))
                .map_err(failed(&link))?;
        }
        names.insert(name);
    }
    for entry in std::fs::read_dir(root).map_err(failed(root))?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') && !names.contains(&name) {
            std::fs::remove_file(entry.path()).map_err(failed(&entry.path()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_links_has_the_files_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let (snapshot, root) = (folder.path().join("snapshot"), folder.path().join("root"));
        std::fs::create_dir_all(snapshot.join("data")).unwrap();
        let file = |name: &str| {
            let path = snapshot.join(name);
            std::fs::write(&path, name).unwrap();
            path
        };
        let (one, two) = (file("data/1.jsonl"), file("2.jsonl"));
        std::fs::create_dir_all(&root).unwrap();
        // A link that nobody asks for, and one to a file that is gone.
        std::os::unix::fs::symlink(&two, root.join("3.jsonl")).unwrap();
        std::os::unix::fs::symlink(folder.path().join("gone"), root.join("2.jsonl")).unwrap();
        for _ in 0..2 {
            folder_of(&root, &snapshot, &[one.clone(), two.clone()]).unwrap();
            let mut found = std::fs::read_dir(&root)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect::<Vec<_>>();
            found.sort();
            assert_eq!(found, ["2.jsonl", "data--1.jsonl"]);
            assert_eq!(std::fs::read_to_string(root.join("2.jsonl")).unwrap(), "2.jsonl");
        }
    }
}
