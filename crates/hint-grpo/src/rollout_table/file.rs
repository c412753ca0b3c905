//! Files of the table: written whole, and read back.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;

use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::Result as ParquetResult;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::RolloutRecord;
use super::columns::{columns, schema};
use crate::error::GrpoError;

/// Writes a file of the rollout table, complete or not at all. Returns its size in bytes.
///
/// # Errors
///
/// [`GrpoError::Write`].
pub fn write_rollouts(path: &Path, records: &[RolloutRecord]) -> Result<u64, GrpoError> {
    let failed = |source| GrpoError::Write { path: path.to_path_buf(), source };
    // Hidden, so that programs which read the folder leave it out; the next step overwrites what a kill left.
    let partial = path.with_file_name(".partial");
    let file = File::create(&partial).map_err(failed)?;
    write(file, records).map_err(|error| failed(io::Error::other(error)))?;
    let bytes = fs::metadata(&partial).map_err(failed)?.len();
    fs::rename(&partial, path).map_err(failed)?;
    Ok(bytes)
}

fn write(file: File, records: &[RolloutRecord]) -> ParquetResult<()> {
    let columns = columns(records);
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_created_by(concat!("hint-grpo ", env!("CARGO_PKG_VERSION")).to_owned())
        .build();
    let schema = Arc::new(parse_message_type(&schema(&columns))?);
    let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties))?;
    let mut group = writer.next_row_group()?;
    for (_, cells) in &columns {
        cells.write(&mut group)?;
    }
    group.close()?;
    writer.close().map(drop)
}

/// Reads a file of the rollout table.
///
/// # Errors
///
/// [`GrpoError::Read`] for a file that is not there, is damaged, or is no rollout table.
pub fn read_rollouts(path: &Path) -> Result<Vec<RolloutRecord>, GrpoError> {
    let failed = |source| GrpoError::Read { path: path.to_path_buf(), source };
    let file = File::open(path).map_err(failed)?;
    let damaged = |error: parquet::errors::ParquetError| failed(io::Error::other(error));
    let reader = SerializedFileReader::new(file).map_err(damaged)?;
    let rows = reader.get_row_iter(None).map_err(damaged)?;
    rows.map(|row| {
        let row = row.map_err(damaged)?.to_json_value();
        record(row).map_err(|error| failed(io::Error::other(error)))
    })
    .collect()
}

/// A record from the columns of a row: three columns are one Affinity.
fn record(row: Value) -> Result<RolloutRecord, serde_json::Error> {
    let mut row = Map::deserialize(row)?;
    for name in ["affinity", "behavior_affinity"] {
        let part = |part: &str| row.get(&format!("{name}{part}")).cloned().unwrap_or_default();
        let (value, eur, uc) = (part(""), part("_eur"), part("_uc"));
        if !value.is_null() {
            row.insert(name.to_owned(), json!({ "eur": eur, "uc": uc, "value": value }));
        }
    }
    RolloutRecord::deserialize(Value::Object(row))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use hint_affinity::{AffinityAccumulator, ClipRange};
    use hint_reward::extract::AnswerSource;
    use hint_reward::{Level, Verdict};
    use hint_rollout::engine::StopReason;
    use hint_rollout::sample::RolloutSource;

    use super::super::RolloutRole;
    use super::*;

    fn record(step: u64) -> RolloutRecord {
        RolloutRecord {
            step,
            group: 0,
            completion: 0,
            problem: "swaps-1".to_owned(),
            question: None,
            reference: None,
            problem_level: None,
            role: RolloutRole::Replaced,
            source: RolloutSource::Plain,
            hint: None,
            hint_share: None,
            hint_leaks: None,
            teacher_hint: None,
            contrast_hint: None,
            text: String::new(),
            prompt: vec![1],
            sampled_prompt: None,
            teacher_prompt: None,
            tokens: Vec::new(),
            untrained_tokens: None,
            stop: StopReason::Length,
            version: 0,
            verdict: Verdict::Truncated,
            extracted: None,
            extracted_by: None,
            level: None,
            reason: None,
            reward: 0.0,
            reward_parts: BTreeMap::new(),
            advantage: None,
            behavior_logprobs: Vec::new(),
            logprobs: None,
            old_logprobs: None,
            plain_logprobs: None,
            ref_logprobs: None,
            teacher_logprobs: None,
            contrast_logprobs: None,
            affinity: None,
            behavior_affinity: None,
            hinted_weight: None,
        }
    }

    /// A record with something in every column.
    fn full() -> RolloutRecord {
        let mut accumulator = AffinityAccumulator::new(ClipRange::symmetric(0.2).expect("a range"));
        accumulator.push(0.1, 1.0).expect("finite");
        RolloutRecord {
            group: 3,
            completion: 7,
            question: Some("What is 6 · 7? 问题\u{0}".to_owned()),
            reference: Some("42".to_owned()),
            problem_level: Some("5".to_owned()),
            role: RolloutRole::Trained,
            source: RolloutSource::Hinted,
            hint: Some("Think of\nsix sevens.".to_owned()),
            hint_share: Some(0.5),
            hint_leaks: Some(true),
            teacher_hint: Some("Six".to_owned()),
            contrast_hint: Some("Seven".to_owned()),
            text: "\\boxed{42} \u{202e}🙂".to_owned(),
            sampled_prompt: Some(vec![1, u32::MAX, 3]),
            teacher_prompt: Some(vec![1, 4]),
            tokens: vec![0, u32::MAX],
            untrained_tokens: Some(vec![1]),
            stop: StopReason::Stop,
            version: 12,
            verdict: Verdict::Correct,
            extracted: Some("42".to_owned()),
            extracted_by: Some(AnswerSource::Boxed),
            level: Some(Level::Strict),
            reason: Some(String::new()),
            reward: 0.1 + 0.2,
            reward_parts: BTreeMap::from([("a".to_owned(), -1.5), ("b".to_owned(), 1e-300)]),
            advantage: Some(-0.75),
            behavior_logprobs: vec![-0.1, -17.25],
            logprobs: Some(vec![-0.2, -1e-30]),
            old_logprobs: Some(vec![-0.2, 0.0]),
            plain_logprobs: Some(vec![-3.5, -0.125]),
            ref_logprobs: Some(vec![-3.0, -0.25]),
            teacher_logprobs: Some(vec![-0.5, -0.5]),
            contrast_logprobs: Some(vec![-4.0, -0.125]),
            affinity: Some(accumulator.affinity()),
            behavior_affinity: Some(accumulator.affinity()),
            hinted_weight: Some(0.25),
            ..record(9)
        }
    }

    #[test]
    fn a_file_reads_back_as_it_was_written() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("step.parquet");
        let records = vec![record(9), full(), record(9), full(), full()];
        let bytes = write_rollouts(&path, &records).expect("a writable folder");
        assert_eq!(read_rollouts(&path).expect("the file is whole"), records);
        let written = fs::read(&path).expect("a file");
        assert_eq!(bytes, written.len() as u64);
        write_rollouts(&path, &records).expect("a writable folder");
        assert!(fs::read(&path).expect("a file") == written, "the same records, the same bytes");
        assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 1, "nothing half-written");
    }

    #[test]
    fn a_damaged_file_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("step.parquet");
        write_rollouts(&path, &[full()]).expect("a writable folder");
        let whole = fs::read(&path).expect("a file");
        for length in [0, 4, whole.len() / 2, whole.len() - 1] {
            fs::write(&path, &whole[..length]).expect("a writable folder");
            let error = read_rollouts(&path).expect_err("cut off").to_string();
            assert!(error.contains("step.parquet"), "{error}");
        }
    }
}
