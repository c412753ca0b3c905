//! The contract of a source of hints, and closures that fulfill it.

use serde_json::Value;

use crate::data::{Hint, HintLevel, Problem};
use crate::error::RolloutError;
use crate::hint::writer::HintWriter;
use crate::run::{RunProgress, Seed};
use crate::sample::Rollout;

/// Inputs of a provider.
///
/// ```
/// use hint_rollout::{DatasetHints, HintProvider, HintRequest, Problem};
///
/// let problem = Problem::new("trays", "Rest?", "16").with_hint("Find the total first.");
/// let hint = DatasetHints::new().hint(&HintRequest::new(&problem))?;
/// assert_eq!(hint.map(|hint| hint.text).as_deref(), Some("Find the total first."));
/// # Ok::<(), hint_rollout::RolloutError>(())
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct HintRequest<'a> {
    /// The problem, with its data set columns.
    pub problem: &'a Problem,
    /// The rollouts that failed, for providers that adapt to the mistake.
    pub failed: &'a [Rollout],
    /// The problems of the step, this one among them.
    pub problems: &'a [&'a Problem],
    /// Level that is asked for.
    pub level: HintLevel,
    /// Number of hints that this problem already got in this collection, at other levels.
    pub round: usize,
    /// Number of requests for this hint that were rejected because it gave something away.
    pub retry: usize,
    /// Progress of the run.
    pub progress: RunProgress,
    /// Seed of everything random about the hint. It is a function of the run, the step, the
    /// problem's place in the batch and the round.
    pub seed: Seed,
}

impl<'a> HintRequest<'a> {
    /// A request for the whole hint, without failed rollouts, outside a run.
    pub const fn new(problem: &'a Problem) -> Self {
        Self {
            problem,
            failed: &[],
            problems: &[],
            level: HintLevel::FULL,
            round: 0,
            retry: 0,
            progress: RunProgress::new(0, 0),
            seed: Seed::new(0),
        }
    }

    /// Adds the rollouts that failed.
    #[must_use]
    pub const fn with_failed(mut self, failed: &'a [Rollout]) -> Self {
        self.failed = failed;
        self
    }

    /// Adds the problems of the step.
    #[must_use]
    pub const fn with_problems(mut self, problems: &'a [&'a Problem]) -> Self {
        self.problems = problems;
        self
    }

    /// Asks for another level.
    #[must_use]
    pub const fn with_level(mut self, level: HintLevel) -> Self {
        self.level = level;
        self
    }

    /// Sets how often the problem was already hinted.
    #[must_use]
    pub const fn with_round(mut self, round: usize) -> Self {
        self.round = round;
        self
    }

    /// Sets how often this hint was rejected; each time has a seed of its own, derived from the
    /// first one.
    #[must_use]
    pub const fn with_retry(mut self, retry: usize) -> Self {
        if retry > 0 {
            self.seed = self.seed.named("retry").child(retry as u64);
        }
        self.retry = retry;
        self
    }

    /// Sets where the run is.
    #[must_use]
    pub const fn with_progress(mut self, progress: RunProgress) -> Self {
        self.progress = progress;
        self
    }

    /// Sets the seed.
    #[must_use]
    pub const fn with_seed(mut self, seed: Seed) -> Self {
        self.seed = seed;
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
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no source of hints",
    note = "a closure becomes one through `hint_rollout::hints_from_fn(\"name\", closure)`"
)]
pub trait HintProvider: Send + Sync {
    /// Its name, for the record of a run: a run is not resumed with another source. By default the
    /// name of its type.
    fn name(&self) -> String {
        std::any::type_name::<Self>().to_owned()
    }

    /// The hint, or `None` without one; the plain group then stays unchanged.
    ///
    /// # Errors
    ///
    /// Any error that keeps a hint from being found although there should be one. A user's own
    /// provider wraps its error with [`RolloutError::other`].
    fn hint(&self, request: &HintRequest<'_>) -> Result<Option<Hint>, RolloutError>;

    /// The hints of several problems, one for each request and in order. The collector calls this.
    /// Override it to ask for many at once, or to let the policy write.
    ///
    /// # Errors
    ///
    /// As [`HintProvider::hint`].
    fn hints(
        &self,
        requests: &[HintRequest<'_>],
        writer: &mut dyn HintWriter,
    ) -> Result<Vec<Option<Hint>>, RolloutError> {
        let _ = writer;
        requests.iter().map(|request| self.hint(request)).collect()
    }

    /// Number of distinct hint levels that there are for `problem`, or `None` when any share can
    /// be given. Providers of one hint keep the default.
    fn levels(&self, problem: &Problem) -> Option<usize> {
        let _ = problem;
        Some(1)
    }

    /// The complete state that a resumed run needs to continue with the same hints: caches, counts.
    /// It goes into every checkpoint as JSON. A provider whose hints depend on the request alone
    /// keeps the default.
    fn state(&self) -> Value {
        Value::Null
    }

    /// Restores a value of [`HintProvider::state`].
    ///
    /// # Errors
    ///
    /// [`RolloutError::State`] for a state that is not one of this provider's.
    fn load_state(&self, state: &Value) -> Result<(), RolloutError> {
        crate::run::state::expect_none("hint provider", state)
    }
}

/// A pointer to a provider is one.
macro_rules! forward_to_provider {
    ($($pointer:ty),*) => {$(
        impl<P: HintProvider + ?Sized> HintProvider for $pointer {
            fn name(&self) -> String {
                (**self).name()
            }

            fn hint(&self, request: &HintRequest<'_>) -> Result<Option<Hint>, RolloutError> {
                (**self).hint(request)
            }

            fn hints(
                &self,
                requests: &[HintRequest<'_>],
                writer: &mut dyn HintWriter,
            ) -> Result<Vec<Option<Hint>>, RolloutError> {
                (**self).hints(requests, writer)
            }

            fn levels(&self, problem: &Problem) -> Option<usize> {
                (**self).levels(problem)
            }

            fn state(&self) -> Value {
                (**self).state()
            }

            fn load_state(&self, state: &Value) -> Result<(), RolloutError> {
                (**self).load_state(state)
            }
        }
    )*};
}

forward_to_provider!(Box<P>, &P, std::sync::Arc<P>);

/// Turns a closure into a [`HintProvider`]. The name goes into the record of a run.
pub fn hints_from_fn<F>(name: impl Into<String>, hint: F) -> FnHints<F>
where
    F: Fn(&HintRequest<'_>) -> Option<Hint> + Send + Sync,
{
    FnHints { name: name.into(), hint }
}

/// A closure as a [`HintProvider`]; made by [`hints_from_fn`].
pub struct FnHints<F> {
    name: String,
    hint: F,
}

impl<F> std::fmt::Debug for FnHints<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FnHints").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<F> HintProvider for FnHints<F>
where
    F: Fn(&HintRequest<'_>) -> Option<Hint> + Send + Sync,
{
    fn name(&self) -> String {
        self.name.clone()
    }

    fn hint(&self, request: &HintRequest<'_>) -> Result<Option<Hint>, RolloutError> {
        Ok((self.hint)(request))
    }
}
