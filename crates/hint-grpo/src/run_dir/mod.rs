//! The files of a run: configuration, metrics, timings, events, evaluations, the rollout table and checkpoints.
//!
//! A [`RunDir`] is opened by a program and handed to a run, which writes to it. Metrics are the same bytes for
//! the same run; values that depend on the clock are in a file of their own. A checkpoint is complete or
//! absent, and resuming cuts every file back to the length that it had there.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use self::checkpoint::{
    checkpoint_folders, checkpoints_dir, remove_optimizer, restore_replaced, verify,
};
use self::events::EventFile;
use self::files::{open_truncated, read_error, remove_dir, replace, write_error};
use self::rollouts::KeptRollouts;
use crate::config::GrpoConfig;
use crate::error::GrpoError;
use crate::rollout_table::RolloutTableConfig;

mod checkpoint;
mod evaluations;
mod events;
mod files;
mod lock;
mod log;
mod rollouts;

pub use lock::FolderLock;

pub(crate) use checkpoint::{
    CheckpointContent, LoadedCheckpoint, OPTIMIZER, Progress, TrainerState, read_checkpoint,
};

const CONFIG: &str = "config.toml";
const METRICS: &str = "metrics.jsonl";
const TIMINGS: &str = "timings.jsonl";

/// The folder of a run. It keeps other processes out as long as it lives, by a [`FolderLock`].
///
/// ```text
/// config.toml                    the resolved configuration
/// metrics.jsonl                  one line per step; the same bytes for the same run
/// timings.jsonl                  one line per step; what depends on the clock
/// tensorboard/                   the same numbers for TensorBoard, unless `run.tensorboard` is off
/// evaluations/step-00000010.json the results of an evaluation, down to each completion's verdict; beside it, as
///                                step-00000010.parquet, the completions that are kept
/// rollouts/step-00000010.parquet the completions of a step
/// checkpoints/step-00000010/     model.safetensors, config.json, …, optimizer.safetensors, trainer.json
/// ```
///
/// A checkpoint is written into a hidden folder, flushed to disk and then renamed. So every `step-*` folder is
/// complete at any moment. `trainer.json` is described in [the book](../../../book/checkpoints.html).
///
/// ```no_run
/// use hint_grpo::prelude::*;
///
/// let config = GrpoConfig::default();
/// // A new folder, or the run that is there: the newest checkpoint, or one of your choice.
/// let run_dir = RunDir::resume_or_create("runs/first", &config)?;
/// let earlier = RunDir::resume_at("runs/second", 100)?;
/// # Ok::<(), GrpoError>(())
/// ```
#[derive(Debug)]
pub struct RunDir {
    root: PathBuf,
    _lock: FolderLock,
    metrics: File,
    timings: File,
    events: Option<EventFile>,
    rollouts: KeptRollouts,
    /// Files of the rollout table to keep.
    table: RolloutTableConfig,
    /// Files of the rollout table that are not yet flushed to disk.
    unsynced: Vec<PathBuf>,
    resume_from: Option<PathBuf>,
}

impl RunDir {
    /// Starts a run in `root`, which is created if need be.
    ///
    /// # Errors
    ///
    /// [`GrpoError::Write`] when the folder cannot be written, or already holds a run.
    /// [`GrpoError::InUse`] when another process writes there.
    pub fn create(root: impl Into<PathBuf>, config: &GrpoConfig) -> Result<Self, GrpoError> {
        let root = root.into();
        let lock = FolderLock::take(&root)?;
        restore_replaced(&root)?;
        if !checkpoint_folders(&root)?.is_empty() {
            let message = "the folder already holds a run; resume it, or choose another folder";
            let source = io::Error::new(io::ErrorKind::AlreadyExists, message);
            return Err(GrpoError::Write { path: root, source });
        }
        let checkpoints = checkpoints_dir(&root);
        fs::create_dir_all(&checkpoints).map_err(write_error(&checkpoints))?;
        write_config(&root, config)?;
        rollouts::remove_later(&root, 0)?;
        let events = config.run.tensorboard.then(|| EventFile::create(&root)).transpose()?;
        let rollouts = KeptRollouts::new(config.rollout_table);
        Self::open_files(root, lock, (0, 0), events, rollouts, config.rollout_table)
    }

