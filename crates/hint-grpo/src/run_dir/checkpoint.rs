//! Checkpoints: their content, writing one so that it is complete or absent, and reading it back.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::events::EventFile;
use super::files::{
    checksum, discard, file_name, read_error, remove_dir, sync, write_error, write_json,
};
use super::rollouts::KeptRollouts;
use super::{METRICS, RunDir, TIMINGS};
use crate::config::{Change, GrpoConfig};
use crate::error::GrpoError;

const CHECKPOINTS: &str = "checkpoints";
const MODEL: &str = "model.safetensors";
/// Trained parameters of a policy with low-rank adapters.
const ADAPTER: &str = "adapter_model.safetensors";
pub(crate) const OPTIMIZER: &str = "optimizer.safetensors";
const STATE: &str = "trainer.json";
/// Batches that were sampled ahead.
const BATCHES: &str = "ahead.cbor";
const FORMAT: u32 = 7;

/// Progress of a run. All randomness derives from the seed and these numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Progress {
    /// Rollout batches finished.
    pub(crate) step: u64,
    /// Optimizer steps taken.
    pub(crate) updates: u64,
    /// Tokens of prompts and completions.
    pub(crate) num_tokens: u64,
}

/// Content of a checkpoint besides tensors and the model's own files.
#[derive(Debug)]
pub(crate) struct CheckpointContent<'a> {
    /// Kind of training of the run, see [`TrainerState::stage`].
    pub(crate) stage: &'static str,
    pub(crate) progress: Progress,
    /// State of the parts that keep one, by name.
    pub(crate) parts: BTreeMap<String, Value>,
    /// Batches that have not trained yet, as the stage writes them; empty without any.
    pub(crate) batches: Vec<u8>,
    /// Fingerprints of the run's dependencies.
    pub(crate) fingerprints: BTreeMap<String, String>,
    /// Changes on resuming.
    pub(crate) history: &'a [Change],
    pub(crate) config: &'a GrpoConfig,
}

/// Content of a checkpoint besides tensors.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TrainerState {
    /// Version of this format.
    format: u32,
    /// `"policy_gradient"` or `"supervised"`: a checkpoint of one cannot resume the other.
    pub(crate) stage: String,
    /// Progress of the run.
    pub(crate) progress: Progress,
    /// Length of `metrics.jsonl` in bytes.
    pub(super) metrics_bytes: u64,
    /// Length of `timings.jsonl` in bytes.
    pub(super) timings_bytes: u64,
    /// Files of the rollout table that are kept.
    pub(super) rollouts: KeptRollouts,
    /// State of the parts that keep one, by name: `advantage`, `collector`, …
    pub(crate) parts: BTreeMap<String, Value>,
    /// Fingerprints of the run's dependencies: problems, hints, the base model, …
    pub(crate) fingerprints: BTreeMap<String, String>,
    /// Changes on resuming, oldest first.
    pub(crate) history: Vec<Change>,
    /// The configuration of the run.
    pub(crate) config: GrpoConfig,
    /// CRC-32 of every other file of the checkpoint. That of the optimizer is missing once it was removed.
    files: BTreeMap<String, u32>,
}

/// A checkpoint as read back, except its tensors.
#[derive(Debug)]
pub(crate) struct LoadedCheckpoint {
    pub(crate) state: TrainerState,
    /// The file of the model's tensors.
    pub(crate) model: PathBuf,
    /// The file of the optimizer's tensors.
    pub(crate) optimizer: PathBuf,
    /// As in [`CheckpointContent::batches`].
    pub(crate) batches: Vec<u8>,
}

