//! The files of a run: configuration, metrics, timings and checkpoints.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

use crate::{GrpoConfig, GrpoError, StepReport};

/// The folder of a run.
///
/// ```text
/// config.json                    the resolved configuration
/// metrics.jsonl                  one line per step; the same bytes for the same run
/// timings.jsonl                  one line per step; whatever depends on the clock
/// checkpoints/step-00000010/     model.safetensors, config.json, …, optimizer.safetensors, trainer.json
/// ```
///
/// A checkpoint is written into a hidden folder, flushed to disk and then renamed, so at any moment
/// every `step-*` folder is complete. `trainer.json` is described in `docs/checkpoints.md`.
#[derive(Debug)]
pub struct RunDir {
    root: PathBuf,
    metrics: File,
    timings: File,
    resume_from: Option<PathBuf>,
}

const METRICS: &str = "metrics.jsonl";
const TIMINGS: &str = "timings.jsonl";
const CHECKPOINTS: &str = "checkpoints";
const MODEL: &str = "model.safetensors";
const OPTIMIZER: &str = "optimizer.safetensors";
const STATE: &str = "trainer.json";
const FORMAT: u32 = 1;

/// What a checkpoint holds besides tensors.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TrainerState {
    /// Version of this format.
    format: u32,
    /// Progress of the run.
    pub(crate) progress: Progress,
    /// Length of `metrics.jsonl` in bytes.
    metrics_bytes: u64,
    /// Length of `timings.jsonl` in bytes.
    timings_bytes: u64,
    /// State of the advantage estimator.
    pub(crate) advantage: Vec<f64>,
    /// Fingerprint of the training problems, in order.
    pub(crate) problems: String,
    /// The configuration of the run.
    pub(crate) config: GrpoConfig,
    /// CRC-32 of every other file of the checkpoint.
    files: BTreeMap<String, u32>,
}

/// How far a run is. All randomness derives from the seed and these numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Progress {
    /// Rollout batches finished.
    pub(crate) step: u64,
    /// Optimizer steps taken.
    pub(crate) updates: u64,
    /// Completion tokens sampled.
    pub(crate) num_tokens: u64,
}

impl RunDir {
    /// Starts a run in `root`, which is created if need be.
    ///
    /// # Errors
    ///
    /// [`GrpoError::Write`] when the folder cannot be written, or already holds a run.
    pub fn create(root: impl Into<PathBuf>, config: &GrpoConfig) -> Result<Self, GrpoError> {
        let root = root.into();
        let checkpoints = root.join(CHECKPOINTS);
        if !checkpoint_folders(&root)?.is_empty() {
            let message = "the folder already holds a run; resume it, or choose another folder";
            let source = io::Error::new(io::ErrorKind::AlreadyExists, message);
            return Err(GrpoError::Write { path: root, source });
        }
        fs::create_dir_all(&checkpoints).map_err(write_error(&checkpoints))?;
        let path = root.join("config.json");
        write_json(&path, config)?;
        let metrics = open_truncated(&root.join(METRICS), 0)?;
        let timings = open_truncated(&root.join(TIMINGS), 0)?;
        Ok(Self { root, metrics, timings, resume_from: None })
    }

