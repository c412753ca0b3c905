//! Metrics and timings, one line of JSON per step.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value};

use super::files::write_error;
use super::{METRICS, RunDir, TIMINGS};
use crate::error::GrpoError;
use crate::observer::StepReport;

impl RunDir {
    /// Appends a finished step, at `now` since 1970, to metrics, timings and the event file.
    pub(crate) fn record(&mut self, report: &StepReport, now: Duration) -> Result<(), GrpoError> {
        let mut line = Map::new();
        line.insert("step".to_owned(), report.step.into());
        for (name, value) in report.metrics.iter() {
            line.insert(name.to_owned(), value.into());
        }
        append(&mut self.metrics, &self.root.join(METRICS), &line)?;
        append(&mut self.timings, &self.root.join(TIMINGS), &report.timings_json())?;
        self.events.as_mut().map_or(Ok(()), |events| events.append(report, now))
    }
}

fn append(file: &mut File, path: &Path, line: &Map<String, Value>) -> Result<(), GrpoError> {
    let mut text =
        serde_json::to_string(line).map_err(|error| write_error(path)(io::Error::other(error)))?;
    text.push('\n');
    file.write_all(text.as_bytes()).map_err(write_error(path))
}
