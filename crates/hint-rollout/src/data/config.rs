//! What a configuration says about the files of problems.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::data::columns::Columns;
use crate::data::problem::Problem;
use crate::data::read::Reader;
use crate::error::{RolloutError, Violations};

/// The column that names the data set of a problem where several files are read.
pub(crate) const DATASET: &str = "dataset";

/// Which files of problems are read, and how.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataConfig {
    /// Which column holds what.
    pub columns: Columns,
    /// Further columns to keep, for rewards, hints and evaluation by group. All by default; `[]` keeps none,
    /// which saves memory where rows are large.
    pub extra_columns: Option<Vec<String>>,
    /// Whether only the first of several problems of the same [content](Problem::content) is kept.
    pub deduplicate: bool,
    /// Files to mix, in place of a single one that the program names.
    pub files: Vec<DataFile>,
}

/// One file of a mixture, or a folder of shards.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataFile {
    /// The file.
    pub path: PathBuf,
    /// Its name in the column `dataset` of its problems; the file's name without its ending by default.
    #[serde(default)]
    pub name: Option<String>,
    /// How often problems are drawn from it, relative to the other files. Without any weight, all problems
    /// are drawn equally often.
    #[serde(default)]
    pub weight: Option<f64>,
    /// Which of its columns holds what, where that differs from [`DataConfig::columns`].
    #[serde(default)]
    pub columns: Option<Columns>,
}

/// What was read.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct ReadProblems {
    /// The problems.
    pub problems: Vec<Problem>,
    /// Problems that are left out because an earlier one has the same content.
    pub repeated: usize,
}

impl DataFile {
    /// A file without a weight.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), name: None, weight: None, columns: None }
    }

    /// Its name in the column `dataset`.
    pub fn name(&self) -> String {
        let of_file = || self.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        self.name.clone().unwrap_or_else(of_file)
    }
}

impl DataConfig {
    /// Reads the problems of [`DataConfig::files`]. Ids are unique in each file; one that an earlier file has
    /// as well gets the name of its data set in front.
    ///
    /// # Errors
    ///
    /// As [`read_problems`](crate::data::read_problems).
    pub fn read(&self) -> Result<ReadProblems, RolloutError> {
        let mut all = ReadProblems::default();
        let mut ids = HashSet::new();
        for file in &self.files {
            let name = file.name();
            let mut read = self.read_file(file)?;
            for problem in &mut read.problems {
                if ids.contains(&problem.id) {
                    problem.id = format!("{name}/{}", problem.id);
                }
                if !ids.insert(problem.id.clone()) {
                    let (path, id) = (file.path.clone(), problem.id.clone());
                    return Err(RolloutError::ProblemId { path, id });
                }
                // In place of a column of that name, which would be mixed up with the files.
                problem.columns.insert(DATASET.to_owned(), Value::from(name.as_str()));
            }
            all.problems.append(&mut read.problems);
            all.repeated += read.repeated;
        }
        Ok(if self.deduplicate { all.deduplicated() } else { all })
    }

    /// Reads the problems of one file.
    ///
    /// # Errors
    ///
    /// As [`read_problems`](crate::data::read_problems).
    pub fn read_file(&self, file: &DataFile) -> Result<ReadProblems, RolloutError> {
        let columns = file.columns.as_ref().unwrap_or(&self.columns);
        let problems = Reader::new(columns, self.extra_columns.as_deref())
            .read(std::slice::from_ref(&file.path))?;
        let read = ReadProblems { problems, repeated: 0 };
        Ok(if self.deduplicate { read.deduplicated() } else { read })
    }

    /// The weight of each file by its name; `None` without any.
    pub fn weights(&self) -> Option<BTreeMap<String, f64>> {
        let weight = |file: &DataFile| (file.name(), file.weight.unwrap_or(1.0));
        let is_weighted = self.files.iter().any(|file| file.weight.is_some());
        is_weighted.then(|| self.files.iter().map(weight).collect())
    }

    /// Reports every value that is out of range.
    pub fn check(&self, at: &mut Violations) {
        let mut names = HashSet::new();
        for (index, file) in self.files.iter().enumerate() {
            at.within(format_args!("files[{index}]"), |at| {
                if let Some(weight) = file.weight {
                    at.positive("weight", weight);
                }
                let name = file.name();
                let expected = "must differ from the names of the other files";
                at.require(names.insert(name.clone()), "name", expected, name);
            });
        }
    }
}

impl From<Vec<Problem>> for ReadProblems {
    fn from(problems: Vec<Problem>) -> Self {
        Self { problems, repeated: 0 }
    }
}

impl ReadProblems {
    fn deduplicated(mut self) -> Self {
        let before = self.problems.len();
        let mut seen = HashSet::new();
        self.problems.retain(|problem| seen.insert(problem.content()));
        self.repeated += before - self.problems.len();
        self
    }
}
