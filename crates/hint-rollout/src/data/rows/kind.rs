//! Formats that are not read, by the first bytes of a file.

/// Bytes to look at.
pub(super) const START: u64 = 64;

/// Of what [`decompressed`](super::formats::decompressed) takes as the outermost layer of a file alone.
const COMPRESSED: &str = "compressed inside another compressed file or a pipe; decompress it first";

const ZLIB: &str = "compressed by zlib; write it with gzip, or uncompressed";

/// How files begin, and what to do with them.
const KINDS: [(&[u8], &str); 25] = [
    (b"PK\x03\x04", "a ZIP archive or an Excel workbook; unpack it, or save the sheet as CSV"),
    (
        b"ARROW1",
        "an Arrow file; write it as Parquet (`Dataset.to_parquet`, `pyarrow.parquet.write_table`)",
    ),
    (b"FEA1", "a Feather file; write it as Parquet"),
    (b"\xff\xff\xff\xff", "an Arrow stream; write it as Parquet (`Dataset.to_parquet`)"),
    (b"\x80\x04\x95", "a Python pickle; write it as Parquet or JSON lines"),
    (b"\x80\x05\x95", "a Python pickle; write it as Parquet or JSON lines"),
    (b"\x89HDF", "an HDF5 file; write it as Parquet or JSON lines"),
    (b"SQLite format 3", "an SQLite database; export the table as CSV"),
    (b"\x93NUMPY", "a NumPy array; write it as JSON lines"),
    (b"Obj\x01", "an Avro file; write it as Parquet"),
    (b"%PDF", "a PDF document"),
    (b"7z\xbc\xaf", "a 7z archive; unpack it"),
    (
        b"\x04\x22\x4d\x18",
        "compressed by LZ4; decompress it (`lz4 -d`), or use gzip, zstd, bzip2 or xz",
    ),
    (b"\x1f\x8b", COMPRESSED),
    (b"\x28\xb5\x2f\xfd", COMPRESSED),
    (b"BZh91AY&SY", COMPRESSED),
    (b"\xfd7zXZ\0", COMPRESSED),
    (b"\x5d\0\0", "compressed by LZMA; decompress it (`unlzma`), or use xz"),
    (b"\x78\x01", ZLIB),
    (b"\x78\x9c", ZLIB),
    (b"\x78\xda", ZLIB),
    (b"GGUF", "a GGUF model"),
    (
        b"version https://git-lfs",
        "a pointer of Git LFS in place of the file; fetch the file with `git lfs pull`",
    ),
    (b"<!DOCTYPE", "a web page; a download may have failed"),
    (b"<html", "a web page; a download may have failed"),
];

/// The name and remedy of a file that begins like this, unless it may be a text with rows.
pub(super) fn of(start: &[u8]) -> Option<String> {
    let is = |begin: &[u8]| match start.get(..begin.len()) {
        Some(found) if begin.starts_with(b"<") => found.eq_ignore_ascii_case(begin),
        found => found == Some(begin),
    };
    if let Some((_, what)) = KINDS.iter().find(|(begin, _)| is(begin)) {
        return Some(format!("this is {what}"));
    }
    if start.get(257..262) == Some(b"ustar") {
        return Some("this is a tar archive; unpack it".to_owned());
    }
    // ASCII in units of two bytes.
    let zeros = start.iter().take(4).map(|byte| *byte == 0).collect::<Vec<_>>();
    let utf16 = match zeros[..] {
        [false, true, false, true] => "UTF-16LE",
        [true, false, true, false] => "UTF-16BE",
        _ => return None,
    };
    Some(format!("{utf16} without a byte order mark; convert it: iconv -f {utf16} -t UTF-8"))
}
