//! Files that cannot be read, in part or as a whole.

use std::error::Error;
use std::path::PathBuf;

use hint_rollout::RolloutError;
use hint_rollout::data::{Columns, DataConfig, DataFile, HeldOut, ReadProblems};

/// A file with these bytes, as long as the folder lives.
fn file(name: &str, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).expect("the file is written");
    (folder, path)
}

fn read_with(data: &DataConfig, name: &str, bytes: &[u8]) -> Result<ReadProblems, RolloutError> {
    let (_folder, path) = file(name, bytes);
    data.read_file(&DataFile::new(path))
}

fn read(name: &str, bytes: &[u8]) -> Result<ReadProblems, RolloutError> {
    read_with(&DataConfig::default(), name, bytes)
}

/// An error with its causes.
fn told(error: &RolloutError) -> String {
    let causes = std::iter::successors(error.source(), |error| (*error).source());
    let causes = causes.map(ToString::to_string);
    std::iter::once(error.to_string()).chain(causes).collect::<Vec<_>>().join(": ")
}

fn good(number: usize) -> Vec<u8> {
    format!("{{\"question\": \"{number} + 1\", \"answer\": {}}}\n", number + 1).into_bytes()
}

/// Rows that cannot be read, and what is said of them.
const BAD: [(&[u8], &str); 8] = [
    (b"{\"question\": \"cut of", "2: expected one JSON object per line: EOF"),
    (b"{\"question\": \"q\"}", "2: field `answer`: expected a text or a number, found nothing"),
    (b"{\"question\": \"q\", \"answer\": null}", "2: field `answer`"),
    (b"{\"question\": \"q\", \"answer\": {\"a\": 1}}", "found an object"),
    (b"{\"question\": \"\\ud800\", \"answer\": 1}", "2: expected one JSON object per line"),
    (b"{\"question\": \"f\xfcr\", \"answer\": 1}", "2: the row cannot be read: invalid utf-8"),
    (b"[1, 2]", "2: expected one JSON object per line: invalid type: sequence"),
    (b"\0\0\0\0", "2: expected one JSON object per line"),
];

#[test]
fn a_row_that_cannot_be_read_is_left_out_and_named() {
    for (bad, expected) in BAD {
        let bytes = [good(1), bad.to_vec(), b"\n".to_vec(), good(2)].concat();
        let found = read("rows.jsonl", &bytes).expect("two rows are left");
        let [dropped] = &found.dropped[..] else { panic!("{:?}", found.dropped) };
        assert_eq!((found.problems.len(), dropped.count, dropped.rows), (2, 1, 3));
        let line = dropped.to_string();
        assert!(line.starts_with("1 of 3 rows are left out"), "{line}");
        assert!(line.contains("rows.jsonl:") && line.contains(expected), "{line}");
        // In an array it counts by its place, unless its end cannot be found.
        if bad.ends_with(b"}") {
            let array = [b"[", &*good(1), b",", bad, b",\n", &*good(2), b",]"].concat();
            let found = read("rows.json", &array).expect("two rows are left");
            assert_eq!((found.problems.len(), found.dropped[0].count), (2, 1));
        }
    }
}

#[test]
fn rows_are_left_out_up_to_a_share() {
    let bad = b"{}\n".to_vec();
    let two_of_three = [good(1), bad.clone(), bad.clone()].concat();
    let error = told(&read("rows.jsonl", &two_of_three).expect_err("more than half of them"));
    assert!(
        error.contains("2 of 3 rows cannot be read") && error.contains("rows.jsonl:2"),
        "{error}"
    );
    let all = DataConfig { max_dropped_frac: 1.0, ..DataConfig::default() };
    assert_eq!(read_with(&all, "rows.jsonl", &two_of_three).expect("allowed").problems.len(), 1);
    let none = DataConfig { max_dropped_frac: 0.0, ..DataConfig::default() };
    let one = [good(1), good(2), bad.clone()].concat();
    let error = read_with(&none, "rows.jsonl", &one).expect_err("none is allowed").to_string();
    assert!(error.contains("rows.jsonl:3: field `question`"), "{error}");
    // A fault of every row is that of the first one.
    let error = read_with(&all, "rows.jsonl", &bad.repeat(2000)).expect_err("nothing is left");
    assert!(error.to_string().contains("rows.jsonl:1: field `question`"), "{error}");
    // Of one id nobody knows which problem is meant.
    let twice = b"{\"id\": 1, \"question\": \"q\", \"answer\": 1}\n".repeat(2);
    assert!(read_with(&all, "rows.jsonl", &twice).is_err());
    let mut at = hint_rollout::error::Violations::new();
    DataConfig { max_dropped_frac: 1.5, ..DataConfig::default() }.check(&mut at);
    assert!(at.finish().unwrap_err().to_string().contains("max_dropped_frac: must be in [0, 1]"));
}

