//! Files and folders of a run: checksums, flushing, errors that name the path.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::GrpoError;

pub(super) fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The files `step-N.extension` in `dir`, each with its step, in order; none if there is no such folder.
pub(super) fn numbered(dir: &Path, extension: &str) -> Result<Vec<(u64, PathBuf)>, GrpoError> {
    if !dir.exists() {
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(read_error(dir))? {
        let path = entry.map_err(read_error(dir))?.path();
        let name = file_name(&path);
        let step = name.strip_prefix("step-").and_then(|name| name.strip_suffix(extension));
        let step = step.and_then(|name| name.strip_suffix('.')).and_then(|step| step.parse().ok());
        files.extend(step.map(|step| (step, path)));
    }
    files.sort();
    Ok(files)
}

/// CRC-32 of a file's content.
pub(super) fn checksum(path: &Path) -> Result<u32, GrpoError> {
    let mut file = File::open(path).map_err(read_error(path))?;
    let mut hasher = crc32fast::Hasher::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = file.read(&mut buffer).map_err(read_error(path))?;
        if read == 0 {
            return Ok(hasher.finalize());
        }
        hasher.update(&buffer[..read]);
    }
}

/// Opens a file for appending and cuts it to `len` bytes.
pub(super) fn open_truncated(path: &Path, len: u64) -> Result<File, GrpoError> {
    let file =
        OpenOptions::new().create(true).append(true).open(path).map_err(write_error(path))?;
    file.set_len(len).map_err(write_error(path))?;
    Ok(file)
}

/// Writes a value as JSON, as [`replace`] does.
pub(super) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), GrpoError> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| write_error(path)(io::Error::other(error)))?;
    replace(path, &(text + "\n"))
}

/// Writes a file as a whole or not at all, and flushes it to disk.
pub(super) fn replace(path: &Path, text: &str) -> Result<(), GrpoError> {
    let partial = path.with_file_name(format!(".{}.tmp", file_name(path)));
    let write = || {
        let mut file = File::create(&partial)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&partial, path)
    };
    write().map_err(|error| {
        // It is of no use to anyone, and takes the room that is missing.
        let _ = fs::remove_file(&partial);
        write_error(path)(error)
    })
}

/// Removes a folder, if it exists, so that no moment of it is visible under its own name. A
/// half-removed checkpoint would resemble a complete one.
pub(super) fn remove_dir(path: &Path) -> Result<(), GrpoError> {
    let hidden = path.with_file_name(format!(".{}.removed", file_name(path)));
    discard(&hidden)?;
    match fs::rename(path, &hidden) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(write_error(path)(error)),
        Ok(()) => discard(&hidden),
    }
}

/// Removes a hidden folder, if it is there.
pub(super) fn discard(path: &Path) -> Result<(), GrpoError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(write_error(path)(error)),
        _ => Ok(()),
    }
}

/// Flushes a file or a folder to disk.
pub(super) fn sync(path: &Path) -> Result<(), GrpoError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(write_error(path))
}

pub(super) fn write_error(path: &Path) -> impl FnOnce(io::Error) -> GrpoError {
    let path = path.to_path_buf();
    |source| GrpoError::Write { path, source }
}

pub(super) fn read_error(path: &Path) -> impl FnOnce(io::Error) -> GrpoError {
    let path = path.to_path_buf();
    |source| GrpoError::Read { path, source }
}
