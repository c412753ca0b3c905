//! Rows in JSON.

use std::io::{BufRead, Error, ErrorKind};
use std::path::Path;

use serde_json::{Map, Value};

use super::{LONGEST_ROW, OTHER_ENCODING, Sink, failed, invalid, line};
use crate::data::columns::is_usual;
use crate::data::exact_json::parse_json;
use crate::error::RolloutError;

/// JSON lines, of which `first` was read.
pub(super) fn lines(
    mut first: Vec<u8>,
    mut number: usize,
    mut input: impl BufRead,
    origin: &Path,
    sink: Sink<'_>,
) -> Result<(), RolloutError> {
    let mut is_first = true;
    loop {
        if !first.trim_ascii().is_empty() {
            let row = row(first.trim_ascii_end(), number, origin);
            hand_over(number, row, is_first && is_over(&mut input, origin)?, sink)?;
            is_first = false;
        }
        first.clear();
        number += 1;
        if line(&mut input, &mut first).map_err(failed(origin))? == 0 {
            return Ok(());
        }
    }
}

/// The row that bytes hold, which begin at a line.
fn row(bytes: &[u8], number: usize, origin: &Path) -> super::Row {
    let bad =
        |source| RolloutError::ProblemBytes { path: origin.to_path_buf(), line: number, source };
    if bytes.len() > LONGEST_ROW {
        let limit = LONGEST_ROW >> 20;
        return Err(bad(invalid(format!("it is longer than {limit} MiB"))));
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|error| bad(invalid(format!("{error}{OTHER_ENCODING}"))))?;
    parse_row(text).map_err(|source| match other_syntax(text) {
        Some(found) => bad(invalid(found)),
        None => RolloutError::ProblemSyntax {
            path: origin.to_path_buf(),
            line: number + source.line().saturating_sub(1),
            source,
        },
    })
}

/// The name and remedy of a row that is no JSON, where its text tells.
fn other_syntax(text: &str) -> Option<&'static str> {
    if text.starts_with("{'") {
        return Some("it is a Python dictionary; write it by `json.dumps`");
    }
    text.contains("\r{")
        .then_some("its lines end with a carriage return alone; convert them: tr '\\r' '\\n'")
}

/// Whether nothing follows but blanks.
fn is_over(input: &mut impl BufRead, origin: &Path) -> Result<bool, RolloutError> {
    Ok(input.fill_buf().map_err(failed(origin))?.trim_ascii().is_empty())
}

/// Hands over a row. One that may be the whole file may be an object around the list of all rows, such as
/// `{"data": […]}`.
fn hand_over(
    number: usize,
    row: super::Row,
    may_be_whole: bool,
    sink: Sink<'_>,
) -> Result<(), RolloutError> {
    let row = match row {
        Ok(row) if may_be_whole => row,
        row => return sink(number, row),
    };
    let is_row = |value: &Value| value.as_object().is_some_and(|item| !item.contains_key("role"));
    let is_list = |value: &Value| {
        value.as_array().is_some_and(|items| !items.is_empty() && items.iter().all(is_row))
    };
    let is_inside = |value: &Value| value.is_array() || value.is_object();
    let mut inside = row.values().filter(|value| is_inside(value));
    let has_columns = row.keys().any(|name| is_usual(name));
    match (inside.next(), inside.next()) {
        (Some(list), None) if is_list(list) && !has_columns => {}
        _ => return sink(number, Ok(row)),
    }
    let list = row.into_iter().map(|(_, value)| value).find(Value::is_array);
    let Some(Value::Array(items)) = list else { return Ok(()) };
    for (number, item) in (1..).zip(items) {
        if let Value::Object(item) = item {
            sink(number, Ok(item))?;
        }
    }
    Ok(())
}

/// Whether a line begins an object that continues behind it.
pub(super) fn is_open(line: &str) -> bool {
    let error = parse_row(line).err();
    // A text has no line breaks: only a row that was cut off ends inside of one.
    error.is_some_and(|error| error.is_eof()) && !Scan::default().ends_in_string(line.as_bytes())
}

