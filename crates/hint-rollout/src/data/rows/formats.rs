//! Parts that need the feature `formats`: compressed files, UTF-16, CSV and Parquet.

use std::fs::File;
use std::io::{BufRead, Error, ErrorKind, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use encoding_rs_io::DecodeReaderBytesBuilder;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, FileReader, SerializedFileReader};
use parquet::record::Field;
use serde_json::{Map, Value};

use super::{OTHER_ENCODING, Sink, failed, invalid};
use crate::error::RolloutError;

/// What is wrong with a file whose bytes contradict each other.
const DAMAGED: &str = "the file is cut off or damaged; fetch it again";

/// What to do with a Parquet file that uses what the reader does not have.
const REWRITE: &str =
    "write the file again: `pyarrow.parquet.write_table(table, path, compression=\"zstd\")`";

/// A file, decompressed if it has to be.
pub(super) enum Input {
    Plain(File),
    Compressed(Box<dyn Read>),
}

/// A decompressed file, whose errors say what is wrong with the file.
struct Told<R>(R);

impl<R: Read> Read for Told<R> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        self.0.read(buffer).map_err(|error| match error.kind() {
            ErrorKind::Interrupted => error,
            kind => Error::new(kind, format!("{DAMAGED} ({error})")),
        })
    }
}

/// The content of a file that begins like this.
pub(super) fn decompressed(start: &[u8], file: File) -> Result<Input, Error> {
    let input: Box<dyn Read> = if start.starts_with(b"\x1f\x8b") {
        Box::new(flate2::read::MultiGzDecoder::new(file))
    } else if start.starts_with(b"\x28\xb5\x2f\xfd") {
        Box::new(zstd::Decoder::new(file)?)
    } else if start.starts_with(b"BZh") && start.get(4..10) == Some(b"1AY&SY") {
        Box::new(bzip2::read::MultiBzDecoder::new(file))
    } else if start.starts_with(b"\xfd7zXZ\0") {
        Box::new(lzma_rust2::XzReader::new(std::io::BufReader::new(file), true))
    } else {
        return Ok(Input::Plain(file));
    };
    Ok(Input::Compressed(Box::new(Told(input))))
}

/// Text in UTF-16 with a byte order mark, as UTF-8.
#[expect(clippy::unnecessary_wraps, reason = "fails without the feature")]
pub(super) fn utf16(input: impl BufRead) -> Result<impl Read, Error> {
    Ok(DecodeReaderBytesBuilder::new().strip_bom(true).build(input))
}

/// Every cell is a text; an empty one counts as missing.
pub(super) fn csv(
    input: impl Read,
    delimiter: u8,
    origin: &Path,
    sink: Sink<'_>,
) -> Result<(), RolloutError> {
    let failed = |error| failed(origin)(error);
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).from_reader(input);
    let names = reader.headers().map_err(|error| failed(Error::other(error)))?.clone();
    let names = names.iter().map(|name| name.trim().to_owned()).collect::<Vec<_>>();
    let mut repeated = names.iter().enumerate().filter(|(at, name)| names[..*at].contains(name));
    if let Some((_, name)) = repeated.find(|(_, name)| !name.is_empty()) {
        return Err(failed(invalid(format!("the header names the column `{name}` twice"))));
    }
    let mut record = csv::StringRecord::new();
    for number in 1.. {
        let line = reader.position().line();
        let row = match reader.read_record(&mut record) {
            Ok(false) => break,
            Ok(true) => {
                let cells = names.iter().zip(&record).filter(|(_, cell)| !cell.is_empty());
                Ok(cells.map(|(name, cell)| (name.clone(), Value::from(cell))).collect())
            }
            Err(error) if error.is_io_error() => return Err(failed(Error::other(error))),
            Err(error) => {
                // A quote that is not closed swallows rows up to the next one, and nothing tells how many.
                if reader.position().line() > line + 1 {
                    let place = format!("in or after line {line} ({error})");
                    return Err(failed(invalid(format!("a quote is not closed {place}"))));
                }
                let advice = match error.kind() {
                    csv::ErrorKind::Utf8 { .. } => OTHER_ENCODING,
                    _ => "",
                };
                let source = invalid(format!("{error}{advice}"));
                Err(RolloutError::ProblemBytes { path: origin.to_path_buf(), line: number, source })
            }
        };
        sink(number, row)?;
    }
    Ok(())
}

