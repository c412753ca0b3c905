//! Metrics and timings as a TensorBoard event file.
//!
//! The file is a sequence of records: a length, its checksum, an event and its checksum. An event is a
//! protocol buffer with a time, a step, and scalars by name. Names are the ones that TRL logs:
//! `train/reward`, `train/completions/mean_length`, `eval/avg`.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::files::{open_truncated, read_error, sync, write_error};
use crate::error::GrpoError;
use crate::observer::StepReport;

const FOLDER: &str = "tensorboard";
/// TensorBoard reads files whose names have `tfevents`.
const FILE: &str = "events.out.tfevents.0.hint-rl";

/// Bytes of a record before its event: the length and its checksum.
const HEADER: u64 = 12;
/// Bytes of a record after its event.
const FOOTER: usize = 4;

/// The event file of a run.
#[derive(Debug)]
pub(super) struct EventFile {
    file: File,
    path: PathBuf,
}

impl EventFile {
    /// Starts the event file of a run in `root`.
    pub(super) fn create(root: &Path) -> Result<Self, GrpoError> {
        let path = root.join(FOLDER).join(FILE);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(write_error(&path)(error)),
            _ => Self::open(root, 0),
        }
    }

    /// Opens the event file of the run in `root` with the events up to `step`, or starts a new one.
    pub(super) fn open(root: &Path, step: u64) -> Result<Self, GrpoError> {
        let dir = root.join(FOLDER);
        fs::create_dir_all(&dir).map_err(write_error(&dir))?;
        let path = dir.join(FILE);
        let len =
            if path.exists() { length_to(&path, step).map_err(read_error(&path))? } else { 0 };
        let mut file = open_truncated(&path, len)?;
        if len == 0 {
            // The step is left out, so that every later one keeps this event.
            let mut event = time(Duration::ZERO);
            bytes(&mut event, 3, b"brain.Event:2");
            file.write_all(&record(&event)).map_err(write_error(&path))?;
        }
        Ok(Self { file, path })
    }

    /// Appends a finished step, at `now` since 1970.
    pub(super) fn append(&mut self, report: &StepReport, now: Duration) -> Result<(), GrpoError> {
        let timings = report.timings_json();
        let timings = timings.iter().filter(|(name, _)| *name != "step");
        let timings = timings.filter_map(|(name, value)| Some((name.as_str(), value.as_f64()?)));
        let scalars = report.metrics.iter().chain(timings);
        let event = event(now, report.step, scalars);
        self.file.write_all(&record(&event)).map_err(write_error(&self.path))
    }

    /// Flushes the file to disk.
    pub(super) fn sync(&self) -> Result<(), GrpoError> {
        sync(&self.path)
    }
}

/// An event with scalars.
fn event<'n>(now: Duration, step: u64, scalars: impl Iterator<Item = (&'n str, f64)>) -> Vec<u8> {
    let mut summary = Vec::new();
    for (name, value) in scalars {
        let stage = if name.starts_with("eval/") { "" } else { "train/" };
        let mut scalar = Vec::new();
        bytes(&mut scalar, 1, format!("{stage}{name}").as_bytes());
        scalar.push(2 << 3 | 5);
        #[expect(clippy::cast_possible_truncation, reason = "TensorBoard keeps single precision")]
        scalar.extend((value as f32).to_le_bytes());
        bytes(&mut summary, 1, &scalar);
    }
    let mut event = time(now);
    event.push(2 << 3);
    varint(&mut event, step);
    bytes(&mut event, 5, &summary);
    event
}

/// The beginning of every event: its time, in seconds.
fn time(now: Duration) -> Vec<u8> {
    let mut event = vec![1 << 3 | 1];
    event.extend(now.as_secs_f64().to_le_bytes());
    event
}

/// Appends a field of bytes.
fn bytes(message: &mut Vec<u8>, field: u8, value: &[u8]) {
    message.push(field << 3 | 2);
    varint(message, value.len() as u64);
    message.extend(value);
}

/// Appends a number, seven bits per byte, the lowest first; the top bit means that more follow.
fn varint(message: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        message.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    message.push(value.to_le_bytes()[0]);
}

/// An event with its length and checksums.
fn record(event: &[u8]) -> Vec<u8> {
    let length = (event.len() as u64).to_le_bytes();
    [&length[..], &checksum(&length), event, &checksum(event)].concat()
}

