//! Reading problems from files.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::data::columns::Columns;
use crate::data::problem::{Problem, hash};
use crate::data::rows::{each_row, text_rows};
use crate::error::RolloutError;
use crate::run::fnv1a;

/// Reads problems from a file, or from all files of a folder in the order of their names. Formats are
/// JSON lines or a JSON array, and with the feature `formats` CSV, Parquet, and files compressed by
/// gzip or zstd. The content decides, not the name.
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
    let mut problems = Vec::new();
    Reader::new(columns, None).read(paths, &mut |problem| {
        problems.push(problem);
        Ok(())
    })?;
    Ok(problems)
}

/// Parses the text of a problem file; `origin` is the file that errors name.
///
/// # Errors
///
/// As [`read_problems`].
pub fn parse_problems(text: &str, origin: &Path) -> Result<Vec<Problem>, RolloutError> {
    let columns = Columns::default();
    let mut reader = Reader::new(&columns, None);
    reader.files.push(origin.to_path_buf());
    let mut problems = Vec::new();
    text_rows(text.as_bytes(), origin, &mut |number, row| {
        problems.push(reader.problem(number, row)?);
        Ok(())
    })?;
    reader.finish(Some(origin))?;
    Ok(problems)
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

/// Makes problems of rows, and keeps none of them.
pub(crate) struct Reader<'c> {
    columns: &'c Columns,
    /// Further columns to keep; all by default.
    extra_columns: Option<&'c [String]>,
    /// The files so far; the last one is being read.
    files: Vec<PathBuf>,
    /// File and line at which each id was used first, by a hash of the id.
    first: HashMap<u128, (u32, u32)>,
}

impl<'c> Reader<'c> {
    pub(crate) fn new(columns: &'c Columns, extra_columns: Option<&'c [String]>) -> Self {
        Self { columns, extra_columns, files: Vec::new(), first: HashMap::new() }
    }

    /// Hands the problems of files and folders to `sink`, one after the other.
    pub(crate) fn read(
        mut self,
        paths: &[impl AsRef<Path>],
        sink: &mut dyn FnMut(Problem) -> Result<(), RolloutError>,
    ) -> Result<(), RolloutError> {
        for path in paths {
            for file in files(path.as_ref())? {
                self.files.push(file.clone());
                each_row(&file, &mut |number, row| sink(self.problem(number, row)?))?;
            }
        }
        self.finish(paths.first().map(AsRef::as_ref))
    }

    /// The problem of a row of the present file.
    fn problem(&mut self, number: usize, row: Map<String, Value>) -> Result<Problem, RolloutError> {
        let origin = self.files.last().map_or(Path::new(""), PathBuf::as_path);
        let mut problem = self.columns.problem(row, origin, number)?;
        if let Some(kept) = self.extra_columns {
            problem.columns.retain(|name, _| kept.contains(name));
        }
        if problem.id.is_empty() {
            problem.id = format!("{:016x}", fnv1a(problem.question.as_bytes()));
            // Data sets repeat questions; only an explicit id promises to be unique.
            let mut repeat = number;
            while self.first.contains_key(&hash(&problem.id)) {
                problem.id = format!("{:016x}-{repeat}", fnv1a(problem.question.as_bytes()));
                repeat += 1;
            }
        }
        let place = |number| u32::try_from(number).unwrap_or(u32::MAX);
        let here = (place(self.files.len().saturating_sub(1)), place(number));
        if let Some((file, line)) = self.first.insert(hash(&problem.id), here) {
            return Err(RolloutError::DuplicateProblem {
                path: origin.to_path_buf(),
                line: number,
                first_path: self.files[file as usize].clone(),
                first_line: line as usize,
                id: problem.id,
            });
        }
        Ok(problem)
    }

    fn finish(self, origin: Option<&Path>) -> Result<(), RolloutError> {
        match origin {
            Some(path) if self.first.is_empty() => {
                Err(RolloutError::NoProblems { path: path.to_path_buf() })
            }
            _ => Ok(()),
        }
    }
}