    /// Opens the run in `root` at its latest checkpoint. The trainer restores it when it is built,
    /// and drops what metrics and timings say about later steps.
    ///
    /// # Errors
    ///
    /// [`GrpoError::NoCheckpoint`] when there is none, [`GrpoError::Checkpoint`] when it is damaged,
    /// [`GrpoError::Read`] and [`GrpoError::Write`] for the files of the run.
    pub fn resume(root: impl Into<PathBuf>) -> Result<Self, GrpoError> {
        let root = root.into();
        let latest = checkpoint_folders(&root)?
            .pop()
            .ok_or_else(|| GrpoError::NoCheckpoint { path: root.clone() })?;
        let state = read_state(&latest)?;
        for (name, expected) in [(METRICS, state.metrics_bytes), (TIMINGS, state.timings_bytes)] {
            let path = root.join(name);
            let found = fs::metadata(&path).map_err(read_error(&path))?.len();
            if found < expected {
                let problem = format!(
                    "`{name}` of the run has {found} bytes, but had {expected} when this was \
                     written; restore the file"
                );
                return Err(GrpoError::Checkpoint { path: latest, problem });
            }
        }
        let metrics = open_truncated(&root.join(METRICS), state.metrics_bytes)?;
        let timings = open_truncated(&root.join(TIMINGS), state.timings_bytes)?;
        Ok(Self { root, metrics, timings, resume_from: Some(latest) })
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The checkpoint to resume from, if any.
    pub(crate) fn resume_from(&self) -> Option<&Path> {
        self.resume_from.as_deref()
    }

    /// Appends a finished step to metrics and timings.
    pub(crate) fn record(&mut self, report: &StepReport) -> Result<(), GrpoError> {
        let mut line = serde_json::Map::new();
        line.insert("step".to_owned(), report.step.into());
        for (name, value) in report.metrics.iter() {
            line.insert(name.to_owned(), value.into());
        }
        append(&mut self.metrics, &self.root.join(METRICS), &line)?;
        let (rollout, update) = (report.timings.rollout, report.timings.update);
        let seconds = (rollout + update).as_secs_f64();
        let mut line = serde_json::Map::new();
        line.insert("step".to_owned(), report.step.into());
        line.insert("rollout_s".to_owned(), rollout.as_secs_f64().into());
        line.insert("update_s".to_owned(), update.as_secs_f64().into());
        line.insert("step_time".to_owned(), seconds.into());
        line.insert("tokens".to_owned(), report.tokens.into());
        if seconds > 0.0 {
            line.insert("tokens_per_second".to_owned(), (report.tokens as f64 / seconds).into());
        }
        append(&mut self.timings, &self.root.join(TIMINGS), &line)
    }

    /// Writes a checkpoint and removes those beyond the newest `keep`. `write_model` fills a folder
    /// with the model's own files.
    pub(crate) fn write_checkpoint(
        &mut self,
        content: &CheckpointContent<'_>,
        keep: usize,
        write_model: &dyn Fn(&Path) -> Result<(), GrpoError>,
    ) -> Result<PathBuf, GrpoError> {
        let checkpoints = self.root.join(CHECKPOINTS);
        let name = format!("step-{:08}", content.progress.step);
        let (partial, complete) =
            (checkpoints.join(format!(".{name}.tmp")), checkpoints.join(name));
        remove_dir(&partial)?;
        fs::create_dir_all(&partial).map_err(write_error(&partial))?;
        let written = self.fill_checkpoint(&partial, content, write_model);
        if let Err(error) = written {
            // Nothing refers to the partial folder; a failed removal would hide the first error.
            let _ = fs::remove_dir_all(&partial);
            return Err(error);
        }
        remove_dir(&complete)?;
        fs::rename(&partial, &complete).map_err(write_error(&complete))?;
        sync(&checkpoints)?;
        let mut all = checkpoint_folders(&self.root)?;
        while all.len() > keep.max(1) {
            remove_dir(&all.remove(0))?;
        }
        Ok(complete)
    }

    fn fill_checkpoint(
        &self,
        dir: &Path,
        content: &CheckpointContent<'_>,
        write_model: &dyn Fn(&Path) -> Result<(), GrpoError>,
    ) -> Result<(), GrpoError> {
        write_model(dir)?;
        let path = dir.join(OPTIMIZER);
        let tensors = content
            .optimizer
            .iter()
            .map(|(name, tensor)| (name, tensor.detach().to_device(Device::Cpu).contiguous()))
            .collect::<Vec<_>>();
        Tensor::write_safetensors(&tensors, &path).map_err(|source| GrpoError::Write {
            path: path.clone(),
            source: io::Error::other(source),
        })?;
        let mut files = BTreeMap::new();
        let entries = fs::read_dir(dir).map_err(read_error(dir))?;
        for entry in entries {
            let path = entry.map_err(read_error(dir))?.path();
            sync(&path)?;
            files.insert(file_name(&path), checksum(&path)?);
        }
        sync(&self.root.join(METRICS))?;
        sync(&self.root.join(TIMINGS))?;
        let length = |file: &File, name: &str| {
            let path = self.root.join(name);
            file.metadata().map(|metadata| metadata.len()).map_err(read_error(&path))
        };
        let state = TrainerState {
            format: FORMAT,
            progress: content.progress,
            metrics_bytes: length(&self.metrics, METRICS)?,
            timings_bytes: length(&self.timings, TIMINGS)?,
            advantage: content.advantage.clone(),
            problems: content.problems.clone(),
            config: content.config.clone(),
            files,
        };
        let path = dir.join(STATE);
        write_json(&path, &state)?;
        sync(&path)?;
        sync(dir)
    }
}

/// What goes into a checkpoint besides the model.
#[derive(Debug)]
pub(crate) struct CheckpointContent<'a> {
    pub(crate) progress: Progress,
    pub(crate) optimizer: Vec<(String, Tensor)>,
    pub(crate) advantage: Vec<f64>,
    pub(crate) problems: String,
    pub(crate) config: &'a GrpoConfig,
}

