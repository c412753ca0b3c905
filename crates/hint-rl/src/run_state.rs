//! Whether a run is still going, as its folder tells: the lock of its process, and how its last session ended.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::Result;
use hint_grpo::metrics::timings;
use hint_process::wall_clock;
use serde::{Deserialize, Serialize};

use crate::process::replace_file;
use crate::run_log::RunLog;
use crate::terminal::bar::time;

/// The file that the process of a run holds a lock on, in the folder of all its methods.
pub(crate) const LOCK: &str = ".lock";
/// The file that says how the last session ended, in the folder of a run.
const END: &str = "end.json";
/// Times of the longest step after which a run without another one is worth a word, and the least such time.
const SILENT: f64 = 5.0;
const LEAST_SILENCE: f64 = 60.0;

/// End of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum End {
    /// A signal stopped it.
    Stopped,
    /// An error did, in words.
    Failed(String),
}

/// `end.json`. It says nothing about a session that took further steps.
#[derive(Debug, Serialize, Deserialize)]
struct EndFile {
    /// Steps finished.
    step: u64,
    end: End,
}

impl End {
    /// Writes it to the folder of a run.
    ///
    /// # Errors
    ///
    /// A file that cannot be written.
    pub(crate) fn write(self, dir: &Path) -> Result<()> {
        let step = RunLog::read(dir).map_or(0, |log| log.last_step());
        let text = serde_json::to_string_pretty(&EndFile { step, end: self })? + "\n";
        replace_file(&dir.join(END), &text)
    }

    /// Removes the end of an earlier session, so that a kill of the next one is not taken for it.
    ///
    /// # Errors
    ///
    /// A file that cannot be removed.
    pub(crate) fn forget(dir: &Path) -> std::io::Result<()> {
        match std::fs::remove_file(dir.join(END)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// State of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    /// Every step is done.
    Finished,
    /// A process on this machine holds the lock.
    Running,
    /// A signal stopped it.
    Stopped,
    /// An error stopped it.
    Failed,
    /// Nobody holds the lock, and no end was written: killed, or on another machine.
    Killed,
    /// Written by a program that takes no lock, or nobody on this machine holds it and the last step is recent.
    Unfinished,
}

/// State of a run, as it was at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct RunState {
    kind: Kind,
    /// The state in words; empty for a finished run.
    words: String,
    /// The time of its last step, in seconds since 1970.
    last: Option<u64>,
}

impl RunState {
    /// The state of the run in `dir`, which is to take `total` steps.
    pub(crate) fn read(dir: &Path, log: &RunLog, total: u64) -> Self {
        let kept = std::fs::metadata(dir.join("metrics.jsonl"));
        let kept = kept.and_then(|kept| kept.modified()).unwrap_or(UNIX_EPOCH);
        let last = kept.duration_since(UNIX_EPOCH).unwrap_or_default();
        let silence = wall_clock()().saturating_sub(last);
        let end = std::fs::read(dir.join(END)).ok();
        let end = end.and_then(|text| serde_json::from_slice::<EndFile>(&text).ok());
        let end = end.filter(|file| file.step == log.last_step()).map(|file| file.end);
        let ago = format!("the last step ended {} ago", time(silence));
        let (kind, words) = match (is_locked(dir), end) {
            _ if log.last_step() >= total => (Kind::Finished, String::new()),
            (Some(true), _) if is_silent(log, silence) => {
                (Kind::Running, format!("running, but {ago}"))
            }
            (Some(true), _) => (Kind::Running, "running".to_owned()),
            (_, Some(End::Stopped)) => (Kind::Stopped, "stopped by a signal".to_owned()),
            (_, Some(End::Failed(error))) => {
                (Kind::Failed, format!("stopped by an error: {error}"))
            }
            // A lock may be held on another machine, and a crashed run may be started again.
            (Some(false), None) if !is_silent(log, silence) => {
                (Kind::Unfinished, format!("not running on this machine; {ago}"))
            }
            (Some(false), None) => {
                (Kind::Killed, format!("not running: killed, or on another machine; {ago}"))
            }
            (None, None) => (Kind::Unfinished, format!("not finished; {ago}")),
        };
        Self { kind, words, last: (last > Duration::ZERO).then_some(last.as_secs()) }
    }

    /// The state in words; nothing for a finished run.
    pub(crate) fn in_words(&self) -> Option<&str> {
        Some(self.words.as_str()).filter(|words| !words.is_empty())
    }

