//! Metrics and timings, one line of JSON per step.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use serde_json::{Map, Value};

use super::files::write_error;
use super::{METRICS, RunDir, TIMINGS};
use crate::error::GrpoError;
use crate::metrics::timings as names;
use crate::observer::StepReport;

impl RunDir {
    /// Appends a finished step to metrics and timings.
    pub(crate) fn record(&mut self, report: &StepReport) -> Result<(), GrpoError> {
        let mut line = Map::new();
        line.insert("step".to_owned(), report.step.into());
        for (name, value) in report.metrics.iter() {
            line.insert(name.to_owned(), value.into());
        }
        append(&mut self.metrics, &self.root.join(METRICS), &line)?;
        let timings = &report.timings;
        let seconds = timings.step().as_secs_f64();
        let mut line = Map::new();
        line.insert("step".to_owned(), report.step.into());
        for (name, duration) in [
            (names::ROLLOUT, timings.rollout),
            (names::UPDATE, timings.update),
            (names::SYNC, timings.sync),
            (names::EVALUATION, timings.evaluation),
            (names::CHECKPOINT, timings.checkpoint),
            (names::STEP, timings.step()),
        ] {
            line.insert(name.to_owned(), duration.as_secs_f64().into());
        }
        line.insert(names::TOKENS.to_owned(), report.tokens.into());
        if seconds > 0.0 {
            line.insert(
                names::TOKENS_PER_SECOND.to_owned(),
                (report.tokens as f64 / seconds).into(),
            );
        }
        if let Some(bytes) = report.peak_memory {
            line.insert(names::PEAK_MEMORY.to_owned(), bytes.into());
        }
        append(&mut self.timings, &self.root.join(TIMINGS), &line)
    }
}

fn append(file: &mut File, path: &Path, line: &Map<String, Value>) -> Result<(), GrpoError> {
    let mut text =
        serde_json::to_string(line).map_err(|error| write_error(path)(io::Error::other(error)))?;
    text.push('\n');
    file.write_all(text.as_bytes()).map_err(write_error(path))
}
