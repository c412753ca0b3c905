//! The dump reader of `examples/affinity_report`.

use std::io::Write;
use std::path::PathBuf;

use hint_affinity::{ClipRange, affinity};

use crate::dump::Report;
use crate::error::DumpError;

fn report(text: &str) -> Result<Report, DumpError> {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(text.as_bytes()).expect("it is writable");
    Report::read(file.path(), ClipRange::symmetric(0.2).expect("0.2 is a distance"))
}

#[test]
fn rows_are_measured_together_by_source_and_by_group() {
    let dump = report(
        r#"{"logprobs": [-1.0, -2.0], "old_logprobs": [-1.05, -2.5], "advantages": 1.5, "group": 7, "source": "plain"}

{"logprobs": [-1.0, -9.0, -3.0], "old_logprobs": [-1.0, 0.0, -3.1], "advantages": [-2, 5, -1], "mask": [1, 0, true], "group": "b"}
"#,
    )
    .expect("the dump is valid");
    let clip = ClipRange::symmetric(0.2).expect("0.2 is a distance");
    let [first, second] = [
        affinity(&[-1.0 - -1.05, 0.5], &[1.5, 1.5], clip).expect("valid tokens"),
        affinity(&[0.0, -3.0 - -3.1], &[2.0, 1.0], clip).expect("valid tokens"),
    ];
    assert_eq!(dump.groups["7"].tokens.affinity(), first);
    assert_eq!(first.eur(), 0.5);
    assert_eq!(dump.groups["b"].tokens.affinity(), second);
    assert_eq!(dump.sources.keys().collect::<Vec<_>>(), ["plain"]);
    assert_eq!((dump.all.rows, dump.all.tokens.tokens()), (2, 4));
    // Weights 1.5 and 1.5 of which one is inside, 2 and 1.
    assert!((dump.all.tokens.affinity().eur() - 4.5 / 6.0).abs() < 1e-12);
}

#[test]
fn rows_with_both_prompts_have_the_rivals_of_affinity_too() {
    let dump = report(
        r#"{"logprobs": [-1.0, -2.0], "old_logprobs": [-1.0, -2.0], "behavior_logprobs": [-1.0, -3.0], "advantages": 1, "plain_logprobs": [-3.0, -1.0], "hinted_logprobs": [-1.0, -1.0], "correct": true, "top_logprobs": [[-0.7, -0.7], [-0.7, -0.7]], "top_teacher_logprobs": [[-0.7, -0.7], [-0.7, -0.7]], "top_shared": [2, 1]}
{"logprobs": [-1.0], "old_logprobs": [-1.0], "advantages": 1, "plain_logprobs": [-9.0], "hinted_logprobs": [-1.0], "correct": false}
{"logprobs": [-1.0], "old_logprobs": [-1.0], "advantages": 1, "plain_logprobs": [-9.0], "hinted_logprobs": [-1.0]}
{"logprobs": [-1.0], "old_logprobs": [-1.0], "advantages": 1}
"#,
    )
    .expect("the dump is valid");
    assert_eq!(dump.all.behavior.affinity().eur(), 0.5);
    // The wrong completion, and the one that nobody judged, have a teacher and no reliance.
    assert_eq!((dump.all.teacher.tokens(), dump.all.transfer.completions()), (4, 1));
    assert_eq!(dump.all.unjudged, 1);
    assert_eq!(dump.all.transfer.hint_reliance(), Some(-1.0));
    assert_eq!(dump.all.transfer.gap(), Some(1.0));
    assert_eq!((dump.all.fit.overlap(), dump.all.fit.teachability()), (Some(0.75), Some(0.0)));
    let short = report(
        r#"{"logprobs": [-1.0], "old_logprobs": [-1.0], "advantages": 1, "plain_logprobs": [], "hinted_logprobs": [-1.0]}"#,
    );
    assert!(matches!(short, Err(DumpError::Length { field: "plain_logprobs", .. })));
}

fn parquet(compression: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    folder.join(format!("dump-{compression}.parquet"))
}

