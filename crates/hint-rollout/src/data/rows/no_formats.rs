//! Without the feature `formats`.

use std::fs::File;
use std::io::{BufRead, Error, ErrorKind, Read};
use std::path::Path;

use super::{Sink, failed};
use crate::error::RolloutError;

/// A file, decompressed if it has to be.
pub(super) enum Input {
    Plain(File),
    #[expect(dead_code, reason = "exists with the feature")]
    Compressed(std::io::Empty),
}

fn missing(what: &str) -> Error {
    let message = format!("{what} needs hint-rollout's feature `formats`");
    Error::new(ErrorKind::Unsupported, message)
}

pub(super) fn decompressed(start: &[u8], file: File) -> Result<Input, Error> {
    let compressed: [&[u8]; 4] = [b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ\0"];
    if compressed.iter().any(|magic| start.starts_with(magic)) {
        return Err(missing("a compressed file"));
    }
    Ok(Input::Plain(file))
}

pub(super) fn utf16(_input: impl BufRead) -> Result<std::io::Empty, Error> {
    Err(missing("UTF-16"))
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