#[test]
fn a_held_out_file_is_read_as_the_training_file_is() {
    let bytes = [good(1), b"{}\n".to_vec(), good(2), good(3)].concat();
    let (_folder, path) = file("held-out.jsonl", &bytes);
    let data = DataConfig { memory_mib: 0, ..DataConfig::default() };
    let train = data.read_file(&DataFile::new(&path)).expect("three rows are left").problems;
    let split =
        HeldOut::File { path, columns: None }.split(train, &data).expect("three rows are left");
    assert_eq!((split.held_out.len(), split.held_out.on_disk()), (3, 3));
    assert_eq!((split.dropped[0].count, split.removed.len(), split.train.len()), (1, 3, 0));
}

#[test]
fn a_held_out_file_may_have_columns_of_its_own() {
    let bytes = b"{\"task\": \"1 + 1\", \"result\": 2}\n";
    let (_folder, path) = file("held-out.jsonl", bytes);
    let split = |columns| {
        let train = vec![hint_rollout::Problem::new("a", "2 + 2", "4")];
        let path = path.clone();
        HeldOut::File { path, columns }.split(train, &DataConfig::default())
    };
    let name = |name: &str| Some(name.to_owned());
    let columns = Columns { question: name("task"), answer: name("result"), ..Columns::default() };
    assert_eq!(split(Some(columns)).expect("the columns are named").held_out.len(), 1);
    assert!(split(None).is_err());
}

/// A Parquet file of 40 problems.
#[cfg(feature = "formats")]
fn table(compression: parquet::basic::Compression) -> Vec<u8> {
    use std::sync::Arc;

    use parquet::column::writer::ColumnWriter;
    use parquet::data_type::ByteArray;
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;

    let properties = Arc::new(WriterProperties::builder().set_compression(compression).build());
    let schema = "message rows { required binary question (UTF8); required binary answer (UTF8); }";
    let schema = Arc::new(parse_message_type(schema).expect("a schema"));
    let mut bytes = Vec::new();
    let mut table = SerializedFileWriter::new(&mut bytes, schema, properties).expect("a file");
    let mut group = table.next_row_group().expect("a group of rows");
    while let Some(mut column) = group.next_column().expect("a column") {
        let ColumnWriter::ByteArrayColumnWriter(writer) = column.untyped() else { panic!("texts") };
        let texts = (0..40).map(|row| ByteArray::from(format!("{row} + 1").as_str()));
        writer.write_batch(&texts.collect::<Vec<_>>(), None, None).expect("memory does not fail");
        column.close().expect("the column is whole");
    }
    group.close().expect("the group is whole");
    table.close().expect("the file is whole");
    bytes
}

#[cfg(feature = "formats")]
#[test]
fn tables_of_every_compression_are_read() {
    use parquet::basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel};

    for compression in [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(GzipLevel::default()),
        Compression::BROTLI(BrotliLevel::default()),
        Compression::LZ4_RAW,
        Compression::ZSTD(ZstdLevel::default()),
    ] {
        let found = read("rows.parquet", &table(compression)).expect("it is whole");
        assert_eq!(found.problems.len(), 40, "{compression:?}");
    }
    let cut = &table(Compression::SNAPPY)[..200];
    let error = told(&read("rows.parquet", cut).expect_err("the end is missing"));
    assert!(error.contains("the file is cut off or damaged; fetch it again"), "{error}");
}

#[cfg(feature = "formats")]
#[test]
fn no_damaged_byte_of_a_table_ends_the_program() {
    let bytes = table(parquet::basic::Compression::UNCOMPRESSED);
    assert_eq!(read("rows.parquet", &bytes).expect("it is whole").problems.len(), 40);
    let (mut refused, count) = (0, 1000);
    for case in 0..count {
        let mut damaged = bytes.clone();
        damaged[case * bytes.len() / count] ^= [0x01, 0x10, 0x80, 0xff][case % 4];
        refused += usize::from(read("rows.parquet", &damaged).is_err());
    }
    assert!(refused > count / 4, "{refused}");
}

