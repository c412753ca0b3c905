//! The rollout table of a run: one file per step, within a limit of bytes.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::RunDir;
use super::files::{numbered, sync, write_error};
use crate::error::GrpoError;
use crate::rollout_table::{RolloutRecord, RolloutTableConfig, write_rollouts};

const ROLLOUTS: &str = "rollouts";

/// Files of the table that are kept. A checkpoint has it, so that a resumed run keeps the same
/// files.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeptRollouts {
    /// Steps between two that are kept; 0 keeps none.
    every: u64,
    /// The steps that are kept, with the bytes of their files.
    steps: Vec<(u64, u64)>,
}

impl KeptRollouts {
    pub(super) const fn new(config: RolloutTableConfig) -> Self {
        Self { every: config.every, steps: Vec::new() }
    }

    /// Whether step `step`, from 1, is kept.
    const fn is_due(&self, step: u64) -> bool {
        self.every > 0 && (step - 1).is_multiple_of(self.every)
    }

    /// Adds a step. Returns the steps whose files have to go for the table to stay within `limit` bytes.
    fn add(&mut self, step: u64, bytes: u64, limit: u64) -> Vec<u64> {
        self.steps.push((step, bytes));
        let mut removed = Vec::new();
        // The last file stays, however large.
        while self.steps.len() > 1 && self.steps.iter().map(|(_, bytes)| bytes).sum::<u64>() > limit
        {
            self.every *= 2;
            let (every, first) = (self.every, removed.len());
            removed
                .extend(self.steps.extract_if(.., |(step, _)| !(*step - 1).is_multiple_of(every)));
            if removed.len() == first && self.every > step {
                break;
            }
        }
        removed.into_iter().map(|(step, _)| step).collect()
    }
}

impl RunDir {
    /// Adopts the changes of a resumed run to its table.
    pub(super) fn set_rollout_table(&mut self, table: RolloutTableConfig) {
        if table.every != self.table.every {
            self.rollouts.every = table.every;
        }
        self.table = table;
    }

    /// Writes the completions of a step, if it is due.
    pub(crate) fn record_rollouts(
        &mut self,
        step: u64,
        records: &[RolloutRecord],
    ) -> Result<(), GrpoError> {
        if !self.rollouts.is_due(step) {
            return Ok(());
        }
        let dir = self.root.join(ROLLOUTS);
        fs::create_dir_all(&dir).map_err(write_error(&dir))?;
        let path = path_of(&self.root, step);
        let bytes = write_rollouts(&path, records)?;
        let limit = self.table.max_mib.saturating_mul(1 << 20);
        self.unsynced.push(path);
        for removed in self.rollouts.add(step, bytes, limit) {
            let path = path_of(&self.root, removed);
            self.unsynced.retain(|unsynced| *unsynced != path);
            match fs::remove_file(&path) {
                // A run that was resumed before this step may have removed it already.
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(write_error(&path)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Flushes everything since the last call to disk.
    pub(super) fn sync_rollouts(&mut self) -> Result<(), GrpoError> {
        self.unsynced.drain(..).try_for_each(|path| sync(&path))
    }

    /// The files of the rollout table of the run in `root`, with their steps, in order.
    ///
    /// # Errors
    ///
    /// [`GrpoError::Read`].
    pub fn rollouts(root: &Path) -> Result<Vec<(u64, PathBuf)>, GrpoError> {
        numbered(&root.join(ROLLOUTS), "parquet")
    }
}

/// Removes the files of later steps than `step`, which are about to be written again.
pub(super) fn remove_later(root: &Path, step: u64) -> Result<(), GrpoError> {
    for (later, path) in RunDir::rollouts(root)? {
        if later > step {
            fs::remove_file(&path).map_err(write_error(&path))?;
        }
    }
    Ok(())
}

fn path_of(root: &Path, step: u64) -> PathBuf {
    root.join(ROLLOUTS).join(format!("step-{step:08}.parquet"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_table_keeps_every_other_step() {
        let mut kept = KeptRollouts::new(RolloutTableConfig { every: 1, max_mib: 1 });
        let mut removed = Vec::new();
        for step in 1..=12 {
            if kept.is_due(step) {
                removed.extend(kept.add(step, 10, 45));
            }
        }
        // Five files are too many at step 5, and again at step 9.
        assert_eq!(kept.steps, [(1, 10), (5, 10), (9, 10)]);
        assert_eq!((kept.every, removed), (4, vec![2, 4, 3, 7]));
    }

    #[test]
    fn one_file_beyond_the_limit_stays() {
        let mut kept = KeptRollouts::new(RolloutTableConfig { every: 3, max_mib: 1 });
        assert!(kept.is_due(1) && !kept.is_due(2) && kept.is_due(4));
        assert!(kept.add(1, 100, 45).is_empty());
        assert_eq!(kept.add(4, 100, 45), [4]);
        assert_eq!(kept.steps, [(1, 100)]);
    }
}
