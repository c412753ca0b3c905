//! Reading problems from files.

use std::collections::HashMap;

use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::data::columns::Columns;
use crate::data::files::files;
use crate::data::problem::{Problem, hash};
use crate::data::rows::{Row, each_row, text_rows};
use crate::error::RolloutError;
use crate::run::fnv1a;

/// Reads problems from a file, or from the files of a folder in the order of their names. Formats are JSON lines, a JSON
/// array, and objects over several lines. With the feature `formats` also CSV, Parquet, UTF-16, and files compressed by
/// gzip, zstd, bzip2 or xz. The content decides, not the name.
///
/// A folder counts with the folders below it. Files that are not named as data, such as a `README.md`, count only where
/// there are no others. A folder with several splits, such as `train` and `test`, is an error.
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
    Reader::new(columns, None, 0.0).read(paths, &mut |problem| {
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
    let mut reader = Reader::new(&columns, None, 0.0);
    reader.files.push(origin.to_path_buf());
    let mut problems = Vec::new();
    text_rows(text.as_bytes(), origin, &mut |number, row| {
        problems.extend(reader.take(number, row)?);
        Ok(())
    })?;
    reader.finish(Some(origin))?;
    Ok(problems)
}

/// Rows that are left out, because they cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DroppedRows {
    /// How many.
    pub count: usize,
    /// Among how many.
    pub rows: usize,
    /// Where the first one is, and what is wrong with it.
    pub first: String,
}

impl fmt::Display for DroppedRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count, rows, first } = self;
        write!(
            f,
            "{count} of {rows} rows are left out, because they cannot be read (`data.max_dropped_frac`); the \
             first: {first}"
        )
    }
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
    /// Largest share of rows that are left out.
    max_dropped_frac: f64,
    rows: usize,
    dropped: usize,
    /// Of the first row that is left out.
    error: Option<RolloutError>,
}

impl<'c> Reader<'c> {
    pub(crate) fn new(
        columns: &'c Columns,
        extra_columns: Option<&'c [String]>,
        max_dropped_frac: f64,
    ) -> Self {
        let (files, first) = (Vec::new(), HashMap::new());
        let (rows, dropped, error) = (0, 0, None);
        Self { columns, extra_columns, files, first, max_dropped_frac, rows, dropped, error }
    }

    /// Hands the problems of files and folders to `sink`, one after the other. The rows that are left out.
    pub(crate) fn read(
        mut self,
        paths: &[impl AsRef<Path>],
        sink: &mut dyn FnMut(Problem) -> Result<(), RolloutError>,
    ) -> Result<Option<DroppedRows>, RolloutError> {
        for path in paths {
            for file in files(path.as_ref())? {
                self.files.push(file.clone());
                each_row(&file, &mut |number, row| {
                    self.take(number, row)?.map_or(Ok(()), &mut *sink)
                })?;
            }
        }
        self.finish(paths.first().map(AsRef::as_ref))
    }

    /// The problem of a row, unless the row is left out.
    fn take(&mut self, number: usize, row: Row) -> Result<Option<Problem>, RolloutError> {
        self.rows += 1;
        match row.and_then(|row| self.problem(number, row)) {
            Ok(problem) => Ok(Some(problem)),
            Err(error @ RolloutError::DuplicateProblem { .. }) => Err(error),
            Err(error) if self.max_dropped_frac == 0.0 => Err(error),
            Err(error) => {
                self.dropped += 1;
                self.error.get_or_insert(error);
                Ok(None)
            }
        }
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

    fn finish(self, origin: Option<&Path>) -> Result<Option<DroppedRows>, RolloutError> {
        let Self { rows, dropped: count, max_dropped_frac: limit, .. } = self;
        match (self.error, origin) {
            // What is wrong with all of them is wrong with the first one.
            (Some(first), _) if self.first.is_empty() => Err(first),
            (Some(first), _) if count as f64 > limit * rows as f64 => {
                Err(RolloutError::DroppedRows { count, rows, limit, first: Box::new(first) })
            }
            (Some(first), _) => Ok(Some(DroppedRows { count, rows, first: first.chain() })),
            (None, Some(path)) if self.first.is_empty() => {
                Err(RolloutError::NoProblems { path: path.to_path_buf() })
            }
            (None, _) => Ok(None),
        }
    }
}
