//! The records of a file as JSON objects, whichever format it has.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use parquet::errors::ParquetError;
use parquet::file::reader::SerializedFileReader;
use parquet::record::{Field, Row};
use serde_json::{Map, Value};

use crate::error::{DumpError, Place};

/// First bytes of every Parquet file.
const PARQUET: [u8; 4] = *b"PAR1";

/// Calls `visit` with every record of `path`, in order, until one fails.
///
/// The first bytes decide between Parquet and JSON Lines, not the file's name. Empty lines are no records.
pub(crate) fn for_each(
    path: &Path,
    visit: impl FnMut(Map<String, Value>, Place) -> Result<(), DumpError>,
) -> Result<(), DumpError> {
    let failed = |source| DumpError::Read { path: path.to_path_buf(), source };
    let mut file = File::open(path).map_err(failed)?;
    let mut start = Vec::new();
    file.by_ref().take(PARQUET.len() as u64).read_to_end(&mut start).map_err(failed)?;
    file.rewind().map_err(failed)?;
    if start == PARQUET { rows(file, path, visit) } else { lines(file, path, visit) }
}

fn lines(
    file: File,
    path: &Path,
    mut visit: impl FnMut(Map<String, Value>, Place) -> Result<(), DumpError>,
) -> Result<(), DumpError> {
    for (text, number) in BufReader::new(file).lines().zip(1..) {
        let text = text.map_err(|source| DumpError::Read { path: path.to_path_buf(), source })?;
        if text.trim().is_empty() {
            continue;
        }
        let place = Place::Line(number);
        let object =
            serde_json::from_str(&text).map_err(|source| DumpError::Syntax { place, source })?;
        visit(object, place)?;
    }
    Ok(())
}

fn rows(
    file: File,
    path: &Path,
    mut visit: impl FnMut(Map<String, Value>, Place) -> Result<(), DumpError>,
) -> Result<(), DumpError> {
    let failed = |source: ParquetError| DumpError::Parquet { path: path.to_path_buf(), source };
    // The reader panics on some damaged files.
    let damaged = |_| DumpError::Damaged { path: path.to_path_buf() };
    let reader = catch_unwind(|| SerializedFileReader::new(file)).map_err(damaged)?;
    let mut reader = reader.map_err(failed)?.into_iter();
    for number in 1.. {
        // After a panic the reader is dropped.
        let next = catch_unwind(AssertUnwindSafe(|| reader.next())).map_err(damaged)?;
        let Some(row) = next else { break };
        visit(object(&row.map_err(failed)?), Place::Row(number))?;
    }
    Ok(())
}

fn object(row: &Row) -> Map<String, Value> {
    row.get_column_iter().map(|(name, field)| (name.clone(), value(field))).collect()
}

/// A number that JSON lacks (NaN, an infinity) becomes a text, so that an error can quote it.
fn value(field: &Field) -> Value {
    let number = |number: f64| {
        serde_json::Number::from_f64(number)
            .map_or_else(|| Value::from(number.to_string()), Value::Number)
    };
    match field {
        Field::Null => Value::Null,
        Field::Bool(flag) => Value::from(*flag),
        Field::Byte(integer) => Value::from(*integer),
        Field::Short(integer) => Value::from(*integer),
        Field::Int(integer) => Value::from(*integer),
        Field::Long(integer) => Value::from(*integer),
        Field::UByte(integer) => Value::from(*integer),
        Field::UShort(integer) => Value::from(*integer),
        Field::UInt(integer) => Value::from(*integer),
        Field::ULong(integer) => Value::from(*integer),
        Field::Float16(float) => number(f64::from(f32::from(*float))),
        Field::Float(float) => number(f64::from(*float)),
        Field::Double(float) => number(*float),
        Field::Str(text) => Value::from(text.as_str()),
        Field::Group(row) => Value::Object(object(row)),
        Field::ListInternal(list) => list.elements().iter().map(value).collect(),
        other => Value::from(other.to_string()),
    }
}
