//! Hints from the columns of the data set.

use crate::data::{Hint, Problem};
use crate::error::RolloutError;
use crate::hint::provider::{HintProvider, HintRequest};

/// Hints from the data set.
///
/// ```
/// use hint_rollout::{DatasetHints, HintProvider, Problem};
///
/// // Level 1 is the abstract hint; level 2 adds the direct one.
/// let columns = ["abstract_hint", "direct_hint"].map(str::to_owned);
/// let hints = DatasetHints::levels(columns.to_vec());
/// assert_eq!(hints.levels(&Problem::new("trays", "Rest?", "16")), Some(2));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DatasetHints {
    columns: Vec<String>,
}

impl DatasetHints {
    /// Hints from [`Problem::hint`], which the reader fills from `abstract_hint` or `hint`. A
    /// problem without one gets none.
    pub const fn new() -> Self {
        Self { columns: Vec::new() }
    }

    /// Hints from another column; `abstract_hint` and `hint` are the problem's own, and `solution` is its solution. A
    /// problem without that column is an error, since a misspelt column would otherwise switch hints off without a word.
    pub fn column(name: impl Into<String>) -> Self {
        Self::levels(vec![name.into()])
    }

    /// Hints from several columns, the lowest level first. Each level holds the columns up to its own,
    /// one a line.
    pub const fn levels(columns: Vec<String>) -> Self {
        Self { columns }
    }
}

impl HintProvider for DatasetHints {
    fn name(&self) -> String {
        format!("{self:?}")
    }

    fn hint(&self, request: &HintRequest<'_>) -> Result<Option<Hint>, RolloutError> {
        let problem = request.problem;
        if self.columns.is_empty() {
            return Ok(problem.hint.as_ref().map(Hint::new));
        }
        let mut texts = Vec::new();
        for column in &self.columns[..request.level.of(self.columns.len())] {
            texts.extend(problem.hint_text(column)?);
        }
        Ok((!texts.is_empty()).then(|| Hint::new(texts.join("\n"))))
    }

    fn levels(&self, _problem: &Problem) -> Option<usize> {
        Some(self.columns.len().max(1))
    }
}