/// The rows of a JSON array, whose bracket follows blank lines at most.
pub(super) fn array(
    mut input: impl BufRead,
    origin: &Path,
    sink: Sink<'_>,
) -> Result<(), RolloutError> {
    let mut before = Vec::new();
    input.read_until(b'[', &mut before).map_err(failed(origin))?;
    elements(input, 1 + newlines(&before), true, origin, sink)
}

/// Objects one after the other, each over several lines; the first begins at line `number`.
pub(super) fn objects(
    input: impl BufRead,
    number: usize,
    origin: &Path,
    sink: Sink<'_>,
) -> Result<(), RolloutError> {
    elements(input, number, false, origin, sink)
}

fn newlines(bytes: &[u8]) -> usize {
    bytes.split(|byte| *byte == b'\n').skip(1).count()
}

/// Place of a byte of JSON: brackets around it, and whether it is in a text.
#[derive(Default)]
struct Scan {
    depth: usize,
    in_string: bool,
    is_escaped: bool,
}

impl Scan {
    /// Takes the next byte. Whether it stands outside of texts.
    fn next(&mut self, byte: u8) -> bool {
        if self.in_string {
            self.in_string = self.is_escaped || byte != b'"';
            self.is_escaped = !self.is_escaped && byte == b'\\';
            return false;
        }
        match byte {
            b'"' => self.in_string = true,
            b'[' | b'{' => self.depth += 1,
            b']' | b'}' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        true
    }

    fn ends_in_string(mut self, bytes: &[u8]) -> bool {
        for byte in bytes.trim_ascii_end() {
            self.next(*byte);
        }
        self.in_string
    }
}

/// The elements of an array up to its bracket, or objects up to the end. `lines` is the line of the first byte.
fn elements(
    input: impl BufRead,
    mut lines: usize,
    in_array: bool,
    origin: &Path,
    sink: Sink<'_>,
) -> Result<(), RolloutError> {
    let failed = failed(origin);
    let (mut scan, mut element, mut number) = (Scan::default(), Vec::new(), 0);
    let mut bytes = input.bytes();
    loop {
        let byte = bytes.next().transpose().map_err(&failed)?;
        let (is_end, is_separator) = match byte {
            None => (true, false),
            Some(byte) => {
                let depth = scan.depth;
                let is_outside = scan.next(byte);
                let is_end = in_array && is_outside && depth == 0 && byte == b']';
                let is_separator = is_outside
                    && if in_array {
                        depth == 0 && byte == b','
                    } else {
                        depth == 1 && byte == b'}'
                    };
                (is_end, is_separator)
            }
        };
        if let Some(byte) = byte
            && !is_end
            && !(is_separator && in_array)
            // Of one that is too long, the rest only counts lines.
            && (element.len() <= LONGEST_ROW || byte == b'\n')
        {
            element.push(byte);
        }
        if !is_end && !is_separator {
            continue;
        }
        let text = element.trim_ascii_start();
        let found = || row(text, lines + newlines(&element[..element.len() - text.len()]), origin);
        if byte.is_none() {
            // Nothing is left behind the last object. Else the parser names what is missing, unless that is
            // the bracket.
            if text.is_empty() && !in_array {
                return Ok(());
            }
            found()?;
            let message = "the bracket of the JSON array is not closed";
            return Err(failed(Error::new(ErrorKind::UnexpectedEof, message)));
        }
        // Nothing stands behind a last comma, and in an empty array.
        if !(is_end && text.is_empty()) {
            number += 1;
            hand_over(number, found(), number == 1 && !in_array, sink)?;
        }
        lines += newlines(&element);
        element.clear();
        if is_end {
            break;
        }
    }
    // To the end: only there a compressed file says that it is damaged.
    for byte in bytes {
        if !byte.map_err(&failed)?.is_ascii_whitespace() {
            let message =
                "something follows the JSON array; rows are objects, one per line or in one array";
            return Err(failed(invalid(message)));
        }
    }
    Ok(())
}

/// Parses a line of a problem file. A number that would lose digits is a text: a data set's
/// `12345678901234567890123` stays unchanged. `NaN` and the infinities, which Python writes, are null.
///
/// # Errors
///
/// Message of the JSON parser.
pub fn parse_row(line: &str) -> serde_json::Result<Map<String, Value>> {
    parse_json(line)
}