    /// Whether further steps may follow.
    pub(crate) const fn may_continue(&self) -> bool {
        matches!(self.kind, Kind::Running | Kind::Unfinished)
    }
}

/// Whether a process holds the lock of the run in `dir`; `None` if there is none, or no way to know.
fn is_locked(dir: &Path) -> Option<bool> {
    let folders = [Some(dir), dir.parent()].into_iter().flatten();
    let files = folders.filter_map(|dir| File::open(dir.join(LOCK)).ok());
    // A process that loads the model holds the outer one alone.
    files.fold(None, |known, file| match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Some(true),
        Ok(()) => known.or(Some(false)),
        Err(TryLockError::Error(_)) => known,
    })
}

/// Whether a step is long overdue.
fn is_silent(log: &RunLog, silence: Duration) -> bool {
    let phases = [timings::STEP, timings::EVALUATION, timings::CHECKPOINT];
    let of_step = |line: &serde_json::Value| {
        phases.iter().filter_map(|phase| line[*phase].as_f64()).sum::<f64>()
    };
    let longest = log.timings.iter().map(of_step).fold(0.0, f64::max);
    // The first step has nothing to be compared with.
    longest > 0.0 && silence.as_secs_f64() > (SILENT * longest).max(LEAST_SILENCE)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run of two steps of a second each, in a folder of its own.
    fn run(root: &Path) -> std::path::PathBuf {
        let dir = root.join("hint");
        std::fs::create_dir_all(&dir).unwrap();
        let lines = |line: &str| {
            (1..=2).map(|step| line.replace('#', &step.to_string())).collect::<String>()
        };
        std::fs::write(dir.join("metrics.jsonl"), lines("{\"step\":#}\n")).unwrap();
        std::fs::write(dir.join("timings.jsonl"), lines("{\"step\":#,\"step_time\":1.0}\n"))
            .unwrap();
        dir
    }

    #[test]
    fn a_run_is_going_while_its_process_holds_the_lock() {
        let root = tempfile::tempdir().unwrap();
        let dir = run(root.path());
        let state = |total| RunState::read(&dir, &RunLog::read(&dir).unwrap(), total);
        assert!(
            state(5).words.starts_with("not finished; the last step ended 0s ago"),
            "{:?}",
            state(5)
        );
        assert!(state(5).may_continue(), "a program of your own takes no lock");
        let lock = File::create(root.path().join(LOCK)).unwrap();
        lock.lock().unwrap();
        assert_eq!((state(5).in_words(), state(5).may_continue()), (Some("running"), true));
        assert_eq!((state(2).in_words(), state(2).may_continue()), (None, false));
        let file = File::options().write(true).open(dir.join("metrics.jsonl")).unwrap();
        let ago = wall_clock()().saturating_sub(Duration::from_hours(3));
        file.set_modified(UNIX_EPOCH + ago).unwrap();
        assert_eq!(state(5).words, "running, but the last step ended 3h 00m ago");
        drop(lock);
        let words = "not running: killed, or on another machine; the last step ended 3h 00m ago";
        assert_eq!((state(5).in_words(), state(5).may_continue()), (Some(words), false));
    }

    #[test]
    fn an_end_counts_until_the_next_step() {
        let root = tempfile::tempdir().unwrap();
        let dir = run(root.path());
        File::create(root.path().join(LOCK)).unwrap();
        let state = || RunState::read(&dir, &RunLog::read(&dir).unwrap(), 5);
        End::Stopped.write(&dir).unwrap();
        assert_eq!((state().words.as_str(), state().kind), ("stopped by a signal", Kind::Stopped));
        End::Failed("the disk is full".to_owned()).write(&dir).unwrap();
        assert_eq!(state().words, "stopped by an error: the disk is full");
        assert_eq!((state().kind, state().may_continue()), (Kind::Failed, false));
        let metrics = std::fs::read_to_string(dir.join("metrics.jsonl")).unwrap();
        std::fs::write(dir.join("metrics.jsonl"), metrics + "{\"step\":3}\n").unwrap();
        assert_eq!(state().kind, Kind::Unfinished, "a later session took a step");
        assert!(state().words.starts_with("not running on this machine"), "{:?}", state());
        End::Stopped.write(&dir).unwrap();
        End::forget(&dir).unwrap();
        End::forget(&dir).expect("nothing is left to forget");
        assert_eq!(state().kind, Kind::Unfinished, "a session began");
    }
}
