//! Sets of held-out problems: named files, some with several completions per problem.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use hint_rollout::{Problem, read_problems};
use serde_json::json;

/// Column of a held-out problem: whether it is `in` or `out` of the distribution that is trained on.
pub(super) const DISTRIBUTION: &str = "distribution";
/// Column of a held-out problem: the name of its set, where a distribution has several.
pub(super) const SET: &str = "set";
/// Between the id of a problem and the number of its copy.
const COPY: &str = "#repeat-";

/// A file of held-out problems: `FILE`, `NAME=FILE` or `NAME=FILE:REPEATS`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HeldOutSet {
    name: String,
    file: PathBuf,
    /// Copies of each problem, which are answered apart.
    repeats: usize,
}

impl HeldOutSet {
    /// Reads the value of an option. The name is the file's unless it has one.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (name, rest) = match text.split_once('=') {
            Some((name, rest)) if !name.contains(['/', '\\']) => (Some(name), rest),
            _ => (None, text),
        };
        let (file, repeats) = match rest.rsplit_once(':') {
            Some((file, repeats)) if repeats.chars().all(|digit| digit.is_ascii_digit()) => {
                let repeats = repeats.parse().ok().filter(|count| (1..=1024).contains(count));
                (file, repeats.ok_or("the repeats after `:` must be between 1 and 1024")?)
            }
            _ => (rest, 1),
        };
        let file = PathBuf::from(file);
        let stem = || file.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let name = name.map(str::to_owned).or_else(stem).unwrap_or_default();
        if name.is_empty() || file.as_os_str().is_empty() {
            return Err("must be FILE, NAME=FILE or NAME=FILE:REPEATS".to_owned());
        }
        Ok(Self { name, file, repeats })
    }
}

/// The problems of all sets of a distribution. Each has its distribution, and its set where there are several. No two
/// have the same id.
///
/// # Errors
///
/// A file that cannot be read, two sets with one name.
pub(super) fn read_sets(sets: &[HeldOutSet], distribution: &str) -> Result<Vec<Problem>> {
    let mut all = Vec::new();
    for (at, HeldOutSet { name, file, repeats }) in sets.iter().enumerate() {
        let is_new = sets[..at].iter().all(|other| other.name != *name);
        ensure!(is_new, "two held-out sets have the name `{name}`; write NAME=FILE");
        let problems = read_problems(file)
            .with_context(|| format!("cannot read the held-out set `{name}`"))?;
        let several = sets.len() > 1;
        for mut problem in marked(problems, distribution) {
            if several {
                let id = problem.id.strip_prefix(distribution).unwrap_or(&problem.id);
                problem.id = format!("{distribution}/{name}{id}");
                problem.columns.insert(SET.to_owned(), json!(name));
            }
            for at in 2..=*repeats {
                let mut copy = problem.clone();
                copy.id = format!("{}{COPY}{at}", problem.id);
                all.push(copy);
            }
            all.push(problem);
        }
    }
    Ok(all)
}

/// The problems with their distribution, and with ids that no problem of the other distribution has.
pub(super) fn marked(problems: Vec<Problem>, distribution: &str) -> Vec<Problem> {
    let mark = |mut problem: Problem| {
        problem.id = format!("{distribution}/{}", problem.id);
        problem.columns.insert(DISTRIBUTION.to_owned(), json!(distribution));
        problem
    };
    problems.into_iter().map(mark).collect()
}

/// The id of the problem that this one is a copy of, or its own.
pub(super) fn original(id: &str) -> &str {
    match id.rsplit_once(COPY) {
        Some((original, copy)) if copy.chars().all(|digit| digit.is_ascii_digit()) => original,
        _ => id,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_a_name_a_file_and_repeats() {
        let parse = |text: &str| {
            HeldOutSet::parse(text)
                .map(|set| (set.name, set.file.display().to_string(), set.repeats))
        };
        let set = |name: &str, file: &str, repeats| Ok((name.to_owned(), file.to_owned(), repeats));
        assert_eq!(parse("data/math500.jsonl"), set("math500", "data/math500.jsonl", 1));
        assert_eq!(parse("aime=a/b.jsonl:32"), set("aime", "a/b.jsonl", 32));
        assert_eq!(parse("a=b:c.jsonl"), set("a", "b:c.jsonl", 1));
        assert_eq!(parse("runs/lr=1/x.jsonl"), set("x", "runs/lr=1/x.jsonl", 1));
        for text in ["", "a=", "=f.jsonl", "a=f.jsonl:0", "a=f.jsonl:"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn copies_are_problems_of_their_own_that_lead_back_to_one() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("f.jsonl");
        std::fs::write(&file, r#"{"id": "p#1", "question": "1 + 1?", "answer": "2"}"#).unwrap();
        let set =
            |name: &str, repeats| HeldOutSet { name: name.to_owned(), file: file.clone(), repeats };
        let problems = read_sets(&[set("a", 1), set("b", 3)], "in").unwrap();
        let ids = problems.iter().map(|problem| problem.id.as_str()).collect::<Vec<_>>();
        assert_eq!(ids, ["in/a/p#1", "in/b/p#1#repeat-2", "in/b/p#1#repeat-3", "in/b/p#1"]);
        let originals = ids.iter().map(|id| original(id)).collect::<Vec<_>>();
        assert_eq!(originals, ["in/a/p#1", "in/b/p#1", "in/b/p#1", "in/b/p#1"]);
        assert_eq!(problems[1].text_of(SET).as_deref(), Some("b"));
        let alone = read_sets(&[set("a", 1)], "out").unwrap();
        assert_eq!((alone[0].id.as_str(), alone[0].text_of(SET)), ("out/p#1", None));
        let error = read_sets(&[set("a", 1), set("a", 1)], "in").unwrap_err().to_string();
        assert!(error.contains("two held-out sets"), "{error}");
    }
}