#[test]
fn parquet_measures_what_the_same_rows_measure_as_json() {
    let clip = ClipRange::symmetric(0.2).expect("0.2 is a distance");
    let expected = report(
        r#"{"logprobs": [-1.0, -2.0], "old_logprobs": [-1.05, -2.5], "advantages": [1.5, 1.5], "group": 7, "source": "plain"}
{"logprobs": [-1.0, -9.0, -3.0], "old_logprobs": [-1.0, 0.0, -3.1], "advantages": [-2, 5, -1], "mask": [1, 0, 1], "group": 8}
"#,
    )
    .expect("the dump is valid");
    for compression in ["none", "snappy", "gzip", "zstd", "brotli"] {
        let dump = Report::read(&parquet(compression), clip).expect("the file is valid");
        assert_eq!((dump.all.rows, dump.all.tokens.tokens()), (2, 4), "{compression}");
        assert_eq!(dump.all.tokens.affinity(), expected.all.tokens.affinity(), "{compression}");
        let groups = |report: &Report| {
            let affinities = report.groups.iter();
            affinities
                .map(|(name, table)| (name.clone(), table.tokens.affinity()))
                .collect::<Vec<_>>()
        };
        assert_eq!(groups(&dump), groups(&expected), "{compression}");
        assert_eq!(dump.sources["plain"].tokens.tokens(), 2, "{compression}");
    }
}

#[test]
fn parquet_that_cannot_be_read_is_an_error_with_the_reason() {
    let clip = ClipRange::symmetric(0.2).expect("0.2 is a distance");
    let whole = std::fs::read(parquet("snappy")).expect("the file is there");
    for length in (4..whole.len()).step_by(7) {
        let mut cut = tempfile::NamedTempFile::new().expect("a temporary file");
        cut.write_all(&whole[..length]).expect("it is writable");
        let error = Report::read(cut.path(), clip).expect_err("the footer is missing");
        assert!(matches!(error, DumpError::Parquet { .. }), "{length} bytes: {error}");
        assert!(error.to_string().contains("compressions that can be read: snappy"), "{error}");
    }
}

#[test]
fn a_parquet_file_with_a_flipped_byte_never_panics() {
    let clip = ClipRange::symmetric(0.2).expect("0.2 is a distance");
    let whole = std::fs::read(parquet("snappy")).expect("the file is there");
    let mut damaged = 0;
    for index in 4..whole.len() {
        let mut bytes = whole.clone();
        bytes[index] ^= 0x41;
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.write_all(&bytes).expect("it is writable");
        let error = Report::read(file.path(), clip).err();
        damaged += usize::from(matches!(error, Some(DumpError::Damaged { .. })));
    }
    assert!(damaged > 0, "no flip made the reader panic: catching it is not needed any more");
}

#[test]
fn errors_name_the_line_and_the_field() {
    let good = r#"{"logprobs": [0], "old_logprobs": [0], "advantages": 1}"#;
    let check = |bad: &str, expected: &str| {
        let error = report(&format!("{good}\n\n{bad}\n")).expect_err("line 3 is bad").to_string();
        assert!(error.starts_with("line 3: ") && error.contains(expected), "{error}");
    };
    check("[1]", "expected one JSON object per line");
    check(r#"{"logprobs": [NaN]}"#, "JSON has no NaN");
    check("{}", "`logprobs`: expected a list of numbers, found nothing");
    check(
        r#"{"logprobs": [[1]]}"#,
        "`logprobs`: expected a list of numbers, found a list of 1 entries",
    );
    check(
        r#"{"logprobs": [1], "old_logprobs": [1, 2]}"#,
        "`old_logprobs` has 2 entries, `logprobs` has 1",
    );
    check(
        r#"{"logprobs": [1], "old_logprobs": [1]}"#,
        "`advantages`: expected a list of numbers, found nothing",
    );
    let row = |rest: &str| {
        format!(r#"{{"logprobs": [1], "old_logprobs": [1], "advantages": 1, {rest}}}"#)
    };
    check(&row(r#""mask": [2]"#), "of 1 and 0, found `2`");
    check(&row(r#""mask": []"#), "`mask` has 0 entries");
    check(&row(r#""correct": "yes""#), "`correct`: expected true or false");
    check(&row(r#""group": [1]"#), "`group`: expected a text or a number");
    let huge = r#"{"logprobs": [1e308], "old_logprobs": [-1e308], "advantages": 1}"#;
    check(huge, "log_ratios");
    assert!(matches!(report("\n"), Err(DumpError::Empty { .. })));
    let missing =
        Report::read(std::path::Path::new("/does/not/exist"), ClipRange::symmetric(0.2).unwrap());
    assert!(matches!(missing, Err(DumpError::Read { .. })));
}
