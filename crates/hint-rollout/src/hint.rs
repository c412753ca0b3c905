//! Hints and where they come from.

use serde_json::Value;

use crate::{Problem, Rollout, RolloutError};

/// Guidance for one problem. A Meta-Hint reveals neither intermediate values nor the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Hint {
    /// The text that joins the question.
    pub text: String,
}

impl Hint {
    /// A hint.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into() }
    }
}

/// What a provider may look at.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct HintRequest<'a> {
    /// The problem, with its data set columns.
    pub problem: &'a Problem,
    /// The rollouts that failed, for providers that adapt to the mistake.
    pub failed: &'a [Rollout],
}

impl<'a> HintRequest<'a> {
    /// A request without failed rollouts.
    pub const fn new(problem: &'a Problem) -> Self {
        Self { problem, failed: &[] }
    }

    /// Adds the rollouts that failed.
    #[must_use]
    pub const fn with_failed(mut self, failed: &'a [Rollout]) -> Self {
        self.failed = failed;
        self
    }
}

/// Supplies a hint for a problem whose plain group failed.
///
/// ```
/// use hint_rollout::{Hint, HintProvider, HintRequest, RolloutError};
///
/// /// Reminds the policy of what it forgot.
/// struct Units;
///
/// impl HintProvider for Units {
///     fn hint(&self, request: &HintRequest<'_>) -> Result<Option<Hint>, RolloutError> {
///         let asks_for_length = request.problem.question.contains("how long");
///         Ok(asks_for_length.then(|| Hint::new("Bring all lengths to one unit first.")))
///     }
/// }
/// ```
pub trait HintProvider: Send + Sync {
    /// The hint, or `None` when there is none to give; the plain group is then kept as it is.
    ///
    /// # Errors
    ///
    /// Whatever keeps a hint from being found although there should be one; a user's own provider
    /// wraps its error with [`RolloutError::other`].
    fn hint(&self, request: &HintRequest<'_>) -> Result<Option<Hint>, RolloutError>;

    /// Everything a resumed run needs to go on with the same hints: caches, counts. It goes into
    /// every checkpoint as JSON. A provider whose hints depend on the request alone keeps the
    /// default.
    fn state(&self) -> Value {
        Value::Null
    }

    /// Restores what [`HintProvider::state`] returned.
    ///
    /// # Errors
    ///
    /// [`RolloutError::State`] for a state that is not one of this provider's.
    fn load_state(&self, state: &Value) -> Result<(), RolloutError> {
        crate::state::expect_none("hint provider", state)
    }
}

impl<P: HintProvider + ?Sized> HintProvider for Box<P> {
    fn hint(&self, request: &HintRequest<'_>) -> Result<Option<Hint>, RolloutError> {
        (**self).hint(request)
    }

    fn state(&self) -> Value {
        (**self).state()
    }

    fn load_state(&self, state: &Value) -> Result<(), RolloutError> {
        (**self).load_state(state)
    }
}

impl<P: HintProvider + ?Sized> HintProvider for &P {
    fn hint(&self, request: &HintRequest<'_>) -> Result<Option<Hint>, RolloutError> {
        (**self).hint(request)
    }

    fn state(&self) -> Value {
        (**self).state()
    }

    fn load_state(&self, state: &Value) -> Result<(), RolloutError> {
        (**self).load_state(state)
    }
}

impl<P: HintProvider + ?Sized> HintProvider for std::sync::Arc<P> {
    fn hint(&self, request: &HintRequest<'_>) -> Result<Option<Hint>, RolloutError> {
        (**self).hint(request)
    }

    fn state(&self) -> Value {
        (**self).state()
    }

    fn load_state(&self, state: &Value) -> Result<(), RolloutError> {
        (**self).load_state(state)
    }
}

/// Hints from the data set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DatasetHints {
    column: Option<String>,
}

impl DatasetHints {
    /// Hints from [`Problem::hint`], which the reader fills from `abstract_hint` or `hint`. A
    /// problem without one gets none.
    pub const fn new() -> Self {
        Self { column: None }
    }

    /// Hints from another column. A problem without that column is an error, since a misspelt
    /// column would otherwise switch hints off without a word.
    pub fn column(name: impl Into<String>) -> Self {
        Self { column: Some(name.into()) }
    }
}

impl HintProvider for DatasetHints {
    fn hint(&self, request: &HintRequest<'_>) -> Result<Option<Hint>, RolloutError> {
        let problem = request.problem;
        let Some(column) = &self.column else {
            return Ok(problem.hint.as_ref().map(Hint::new));
        };
        match problem.columns.get(column) {
            Some(Value::String(text)) => Ok(Some(Hint::new(text))),
            Some(Value::Null) => Ok(None),
            _ => Err(RolloutError::HintColumn {
                problem: problem.id.clone(),
                column: column.clone(),
                available: problem.columns.keys().cloned().collect::<Vec<_>>().join(", "),
            }),
        }
    }
}

/// Turns a closure into a [`HintProvider`].
pub fn hints_from_fn<F>(hint: F) -> FnHints<F>
where
    F: Fn(&HintRequest<'_>) -> Option<Hint> + Send + Sync,
{
    FnHints { hint }
}

/// A closure as a [`HintProvider`]; made by [`hints_from_fn`].
pub struct FnHints<F> {
    hint: F,
}

impl<F> std::fmt::Debug for FnHints<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FnHints").finish_non_exhaustive()
    }
}

impl<F> HintProvider for FnHints<F>
where
    F: Fn(&HintRequest<'_>) -> Option<Hint> + Send + Sync,
{
    fn hint(&self, request: &HintRequest<'_>) -> Result<Option<Hint>, RolloutError> {
        Ok((self.hint)(request))
    }
}
