//! Malformed problem files.

use std::path::Path;

use hint_rollout::{RolloutError, Seed, read_problems};

const LINES: [&str; 7] = [
    r#"{"id": "a", "question": "What is 1 + 1?", "answer": "2", "abstract_hint": "Count."}"#,
    r#"{"problem": "Name a prime.", "answer": 7, "hint": "Try odd ones.", "level": 3}"#,
    "",
    r#"{"question": "Was ist \"ä\"?", "answer": "\\frac{1}{2}", "solution": "Half.\nDone.", "x": [1, {"y": null}]}"#,
    r#"{"id": 17, "question": "How many?", "answer": -0.5e3, "level": "Level 5"}"#,
    r#"{"id": "b", "question": "𝔄 and ∞?", "answer": "\u00e9", "hint": null}"#,
    r#"{"id": "c", "question": "Last one", "answer": "42", "topic": "numbers"}"#,
];

/// Pieces that a mutation may put in.
const PIECES: [&[u8]; 16] = [
    b"\"",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"\\",
    b"\n",
    b"\0",
    b"null",
    b"1e999",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b"{\"question\": [], \"answer\": {}}",
];

/// Random numbers from a seed.
struct Draw(Seed, u64);

impl Draw {
    fn below(&mut self, bound: usize) -> usize {
        self.1 += 1;
        let value = self.0.child(self.1).value() % bound.max(1) as u64;
        usize::try_from(value).expect("below a length")
    }

    /// One to three mutations of the file.
    fn mutate(&mut self, content: &mut Vec<u8>) {
        for _ in 0..=self.below(3) {
            let (at, len) = (self.below(content.len()), self.below(12));
            let end = (at + len).min(content.len());
            match self.below(6) {
                0 if at < content.len() => content[at] ^= 1 << self.below(8),
                1 => drop(content.drain(at..end)),
                2 => {
                    let piece = PIECES[self.below(PIECES.len())];
                    content.splice(at..at, piece.iter().copied());
                }
                3 => content.truncate(at),
                4 => {
                    let span = content[at..end].to_vec();
                    let to = self.below(content.len());
                    content.splice(to..to, span);
                }
                _ => {
                    // A line again, elsewhere.
                    let line = LINES[self.below(LINES.len())].as_bytes();
                    let at = content.iter().position(|byte| *byte == b'\n').unwrap_or(0);
                    content.splice(at..at, [b"\n", line].concat());
                }
            }
        }
    }
}

/// The line that an error names, or 0 for one about the file as a whole.
fn line_of(error: &RolloutError) -> usize {
    match error {
        RolloutError::ProblemSyntax { line, .. }
        | RolloutError::ProblemBytes { line, .. }
        | RolloutError::ProblemField { line, .. }
        | RolloutError::DuplicateProblem { line, .. } => *line,
        RolloutError::NoProblems { .. } => 0,
        RolloutError::ReadProblems { source, .. } => {
            assert_eq!(source.kind(), std::io::ErrorKind::InvalidData, "{source}");
            0
        }
        other => panic!("no error of a problem file: {other}"),
    }
}

fn check(path: &Path, content: &[u8]) -> bool {
    std::fs::write(path, content).expect("a writable folder");
    match read_problems(path) {
        Ok(problems) => {
            let mut ids = problems.iter().map(|problem| &problem.id).collect::<Vec<_>>();
            ids.sort();
            ids.dedup();
            assert_eq!(ids.len(), problems.len(), "ids are unique");
            for problem in &problems {
                let texts = [&problem.id, &problem.question, &problem.answer];
                assert!(texts.iter().all(|text| !text.trim().is_empty()), "{problem:?}");
            }
            true
        }
        Err(error) => {
            let lines = content.split(|byte| *byte == b'\n').count();
            let line = line_of(&error);
            assert!(line <= lines, "{error}");
            let text = error.to_string();
            assert!(text.contains("problems.jsonl"), "{text}");
            assert!(line == 0 || text.contains(&line.to_string()), "{text}");
            false
        }
    }
}

#[test]
fn a_thousand_mutations_of_a_problem_file_give_problems_or_an_error_with_its_line() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("problems.jsonl");
    let valid = LINES.join("\n").into_bytes();
    assert!(check(&path, &valid));
    let mut readable = 0;
    for case in 0..1000 {
        let mut content = valid.clone();
        Draw(Seed::new(case), 0).mutate(&mut content);
        readable += u32::from(check(&path, &content));
    }
    assert!((50..950).contains(&readable), "{readable} of 1000 were readable");
}