/// A checkpoint as read back.
#[derive(Debug)]
pub(crate) struct LoadedCheckpoint {
    pub(crate) state: TrainerState,
    pub(crate) model: Vec<(String, Tensor)>,
    pub(crate) optimizer: Vec<(String, Tensor)>,
}

/// Reads a checkpoint after comparing every file with its checksum.
pub(crate) fn read_checkpoint(dir: &Path) -> Result<LoadedCheckpoint, GrpoError> {
    let state = read_state(dir)?;
    for (name, expected) in &state.files {
        let found = checksum(&dir.join(name))?;
        if found != *expected {
            let problem = format!(
                "`{name}` is damaged (CRC-32 {found:08x}, expected {expected:08x}); remove this \
                 checkpoint to resume from the one before"
            );
            return Err(GrpoError::Checkpoint { path: dir.to_path_buf(), problem });
        }
    }
    let tensors = |name: &str| {
        let path = dir.join(name);
        Tensor::read_safetensors(&path)
            .map_err(|source| GrpoError::Read { path, source: io::Error::other(source) })
    };
    Ok(LoadedCheckpoint { model: tensors(MODEL)?, optimizer: tensors(OPTIMIZER)?, state })
}

fn read_state(dir: &Path) -> Result<TrainerState, GrpoError> {
    let path = dir.join(STATE);
    let text = fs::read_to_string(&path).map_err(read_error(&path))?;
    let state: TrainerState = serde_json::from_str(&text).map_err(|error| {
        let problem =
            format!("`{STATE}` cannot be read ({error}); was it written by this version?");
        GrpoError::Checkpoint { path: dir.to_path_buf(), problem }
    })?;
    if state.format == FORMAT {
        return Ok(state);
    }
    let problem = format!("its format is {}, this version reads {FORMAT}", state.format);
    Err(GrpoError::Checkpoint { path: dir.to_path_buf(), problem })
}

/// Complete checkpoints, oldest first.
fn checkpoint_folders(root: &Path) -> Result<Vec<PathBuf>, GrpoError> {
    let dir = root.join(CHECKPOINTS);
    if !dir.exists() {
        return Ok(Vec::new());
    }
    let mut folders = Vec::new();
    for entry in fs::read_dir(&dir).map_err(read_error(&dir))? {
        let path = entry.map_err(read_error(&dir))?.path();
        if file_name(&path).starts_with("step-") && path.join(STATE).is_file() {
            folders.push(path);
        }
    }
    folders.sort();
    Ok(folders)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn checksum(path: &Path) -> Result<u32, GrpoError> {
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

fn open_truncated(path: &Path, len: u64) -> Result<File, GrpoError> {
    let file =
        OpenOptions::new().create(true).append(true).open(path).map_err(write_error(path))?;
    file.set_len(len).map_err(write_error(path))?;
    Ok(file)
}

fn append(
    file: &mut File,
    path: &Path,
    line: &serde_json::Map<String, serde_json::Value>,
) -> Result<(), GrpoError> {
    let mut text =
        serde_json::to_string(line).map_err(|error| write_error(path)(io::Error::other(error)))?;
    text.push('\n');
    file.write_all(text.as_bytes()).map_err(write_error(path))
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), GrpoError> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| write_error(path)(io::Error::other(error)))?;
    fs::write(path, text + "\n").map_err(write_error(path))
}

fn remove_dir(path: &Path) -> Result<(), GrpoError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(write_error(path)(error)),
        _ => Ok(()),
    }
}

/// Flushes a file or a folder to disk.
fn sync(path: &Path) -> Result<(), GrpoError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(write_error(path))
}

fn write_error(path: &Path) -> impl FnOnce(io::Error) -> GrpoError {
    let path = path.to_path_buf();
    |source| GrpoError::Write { path, source }
}

fn read_error(path: &Path) -> impl FnOnce(io::Error) -> GrpoError {
    let path = path.to_path_buf();
    |source| GrpoError::Read { path, source }
}
