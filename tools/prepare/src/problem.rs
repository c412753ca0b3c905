//! One problem of a data set, and the JSONL form that the trainer reads.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use hint_rollout::Problem;
use serde::{Deserialize, Serialize};

/// A problem as a data source delivers it.
///
/// Serializes to one line of the HINT format: the hint is written as `abstract_hint`, and fields
/// without a value are left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SourceProblem {
    /// Unique within the source, such as `gsm-symbolic/0007/3`.
    pub(crate) id: String,
    /// The question, complete: it needs no other text to be answered.
    pub(crate) question: String,
    /// The reference answer, in a form that a verifier can judge.
    pub(crate) answer: String,
    /// A Meta-Hint: guidance without the answer.
    #[serde(rename = "abstract_hint", default, skip_serializing_if = "Option::is_none")]
    pub(crate) hint: Option<String>,
    /// A worked solution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) solution: Option<String>,
    /// Difficulty, in the words of the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) level: Option<String>,
    /// Topic, in the words of the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) category: Option<String>,
}

#[cfg(test)]
impl From<SourceProblem> for Problem {
    /// The category becomes the column `category`.
    fn from(source: SourceProblem) -> Self {
        let mut problem = Self::new(source.id, source.question, source.answer);
        problem.hint = source.hint;
        problem.solution = source.solution;
        problem.level = source.level;
        if let Some(category) = source.category {
            problem.columns.insert("category".to_owned(), category.into());
        }
        problem
    }
}

impl From<Problem> for SourceProblem {
    fn from(problem: Problem) -> Self {
        let Problem { id, question, answer, hint, solution, level, .. } = problem;
        Self { id, question, answer, hint, solution, level, category: None }
    }
}

/// Writes one line of JSON per problem.
///
/// The file appears whole or not at all: it is written beside `path` and renamed into place.
pub(crate) fn write_jsonl(path: &Path, problems: &[SourceProblem]) -> Result<()> {
    let failed = || format!("cannot write `{}`", path.display());
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut file =
        tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new("."))).with_context(failed)?;
    let mut text = Vec::new();
    for problem in problems {
        serde_json::to_writer(&mut text, problem)?;
        text.push(b'\n');
    }
    file.write_all(&text).with_context(failed)?;
    file.persist(path).map_err(|error| error.error).with_context(failed)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem() -> SourceProblem {
        SourceProblem {
            id: "p/1".into(),
            question: "How many legs have 3 cats?".into(),
            answer: "12".into(),
            hint: Some("Multiply.".into()),
            solution: None,
            level: None,
            category: Some("animals".into()),
        }
    }

    #[test]
    fn written_problems_read_back_and_the_hint_is_named_abstract_hint() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("problems.jsonl");
        write_jsonl(&path, &[problem(), problem()]).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].contains(r#""abstract_hint":"Multiply.""#), "{}", lines[0]);
        assert!(!lines[0].contains("solution"), "{}", lines[0]);
        assert_eq!(serde_json::from_str::<SourceProblem>(lines[1]).unwrap(), problem());
    }

    #[test]
    fn unwritable_path_is_an_error_with_the_path() {
        let error = write_jsonl(Path::new("/nonexistent/x.jsonl"), &[]).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/x.jsonl"), "{error}");
    }
}
