//! Problems in a file, read again one at a time.

use std::fs::File;
use std::io::{BufWriter, Error, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::data::problem::Problem;
use crate::error::RolloutError;

/// Problems in a file without a name.
#[derive(Debug)]
pub(super) struct Spill {
    file: Mutex<File>,
    dir: Option<PathBuf>,
    /// End of each problem in the file.
    ends: Vec<u64>,
    /// A hash of the id of each.
    keys: Vec<u128>,
}

impl Spill {
    pub(super) const fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn key(&self, row: usize) -> u128 {
        self.keys[row]
    }

    pub(super) fn read(&self, row: usize) -> Result<Problem, RolloutError> {
        let start = row.checked_sub(1).map_or(0, |before| self.ends[before]);
        let failed = |source| failed(self.dir.as_deref(), source);
        let len = usize::try_from(self.ends[row] - start).map_err(|e| failed(Error::other(e)))?;
        let mut bytes = vec![0; len];
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(start)).map_err(failed)?;
        file.read_exact(&mut bytes).map_err(failed)?;
        drop(file);
        serde_json::from_slice(&bytes).map_err(|error| failed(error.into()))
    }
}

/// Writes a [`Spill`].
#[derive(Debug)]
pub(super) struct SpillWriter {
    file: BufWriter<File>,
    dir: Option<PathBuf>,
    /// Bytes written.
    at: u64,
    ends: Vec<u64>,
    keys: Vec<u128>,
}

impl SpillWriter {
    pub(super) fn create(dir: Option<&Path>) -> Result<Self, RolloutError> {
        let file = match dir {
            Some(dir) => tempfile::tempfile_in(dir),
            None => tempfile::tempfile(),
        };
        let file = BufWriter::with_capacity(1 << 20, file.map_err(|source| failed(dir, source))?);
        let dir = dir.map(Path::to_path_buf);
        Ok(Self { file, dir, at: 0, ends: Vec::new(), keys: Vec::new() })
    }

    pub(super) fn push(&mut self, problem: &Problem, key: u128) -> Result<(), RolloutError> {
        let failed = |source| failed(self.dir.as_deref(), source);
        let bytes = serde_json::to_vec(problem).map_err(|error| failed(error.into()))?;
        self.file.write_all(&bytes).map_err(failed)?;
        self.at += bytes.len() as u64;
        self.ends.push(self.at);
        self.keys.push(key);
        Ok(())
    }

    pub(super) fn finish(self) -> Result<Spill, RolloutError> {
        let Self { file, dir, ends, keys, .. } = self;
        let file = file.into_inner().map_err(|error| failed(dir.as_deref(), error.into_error()))?;
        Ok(Spill { file: Mutex::new(file), dir, ends, keys })
    }
}

fn failed(dir: Option<&Path>, source: Error) -> RolloutError {
    RolloutError::SpillProblems { dir: dir.map(Path::to_path_buf), source }
}
