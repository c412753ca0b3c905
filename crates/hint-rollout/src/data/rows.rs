//! Rows of a file: JSON lines, a JSON array, CSV or Parquet, possibly compressed. The content decides.

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Seek};
use std::path::Path;

use serde_json::{Map, Value};

use crate::error::RolloutError;

/// Takes the rows of a file, one after the other. Each has the number that errors name: its line in JSON
/// lines, its position from 1 elsewhere.
pub(crate) type Sink<'s> = &'s mut dyn FnMut(usize, Map<String, Value>) -> Result<(), RolloutError>;

/// Hands the rows of a file to `sink`, one at a time. Only Parquet inside another compressed file is held as a
/// whole.
pub(crate) fn each_row(path: &Path, sink: Sink<'_>) -> Result<(), RolloutError> {
    let failed = failed(path);
    let mut file = File::open(path).map_err(&failed)?;
    let mut magic = Vec::new();
    Read::by_ref(&mut file).take(4).read_to_end(&mut magic).map_err(&failed)?;
    file.rewind().map_err(&failed)?;
    if magic.starts_with(b"PAR1") {
        return binary::parquet_file(file, path, sink);
    }
    if magic.starts_with(b"\x1f\x8b") {
        let input = binary::gzip(file).map_err(&failed)?;
        return plain_rows(BufReader::with_capacity(BUFFER, input), path, sink);
    }
    if magic.starts_with(b"\x28\xb5\x2f\xfd") {
        let input = binary::zstd(file).map_err(&failed)?;
        return plain_rows(BufReader::with_capacity(BUFFER, input), path, sink);
    }
    text_rows(BufReader::with_capacity(BUFFER, file), path, sink)
}

/// Bytes that are read at once.
const BUFFER: usize = 1 << 18;

fn failed(origin: &Path) -> impl Fn(Error) -> RolloutError {
    move |source| RolloutError::ReadProblems { path: origin.to_path_buf(), source }
}

/// The rows of a compressed file.
fn plain_rows(mut input: impl BufRead, origin: &Path, sink: Sink<'_>) -> Result<(), RolloutError> {
    if input.fill_buf().map_err(failed(origin))?.starts_with(b"PAR1") {
        let mut bytes = Vec::new();
        input.read_to_end(&mut bytes).map_err(failed(origin))?;
        return binary::parquet_bytes(bytes, origin, sink);
    }
    text_rows(input, origin, sink)
}

/// The rows of a text.
pub(crate) fn text_rows(
    mut input: impl BufRead,
    origin: &Path,
    sink: Sink<'_>,
) -> Result<(), RolloutError> {
    let failed = failed(origin);
    // Up to the first line that is not blank, which decides the format.
    let (mut head, mut first, mut number) = (Vec::new(), Vec::new(), 0);
    while first.trim_ascii().is_empty() {
        head.append(&mut first);
        // A bracket begins an array, and all of that may be one line.
        let next = input.fill_buf().map_err(&failed)?;
        let next = next.strip_prefix(b"\xef\xbb\xbf").unwrap_or(next);
        if next.trim_ascii_start().starts_with(b"[") {
            return array_rows(head.as_slice().chain(input), origin, sink);
        }
        number += 1;
        if input.read_until(b'\n', &mut first).map_err(&failed)? == 0 {
            return Ok(());
        }
        if number == 1 && first.starts_with(b"\xef\xbb\xbf") {
            first.drain(..3);
        }
    }
    let line = utf8(&first, &failed)?;
    match line.trim_start().as_bytes().first() {
        Some(b'[') => {
            head.append(&mut first);
            array_rows(head.as_slice().chain(input), origin, sink)
        }
        // A header of names: letters, and a comma or a tab.
        Some(start) if *start != b'{' && !is_json(origin) && looks_like_csv(line) => {
            let is_tabbed = line.contains('\t') && !line.contains(',');
            let delimiter = if is_tabbed { b'\t' } else { b',' };
            binary::csv(first.as_slice().chain(input), delimiter, origin, sink)
        }
        _ => loop {
            let line = utf8(&first, &failed)?;
            if !line.trim().is_empty() {
                let row = parse_row(line).map_err(|source| {
                    let (path, line) = (origin.to_path_buf(), number);
                    RolloutError::ProblemSyntax { path, line, source }
                })?;
                sink(number, row)?;
            }
            first.clear();
            number += 1;
            if input.read_until(b'\n', &mut first).map_err(&failed)? == 0 {
                return Ok(());
            }
        },
    }
}