pub(super) fn parquet_file(file: File, origin: &Path, sink: Sink<'_>) -> Result<(), RolloutError> {
    parquet(file, origin, sink)
}

pub(super) fn parquet_bytes(
    bytes: Vec<u8>,
    origin: &Path,
    sink: Sink<'_>,
) -> Result<(), RolloutError> {
    parquet(bytes::Bytes::from(bytes), origin, sink)
}

fn parquet<R: ChunkReader + 'static>(
    input: R,
    origin: &Path,
    sink: Sink<'_>,
) -> Result<(), RolloutError> {
    let damaged = |_| failed(origin)(invalid(format!("{DAMAGED} (the reader panics on it)")));
    let failed = |error| {
        failed(origin)(match error {
            ParquetError::NYI(missing) => invalid(format!("{missing}; {REWRITE}")),
            error => invalid(format!("{DAMAGED} ({error})")),
        })
    };
    // The reader panics on some damaged files.
    let reader = catch_unwind(AssertUnwindSafe(|| SerializedFileReader::new(input)));
    let reader = reader.map_err(damaged)?.map_err(failed)?;
    let rows = catch_unwind(AssertUnwindSafe(|| reader.get_row_iter(None)));
    let mut rows = rows.map_err(damaged)?.map_err(failed)?;
    for number in 1.. {
        // After a panic the reader is dropped.
        let next = catch_unwind(AssertUnwindSafe(|| rows.next())).map_err(damaged)?;
        let Some(row) = next else { break };
        let row = row.map_err(|error| match error {
            ParquetError::NYI(_) => failed(error),
            error => failed(ParquetError::General(format!("row {number}: {error}"))),
        })?;
        sink(number, Ok(object(row.get_column_iter())))?;
    }
    Ok(())
}

fn object<'f>(fields: impl Iterator<Item = (&'f String, &'f Field)>) -> Map<String, Value> {
    fields.map(|(name, field)| (name.clone(), value(field))).collect()
}

fn value(field: &Field) -> Value {
    match field {
        Field::Null => Value::Null,
        Field::Bool(value) => Value::from(*value),
        Field::Byte(value) => Value::from(*value),
        Field::Short(value) => Value::from(*value),
        Field::Int(value) => Value::from(*value),
        Field::Long(value) => Value::from(*value),
        Field::UByte(value) => Value::from(*value),
        Field::UShort(value) => Value::from(*value),
        Field::UInt(value) => Value::from(*value),
        Field::ULong(value) => Value::from(*value),
        // The digits that name the number among those of its width.
        Field::Float16(value) => value.to_string().parse::<f64>().map_or(Value::Null, Value::from),
        Field::Float(value) => value.to_string().parse::<f64>().map_or(Value::Null, Value::from),
        Field::Double(value) => Value::from(*value),
        Field::Str(text) => Value::from(text.as_str()),
        // Some programs write texts without saying so.
        Field::Bytes(bytes) => {
            bytes.as_utf8().map_or_else(|_| Value::from(field.to_string()), Value::from)
        }
        Field::Group(row) => Value::Object(object(row.get_column_iter())),
        Field::ListInternal(list) => list.elements().iter().map(value).collect(),
        Field::MapInternal(map) => {
            let name = |key: &Field| match key {
                Field::Str(text) => text.clone(),
                other => other.to_string(),
            };
            let entries = map.entries().iter().map(|(key, found)| (name(key), value(found)));
            Value::Object(entries.collect())
        }
        other => Value::from(other.to_string()),
    }
}
