//! Grade-school word problems with worked answers, from symbolic templates.

use std::path::{Path, PathBuf};

use hint_rollout::without_calculations;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::error::SourceError;
use super::meta_hint::meta_hint;
use super::problem::SourceProblem;
use super::template::{Template, parse_replacements};

/// The templates of a folder.
#[derive(Debug, Clone)]
pub struct GsmSymbolic {
    templates: Vec<Template>,
}

impl GsmSymbolic {
    /// Reads every `*.toml` of `folder`, and `replacements.json` beside them.
    ///
    /// # Errors
    ///
    /// [`SourceError::Read`] or [`SourceError::Field`], naming the file.
    pub fn load(folder: &Path) -> Result<Self, SourceError> {
        let read = |path: &Path| {
            std::fs::read_to_string(path)
                .map_err(|source| SourceError::Read { path: path.to_path_buf(), source })
        };
        let lists = folder.join("replacements.json");
        let replacements = parse_replacements(&lists, &read(&lists)?)?;
        let mut templates = Vec::new();
        for path in template_files(folder)? {
            let id = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            templates.push(Template::parse(&id, &path, &read(&path)?, &replacements)?);
        }
        Ok(Self { templates })
    }

    /// The templates, by file name.
    pub fn templates(&self) -> &[Template] {
        &self.templates
    }

    /// The original problems.
    pub fn base_problems(&self) -> Vec<SourceProblem> {
        self.templates.iter().map(|template| problem(template, "base", &template.base)).collect()
    }

    /// `per_template` new problems from each template that supports it, template by template.
    ///
    /// Each template has a random stream of its own: its problems depend on nothing but `seed` and
    /// its place in the folder.
    ///
    /// # Errors
    ///
    /// [`SourceError::Exhausted`] if a template has fewer instances than that.
    pub fn draw(&self, per_template: usize, seed: u64) -> Result<Vec<SourceProblem>, SourceError> {
        let mut problems = Vec::new();
        for (stream, template) in self.templates.iter().enumerate() {
            if template.unsupported().is_some() {
                continue;
            }
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(stream as u64);
            for (i, instance) in template.draw(per_template, &mut rng)?.iter().enumerate() {
                problems.push(problem(template, &i.to_string(), instance));
            }
        }
        Ok(problems)
    }

    /// The templates that no instance can be drawn from, with the reason.
    pub fn unsupported(&self) -> impl Iterator<Item = (&str, &str)> {
        self.templates.iter().filter_map(|t| Some((t.id.as_str(), t.unsupported()?)))
    }
}

fn template_files(folder: &Path) -> Result<Vec<PathBuf>, SourceError> {
    let failed = |source| SourceError::Read { path: folder.to_path_buf(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn problem(template: &Template, suffix: &str, instance: &super::Instance) -> SourceProblem {
    SourceProblem {
        id: format!("gsm-symbolic/{}/{suffix}", template.id),
        question: instance.question.clone(),
        answer: instance.answer.clone(),
        hint: Some(meta_hint(&instance.question, &instance.solution)),
        solution: Some(without_calculations(&instance.solution)),
        level: None,
        category: Some("grade-school arithmetic".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use hint_reward::numbers_in;
    use hint_rollout::{Hint, LeakDetector, Problem};

    use super::*;
    use crate::prepare::{Expression, GSM_SYMBOLIC, Variables, cached};

    fn load() -> Option<GsmSymbolic> {
        Some(GsmSymbolic::load(&cached(&GSM_SYMBOLIC)?).unwrap())
    }

    #[test]
    fn every_published_template_reproduces_its_original_answer_and_can_be_drawn_from() {
        let Some(source) = load() else { return };
        assert_eq!(source.templates().len(), 100);
        // A template whose original values give another answer counts as unsupported.
        assert_eq!(source.unsupported().collect::<Vec<_>>(), []);
    }

    #[test]
    fn no_hint_of_a_published_or_drawn_problem_leaks_or_has_a_number() {
        let Some(source) = load() else { return };
        let mut problems = source.base_problems();
        problems.extend(source.draw(5, 1).unwrap());
        assert_eq!(problems.len(), 600);
        for problem in problems.into_iter().map(Problem::from) {
            let hint = problem.hint.as_ref().unwrap();
            assert_eq!(LeakDetector::new().leaks(&problem, &Hint::new(hint)), []);
            assert_eq!(numbers_in(hint), [], "{}: {hint}", problem.id);
        }
    }

    #[test]
    fn worked_arithmetic_of_drawn_instances_is_true() {
        let Some(source) = load() else { return };
        let mut checked = 0;
        for (stream, template) in source.templates().iter().enumerate() {
            let mut rng = ChaCha8Rng::seed_from_u64(stream as u64);
            for instance in template.draw(3, &mut rng).unwrap() {
                for mark in instance.solution.split("<<").skip(1) {
                    let mark = mark.split(">>").next().unwrap();
                    let Some((left, right)) = mark.rsplit_once('=') else { continue };
                    let value = |text| Expression::parse(text)?.evaluate(&Variables::new());
                    let (Ok(left), Ok(right)) = (value(left), value(right)) else { continue };
                    assert_eq!(left, right, "{}: {mark}", template.id);
                    checked += 1;
                }
            }
        }
        assert!(checked > 700, "{checked}");
    }

    #[test]
    fn same_seed_draws_the_same_problems() {
        let Some(source) = load() else { return };
        assert_eq!(source.draw(2, 3).unwrap(), source.draw(2, 3).unwrap());
        assert_ne!(source.draw(2, 3).unwrap(), source.draw(2, 4).unwrap());
    }

    #[test]
    fn missing_folder_is_an_error_with_the_path() {
        let error = GsmSymbolic::load(Path::new("/nonexistent/gsm")).unwrap_err();
        assert!(matches!(error, SourceError::Read { .. }), "{error}");
        assert!(error.to_string().contains("/nonexistent/gsm"), "{error}");
    }
}
