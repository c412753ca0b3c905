//! Rows of a file: JSON lines, a JSON array, CSV or Parquet, possibly compressed. The content decides.

use std::fs::File;
use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Seek};
use std::path::Path;

use serde_json::{Map, Value};

use crate::data::columns::is_usual;
use crate::error::RolloutError;

#[cfg(feature = "formats")]
mod formats;
#[cfg(not(feature = "formats"))]
#[path = "no_formats.rs"]
mod formats;
mod json;
mod kind;

pub use json::parse_row;

/// A row, or why this one cannot be read while those behind it can.
pub(crate) type Row = Result<Map<String, Value>, RolloutError>;

/// Takes the rows of a file, one after the other. Each has the number that errors name: its line in JSON
/// lines, its position from 1 elsewhere.
pub(crate) type Sink<'s> = &'s mut dyn FnMut(usize, Row) -> Result<(), RolloutError>;

/// Behind an error about bytes that are not UTF-8.
const OTHER_ENCODING: &str = "; if it is another encoding, convert it: iconv -f LATIN1 -t UTF-8";

/// Bytes that are read at once.
const BUFFER: usize = 1 << 18;

/// Most bytes of a row.
const LONGEST_ROW: usize = 1 << 26;

fn failed(origin: &Path) -> impl Fn(Error) -> RolloutError {
    move |source| RolloutError::ReadProblems { path: origin.to_path_buf(), source }
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidData, message.into())
}

/// Hands the rows of a file to `sink`, one at a time. Only Parquet inside another compressed file is held as a
/// whole.
pub(crate) fn each_row(path: &Path, sink: Sink<'_>) -> Result<(), RolloutError> {
    let failed = failed(path);
    let mut file = File::open(path).map_err(&failed)?;
    let mut start = Vec::new();
    Read::by_ref(&mut file).take(kind::START).read_to_end(&mut start).map_err(&failed)?;
    // Not every file can go back, such as a pipe.
    if file.rewind().is_err() {
        let whole = BufReader::with_capacity(BUFFER, std::io::Cursor::new(start).chain(file));
        return text_rows(whole, path, sink);
    }
    if start.starts_with(b"PAR1") {
        return formats::parquet_file(file, path, sink);
    }
    match formats::decompressed(&start, file).map_err(&failed)? {
        formats::Input::Plain(file) => {
            text_rows(BufReader::with_capacity(BUFFER, file), path, sink)
        }
        formats::Input::Compressed(input) => {
            let mut input = BufReader::with_capacity(BUFFER, input);
            if input.fill_buf().map_err(&failed)?.starts_with(b"PAR1") {
                let mut bytes = Vec::new();
                input.read_to_end(&mut bytes).map_err(&failed)?;
                return formats::parquet_bytes(bytes, path, sink);
            }
            text_rows(input, path, sink)
        }
    }
}

/// The rows of a text: UTF-8, or UTF-16 with a byte order mark.
pub(crate) fn text_rows(
    mut input: impl BufRead,
    origin: &Path,
    sink: Sink<'_>,
) -> Result<(), RolloutError> {
    let start = input.fill_buf().map_err(failed(origin))?;
    if start.starts_with(&[0xff, 0xfe, 0, 0]) || start.starts_with(&[0, 0, 0xfe, 0xff]) {
        let advice = "UTF-32; convert it: iconv -f UTF-32 -t UTF-8";
        return Err(failed(origin)(invalid(advice)));
    }
    if start.starts_with(&[0xff, 0xfe]) || start.starts_with(&[0xfe, 0xff]) {
        let decoded = formats::utf16(input).map_err(failed(origin))?;
        return utf8_rows(BufReader::with_capacity(BUFFER, decoded), origin, sink);
    }
    if let Some(found) = kind::of(start) {
        return Err(failed(origin)(invalid(found)));
    }
    if start.starts_with(b"\xef\xbb\xbf") {
        input.consume(3);
    }
    utf8_rows(input, origin, sink)
}

/// The rows of a text in UTF-8. Its first line that is not blank decides the format.
fn utf8_rows(mut input: impl BufRead, origin: &Path, sink: Sink<'_>) -> Result<(), RolloutError> {
    let failed = failed(origin);
    let (mut head, mut first, mut number) = (Vec::new(), Vec::new(), 0);
    while first.trim_ascii().is_empty() {
        head.append(&mut first);
        // A bracket begins an array, and all of that may be one line.
        if input.fill_buf().map_err(&failed)?.trim_ascii_start().starts_with(b"[") {
            return json::array(head.as_slice().chain(input), origin, sink);
        }
        number += 1;
        if line(&mut input, &mut first).map_err(&failed)? == 0 {
            return Ok(());
        }
    }
    let text = String::from_utf8_lossy(&first);
    match text.trim_start().as_bytes().first() {
        // Behind blank lines that the buffer ended with.
        Some(b'[') => {
            head.extend_from_slice(&first);
            json::array(head.as_slice().chain(input), origin, sink)
        }
        // An object over several lines.
        Some(b'{') if json::is_open(&text) => {
            json::objects(first.as_slice().chain(input), number, origin, sink)
        }
        // A damaged first line must not turn a file that is named as JSON into a table.
        Some(start) if *start != b'{' && (!is_json(origin) || is_header(&text)) => {
            match delimiter(&text) {
                Some(delimiter) => {
                    formats::csv(first.as_slice().chain(input), delimiter, origin, sink)
                }
                None => json::lines(first, number, input, origin, sink),
            }
        }
        _ => json::lines(first, number, input, origin, sink),
    }
}

/// Reads a line, with its end. Of one that is longer than a row may be, a little more than that is kept.
fn line(input: &mut impl BufRead, into: &mut Vec<u8>) -> Result<usize, Error> {
    let kept = input.take(LONGEST_ROW as u64 + 1).read_until(b'\n', into)?;
    if into.len() > LONGEST_ROW && !into.ends_with(b"\n") {
        input.skip_until(b'\n')?;
    }
    Ok(kept)
}

/// Whether the name says JSON.
fn is_json(origin: &Path) -> bool {
    origin.file_name().is_some_and(|name| name.to_string_lossy().contains(".json"))
}

/// Whether a line is the header of a table beyond doubt: two usual names, and nothing of JSON.
fn is_header(line: &str) -> bool {
    let cells = line.split([',', ';', '\t', '|']).map(|cell| cell.trim().trim_matches('"'));
    !line.contains(['{', '}', '[', ']', ':']) && cells.filter(|cell| is_usual(cell)).count() > 1
}

/// The separator of a header, which has letters: the one between the most usual names, else the most frequent one.
fn delimiter(header: &str) -> Option<u8> {
    let name = |cell: &str| is_usual(cell.trim().trim_matches('"'));
    let found = |delimiter: &char| {
        let usual = header.split(*delimiter).filter(|cell| name(cell)).count();
        (usual, header.matches(*delimiter).count())
    };
    // Of equally frequent ones the last.
    let best = ['|', ';', '\t', ','].into_iter().max_by_key(found)?;
    let is_header = header.contains(best) && header.contains(char::is_alphabetic);
    u8::try_from(best).ok().filter(|_| is_header)
}