impl RunDir {
    /// Writes a checkpoint and removes all beyond the newest `keep`. `write_tensors` fills a folder with the files of the
    /// model, and with that of the [optimizer](OPTIMIZER).
    pub(crate) fn write_checkpoint(
        &mut self,
        content: &CheckpointContent<'_>,
        keep: usize,
        write_tensors: &dyn Fn(&Path) -> Result<(), GrpoError>,
    ) -> Result<PathBuf, GrpoError> {
        let checkpoints = checkpoints_dir(&self.root);
        let name = folder_name(content.progress.step);
        let (partial, complete) =
            (checkpoints.join(format!(".{name}.tmp")), checkpoints.join(name));
        discard(&partial)?;
        fs::create_dir_all(&partial).map_err(write_error(&partial))?;
        let written = self.fill_checkpoint(&partial, content, write_tensors);
        if let Err(error) = written {
            // Nothing refers to the partial folder; a failed removal would hide the first error.
            let _ = fs::remove_dir_all(&partial);
            return Err(error);
        }
        // One of the same step stays until this one has its place.
        let replaced = replaced(&complete);
        discard(&replaced)?;
        rename_if_there(&complete, &replaced)?;
        fs::rename(&partial, &complete).map_err(write_error(&complete))?;
        sync(&checkpoints)?;
        discard(&replaced)?;
        let mut all = checkpoint_folders(&self.root)?;
        while all.len() > keep.max(1) {
            remove_dir(&all.remove(0).1)?;
        }
        Ok(complete)
    }

    fn fill_checkpoint(
        &mut self,
        dir: &Path,
        content: &CheckpointContent<'_>,
        write_tensors: &dyn Fn(&Path) -> Result<(), GrpoError>,
    ) -> Result<(), GrpoError> {
        write_tensors(dir)?;
        if !content.batches.is_empty() {
            let path = dir.join(BATCHES);
            fs::write(&path, &content.batches).map_err(write_error(&path))?;
        }
        let mut files = BTreeMap::new();
        let entries = fs::read_dir(dir).map_err(read_error(dir))?;
        for entry in entries {
            let path = entry.map_err(read_error(dir))?.path();
            sync(&path)?;
            files.insert(file_name(&path), checksum(&path)?);
        }
        sync(&self.root.join(METRICS))?;
        sync(&self.root.join(TIMINGS))?;
        self.events.as_ref().map_or(Ok(()), EventFile::sync)?;
        self.sync_rollouts()?;
        let length = |file: &File, name: &str| {
            let path = self.root.join(name);
            file.metadata().map(|metadata| metadata.len()).map_err(read_error(&path))
        };
        let state = TrainerState {
            format: FORMAT,
            stage: content.stage.to_owned(),
            progress: content.progress,
            metrics_bytes: length(&self.metrics, METRICS)?,
            timings_bytes: length(&self.timings, TIMINGS)?,
            rollouts: self.rollouts.clone(),
            parts: content.parts.clone(),
            fingerprints: content.fingerprints.clone(),
            history: content.history.to_vec(),
            config: content.config.clone(),
            files,
        };
        let path = dir.join(STATE);
        write_json(&path, &state)?;
        sync(&path)?;
        sync(dir)
    }
}

/// Compares every file of a checkpoint with its checksum. Refuses one whose optimizer was removed.
pub(super) fn verify(dir: &Path) -> Result<TrainerState, GrpoError> {
    let state = read_state(dir)?;
    if !state.files.contains_key(OPTIMIZER) {
        return Err(GrpoError::NoOptimizer { path: dir.to_path_buf() });
    }
    for (name, expected) in &state.files {
        let path = dir.join(name);
        let problem = match path.try_exists() {
            Ok(false) => format!("`{name}` is missing"),
            _ => match checksum(&path)? {
                found if found == *expected => continue,
                found => {
                    format!("`{name}` is damaged (CRC-32 {found:08x}, expected {expected:08x})")
                }
            },
        };
        return Err(GrpoError::Checkpoint { path: dir.to_path_buf(), problem });
    }
    Ok(state)
}