/// CRC-32C, rotated and shifted so that a checksum of checksums differs.
fn checksum(bytes: &[u8]) -> [u8; 4] {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

/// The length of the file up to the first event after `step`, or up to the first that is damaged.
fn length_to(path: &Path, step: u64) -> io::Result<u64> {
    let mut reader = BufReader::new(File::open(path)?);
    let mut read = |len: u64| {
        let mut bytes = Vec::new();
        let found = (&mut reader).take(len).read_to_end(&mut bytes)? as u64;
        io::Result::Ok((found == len).then_some(bytes))
    };
    let mut length = 0;
    while let Some(header) = read(HEADER)? {
        let (size, check) = header.split_at(8);
        if check != checksum(size) {
            break;
        }
        let size = size.iter().rev().fold(0, |size, byte| size << 8 | u64::from(*byte));
        let Some(event) = read(size.saturating_add(FOOTER as u64))? else { break };
        let (event, check) = event.split_at(event.len() - FOOTER);
        if check != checksum(event) || step_of(event).is_some_and(|later| later > step) {
            break;
        }
        length += HEADER + size + FOOTER as u64;
    }
    Ok(length)
}

/// The step of an event of [`event`]; none of the first one.
fn step_of(event: &[u8]) -> Option<u64> {
    let number = event.get(9..)?.strip_prefix(&[2 << 3])?;
    let end = number.iter().position(|byte| byte & 0x80 == 0)?;
    Some(number[..=end].iter().rev().fold(0, |step, byte| step << 7 | u64::from(byte & 0x7f)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{self, Metrics};
    use crate::observer::Timings;

    /// The values that `tests/golden/gen/read_events.py` reads back with TensorBoard.
    fn report(step: u64) -> StepReport {
        let mut metrics = Metrics::new();
        metrics.set(metrics::REWARD, 0.25 * step as f64);
        metrics.set(metrics::HINT_RESCUED_FRAC, 0.5);
        if step == 0 {
            metrics.set(metrics::EVAL_AVG, 0.125);
        }
        let timings = Timings { rollout: Duration::from_secs(3), ..Timings::default() };
        StepReport {
            step,
            total_steps: 300,
            metrics,
            timings,
            tokens: 96,
            peak_memory: None,
            warnings: Vec::new(),
        }
    }

    fn append(file: &mut EventFile, steps: impl Iterator<Item = u64>) {
        for step in steps {
            file.append(&report(step), Duration::from_millis(1_700_000_000_500 + step)).unwrap();
        }
    }

    #[test]
    fn the_golden_event_file_is_written() {
        let dir = tempfile::tempdir().unwrap();
        append(&mut EventFile::create(dir.path()).unwrap(), [0, 1, 2, 300].into_iter());
        let written = fs::read(dir.path().join(FOLDER).join(FILE)).unwrap();
        #[expect(clippy::disallowed_methods, reason = "tests may be given another folder")]
        let golden = std::env::var_os("HINT_GOLDEN_DIR").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden"),
            PathBuf::from,
        );
        let golden = golden.join("events.out.tfevents.golden");
        #[expect(clippy::disallowed_methods, reason = "tests may write goldens")]
        if std::env::var_os("HINT_BLESS").is_some() {
            fs::write(&golden, &written).unwrap();
        }
        assert!(written == fs::read(golden).unwrap(), "the event file has other bytes");
    }

    #[test]
    fn resuming_keeps_the_events_up_to_its_step() {
        let [whole, cut] = [0, 1].map(|_| tempfile::tempdir().unwrap());
        append(&mut EventFile::open(whole.path(), 0).unwrap(), 0..=200);
        append(&mut EventFile::open(cut.path(), 0).unwrap(), 0..=180);
        let path = |dir: &tempfile::TempDir| dir.path().join(FOLDER).join(FILE);
        // Killed in the middle of a write.
        let mut torn = fs::OpenOptions::new().append(true).open(path(&cut)).unwrap();
        torn.write_all(&[7; 20]).unwrap();
        append(&mut EventFile::open(cut.path(), 150).unwrap(), 151..=180);
        append(&mut EventFile::open(cut.path(), 180).unwrap(), 181..=200);
        assert_eq!(fs::read(path(&cut)).unwrap(), fs::read(path(&whole)).unwrap());
        // Started again from nothing.
        append(&mut EventFile::create(cut.path()).unwrap(), 0..=200);
        assert_eq!(fs::read(path(&cut)).unwrap(), fs::read(path(&whole)).unwrap());
    }
}
