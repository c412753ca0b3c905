//! The full results of evaluations: a file of scores for each, and a table of completions.

use std::fs;
use std::path::{Path, PathBuf};

use hint_rollout::evaluate::Evaluation;

use super::RunDir;
use super::files::{numbered, read_error, write_error, write_json};
use crate::error::GrpoError;
use crate::rollout_table::{RolloutRecord, write_rollouts};

const EVALUATIONS: &str = "evaluations";

impl RunDir {
    /// Writes the evaluation after step `step`, and the completions of it that are kept.
    pub(crate) fn write_evaluation(
        &self,
        step: u64,
        evaluation: &Evaluation,
        records: &[RolloutRecord],
    ) -> Result<(), GrpoError> {
        let dir = self.root.join(EVALUATIONS);
        fs::create_dir_all(&dir).map_err(write_error(&dir))?;
        if !records.is_empty() {
            write_rollouts(&path_of(&self.root, step).with_extension("parquet"), records)?;
        }
        write_json(&path_of(&self.root, step), evaluation)
    }

    /// The completions that evaluations of the run in `root` kept. They are files in the form of the rollout table,
    /// in order, each with the step that the evaluation followed.
    ///
    /// # Errors
    ///
    /// [`GrpoError::Read`].
    pub fn evaluated(root: &Path) -> Result<Vec<(u64, PathBuf)>, GrpoError> {
        numbered(&root.join(EVALUATIONS), "parquet")
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
    for (later, path) in [numbered(&dir, "json")?, numbered(&dir, "parquet")?].concat() {
        if later > step {
            fs::remove_file(&path).map_err(write_error(&path))?;
        }
    }
    Ok(())
}

fn path_of(root: &Path, step: u64) -> PathBuf {
    root.join(EVALUATIONS).join(format!("step-{step:08}.json"))
}
