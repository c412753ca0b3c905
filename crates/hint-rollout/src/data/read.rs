//! Reading problems from files.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::data::columns::Columns;
use crate::data::problem::Problem;
use crate::data::rows::{each_row, text_rows};
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
    Reader::new(columns, None).read(paths)
}

/// Parses the text of a problem file; `origin` is the file that errors name.
///
/// # Errors
///
/// As [`read_problems`].
pub fn parse_problems(text: &str, origin: &Path) -> Result<Vec<Problem>, RolloutError> {
    let columns = Columns::default();
    let mut reader = Reader::new(&columns, None);
    text_rows(text.as_bytes(), origin, &mut |number, row| reader.add(number, row, origin))?;
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

/// Makes problems of rows.
pub(crate) struct Reader<'c> {
    columns: &'c Columns,
    /// Further columns to keep; all by default.
    extra_columns: Option<&'c [String]>,
    problems: Vec<Problem>,
    /// File and line at which each id was used first.
    first: HashMap<String, (PathBuf, usize)>,
}

impl<'c> Reader<'c> {
    pub(crate) fn new(columns: &'c Columns, extra_columns: Option<&'c [String]>) -> Self {
        Self { columns, extra_columns, problems: Vec::new(), first: HashMap::new() }
    }

    /// The problems of files and folders.
    pub(crate) fn read(mut self, paths: &[impl AsRef<Path>]) -> Result<Vec<Problem>, RolloutError> {
        for path in paths {
            for file in files(path.as_ref())? {
                each_row(&file, &mut |number, row| self.add(number, row, &file))?;
            }
        }
        match paths.first() {
            Some(path) => self.finish(path.as_ref()),
            None => Ok(Vec::new()),
        }
    }

    fn add(
        &mut self,
        number: usize,
        row: Map<String, Value>,
        origin: &Path,
    ) -> Result<(), RolloutError> {
        let mut problem = self.columns.problem(row, origin, number)?;
        if let Some(kept) = self.extra_columns {
            problem.columns.retain(|name, _| kept.contains(name));
        }
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
        Ok(())
    }

    fn finish(self, origin: &Path) -> Result<Vec<Problem>, RolloutError> {
        if self.problems.is_empty() {
            return Err(RolloutError::NoProblems { path: origin.to_path_buf() });
        }
        Ok(self.problems)
    }
}
