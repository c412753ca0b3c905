//! Rows of a file: JSON lines, a JSON array, CSV or Parquet, possibly compressed. The content decides.

use std::borrow::Cow;
use std::io::{Error, ErrorKind};
use std::path::Path;

use serde_json::{Map, Value};

use crate::error::RolloutError;

/// A row with the number that errors name: its line in JSON lines, its position from 1 elsewhere.
pub(crate) type Row = (usize, Map<String, Value>);

/// The rows of a file that holds `bytes`; `origin` is what errors name.
pub(crate) fn rows(bytes: Vec<u8>, origin: &Path) -> Result<Vec<Row>, RolloutError> {
    let failed = |source| RolloutError::ReadProblems { path: origin.to_path_buf(), source };
    let bytes = if bytes.starts_with(b"\x1f\x8b") {
        binary::gzip(&bytes).map_err(failed)?
    } else if bytes.starts_with(b"\x28\xb5\x2f\xfd") {
        binary::zstd(&bytes).map_err(failed)?
    } else {
        bytes
    };
    if bytes.starts_with(b"PAR1") {
        return binary::parquet(bytes).map_err(failed);
    }
    let text = String::from_utf8(bytes)
        .map_err(|source| failed(Error::new(ErrorKind::InvalidData, source.utf8_error())))?;
    text_rows(&text, origin)
}

/// The rows of a text.
pub(crate) fn text_rows(text: &str, origin: &Path) -> Result<Vec<Row>, RolloutError> {
    let text = text.trim_start_matches('\u{feff}');
    let syntax = |line| {
        move |source| RolloutError::ProblemSyntax { path: origin.to_path_buf(), line, source }
    };
    match text.trim_start().as_bytes().first() {
        Some(b'[') => {
            let text = keep_digits(text);
            let rows = serde_json::from_str::<Vec<Map<_, _>>>(&text);
            Ok((1..).zip(rows.map_err(|error| syntax(error.line())(error))?).collect())
        }
        // A header of names: letters, and a comma or a tab.
        Some(first) if *first != b'{' && !is_json(origin) && looks_like_csv(text) => {
            binary::csv(text)
                .map_err(|source| RolloutError::ReadProblems { path: origin.to_path_buf(), source })
        }
        _ => {
            let mut rows = Vec::new();
            for (number, line) in (1..).zip(text.lines()) {
                if !line.trim().is_empty() {
                    let row = serde_json::from_str(&keep_digits(line)).map_err(syntax(number))?;
                    rows.push((number, row));
                }
            }
            Ok(rows)
        }
    }
}

/// Whether the name says JSON: a damaged first line must not turn such a file into a table.
fn is_json(origin: &Path) -> bool {
    origin.file_name().is_some_and(|name| name.to_string_lossy().contains(".json"))
}

fn looks_like_csv(text: &str) -> bool {
    let header = text.trim_start().lines().next().unwrap_or_default();
    header.contains([',', '\t']) && header.contains(char::is_alphabetic)
}

/// JSON in which every number that would lose digits is a text. A data set's `12345678901234567890123`
/// stays what it is.
fn keep_digits(json: &str) -> Cow<'_, str> {
    let bytes = json.as_bytes();
    let mut kept: Option<String> = None;
    let (mut at, mut copied) = (0, 0);
    while at < bytes.len() {
        match bytes[at] {
            b'"' => {
                at += 1;
                while at < bytes.len() && bytes[at] != b'"' {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                at += 1;
            }
            b'-' | b'0'..=b'9' => {
                let start = at;
                let is_part = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
                while bytes.get(at).is_some_and(is_part) {
                    at += 1;
                }
                let number = &json[start..at];
                let read = serde_json::from_str::<serde_json::Number>(number);
                if read.is_ok_and(|read| read.to_string() != number) {
                    let kept = kept.get_or_insert_default();
                    kept.push_str(&json[copied..start]);
                    kept.push('"');
                    kept.push_str(number);
                    kept.push('"');
                    copied = at;
                }
            }
            _ => at += 1,
        }
    }
    match kept {
        Some(kept) => Cow::Owned(kept + &json[copied..]),
        None => Cow::Borrowed(json),
    }
}

