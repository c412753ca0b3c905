//! Grade-school word problems with worked answers: the originals behind GSM-Symbolic's templates.
//!
//! The hint is the worked answer with its numbers left out. `prepare/gsm_symbolic.py` draws new problems
//! from the templates, with the package's own generator.

use std::path::{Path, PathBuf};

use hint_rollout::hint::leak::without_calculations;
use hint_rollout::hint::source::MaskedSolution;
use serde::Deserialize;

use super::error::SourceError;
use super::problem::SourceProblem;

/// The parts of a template file that are used.
#[derive(Debug, Deserialize)]
struct Template {
    question: String,
    /// The worked answer with `<<6*2=12>>` marks; the result follows `####`.
    answer: String,
}

/// Reads the original problem of every `*.toml` in `folder`, in order of file name.
///
/// # Errors
///
/// [`SourceError::Read`] or [`SourceError::Field`], naming the file.
pub fn gsm_symbolic(folder: &Path) -> Result<Vec<SourceProblem>, SourceError> {
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |source| SourceError::Read { path, source }
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed(folder))? {
        files.push(entry.map_err(failed(folder))?.path());
    }
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    let read =
        |path: &PathBuf| problem(path, &std::fs::read_to_string(path).map_err(failed(path))?);
    files.iter().map(read).collect()
}

fn problem(path: &Path, text: &str) -> Result<SourceProblem, SourceError> {
    let fail = |field: &str, reason: &str| SourceError::Field {
        file: path.to_path_buf(),
        field: field.to_owned(),
        reason: reason.to_owned(),
    };
    let template: Template =
        toml::from_str(text).map_err(|error| fail("(file)", error.message()))?;
    let (solution, answer) = template
        .answer
        .rsplit_once("####")
        .filter(|(_, answer)| !answer.trim().is_empty())
        .ok_or_else(|| fail("answer", "has no line `#### RESULT`"))?;
    let solution = without_calculations(solution.trim());
    let id = path.file_stem().unwrap_or_default().to_string_lossy();
    Ok(SourceProblem {
        id: format!("gsm-symbolic/{id}/base"),
        question: template.question.trim().to_owned(),
        answer: answer.trim().replace(',', ""),
        hint: Some(MaskedSolution::new().mask(&solution)),
        solution: Some(solution),
        level: None,
        category: Some("grade-school arithmetic".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use hint_rollout::hint::leak::LeakDetector;
    use hint_rollout::{Hint, Problem};

    use super::*;
    use crate::prepare::{GSM_SYMBOLIC, cached};

    #[test]
    fn no_hint_of_a_published_problem_leaks() {
        let Some(folder) = cached(&GSM_SYMBOLIC) else { return };
        let problems = gsm_symbolic(&folder).unwrap();
        assert_eq!(problems.len(), 100);
        for problem in problems.into_iter().map(Problem::from) {
            let hint = problem.hint.as_ref().unwrap();
            assert_eq!(LeakDetector::new().leaks(&problem, &Hint::new(hint)), []);
        }
    }

    #[test]
    fn a_template_gives_its_original_problem() {
        let text = "question = ' How many eggs? '\nanswer = '''\nShe has 6*2=<<6*2=12>>12 eggs.\n#### 1,012\n'''\nid = 3\n";
        let problem = problem(Path::new("a/0007.toml"), text).unwrap();
        assert_eq!(problem.id, "gsm-symbolic/0007/base");
        assert_eq!(
            (problem.question.as_str(), problem.answer.as_str()),
            ("How many eggs?", "1012")
        );
        assert_eq!(problem.solution.as_deref(), Some("She has 6*2=12 eggs."));
        assert_eq!(problem.hint.as_deref(), Some("She has ___*___=___ eggs."));
    }

    #[test]
    fn errors_name_file_and_field() {
        let error = gsm_symbolic(Path::new("/nonexistent/gsm")).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/gsm"), "{error}");
        let error = problem(Path::new("x.toml"), "question = 'a'\nanswer = 'b'\n").unwrap_err();
        assert!(error.to_string().contains("`x.toml`: field `answer`"), "{error}");
    }
}
