//! Reading problems from files.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::data::columns::Columns;
use crate::data::problem::Problem;
use crate::data::rows::{Row, rows, text_rows};
use crate::error::RolloutError;
use crate::run::fnv1a;

/// Reads problems from a file, or from all files of a folder in the order of their names: JSON lines or
/// a JSON array; with the feature `formats` CSV, Parquet, and files compressed by gzip or zstd as
/// well. The content decides, not the name.
///
/// [`Columns`] lists the names under which columns are recognized. Numbers are accepted as answers,
/// ids and levels, and keep their digits. Blank texts are absent. A problem without an id gets one that
/// is made from its question. Every other column ends up in [`Problem::columns`].
///
/// # Errors
///
/// [`RolloutError::ReadProblems`], [`RolloutError::ProblemSyntax`], [`RolloutError::ProblemField`],
/// [`RolloutError::DuplicateProblem`] or [`RolloutError::NoProblems`], each naming the file and, where
/// there is one, the line.
pub fn read_problems(path: impl AsRef<Path>) -> Result<Vec<Problem>, RolloutError> {
    read_problems_from(&[path], &Columns::default())
}

/// Reads problems from several files and folders, with columns of other names. Ids are unique over all
/// of them.
///
/// # Errors
///
/// As [`read_problems`].
pub fn read_problems_from(
    paths: &[impl AsRef<Path>],
    columns: &Columns,
) -> Result<Vec<Problem>, RolloutError> {
    let mut reader = Reader { columns, problems: Vec::new(), first: HashMap::new() };
    for path in paths {
        for file in files(path.as_ref())? {
            let bytes = std::fs::read(&file)
                .map_err(|source| RolloutError::ReadProblems { path: file.clone(), source })?;
            reader.add(rows(bytes, &file)?, &file)?;
        }
    }
    match paths.first() {
        Some(path) => reader.finish(path.as_ref()),
        None => Ok(Vec::new()),
    }
}

/// Parses the text of a problem file; `origin` is the file that errors name.
///
/// # Errors
///
/// As [`read_problems`].
pub fn parse_problems(text: &str, origin: &Path) -> Result<Vec<Problem>, RolloutError> {
    let columns = Columns::default();
    let mut reader = Reader { columns: &columns, problems: Vec::new(), first: HashMap::new() };
    reader.add(text_rows(text, origin)?, origin)?;
    reader.finish(origin)
}

/// The file itself, or the files of a folder.
fn files(path: &Path) -> Result<Vec<PathBuf>, RolloutError> {
    if !path.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let failed = |source| RolloutError::ReadProblems { path: path.to_path_buf(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let is_hidden = entry.file_name().to_string_lossy().starts_with('.');
        if entry.path().is_file() && !is_hidden {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

struct Reader<'c> {
    columns: &'c Columns,
    problems: Vec<Problem>,
    /// File and line at which each id was used first.
    first: HashMap<String, (PathBuf, usize)>,
}

impl Reader<'_> {
    fn add(&mut self, rows: Vec<Row>, origin: &Path) -> Result<(), RolloutError> {
        for (number, row) in rows {
            let mut problem = self.columns.problem(row, origin, number)?;
            if problem.id.is_empty() {
                problem.id = format!("{:016x}", fnv1a(problem.question.as_bytes()));
                // Data sets repeat questions; only an explicit id promises to be unique.
                let mut repeat = number;
                while self.first.contains_key(&problem.id) {
                    problem.id = format!("{:016x}-{repeat}", fnv1a(problem.question.as_bytes()));
                    repeat += 1;
                }
            }
            let place = (origin.to_path_buf(), number);
            if let Some((first_path, first_line)) = self.first.insert(problem.id.clone(), place) {
                return Err(RolloutError::DuplicateProblem {
                    path: origin.to_path_buf(),
                    line: number,
                    first_path,
                    first_line,
                    id: problem.id,
                });
            }
            self.problems.push(problem);
        }
        Ok(())
    }

    fn finish(self, origin: &Path) -> Result<Vec<Problem>, RolloutError> {
        if self.problems.is_empty() {
            return Err(RolloutError::NoProblems { path: origin.to_path_buf() });
        }
        Ok(self.problems)
    }
}