/// The rows of a JSON array, whose bracket follows blank lines at most.
fn array_rows(mut input: impl BufRead, origin: &Path, sink: Sink<'_>) -> Result<(), RolloutError> {
    let failed = failed(origin);
    let newlines = |bytes: &[u8]| bytes.split(|byte| *byte == b'\n').skip(1).count();
    let parse = |element: &[u8], lines: usize| {
        parse_row(utf8(element, &failed)?).map_err(|source| {
            let (path, line) = (origin.to_path_buf(), lines + source.line());
            RolloutError::ProblemSyntax { path, line, source }
        })
    };
    let mut element = Vec::new();
    input.read_until(b'[', &mut element).map_err(&failed)?;
    // Lines before the element, and what the present byte is in.
    let (mut lines, mut number) = (newlines(&element), 0);
    let (mut depth, mut in_string, mut is_escaped) = (0_usize, false, false);
    element.clear();
    let mut bytes = input.bytes();
    let mut is_open = true;
    while is_open {
        let Some(byte) = bytes.next().transpose().map_err(&failed)? else {
            // The parser names what is missing, unless that is the bracket.
            parse(&element, lines)?;
            let message = "the bracket of the JSON array is not closed";
            return Err(failed(Error::new(ErrorKind::UnexpectedEof, message)));
        };
        let is_structure = !in_string;
        if in_string {
            in_string = is_escaped || byte != b'"';
            is_escaped = !is_escaped && byte == b'\\';
        } else {
            match byte {
                b'"' => in_string = true,
                b'[' | b'{' => depth += 1,
                b']' if depth == 0 => is_open = false,
                b']' | b'}' => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        if is_open && !(is_structure && depth == 0 && byte == b',') {
            element.push(byte);
            continue;
        }
        // An empty array has no element.
        if is_open || number > 0 || !element.trim_ascii().is_empty() {
            number += 1;
            sink(number, parse(&element, lines)?)?;
        }
        lines += newlines(&element);
        element.clear();
    }
    // To the end: only there a compressed file says that it is damaged.
    for byte in bytes {
        if !byte.map_err(&failed)?.is_ascii_whitespace() {
            let message = "something follows the JSON array";
            return Err(failed(Error::new(ErrorKind::InvalidData, message)));
        }
    }
    Ok(())
}

fn utf8<'b>(
    bytes: &'b [u8],
    failed: &impl Fn(Error) -> RolloutError,
) -> Result<&'b str, RolloutError> {
    std::str::from_utf8(bytes).map_err(|source| failed(Error::new(ErrorKind::InvalidData, source)))
}

/// Parses a line of a problem file. A number that would lose digits is a text: a data set's
/// `12345678901234567890123` stays unchanged.
///
/// # Errors
///
/// Message of the JSON parser.
pub fn parse_row(line: &str) -> serde_json::Result<Map<String, Value>> {
    serde_json::from_str(&keep_digits(line))
}

/// Whether the name ends as JSON: a damaged first line must not turn such a file into a table.
fn is_json(origin: &Path) -> bool {
    origin.file_name().is_some_and(|name| name.to_string_lossy().contains(".json"))
}

fn looks_like_csv(header: &str) -> bool {
    header.contains([',', '\t']) && header.contains(char::is_alphabetic)
}

/// JSON in which every number that would lose digits is a text. A data set's `12345678901234567890123`
/// stays unchanged.
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

    use std::fs::File;
    use std::io::{Error, Read};
    use std::path::Path;

    use parquet::file::reader::{ChunkReader, FileReader, SerializedFileReader};
    use parquet::record::Field;
    use serde_json::{Map, Value};

    use super::{Sink, failed};
    use crate::error::RolloutError;

    #[expect(clippy::unnecessary_wraps, reason = "fails without the feature")]
    pub(super) fn gzip(file: File) -> Result<impl Read, Error> {
        Ok(flate2::read::MultiGzDecoder::new(file))
    }

    pub(super) fn zstd(file: File) -> Result<impl Read, Error> {
        zstd::Decoder::new(file)
    }

    /// Every cell is a text; an empty one counts as missing.
    pub(super) fn csv(
        input: impl Read,
        delimiter: u8,
        origin: &Path,
        sink: Sink<'_>,
    ) -> Result<(), RolloutError> {
        let failed = |error| failed(origin)(Error::other::<csv::Error>(error));
        let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).from_reader(input);
        let names = reader.headers().map_err(failed)?.clone();
        for (number, record) in (1..).zip(reader.records()) {
            let record = record.map_err(failed)?;
            let cells = names.iter().zip(&record).filter(|(_, cell)| !cell.is_empty());
            let cells = cells.map(|(name, cell)| (name.trim().to_owned(), Value::from(cell)));
            sink(number, cells.collect())?;
        }
        Ok(())
    }

    pub(super) fn parquet_file(
        file: File,
        origin: &Path,
        sink: Sink<'_>,
    ) -> Result<(), RolloutError> {
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
        let failed = |error| failed(origin)(Error::other::<parquet::errors::ParquetError>(error));
        let reader = SerializedFileReader::new(input).map_err(failed)?;
        for (number, row) in (1..).zip(reader.get_row_iter(None).map_err(failed)?) {
            let row = row.map_err(failed)?;
            sink(number, object(row.get_column_iter()))?;
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

    use std::fs::File;
    use std::io::{Error, ErrorKind, Read};
    use std::path::Path;

    use super::{Sink, failed};
    use crate::error::RolloutError;

    fn missing(what: &str) -> Error {
        let message = format!("{what} needs hint-rollout's feature `formats`");
        Error::new(ErrorKind::Unsupported, message)
    }

    pub(super) fn gzip(_file: File) -> Result<std::io::Empty, Error> {
        Err(missing("a file compressed by gzip"))
    }

    pub(super) fn zstd(_file: File) -> Result<std::io::Empty, Error> {
        Err(missing("a file compressed by zstd"))
    }

    pub(super) fn csv(
        _input: impl Read,
        _delimiter: u8,
        origin: &Path,
        _sink: Sink<'_>,
    ) -> Result<(), RolloutError> {
        Err(failed(origin)(missing("CSV")))
    }

    pub(super) fn parquet_file(
        _file: File,
        origin: &Path,
        _sink: Sink<'_>,
    ) -> Result<(), RolloutError> {
        Err(failed(origin)(missing("Parquet")))
    }

    pub(super) fn parquet_bytes(
        _bytes: Vec<u8>,
        origin: &Path,
        _sink: Sink<'_>,
    ) -> Result<(), RolloutError> {
        Err(failed(origin)(missing("Parquet")))
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
