//! Runs several arms with several seeds, some side by side, and continues those with a folder.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Result, ensure};
use hint_grpo::{GrpoError, RunDir};
use hint_process::{StopSignals, clock};
use hint_rollout::evaluate::Evaluation;

use super::results::is_done;
use crate::process::set_threads;
use crate::train::{Settings, train_quietly};

/// One run that is to be done.
#[derive(Debug)]
pub(super) struct Task {
    /// The name of arm and seed.
    pub(super) name: String,
    pub(super) settings: Settings,
    /// The folder of the run.
    pub(super) dir: PathBuf,
    pub(super) steps: u64,
}

impl Task {
    /// Trains it from its newest checkpoint. Whether it is done; not if a signal stopped it. `all` are the runs beside it.
    fn run(&self, all: &[Self], stop: &StopSignals) -> Result<bool> {
        set_threads(self.settings.threads);
        let first = self.first_evaluation(all);
        let workload = self.settings.workload()?;
        let is_done = train_quietly(&self.settings, &workload, stop, first.as_ref())?;
        if is_done {
            RunDir::remove_optimizer(&self.dir)?;
        }
        Ok(is_done)
    }

    /// The evaluation before the first step, if another run has made the same one. A damaged file is none: this run makes
    /// its own then.
    pub(super) fn first_evaluation(&self, all: &[Self]) -> Option<Evaluation> {
        let mut others = all.iter().filter(|other| other.dir != self.dir && other.starts_as(self));
        others.find_map(|other| RunDir::evaluation(&other.dir, 0).ok().flatten())
    }

    /// Whether both have the same file of the evaluation before the first step. Weights, seed, problems, sampling and
    /// verifier are those of the settings, and no preset changes them. With servers, two evaluations may differ.
    pub(super) fn starts_as(&self, other: &Self) -> bool {
        let (one, other) = (&self.settings, &other.settings);
        // Completions are in a file of their own.
        let is_one_file = one.config.evaluation.kept_completions == 0;
        let is_in_turn = one.vllm.is_empty() && one.config.run.ahead == 0;
        is_one_file && is_in_turn && one.model == other.model && one.config == other.config
    }
}

/// Removes the state of the optimizer from a run that is done, unless another process has it open. The next session
/// removes it then.
///
/// # Errors
///
/// Files of the checkpoints.
pub(super) fn give_up_optimizer(dir: &Path) -> Result<()> {
    match RunDir::remove_optimizer(dir) {
        Err(error) if !matches!(error, GrpoError::InUse { .. }) => Err(error.into()),
        _ => Ok(()),
    }
}

/// Runs the unfinished tasks, `jobs` side by side, until all are done or a signal stops them. Whether all is done. A run
/// that is done keeps its weights, and not the state of its optimizer.
///
/// # Errors
///
/// When runs failed, after the others are done.
pub(super) fn run_all(tasks: &[Task], jobs: usize, stop: &StopSignals) -> Result<bool> {
    let total = tasks.len();
    let mut open = VecDeque::new();
    for task in tasks {
        if is_done(&task.dir, task.steps)? {
            // A session before may have ended at this point.
            give_up_optimizer(&task.dir)?;
        } else {
            open.push_back(task);
        }
    }
    note!("{} of {total} runs are done already", total - open.len());
    let left = Mutex::new((open.len(), clock()));
    let (open, failed) = (Mutex::new(open), Mutex::new(Vec::new()));
    let work = || {
        while !stop.requested() {
            let Some(task) = open.lock().expect("no run panics here").pop_front() else { return };
            match task.run(tasks, stop) {
                Ok(false) => return,
                Ok(true) => {
                    let mut left = left.lock().expect("no run panics here");
                    left.0 -= 1;
                    let (runs, minutes) = (left.0, left.1().as_secs_f64() / 60.0);
                    note!("{}: done; {runs} runs are left, {minutes:.1} min so far", task.name);
                }
                Err(error) => {
                    note!("{}: failed: {error:#}", task.name);
                    failed.lock().expect("no run panics here").push(task.name.clone());
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(work);
        }
    });
    let failed = failed.into_inner().expect("no run panics here");
    ensure!(
        failed.is_empty(),
        "these runs failed; the same command tries again: {}",
        failed.join(", ")
    );
    Ok(!stop.requested())
}