#[test]
fn a_file_of_another_kind_is_named() {
    let mut tar = vec![0; 512];
    tar[..5].copy_from_slice(b"a.csv");
    tar[257..262].copy_from_slice(b"ustar");
    let cases: [(&[u8], &str); 13] = [
        (b"PK\x03\x04rest", "ZIP archive or an Excel workbook"),
        (b"ARROW1\0\0rest", "an Arrow file; write it as Parquet"),
        (b"\xff\xff\xff\xff\x10\0", "an Arrow stream"),
        (b"\x80\x04\x95\0", "a Python pickle"),
        (b"SQLite format 3\0", "an SQLite database"),
        (b"<!doctype html><html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"{\0\"\0q\0", "iconv -f UTF-16LE -t UTF-8"),
        (b"\xff\xfe\0\0{\0\0\0", "iconv -f UTF-32 -t UTF-8"),
        (b"\x5d\0\0\x80\0", "compressed by LZMA"),
        (b"\x78\x9cabc", "compressed by zlib"),
        (b"{'question': 'q', 'answer': 1}\n", "a Python dictionary; write it by `json.dumps`"),
        (&tar, "a tar archive"),
    ];
    for (bytes, expected) in cases {
        let error = told(&read("rows.jsonl", bytes).expect_err("no rows"));
        assert!(error.contains("rows.jsonl") && error.contains(expected), "{error}");
    }
}

#[test]
fn lines_that_end_as_on_old_machines_are_named() {
    let rows = String::from_utf8([good(1), good(2)].concat()).expect("a text");
    let error =
        told(&read("rows.jsonl", rows.replace('\n', "\r").as_bytes()).expect_err("one line"));
    assert!(error.contains("a carriage return alone; convert them: tr"), "{error}");
}

#[cfg(feature = "formats")]
#[test]
fn a_compressed_file_that_is_cut_off_or_compressed_twice_says_what_to_do() {
    use std::io::Write;

    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("memory does not fail")
    };
    let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 0).expect("memory does not fail");
    let rows = [good(1), good(2)].concat();
    for whole in [gzip(&rows), zstd(&rows)] {
        assert_eq!(read("rows", &whole).expect("it is whole").problems.len(), 2);
        let cut = &whole[..whole.len() - 9];
        let error = told(&read("rows", cut).expect_err("the end is missing"));
        assert!(error.contains("the file is cut off or damaged; fetch it again"), "{error}");
    }
    for twice in [gzip(&gzip(&rows)), gzip(&zstd(&rows)), zstd(&gzip(&rows))] {
        let error = told(&read("rows", &twice).expect_err("rows are inside"));
        assert!(error.contains("decompress it first"), "{error}");
    }
}

#[cfg(feature = "formats")]
#[test]
fn a_table_in_another_encoding_says_how_to_convert_it() {
    let bytes = b"question,answer\n1+1 f\xfcr,2\n1+2,3\n";
    let found = read("rows.csv", bytes).expect("a row is left");
    assert!(found.dropped[0].first.contains("iconv -f LATIN1 -t UTF-8"), "{:?}", found.dropped);
}

#[cfg(feature = "formats")]
#[test]
fn texts_with_a_byte_order_mark_are_decoded() {
    let text = "{\"question\": \"Wie groß?\", \"answer\": \"5 €\"}\r\n\r\n";
    let utf16 = |bytes: fn(u16) -> [u8; 2]| {
        std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(bytes).collect::<Vec<_>>()
    };
    let utf8 = [b"\xef\xbb\xbf", text.as_bytes()].concat();
    let array = [b"\xef\xbb\xbf\n [", text.as_bytes(), b"]"].concat();
    for bytes in [utf16(u16::to_le_bytes), utf16(u16::to_be_bytes), utf8, array] {
        let found =
            read("rows.jsonl", &bytes).expect("a text").problems.to_vec().expect("in memory");
        assert_eq!((&*found[0].question, &*found[0].answer), ("Wie groß?", "5 €"));
    }
}

#[cfg(feature = "formats")]
#[test]
fn a_damaged_row_of_a_table_is_left_out_and_an_open_quote_is_an_error() {
    let csv = "question,answer\n1+1,2\n1, and 2,3\n2+2,4\n";
    let found = read("rows.csv", csv.as_bytes()).expect("two rows are left");
    assert_eq!((found.problems.len(), found.dropped[0].count), (2, 1));
    assert!(found.dropped[0].first.contains("rows.csv:2: "), "{}", found.dropped[0].first);
    let open = "question,answer\n1+1,2\n\"2+2,4\n3+3,6\n4+4,8\n";
    let error = told(&read("rows.csv", open.as_bytes()).expect_err("all that follows is one cell"));
    assert!(error.contains("a quote is not closed in or after line 3"), "{error}");
    // Nor is it one where a later quote ends it: the rows between the two would be gone.
    let two = "question,answer\n1+1,2\n\"2+2,4\n3+3,6\n\"a, b\",5\n5+5,10\n";
    let error = told(&read("rows.csv", two.as_bytes()).expect_err("rows are swallowed"));
    assert!(error.contains("a quote is not closed in or after line 3"), "{error}");
    let error =
        told(&read("rows.csv", b"question,answer,answer\na,b,c\n").expect_err("two of a name"));
    assert!(error.contains("the header names the column `answer` twice"), "{error}");
}

#[test]
fn a_first_row_with_a_list_of_objects_is_a_row_among_others() {
    let row = |stem: &str| {
        format!(
            "{{\"stem\":\"{stem}\",\"key\":\"A\",\"choices\":[{{\"label\":\"A\"}},{{\"label\":\"B\"}}]}}\n"
        )
    };
    let columns = Columns {
        question: Some("stem".to_owned()),
        answer: Some("key".to_owned()),
        ..Columns::default()
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("rows.jsonl");
    std::fs::write(&path, [row("one"), row("two")].concat()).expect("the folder is writable");
    let data = DataConfig { columns, ..DataConfig::default() };
    let found = data.read_file(&DataFile::new(path)).expect("two rows");
    assert_eq!((found.problems.len(), found.dropped.len()), (2, 0));
}
