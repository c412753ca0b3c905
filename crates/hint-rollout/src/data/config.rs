//! Configuration of the problem files.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::data::columns::Columns;
use crate::data::problem::{Problem, hash};
use crate::data::read::{DroppedRows, Reader};
use crate::data::set::{ProblemSet, ProblemSetBuilder};
use crate::error::{RolloutError, Violations};

/// The column that names the data set of a problem where several files are read.
pub(crate) const DATASET: &str = "dataset";

/// Files of problems, and how they are read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataConfig {
    /// Names of the columns.
    pub columns: Columns,
    /// Further columns to keep, for rewards, hints and evaluation by group. All by default; `[]` keeps none,
    /// which saves memory where rows are large.
    pub extra_columns: Option<Vec<String>>,
    /// Whether only the first of several problems of the same [content](Problem::content) is kept.
    pub deduplicate: bool,
    /// Largest share of rows that are left out, because they cannot be read or lack a question or an answer. With more,
    /// and with 0 at the first one, reading is an error.
    pub max_dropped_frac: f64,
    /// About how much memory problems may take, in MiB. Problems beyond it are kept in a temporary file, and
    /// read from there when a step takes them.
    pub memory_mib: u64,
    /// The folder of that file, which has to be on a disk; the system's one for temporary files by default.
    pub spill_dir: Option<PathBuf>,
    /// Files to mix, in place of a single one that the program names.
    pub files: Vec<DataFile>,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            columns: Columns::default(),
            extra_columns: None,
            deduplicate: false,
            max_dropped_frac: 0.5,
            memory_mib: 1024,
            spill_dir: None,
            files: Vec::new(),
        }
    }
}

/// One file of a mixture, or a folder of shards.
///
/// ```
/// use hint_rollout::data::DataFile;
///
/// let file = DataFile { weight: Some(2.0), ..DataFile::new("data/algebra.jsonl") };
/// assert_eq!(file.name(), "algebra");
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataFile {
    /// The file.
    pub path: PathBuf,
    /// Its name in the column `dataset` of its problems; the file's name without its ending by default.
    #[serde(default)]
    pub name: Option<String>,
    /// Weight of drawing problems from it, relative to the other files. Without any weight, all problems
    /// are drawn equally often.
    #[serde(default)]
    pub weight: Option<f64>,
    /// Names of its columns, where they differ from [`DataConfig::columns`].
    #[serde(default)]
    pub columns: Option<Columns>,
}

/// Result of reading.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ReadProblems {
    /// The problems.
    pub problems: ProblemSet,
    /// Problems that are left out because an earlier one has the same content.
    pub repeated: usize,
    /// Rows that are left out because they cannot be read, of each file.
    pub dropped: Vec<DroppedRows>,
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
    /// Reads the problems of [`DataConfig::files`]. Ids are unique in each file. An id that an earlier file
    /// has as well gets the name of its data set in front.
    ///
    /// # Errors
    ///
    /// As [`read_problems`](crate::data::read_problems); [`RolloutError::SpillProblems`].
    pub fn read(&self) -> Result<ReadProblems, RolloutError> {
        let mut collection = Collection::new(self);
        let mut ids = HashSet::new();
        for file in &self.files {
            let name = file.name();
            let dropped = self.each(file, &mut |mut problem| {
                if collection.repeats(&problem) {
                    return Ok(());
                }
                if ids.contains(&hash(&problem.id)) {
                    problem.id = format!("{name}/{}", problem.id);
                }
                if !ids.insert(hash(&problem.id)) {
                    return Err(RolloutError::ProblemId {
                        path: file.path.clone(),
                        id: problem.id,
                    });
                }
                // In place of a column of that name, which would be mixed up with the files.
                problem.columns.insert(DATASET.to_owned(), Value::from(name.as_str()));
                collection.problems.push(problem)
            })?;
            collection.dropped.extend(dropped);
        }
        collection.finish()
    }

    /// Reads the problems of one file.
    ///
    /// # Errors
    ///
    /// As [`DataConfig::read`].
    pub fn read_file(&self, file: &DataFile) -> Result<ReadProblems, RolloutError> {
        let mut collection = Collection::new(self);
        let dropped = self.each(file, &mut |problem| {
            if collection.repeats(&problem) { Ok(()) } else { collection.problems.push(problem) }
        })?;
        collection.dropped.extend(dropped);
        collection.finish()
    }

    /// Hands the problems of a file to `sink`, one after the other.
    fn each(
        &self,
        file: &DataFile,
        sink: &mut dyn FnMut(Problem) -> Result<(), RolloutError>,
    ) -> Result<Option<DroppedRows>, RolloutError> {
        let columns = file.columns.as_ref().unwrap_or(&self.columns);
        let extra_columns = self.extra_columns.as_deref();
        let reader = Reader::new(columns, extra_columns, self.max_dropped_frac);
        reader.read(std::slice::from_ref(&file.path), sink)
    }

    /// The weight of each file by its name; `None` without any.
    pub fn weights(&self) -> Option<BTreeMap<String, f64>> {
        let weight = |file: &DataFile| (file.name(), file.weight.unwrap_or(1.0));
        let is_weighted = self.files.iter().any(|file| file.weight.is_some());
        is_weighted.then(|| self.files.iter().map(weight).collect())
    }

    /// Reports every value that is out of range.
    pub fn check(&self, at: &mut Violations) {
        at.share("max_dropped_frac", self.max_dropped_frac);
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

/// The problems that are being read.
struct Collection<'c> {
    problems: ProblemSetBuilder<'c>,
    /// Hashes of the questions so far, where repetitions are left out.
    seen: Option<HashSet<u128>>,
    repeated: usize,
    dropped: Vec<DroppedRows>,
}

impl<'c> Collection<'c> {
    fn new(config: &'c DataConfig) -> Self {
        let memory = config.memory_mib.saturating_mul(1 << 20);
        let problems = ProblemSetBuilder::new(memory, config.spill_dir.as_deref());
        let (repeated, dropped) = (0, Vec::new());
        Self { problems, seen: config.deduplicate.then(HashSet::new), repeated, dropped }
    }

    /// Whether a problem is left out because an earlier one has the same content.
    fn repeats(&mut self, problem: &Problem) -> bool {
        let seen = self.seen.as_mut();
        let is_repeated = seen.is_some_and(|seen| !seen.insert(problem.content_hash()));
        self.repeated += usize::from(is_repeated);
        is_repeated
    }

    fn finish(self) -> Result<ReadProblems, RolloutError> {
        let Self { problems, repeated, dropped, .. } = self;
        Ok(ReadProblems { problems: problems.finish()?, repeated, dropped })
    }
}