#[cfg(feature = "formats")]
mod binary {
    //! Formats behind the feature `formats`.

    use std::io::{Error, Read};

    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::Field;
    use serde_json::{Map, Value};

    use super::Row;

    pub(super) fn gzip(bytes: &[u8]) -> Result<Vec<u8>, Error> {
        let mut plain = Vec::new();
        flate2::read::MultiGzDecoder::new(bytes).read_to_end(&mut plain)?;
        Ok(plain)
    }

    pub(super) fn zstd(bytes: &[u8]) -> Result<Vec<u8>, Error> {
        zstd::decode_all(bytes)
    }

    /// Every cell is a text; an empty one is none.
    pub(super) fn csv(text: &str) -> Result<Vec<Row>, Error> {
        let header = text.trim_start().lines().next().unwrap_or_default();
        let delimiter = if header.contains('\t') && !header.contains(',') { b'\t' } else { b',' };
        let mut reader =
            csv::ReaderBuilder::new().delimiter(delimiter).from_reader(text.as_bytes());
        let names = reader.headers().map_err(Error::other)?.clone();
        let row = |(number, record): (usize, Result<csv::StringRecord, csv::Error>)| {
            let record = record.map_err(Error::other)?;
            let cells = names.iter().zip(&record).filter(|(_, cell)| !cell.is_empty());
            let cells = cells.map(|(name, cell)| (name.trim().to_owned(), Value::from(cell)));
            Ok((number, cells.collect()))
        };
        (1..).zip(reader.records()).map(row).collect()
    }

    pub(super) fn parquet(bytes: Vec<u8>) -> Result<Vec<Row>, Error> {
        let reader = SerializedFileReader::new(bytes::Bytes::from(bytes)).map_err(Error::other)?;
        let mut rows = Vec::new();
        for (number, row) in (1..).zip(reader.get_row_iter(None).map_err(Error::other)?) {
            let row = row.map_err(Error::other)?;
            rows.push((number, object(row.get_column_iter())));
        }
        Ok(rows)
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
            Field::Float(value) => Value::from(*value),
            Field::Double(value) => Value::from(*value),
            Field::Str(text) => Value::from(text.as_str()),
            Field::Group(row) => Value::Object(object(row.get_column_iter())),
            Field::ListInternal(list) => list.elements().iter().map(value).collect(),
            other => Value::from(other.to_string()),
        }
    }
}

#[cfg(not(feature = "formats"))]
mod binary {
    //! Without the feature `formats`.

    use std::io::{Error, ErrorKind};

    use super::Row;

    fn missing(what: &str) -> Error {
        let message = format!("{what} needs hint-rollout's feature `formats`");
        Error::new(ErrorKind::Unsupported, message)
    }

    pub(super) fn gzip(_bytes: &[u8]) -> Result<Vec<u8>, Error> {
        Err(missing("a file compressed by gzip"))
    }

    pub(super) fn zstd(_bytes: &[u8]) -> Result<Vec<u8>, Error> {
        Err(missing("a file compressed by zstd"))
    }

    pub(super) fn csv(_text: &str) -> Result<Vec<Row>, Error> {
        Err(missing("CSV"))
    }

    pub(super) fn parquet(_bytes: Vec<u8>) -> Result<Vec<Row>, Error> {
        Err(missing("Parquet"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_digits() {
        for (json, expected) in [
            ("[12345678901234567890123, 4.0, 7]", "[\"12345678901234567890123\", 4.0, 7]"),
            (
                "{\"a\": 0.10, \"b\": \"1.00, \\\" 2.00\"}",
                "{\"a\": \"0.10\", \"b\": \"1.00, \\\" 2.00\"}",
            ),
            ("{\"a\": -1.50e3}", "{\"a\": \"-1.50e3\"}"),
        ] {
            assert_eq!(keep_digits(json), expected);
        }
    }
}
