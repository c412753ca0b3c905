//! Whole solutions as hints.

use crate::data::Hint;
use crate::error::RolloutError;
use crate::hint::provider::{HintProvider, HintRequest};

/// The reference solution, or the text of another column, as a completion of its own. A problem
/// without a solution gets none; one without the named column is an error.
///
/// ```
/// use hint_rollout::data::HintKind;
/// use hint_rollout::hint::source::Demonstrations;
/// use hint_rollout::{HintProvider, HintRequest, Problem};
///
/// let problem = Problem::new("p1", "2 + 2?", "4").with_solution("2 and 2 are 4.");
/// let hint = Demonstrations::new().hint(&HintRequest::new(&problem))?.expect("it has a solution");
/// assert_eq!((hint.kind, hint.text.as_str()), (HintKind::Demonstration, "2 and 2 are 4."));
/// # Ok::<(), hint_rollout::RolloutError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Demonstrations {
    column: Option<String>,
}

impl Demonstrations {
    /// Demonstrations from [`Problem::solution`](crate::data::Problem::solution).
    pub const fn new() -> Self {
        Self { column: None }
    }

    /// Demonstrations from another column.
    pub fn column(name: impl Into<String>) -> Self {
        Self { column: Some(name.into()) }
    }
}

impl HintProvider for Demonstrations {
    fn name(&self) -> String {
        format!("{self:?}")
    }

    fn hint(&self, request: &HintRequest<'_>) -> Result<Option<Hint>, RolloutError> {
        let problem = request.problem;
        let Some(column) = &self.column else {
            return Ok(problem.solution.as_ref().map(Hint::demonstration));
        };
        Ok(problem.hint_text(column)?.map(Hint::demonstration))
    }
}
