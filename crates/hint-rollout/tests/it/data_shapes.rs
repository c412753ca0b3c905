//! Problems in the shapes and formats that people have.

use std::path::Path;

use hint_rollout::data::parse_problems;
use hint_rollout::data::{Columns, DataConfig, DataFile, Turn, read_problems_from};
use hint_rollout::{Problem, RolloutError, read_problems};

fn one(text: &str) -> Problem {
    let problems = parse_problems(text, Path::new("rows.jsonl")).expect("a row as people have it");
    problems.into_iter().next().expect("one row")
}

#[track_caller]
fn check(text: &str, question: &str, answer: &str) -> Problem {
    let problem = one(text);
    assert_eq!((&*problem.question, &*problem.answer), (question, answer));
    problem
}

#[test]
fn rows_of_public_data_sets_are_read_as_they_are() {
    // GSM8K
    let answer = r"He has 3+4=<<3+4=7>>7 pens.\n#### 1,007";
    let text = format!(r#"{{"question": "How many?", "answer": "{answer}"}}"#);
    let problem = check(&text, "How many?", "1,007");
    assert!(problem.solution.is_some_and(|solution| solution.starts_with("He has")));
    // MATH
    let text = r#"{"problem": "What is $2+2$?", "level": "Level 1", "type": "Algebra",
        "solution": "We add: $\\boxed{4}$."}"#;
    let problem = check(&text.replace('\n', " "), "What is $2+2$?", "4");
    assert_eq!(problem.level.as_deref(), Some("Level 1"));
    assert_eq!(problem.columns["type"], "Algebra");
    // NuminaMath, which has the chat as well.
    let text = r#"{"source": "olympiads", "problem": "p", "solution": "so \\boxed{\\frac{1}{2}}", "messages": [{"role": "user", "content": "p"}]}"#;
    assert!(check(text, "p", r"\frac{1}{2}").columns.contains_key("messages"));
    // OpenR1-Math
    let text = r#"{"problem": "p", "solution": "s", "answer": "3", "generations": ["a", "b"]}"#;
    assert_eq!(check(text, "p", "3").solution.as_deref(), Some("s"));
    // DeepScaleR and Big-Math
    check(r#"{"problem": "p", "answer": "3", "solution": ""}"#, "p", "3");
    check(r#"{"problem": "p", "answer": "-1/3", "llama8b_solve_rate": 0.25}"#, "p", "-1/3");
    // DAPO-17k and verl
    let text = r#"{"data_source": "math_dapo", "prompt": [{"role": "user", "content": "Compute."}], "reward_model": {"ground_truth": "34", "style": "rule"}, "extra_info": {"index": "0"}}"#;
    let problem = check(text, "Compute.", "34");
    assert_eq!(problem.columns["reward_model"]["style"], "rule", "the rest of it stays");
    assert_eq!(problem.context, []);
    // TRL
    let text = r#"{"prompt": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2+2?"}], "ground_truth": "4"}"#;
    let system = Turn { role: "system".to_owned(), content: "Be brief.".to_owned() };
    assert_eq!(check(text, "2+2?", "4").context, [system]);
    // A solution that ends as in GSM8K, without an answer.
    let text = r#"{"question": "q", "solution": "3+4=7, not \\boxed{8}\n#### 7"}"#;
    check(text, "q", "7");
    for end in
        ["#### Conclusion\\nSo \\\\boxed{5}.", "\\\\boxed{5}\\n##### 9", "\\\\boxed{5}\\n####"]
    {
        let text = format!(r#####"{{"question": "q", "solution": "#### Step 1\n{end}"}}"#####);
        check(&text, "q", "5");
    }
    // Parts of a message, as servers take them.
    let text = r#"{"prompt": [{"role": "user", "content": [{"type": "text", "text": "Find"}, {"type": "text", "text": "2+2."}]}], "answer": 4}"#;
    check(text, "Find\n2+2.", "4");
    let text = text.replace(r#""type": "text", "text": "Find""#, r#""type": "image", "url": "a""#);
    let error = parse_problems(&text, Path::new("rows.jsonl")).expect_err("images are not read");
    assert!(error.to_string().contains("a part of type `image`"), "{error}");
    // Instructions
    check(r#"{"instruction": "Add.", "input": "1 and 2", "target": 3}"#, "Add.\n1 and 2", "3");
    let text = r#"{"query": "q", "final_answer": "a", "hints": ["First.", "", "Then."]}"#;
    assert_eq!(check(text, "q", "a").hint.as_deref(), Some("First.\nThen."));
}

#[test]
fn names_of_columns_count_in_any_case() {
    let text = r#"{"Question": "q", " Answer ": 3, "HINT": "h", "Level": 2, "ID": "x"}"#;
    let problem = check(text, "q", "3");
    assert_eq!(
        (problem.hint.as_deref(), problem.level.as_deref(), &*problem.id),
        (Some("h"), Some("2"), "x")
    );
    // A reward or a hint source may know the optional ones by these names.
    assert_eq!(problem.columns.keys().collect::<Vec<_>>(), ["HINT", "ID", "Level"]);
    // A name that fits exactly comes first, and the other one stays.
    let problem = check(r#"{"Answer": 1, "question": "q", "answer": 2}"#, "q", "2");
    assert_eq!(problem.columns["Answer"], 1);
}

#[test]
fn chats_that_are_written_as_texts_are_chats() {
    let chat = r#"[{\"role\": \"system\", \"content\": \"Be brief.\"}, {\"role\": \"user\", \"content\": \"2+2?\"}]"#;
    let problem = check(&format!(r#"{{"prompt": "{chat}", "answer": 4}}"#), "2+2?", "4");
    assert_eq!(problem.context.len(), 1);
    // Lists of other things are texts.
    check(r#"{"prompt": "[1, 2]", "answer": 4}"#, "[1, 2]", "4");
    let refused = |prompt: &str, expected: &str| {
        let text = format!(r#"{{"prompt": {prompt}, "answer": 4}}"#);
        let error = parse_problems(&text, Path::new("rows.jsonl")).expect_err("no question");
        assert!(error.to_string().contains(expected), "{error}");
    };
    refused(
        r#""[{'role': 'user', 'content': '2+2?'}]""#,
        "as Python prints them; write them by `json.dumps`",
    );
    let turns = r#"[{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]"#;
    refused(turns, "messages that end with one of `assistant`");
}

#[test]
fn objects_that_are_written_as_texts_have_parts() {
    // verl's rows in a CSV file, and rows with `verification_info`.
    let chat = r#"[{\"role\": \"user\", \"content\": \"2+2?\"}]"#;
    let model = r#"{\"ground_truth\": \"4\", \"style\": \"rule\"}"#;
    let problem =
        check(&format!(r#"{{"prompt": "{chat}", "reward_model": "{model}"}}"#), "2+2?", "4");
    assert!(problem.columns["reward_model"].is_string(), "the column stays as it is");
    assert_eq!(problem.text_of("reward_model.style").as_deref(), Some("rule"));
    let info = r#"{\"answer\": {\"value\": 12345678901234567890123, \"others\": [\"a\", \"b\"]}}"#;
    let text = format!(r#"{{"prompt": "q", "verification_info": " {info}"}}"#);
    let read = |path: &str| {
        let columns = Columns { answer: Some(path.to_owned()), ..Columns::default() };
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("rows.jsonl");
        std::fs::write(&path, &text).expect("a new file");
        let read = read_problems_from(&[&path], &columns);
        read.map(|problems| problems[0].answer.clone()).map_err(|error| error.to_string())
    };
    assert_eq!(read("verification_info.answer.value").as_deref(), Ok("12345678901234567890123"));
    assert_eq!(read("verification_info.answer.others.1").as_deref(), Ok("b"));
    for path in ["verification_info.value", "verification_info.answer.value.0", "prompt.a"] {
        let error = read(path).expect_err("no such part");
        let expected = "`verification_info.answer.value`, `verification_info.answer.others`";
        assert!(error.contains(expected), "{error}");
    }
    let printed = text.replace(r#"\""#, "'");
    let error = parse_problems(&printed, Path::new("rows.jsonl")).expect_err("no JSON");
    let expected = "`verification_info` is an object as Python prints it: write it by `json.dumps`";
    assert!(error.to_string().contains(expected), "{error}");
}

#[test]
fn an_error_names_the_mapping_that_would_read_the_row() {
    let refused = |text: &str, expected: &str| {
        let error = parse_problems(text, Path::new("rows.jsonl")).expect_err("no such column");
        assert!(error.to_string().contains(expected), "{error}");
    };
    let text = r#"{"prompt": "q", "extra_info": {"index": 0, "answer": "4"}}"#;
    refused(
        text,
        "`extra_info.index`, `extra_info.answer`; name one by `data.columns.answer = \"extra_info.answer\"`",
    );
    let text = r#"{"question": "q", "answer": 1, "hints": {"easy": "a", "hard": "b"}}"#;
    refused(text, "an object; name a part of it by `data.columns.hint = \"hints.easy\"`");
    let names = (0..50).map(|number| format!(r#""c{number}": 0"#)).collect::<Vec<_>>();
    let text = format!(r#"{{"question": "q", "{}": 1, {}}}"#, "x".repeat(500), names.join(", "));
    refused(&text, "and 11 more");
    refused(&text, &format!("`{}…`", "x".repeat(60)));
    // A table by columns has one row.
    let text = r#"{"question": ["a", "b"], "answer": [1, 2]}"#;
    refused(text, "a table by columns is not read: write its rows");
    let text = r#"{"question": {"0": "a", "1": "b"}, "answer": {"0": 1, "1": 2}}"#;
    refused(text, "a table by columns is not read: write its rows");
    let text = "{\"id\": 1, \"question\": \"a\", \"answer\": 1}\n{\"id\": 1, \"question\": \"b\", \"answer\": 1}";
    refused(text, "`data.columns.id`, where a name of no column makes ids from the questions");
}

#[cfg(feature = "formats")]
#[test]
fn a_table_that_is_named_as_json_is_a_table() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("rows.jsonl");
    std::fs::write(&path, "question,answer\n1+1,2\n2+2,4\n").expect("the folder is writable");
    assert_eq!(read_problems(&path).expect("two rows").len(), 2);
    // A damaged first row of JSON makes no table.
    std::fs::write(&path, "\"question\": \"q\", \"answer\": 1}\n").expect("the folder is writable");
    let error = read_problems(&path).expect_err("a brace is missing").to_string();
    assert!(error.contains("rows.jsonl:1: expected one JSON object per line"), "{error}");
}

#[test]
fn blank_hints_and_solutions_are_absent_and_numbers_keep_their_digits() {
    let text = r#"{"id": 12345678901234567890123, "question": "q", "answer": 0.10, "hint": " ", "solution": "", "seen": 98765432109876543210987}"#;
    let problem = check(text, "q", "0.10");
    assert_eq!((problem.hint, problem.solution), (None, None));
    assert_eq!(problem.id, "12345678901234567890123");
    assert_eq!(problem.columns["seen"], "98765432109876543210987");
    check(r#"{"question": "q", "answer": 4.0}"#, "q", "4.0");
    check(r#"{"question": "q", "answer": 1e20}"#, "q", "1e20");
    // Beyond the range of floats.
    check(r#"{"question": "q", "answer": 1e999}"#, "q", "1e999");
    let digits = "7".repeat(400);
    check(&format!(r#"{{"question": "q", "answer": {digits}}}"#), "q", &digits);
}

#[test]
fn a_json_array_is_read_as_lines_are() {
    let text = "[\n  {\"question\": \"1+1\",\n   \"answer\": 2},\n  {\"question\": \"2+2\", \"answer\": 4}\n]";
    let problems = parse_problems(text, Path::new("rows.json")).expect("an array of objects");
    assert_eq!(problems.iter().map(|problem| &*problem.answer).collect::<Vec<_>>(), ["2", "4"]);
    let error = parse_problems("[{\"question\": 1, \"answer\": 1},\n 2]", Path::new("rows.json"));
    assert!(error.expect_err("2 is no row").to_string().starts_with("rows.json:2:"));
    for (text, count) in [
        (" [ ] ", 0),
        (r#"[{"question": 1, "answer": 1},]"#, 1),
        (r#"[{"question": "a ] , \" [", "answer": [1, 2], "x": {"y": [{}]}}]"#, 1),
        ("\u{feff}\n[{\"question\": 1, \"answer\": 1},{\"question\": 2, \"answer\": 2}]\n", 2),
    ] {
        let found = parse_problems(text, Path::new("rows.json"));
        match found {
            Ok(problems) => assert_eq!(problems.len(), count, "{text}"),
            Err(error) => assert!(count == 0 && error.to_string().contains("no problem"), "{text}"),
        }
    }
    for damaged in [
        r#"[{"question": 1, "answer": 1}"#,
        r#"[{"question": 1"#,
        r#"[{"question": 1, "answer": 1}] x"#,
        "[",
        "[,]",
    ] {
        assert!(parse_problems(damaged, Path::new("rows.json")).is_err(), "{damaged}");
    }
}

#[test]
fn columns_of_other_names_are_mapped_by_paths() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("rows.jsonl");
    let text = r#"{"meta": {"text": "q", "key": [{"v": 7}]}, "nudge": "n"}"#;
    std::fs::write(&file, text).expect("the file is written");
    let error = read_problems(&file).expect_err("no usual name is there").to_string();
    let expected = "further columns: `meta.text`, `meta.key`, `nudge`; name one by \
                    `data.columns.question = \"COLUMN\"`";
    assert!(error.ends_with(expected), "{error}");
    let columns = Columns {
        question: Some("meta.text".to_owned()),
        answer: Some("meta.key.0.v".to_owned()),
        hint: Some("nudge".to_owned()),
        ..Columns::default()
    };
    let problems = read_problems_from(&[&file], &columns).expect("the columns are there");
    let Problem { question, answer, hint, .. } = &problems[0];
    assert_eq!((&**question, &**answer, hint.as_deref()), ("q", "7", Some("n")));
    let columns = Columns { question: Some("meta.txt".to_owned()), ..columns };
    let error = read_problems_from(&[&file], &columns).expect_err("it is misspelt").to_string();
    assert!(error.contains("expected a column `meta.txt`, found nothing"), "{error}");
}

#[cfg(feature = "formats")]
#[test]
fn several_files_are_mixed_without_repetitions() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("the file is written");
        path
    };
    let row = |id: &str, question: &str| {
        format!(
            "{{\"id\": \"{id}\", \"question\": \"{question}\", \"answer\": \"a\", \"long\": 1, \"topic\": \"t\"}}\n"
        )
    };
    let easy = write("easy.jsonl", &(row("1", "p") + &row("2", "q")));
    let hard = write("hard.csv", "id,problem,answer\n1,r,2\n3,q,2\n");
    let mut hard = DataFile::new(hard);
    hard.weight = Some(3.0);
    let data = DataConfig {
        files: vec![DataFile::new(easy), hard],
        deduplicate: true,
        extra_columns: Some(vec!["topic".to_owned()]),
        ..DataConfig::default()
    };
    let read = data.read().expect("both files can be read");
    let problems = read.problems.to_vec().expect("they are in memory");
    let found = problems.iter().map(|problem| {
        (
            problem.id.as_str(),
            problem.question.as_str(),
            problem.text_of("dataset").expect("a name"),
        )
    });
    let expected = [("1", "p", "easy"), ("2", "q", "easy"), ("hard/1", "r", "hard")];
    assert_eq!(found.collect::<Vec<_>>(), expected.map(|(id, q, set)| (id, q, set.to_owned())));
    assert_eq!(read.repeated, 1, "`q` is in both");
    assert_eq!(problems[0].columns.keys().collect::<Vec<_>>(), ["dataset", "topic"]);
    let weights = data.weights().expect("one has a weight");
    assert_eq!((weights["easy"], weights["hard"]), (1.0, 3.0));
}

#[test]
fn a_folder_of_shards_is_one_data_set_with_unique_ids() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let write = |name: &str, text: &str| {
        std::fs::write(folder.path().join(name), text).expect("the file is written");
    };
    let row = |id: &str| format!("{{\"id\": \"{id}\", \"question\": \"q\", \"answer\": \"a\"}}\n");
    write("b.jsonl", &row("2"));
    write("a.jsonl", &(row("0") + &row("1")));
    write(".hidden", "?");
    // What comes with data, and holds none.
    write("README.md", "# Sums");
    write("dataset_info.json", "{}");
    let problems = read_problems(folder.path()).expect("two shards");
    assert_eq!(problems.iter().map(|problem| &*problem.id).collect::<Vec<_>>(), ["0", "1", "2"]);
    write("c.jsonl", &row("1"));
    let error = read_problems(folder.path()).expect_err("an id is used twice");
    assert!(matches!(&error, RolloutError::DuplicateProblem { first_line: 2, .. }), "{error}");
    assert!(error.to_string().contains("a.jsonl:2"), "{error}");
}

#[test]
fn a_folder_with_several_splits_is_not_one_data_set() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::create_dir(folder.path().join("data")).expect("a folder");
    let write = |name: &str| {
        let row = format!("{{\"question\": \"{name}\", \"answer\": \"1\"}}\n");
        std::fs::write(folder.path().join(name), row).expect("the file is written");
    };
    write("data/train-00000-of-00002.jsonl");
    write("data/train-00001-of-00002.jsonl");
    write("README.md");
    assert_eq!(read_problems(folder.path()).expect("a split in two files").len(), 2);
    write("data/test-00000-of-00001.jsonl");
    let error = read_problems(folder.path()).expect_err("the test split is not trained on");
    let source = std::error::Error::source(&error).expect("a cause").to_string();
    let expected = ["several splits", "test, such as `", "data/train-00000-of-00002.jsonl"];
    assert!(expected.iter().all(|expected| source.contains(expected)), "{source}");
    // Without a file that is named as data, all files count.
    let other = tempfile::tempdir().expect("a temporary folder");
    let row = r#"{"question": "q", "answer": "1"}"#;
    std::fs::write(other.path().join("rows"), row).expect("the file is written");
    assert_eq!(read_problems(other.path()).expect("rows").len(), 1);
}

#[test]
fn objects_over_several_lines_and_a_list_inside_of_one_are_rows() {
    let objects = "\n{\n \"question\": \"a }\",\n \"answer\": 1\n}\n{\n \"question\": \"b\", \"answer\": 2 }\n";
    let problems = parse_problems(objects, Path::new("rows.json")).expect("as `jq` prints them");
    assert_eq!((&*problems[0].question, &*problems[1].answer), ("a }", "2"));
    for around in ["{\"data\": LIST}", "{\n\"version\": \"1\",\n\"examples\": LIST\n}\n"] {
        let list = r#"[{"question": "a", "answer": 1}, {"question": "b", "answer": 2}]"#;
        let text = around.replace("LIST", list);
        let problems = parse_problems(&text, Path::new("rows.json")).expect("a list inside");
        assert_eq!(problems.len(), 2, "{around}");
    }
    // A chat is no list of rows.
    let chat = r#"{"prompt": [{"role": "user", "content": "q"}], "answer": "1"}"#;
    assert_eq!(parse_problems(chat, Path::new("rows.json")).expect("one row").len(), 1);
    let open = parse_problems("{\n\"question\": \"a\",\n", Path::new("rows.json"));
    assert!(open.expect_err("it is cut off").to_string().starts_with("rows.json:"));
}

#[test]
fn numbers_that_python_writes_and_words_for_nothing_are_absent() {
    let text = r#"{"question": "q", "answer": true, "hint": NaN, "solution": "None", "x": [Infinity, -Infinity, 1]}"#;
    let problem = one(text);
    assert_eq!((&*problem.answer, &problem.hint, &problem.solution), ("true", &None, &None));
    assert_eq!(problem.columns["x"], serde_json::json!([null, null, 1]));
    let text = r#"{"question": "q", "answer": [null, "None"], "hints": [null, "a", "n/a"], "level": 2, "solution": ["a", "b"]}"#;
    let problem = one(text);
    assert_eq!((&*problem.answer, problem.hint.as_deref()), ("None", Some("a")));
    assert_eq!(problem.solution.as_deref(), Some("a\nb"));
}

#[cfg(feature = "formats")]
mod formats {
    use std::io::Write;
    use std::sync::Arc;

    use super::*;

    const CSV: &str = "id,question,answer,hint\n1,\"1, and\n1?\",2,Add.\n2,\"\"\"2\"\" + 2?\",4,\n";

    fn read(name: &str, bytes: &[u8]) -> Vec<Problem> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join(name);
        std::fs::write(&file, bytes).expect("the file is written");
        read_problems(&file).expect("a format that is known by its content")
    }

    #[test]
    fn csv_with_quotes_line_breaks_and_empty_cells() {
        let problems = read("rows.txt", CSV.as_bytes());
        assert_eq!(problems[0].question, "1, and\n1?");
        assert_eq!(problems[0].hint.as_deref(), Some("Add."));
        assert_eq!((&*problems[1].question, &*problems[1].answer), ("\"2\" + 2?", "4"));
        assert_eq!(problems[1].hint, None);
        let tabs = "question\tanswer\n1+1\t2\n";
        assert_eq!(read("rows.tsv", tabs.as_bytes())[0].answer, "2");
        // As a spreadsheet writes it where a comma is for decimals, with a name that has other signs.
        let semicolons = "question;answer;choices (a,b,c,d|e)\n1,5+1?;2,5;\n";
        assert_eq!(read("rows.csv", semicolons.as_bytes())[0].answer, "2,5");
        assert_eq!(read("rows", b"question|answer\n1+1|2\n")[0].answer, "2");
    }

    #[test]
    fn a_damaged_end_of_a_compressed_array_is_an_error() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let text = r#"[{"question": "1+1", "answer": 2}]"#;
        gzip.write_all(text.as_bytes()).expect("memory does not fail");
        let whole = gzip.finish().expect("memory does not fail");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("rows.json.gz");
        let mut flipped = whole.clone();
        let checksum = flipped.len() - 8;
        flipped[checksum] ^= 1;
        for bytes in [&whole[..whole.len() - 4], &flipped] {
            std::fs::write(&file, bytes).expect("the file is written");
            assert!(read_problems(&file).is_err(), "{} bytes", bytes.len());
        }
    }

    #[test]
    fn compressed_files_are_read_whatever_their_name() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(CSV.as_bytes()).expect("memory does not fail");
        assert_eq!(read("a", &gzip.finish().expect("memory does not fail")).len(), 2);
        let text = r#"{"question": "1+1", "answer": 2}"#;
        let zstd = zstd::encode_all(text.as_bytes(), 1).expect("memory does not fail");
        assert_eq!(read("b", &zstd)[0].answer, "2");
        let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        bzip2.write_all(text.as_bytes()).expect("memory does not fail");
        assert_eq!(read("c", &bzip2.finish().expect("memory does not fail"))[0].answer, "2");
        // By `xz --check=crc32`.
        let xz = b"\xfd\x37\x7a\x58\x5a\x00\x00\x01\x69\x22\xde\x36\x02\x00\x21\x01\x16\x00\x00\x00\x74\x2f\
              \xe5\xa3\x01\x00\x1f\x7b\x22\x71\x75\x65\x73\x74\x69\x6f\x6e\x22\x3a\x20\x22\x31\x2b\x31\
              \x22\x2c\x20\x22\x61\x6e\x73\x77\x65\x72\x22\x3a\x20\x32\x7d\x00\xf1\xba\x4c\xb1\x00\x01\
              \x34\x20\x14\x66\xc2\xa0\x90\x42\x99\x0d\x01\x00\x00\x00\x00\x01\x59\x5a";
        assert_eq!(read("d", xz)[0].answer, "2");
    }

    #[test]
    fn parquet_with_nested_columns() {
        use parquet::column::writer::ColumnWriter;
        use parquet::data_type::ByteArray;
        use parquet::file::writer::SerializedFileWriter;
        use parquet::schema::parser::parse_message_type;

        let schema = "message rows {
            required binary question (UTF8);
            required group reward_model { required binary ground_truth (UTF8); }
            required int64 index;
            required float share;
            required binary note;
            required group tags (MAP) {
                repeated group key_value { required binary key (UTF8); required int64 value; }
            }
        }";
        let schema = Arc::new(parse_message_type(schema).expect("a schema"));
        let mut bytes = Vec::new();
        let mut file =
            SerializedFileWriter::new(&mut bytes, schema, Arc::default()).expect("a file");
        let mut group = file.next_row_group().expect("a group of rows");
        let texts = [["1+1", "2+2"], ["2", "4"], ["n", "ä"], ["k", "l"]];
        let texts = texts.map(|column| column.map(ByteArray::from));
        let (mut texts, mut is_in_map) = (texts.iter(), false);
        while let Some(mut column) = group.next_column().expect("a column") {
            match column.untyped() {
                ColumnWriter::ByteArrayColumnWriter(writer) => {
                    let texts = texts.next().expect("four columns of texts");
                    let levels = (texts[0] == ByteArray::from("k")).then_some(([1, 1], [0, 0]));
                    let (definition, repetition) =
                        levels.as_ref().map(|(one, other)| (&one[..], &other[..])).unzip();
                    writer.write_batch(texts, definition, repetition).expect("memory");
                }
                ColumnWriter::Int64ColumnWriter(writer) if is_in_map => {
                    let levels = (Some(&[1, 1][..]), Some(&[0, 0][..]));
                    writer.write_batch(&[7, 8], levels.0, levels.1).expect("memory");
                }
                ColumnWriter::Int64ColumnWriter(writer) => {
                    is_in_map = true;
                    writer.write_batch(&[7, 8], None, None).expect("memory does not fail");
                }
                ColumnWriter::FloatColumnWriter(writer) => {
                    writer.write_batch(&[0.1, 2.0], None, None).expect("memory does not fail");
                }
                _ => unreachable!("the schema has no other types"),
            }
            column.close().expect("the column is whole");
        }
        group.close().expect("the group is whole");
        file.close().expect("the file is whole");
        let problems = read("train-00000-of-00001", &bytes);
        assert_eq!((&*problems[1].question, &*problems[1].answer), ("2+2", "4"));
        assert_eq!(problems[1].columns["index"], 8);
        // The digits that were written, a text that is not marked as one, and a table.
        assert_eq!(problems[0].columns["share"], 0.1);
        assert_eq!(problems[1].columns["note"], "ä");
        assert_eq!(problems[1].columns["tags"], serde_json::json!({ "l": 8 }));
    }
}

#[test]
fn a_list_of_answers_and_a_column_of_further_ones_are_accepted() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let rows = [
        r#"{"question":"a","answer":["1/2", 0.5, " "]}"#,
        r#"{"question":"b","answer":"colour","accepted_answers":["color","hue"]}"#,
        r#"{"question":"c","answer":"7"}"#,
    ];
    std::fs::write(file.path(), rows.join("\n")).unwrap();
    let problems = hint_rollout::read_problems(file.path()).unwrap();
    let references: Vec<Vec<&str>> =
        problems.iter().map(|problem| problem.references().collect()).collect();
    assert_eq!(references, [vec!["1/2", "0.5"], vec!["colour", "color", "hue"], vec!["7"]]);
}