/// Removes the state of the optimizer, if it is there. [`verify`] refuses the checkpoint from then on.
pub(super) fn remove_optimizer(dir: &Path) -> Result<(), GrpoError> {
    let mut state = read_state(dir)?;
    // The record first, and on disk. A kill or a loss of power in between leaves a file that the next call removes. The
    // checkpoint never seems damaged.
    if state.files.remove(OPTIMIZER).is_some() {
        write_json(&dir.join(STATE), &state)?;
        sync(dir)?;
    }
    let path = dir.join(OPTIMIZER);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(write_error(&path)(error)),
        _ => Ok(()),
    }
}

/// Reads a checkpoint that [`verify`] accepted.
pub(crate) fn read_checkpoint(dir: &Path) -> Result<LoadedCheckpoint, GrpoError> {
    let state = read_state(dir)?;
    let model = if dir.join(ADAPTER).is_file() { ADAPTER } else { MODEL };
    let batches = match dir.join(BATCHES) {
        path if state.files.contains_key(BATCHES) => fs::read(&path).map_err(read_error(&path))?,
        _ => Vec::new(),
    };
    Ok(LoadedCheckpoint { model: dir.join(model), optimizer: dir.join(OPTIMIZER), batches, state })
}

fn read_state(dir: &Path) -> Result<TrainerState, GrpoError> {
    let damaged = |problem| GrpoError::Checkpoint { path: dir.to_path_buf(), problem };
    let path = dir.join(STATE);
    let bytes = fs::read(&path).map_err(read_error(&path))?;
    let value: Value = serde_json::from_slice(&bytes)
        .map_err(|error| damaged(format!("`{STATE}` is damaged ({error})")))?;
    if value["format"] != FORMAT {
        let problem = format!("its format is {}, this version reads {FORMAT}", value["format"]);
        return Err(damaged(problem));
    }
    TrainerState::deserialize(value)
        .map_err(|error| damaged(format!("`{STATE}` cannot be read ({error})")))
}

/// Folder of the checkpoints of the run in `root`.
pub(super) fn checkpoints_dir(root: &Path) -> PathBuf {
    root.join(CHECKPOINTS)
}

fn folder_name(step: u64) -> String {
    format!("step-{step:08}")
}

/// Hidden name of a checkpoint while another one of the same step takes its place.
fn replaced(checkpoint: &Path) -> PathBuf {
    checkpoint.with_file_name(format!(".{}.replaced", file_name(checkpoint)))
}

fn rename_if_there(from: &Path, to: &Path) -> Result<(), GrpoError> {
    match fs::rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(write_error(from)(error)),
        _ => Ok(()),
    }
}

/// Puts checkpoints back that a kill left without a successor. Only the process that holds the run's lock may.
pub(super) fn restore_replaced(root: &Path) -> Result<(), GrpoError> {
    let dir = checkpoints_dir(root);
    for entry in fs::read_dir(&dir).into_iter().flatten() {
        let path = entry.map_err(read_error(&dir))?.path();
        let name = file_name(&path);
        let name = name.strip_prefix('.').and_then(|name| name.strip_suffix(".replaced"));
        if let Some(name) = name
            && !dir.join(name).exists()
        {
            rename_if_there(&path, &dir.join(name))?;
        }
    }
    Ok(())
}

/// Complete checkpoints with their steps, oldest first.
pub(super) fn checkpoint_folders(root: &Path) -> Result<Vec<(u64, PathBuf)>, GrpoError> {
    let dir = checkpoints_dir(root);
    if !dir.exists() {
        return Ok(Vec::new());
    }
    let mut folders = Vec::new();
    for entry in fs::read_dir(&dir).map_err(read_error(&dir))? {
        let path = entry.map_err(read_error(&dir))?.path();
        let step = file_name(&path).strip_prefix("step-").and_then(|step| step.parse().ok());
        if let Some(step) = step
            && path.join(STATE).is_file()
        {
            folders.push((step, path));
        }
    }
    folders.sort();
    Ok(folders)
}