    /// Continues the run in `root` at its latest checkpoint, or starts one with `config` where there is no
    /// checkpoint yet.
    ///
    /// # Errors
    ///
    /// As [`RunDir::resume`] and [`RunDir::create`].
    pub fn resume_or_create(
        root: impl Into<PathBuf>,
        config: &GrpoConfig,
    ) -> Result<Self, GrpoError> {
        match Self::resume(root) {
            Err(GrpoError::NoCheckpoint { path }) => Self::create(path, config),
            resumed => resumed,
        }
    }

    /// Opens the run in `root` at its latest checkpoint, whose checksums are compared. The trainer
    /// restores it when it is built.
    ///
    /// Metrics and timings of later steps are dropped.
    ///
    /// # Errors
    ///
    /// [`GrpoError::NoCheckpoint`] when the run has no checkpoint. [`GrpoError::Checkpoint`] when
    /// the latest one is damaged. The message names the file, and the newest intact checkpoint,
    /// which [`RunDir::resume_at`] takes. [`GrpoError::NoOptimizer`] after [`RunDir::remove_optimizer`].
    /// [`GrpoError::InUse`] when another process writes there. [`GrpoError::Read`] and [`GrpoError::Write`]
    /// for the files of the run.
    pub fn resume(root: impl Into<PathBuf>) -> Result<Self, GrpoError> {
        let root = root.into();
        let (lock, mut folders) = lock_run(&root)?;
        let (_, latest) =
            folders.pop().ok_or_else(|| GrpoError::NoCheckpoint { path: root.clone() })?;
        match verify(&latest) {
            Ok(state) => Self::open_at(root, lock, latest, &state, &[]),
            Err(GrpoError::Checkpoint { path, problem }) => {
                let intact = folders.iter().rev().find(|(_, dir)| verify(dir).is_ok());
                let advice = intact.map_or_else(
                    || "no other checkpoint is intact".to_owned(),
                    |(step, _)| {
                        format!(
                            "the one of step {step} is intact: resume at it (--from-step {step})"
                        )
                    },
                );
                Err(GrpoError::Checkpoint { path, problem: format!("{problem}; {advice}") })
            }
            Err(error) => Err(error),
        }
    }

    /// Opens the run in `root` at the checkpoint of `step`, and removes later checkpoints. They
    /// belong to steps that are about to be taken again.
    ///
    /// # Errors
    ///
    /// As [`RunDir::resume`]; [`GrpoError::NoCheckpointAt`] when that step has no checkpoint.
    pub fn resume_at(root: impl Into<PathBuf>, step: u64) -> Result<Self, GrpoError> {
        let root = root.into();
        let (lock, folders) = lock_run(&root)?;
        let Some((_, chosen)) = folders.iter().find(|(candidate, _)| *candidate == step) else {
            let available = folders.iter().map(|(step, _)| *step).collect();
            return Err(GrpoError::NoCheckpointAt { path: root, step, available });
        };
        let state = verify(chosen)?;
        let later = folders.iter().rev().take_while(|(candidate, _)| *candidate > step);
        let later = later.map(|(_, dir)| dir.clone()).collect::<Vec<_>>();
        Self::open_at(root, lock, chosen.clone(), &state, &later)
    }

    /// Opens the files of the run in their state at a checkpoint. `later` checkpoints, newest
    /// first, are removed.
    fn open_at(
        root: PathBuf,
        lock: FolderLock,
        dir: PathBuf,
        state: &TrainerState,
        later: &[PathBuf],
    ) -> Result<Self, GrpoError> {
        for (name, expected) in [(METRICS, state.metrics_bytes), (TIMINGS, state.timings_bytes)] {
            let path = root.join(name);
            let found = fs::metadata(&path).map_err(read_error(&path))?.len();
            if found < expected {
                let problem = format!(
                    "`{name}` of the run has {found} bytes, but had {expected} when this was \
                     written; restore the file"
                );
                return Err(GrpoError::Checkpoint { path: dir, problem });
            }
        }
        // Before the files are cut: a kill in between leaves checkpoints that fit their files.
        for folder in later {
            remove_dir(folder)?;
        }
        evaluations::remove_later(&root, state.progress.step)?;
        rollouts::remove_later(&root, state.progress.step)?;
        let is_on = state.config.run.tensorboard;
        let events = is_on.then(|| EventFile::open(&root, state.progress.step)).transpose()?;
        let (rollouts, table) = (state.rollouts.clone(), state.config.rollout_table);
        let lengths = (state.metrics_bytes, state.timings_bytes);
        let opened = Self::open_files(root, lock, lengths, events, rollouts, table)?;
        Ok(Self { resume_from: Some(dir), ..opened })
    }

