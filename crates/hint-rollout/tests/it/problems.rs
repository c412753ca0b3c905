//! The JSONL reader.

use std::path::Path;

use hint_rollout::data::parse_problems;
use hint_rollout::{Problem, RolloutError, read_problems};
use proptest::prelude::*;

fn parse(text: &str) -> Result<Vec<Problem>, RolloutError> {
    parse_problems(text, Path::new("problems.jsonl"))
}

#[test]
fn both_spellings_of_the_format_are_read() {
    let problems = parse(concat!(
        r#"{"question": "1 + 1", "answer": "2", "abstract_hint": "Count.", "source": "us"}"#,
        "\n\n",
        r#"{"id": 7, "problem": "2 + 2", "answer": 4, "hint": "Count on.", "level": 3, "solution": "4"}"#,
    ))
    .expect("both lines are valid");
    assert_eq!(problems[0].question, "1 + 1");
    assert_eq!(problems[0].hint.as_deref(), Some("Count."));
    assert_eq!(problems[0].columns["source"], "us");
    assert_eq!(problems[1].id, "7");
    assert_eq!(problems[1].answer, "4");
    assert_eq!(problems[1].hint.as_deref(), Some("Count on."));
    assert_eq!(problems[1].level.as_deref(), Some("3"));
    assert_eq!(problems[1].solution.as_deref(), Some("4"));
}

#[track_caller]
fn check_error(text: &str, expected: &str) {
    let error = parse(text).expect_err("the text is invalid");
    assert_eq!(error.to_string(), expected);
}

#[test]
fn errors_name_file_line_and_field() {
    let good = r#"{"question": "1 + 1", "answer": "2"}"#;
    check_error(
        &format!("{good}\n{{\"question\": \"2 + 2\"}}"),
        "problems.jsonl:2: field `answer`: expected a text or a number, found nothing; further \
         columns: none; name one by `data.columns.answer = \"COLUMN\"`",
    );
    check_error(
        r#"{"question": ["1"], "answer": "2"}"#,
        "problems.jsonl:1: field `question`: expected a text, or messages of `role` and `content` that \
         end with one of the user, found a list of 1 items",
    );
    check_error(
        r#"{"question": " ", "answer": "2"}"#,
        "problems.jsonl:1: field `question`: expected a text or chat messages, found nothing; further \
         columns: `answer`; name one by `data.columns.question = \"COLUMN\"`",
    );
    check_error("{", "problems.jsonl:1: expected one JSON object per line");
    check_error("\n", "`problems.jsonl` holds no problem");
    check_error(
        "{\"id\": \"a\", \"question\": \"1\", \"answer\": \"1\"}\n{\"id\": \"a\", \"question\": \"2\", \"answer\": \"2\"}",
        "problems.jsonl:2: problem id `a` was already used in line 1; ids must be unique; name their column by \
         `data.columns.id`, where a name of no column makes ids from the questions",
    );
}

#[test]
fn repeated_questions_without_ids_stay_apart() {
    let line = r#"{"question": "1 + 1", "answer": "2"}"#;
    let problems = parse(&format!("{line}\n{line}")).expect("repeats are allowed");
    assert_ne!(problems[0].id, problems[1].id);
}

#[test]
fn a_missing_file_is_named() {
    let error = read_problems("no-such-file.jsonl").expect_err("there is no such file");
    assert_eq!(error.to_string(), "cannot read problems from `no-such-file.jsonl`");
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in ".{0,200}") {
        let _ = parse(&text);
    }

    #[test]
    fn arbitrary_values_never_panic(question in any::<f64>(), hint in ".{0,20}") {
        let line = serde_json::json!({"question": question, "answer": [{"value": hint}], "hint": hint});
        prop_assert!(parse(&line.to_string()).is_err());
    }
}
