//! One problem of a data set, and the JSONL form that the trainer reads.

use std::io::Write;
use std::path::Path;

use hint_rollout::Problem;
use serde::{Deserialize, Serialize};

use super::error::SourceError;

/// A problem as a data source delivers it.
///
/// Serializes to one line of the HINT format: the hint is written as `abstract_hint`, and fields
/// without a value are left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceProblem {
    /// Unique within the source, such as `gsm-symbolic/0007/3`.
    pub id: String,
    /// The question, complete: it needs no other text to be answered.
    pub question: String,
    /// The reference answer, in a form that a verifier can judge.
    pub answer: String,
    /// A Meta-Hint: guidance without the answer.
    #[serde(rename = "abstract_hint", default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// A worked solution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub solution: Option<String>,
    /// Difficulty, in the words of the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
    /// Topic, in the words of the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
}

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
///
/// # Errors
///
/// [`SourceError::Write`] if the file cannot be written.
pub fn write_jsonl(path: &Path, problems: &[SourceProblem]) -> Result<(), SourceError> {
    let failed = |source| SourceError::Write { path: path.to_path_buf(), source };
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    let mut text = Vec::new();
    for problem in problems {
        serde_json::to_writer(&mut text, problem).map_err(|error| failed(error.into()))?;
        text.push(b'\n');
    }
    file.write_all(&text).map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
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
        assert!(matches!(error, SourceError::Write { .. }));
        assert!(error.to_string().contains("/nonexistent/x.jsonl"), "{error}");
    }
}