    /// Opens metrics and timings, and cuts them to `lengths`.
    fn open_files(
        root: PathBuf,
        lock: FolderLock,
        lengths: (u64, u64),
        events: Option<EventFile>,
        rollouts: KeptRollouts,
        table: RolloutTableConfig,
    ) -> Result<Self, GrpoError> {
        Ok(Self {
            _lock: lock,
            metrics: open_truncated(&root.join(METRICS), lengths.0)?,
            timings: open_truncated(&root.join(TIMINGS), lengths.1)?,
            events,
            rollouts,
            table,
            unsynced: Vec::new(),
            resume_from: None,
            root,
        })
    }

    /// Adopts the changes of a resumed run to its files.
    pub(crate) fn set_config(&mut self, config: &GrpoConfig, step: u64) -> Result<(), GrpoError> {
        self.set_rollout_table(config.rollout_table);
        match (config.run.tensorboard, &self.events) {
            (true, None) => self.events = Some(EventFile::open(&self.root, step)?),
            (false, _) => self.events = None,
            (true, Some(_)) => {}
        }
        Ok(())
    }

    /// Writes the configuration again, with the values that only the built run has.
    pub(crate) fn write_config(&self, config: &GrpoConfig) -> Result<(), GrpoError> {
        write_config(&self.root, config)
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The steps at which complete checkpoints were written, oldest first.
    ///
    /// # Errors
    ///
    /// [`GrpoError::Read`].
    pub fn checkpoints(root: &Path) -> Result<Vec<(u64, PathBuf)>, GrpoError> {
        checkpoint_folders(root)
    }

    /// Removes the state of the optimizer from every checkpoint of the run in `root`: with AdamW, two thirds of their
    /// bytes. The weights stay, and so does everything else of the run. Such a run takes no more steps:
    /// [`RunDir::resume`] refuses it with [`GrpoError::NoOptimizer`]. It does nothing where the state is gone already.
    ///
    /// # Errors
    ///
    /// [`GrpoError::NoCheckpoint`] when the run has no checkpoint. [`GrpoError::InUse`] when another process writes there.
    /// [`GrpoError::Checkpoint`], [`GrpoError::Read`] and [`GrpoError::Write`] for the files of the checkpoints.
    pub fn remove_optimizer(root: impl Into<PathBuf>) -> Result<(), GrpoError> {
        let root: PathBuf = root.into();
        let (_lock, folders) = lock_run(&root)?;
        folders.iter().try_for_each(|(_, checkpoint)| remove_optimizer(checkpoint))
    }

    /// The checkpoint to resume from, if any.
    pub(crate) fn resume_from(&self) -> Option<&Path> {
        self.resume_from.as_deref()
    }
}

/// Locks a folder that has checkpoints, and lists them.
fn lock_run(root: &Path) -> Result<(FolderLock, Vec<(u64, PathBuf)>), GrpoError> {
    // A folder without a run gets no file.
    let none = || GrpoError::NoCheckpoint { path: root.to_path_buf() };
    if !checkpoints_dir(root).is_dir() {
        return Err(none());
    }
    let lock = FolderLock::take(root)?;
    restore_replaced(root)?;
    let folders = checkpoint_folders(root)?;
    if folders.is_empty() { Err(none()) } else { Ok((lock, folders)) }
}

fn write_config(root: &Path, config: &GrpoConfig) -> Result<(), GrpoError> {
    replace(&root.join(CONFIG), &config.to_toml()?)
}
