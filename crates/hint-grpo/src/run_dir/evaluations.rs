//! The full results of evaluations, one file each.

use std::fs;
use std::path::{Path, PathBuf};

use hint_rollout::evaluate::Evaluation;

use super::RunDir;
use super::files::{file_name, read_error, write_error, write_json};
use crate::error::GrpoError;

const EVALUATIONS: &str = "evaluations";

impl RunDir {
    /// Writes the evaluation after step `step`.
    pub(crate) fn write_evaluation(
        &self,
        step: u64,
        evaluation: &Evaluation,
    ) -> Result<(), GrpoError> {
        let dir = self.root.join(EVALUATIONS);
        fs::create_dir_all(&dir).map_err(write_error(&dir))?;
        write_json(&path_of(&self.root, step), evaluation)
    }

    /// Reads back the evaluation after step `step` of the run in `root`, if there was one.
    ///
    /// # Errors
    ///
    /// [`GrpoError::Read`].
    pub fn evaluation(root: &Path, step: u64) -> Result<Option<Evaluation>, GrpoError> {
        let path = path_of(root, step);
        match fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(read_error(&path)(error)),
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|error| read_error(&path)(std::io::Error::other(error))),
        }
    }
}

/// Removes the evaluations after later steps than `step`: they are about to be made again.
pub(super) fn remove_later(root: &Path, step: u64) -> Result<(), GrpoError> {
    let dir = root.join(EVALUATIONS);
    if !dir.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(&dir).map_err(read_error(&dir))? {
        let path = entry.map_err(read_error(&dir))?.path();
        let name = file_name(&path);
        let number = name.strip_prefix("step-").and_then(|name| name.strip_suffix(".json"));
        if number.and_then(|number| number.parse().ok()).is_some_and(|number: u64| number > step) {
            fs::remove_file(&path).map_err(write_error(&path))?;
        }
    }
    Ok(())
}

fn path_of(root: &Path, step: u64) -> PathBuf {
    root.join(EVALUATIONS).join(format!("step-{step:08}.json"))
}
