//! Hints and where they come from.

use serde_json::Value;

use serde::{Deserialize, Serialize};

use crate::{Problem, Rollout, RolloutError, RunProgress, Sampling, Seed};

/// Help with one problem. A Meta-Hint reveals neither intermediate values nor the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Hint {
    /// The text. Where it goes is up to the kind.
    pub text: String,
    /// What the text is.
    pub kind: HintKind,
    /// What it is meant to reveal, which the [leak guard](crate::LeakGuard) lets pass.
    #[serde(default)]
    pub reveals: Reveals,
}

impl Hint {
    /// Guidance that joins the question and reveals nothing.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), kind: HintKind::Guidance, reveals: Reveals::Nothing }
    }

    /// The beginning of a solution, which the completion continues. It reveals steps.
    pub fn prefix(text: impl Into<String>) -> Self {
        Self { text: text.into(), kind: HintKind::Prefix, reveals: Reveals::Steps }
    }

    /// A whole completion, which takes part in the group as it is. It reveals the answer.
    pub fn demonstration(text: impl Into<String>) -> Self {
        Self { text: text.into(), kind: HintKind::Demonstration, reveals: Reveals::Answer }
    }

    /// Sets what it is meant to reveal.
    #[must_use]
    pub const fn revealing(mut self, reveals: Reveals) -> Self {
        self.reveals = reveals;
        self
    }
}

/// What a hint is meant to reveal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reveals {
    /// Neither values of steps nor the answer: a Meta-Hint.
    #[default]
    Nothing,
    /// Steps of the solution, but not the answer.
    Steps,
    /// Everything.
    Answer,
}

/// What the text of a [`Hint`] is, and so where it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HintKind {
    /// Joins the question in the prompt, by the format's [`HintTemplate`](crate::HintTemplate).
    Guidance,
    /// The beginning of a solution. It stands after the plain prompt, where the policy's own text
    /// begins, and the completion continues it.
    Prefix,
    /// A whole completion of the plain prompt. Nothing is sampled.
    Demonstration,
}

/// How much of its help a provider is asked for: a share in `[0, 1]`, 1 for all of it.
///
/// A provider of `n` distinct levels gives number [`HintLevel::of`]`(n)`; one that can give any share
/// (such as a solution prefix) gives [`HintLevel::share`].
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct HintLevel(f64);

impl HintLevel {
    /// All the help there is.
    pub const FULL: Self = Self(1.0);

    /// A share of the help; what is outside `[0, 1]` (or not a number) becomes the nearest bound
    /// (or 0).
    pub const fn new(share: f64) -> Self {
        if share.is_nan() { Self(0.0) } else { Self(share.clamp(0.0, 1.0)) }
    }

    /// Level `number` of `count`, from 1; 0 is no help.
    pub fn number(number: usize, count: usize) -> Self {
        Self::new(number as f64 / count.max(1) as f64)
    }

    /// The share, in `[0, 1]`.
    pub const fn share(self) -> f64 {
        self.0
    }

    /// The level's number out of `count`: the smallest whose share is at least this one. From 1 to
    /// `count`; 0 for no help at all.
    pub fn of(self, count: usize) -> usize {
        // `number / count * count` may come out a rounding error above `number`.
        let exact = self.0 * count as f64 - 1e-9;
        (0..=count).find(|&number| number as f64 >= exact).unwrap_or(count)
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
    /// How much help is asked for.
    pub level: HintLevel,
    /// How often this problem was already helped in this collection, at other levels.
    pub round: usize,
    /// How often this hint was already asked for and rejected, because it gave something away.
    pub retry: usize,
    /// Where the run is.
    pub progress: RunProgress,
    /// Seed of everything random about the hint: a function of the run, the step, the problem's
    /// place in the batch and the round.
    pub seed: Seed,
}

impl<'a> HintRequest<'a> {
    /// A request for all the help there is, without failed rollouts, outside a run.
    pub const fn new(problem: &'a Problem) -> Self {
        Self {
            problem,
            failed: &[],
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

    /// Asks for another level.
    #[must_use]
    pub const fn with_level(mut self, level: HintLevel) -> Self {
        self.level = level;
        self
    }

    /// Sets how often the problem was already helped.
    #[must_use]
    pub const fn with_round(mut self, round: usize) -> Self {
        self.round = round;
        self
    }

    /// Sets how often this hint was rejected; each time has a seed of its own, derived from that of
    /// the first.
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

/// A text that the policy is asked to write.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct WriteRequest {
    /// What it is asked, as the message of a user.
    pub prompt: String,
    /// How to sample.
    pub sampling: Sampling,
    /// Seed.
    pub seed: Seed,
}

impl WriteRequest {
    /// A request.
    pub fn new(prompt: impl Into<String>, sampling: Sampling, seed: Seed) -> Self {
        Self { prompt: prompt.into(), sampling, seed }
    }
}

/// The policy as a writer: what self-hints are made with. The [`Collector`](crate::Collector) hands
/// providers its own engine.
pub trait HintWriter {
    /// One text for each request, in order.
    ///
    /// # Errors
    ///
    /// Errors of the engine and of the prompt format.
    fn write(&mut self, requests: &[WriteRequest]) -> Result<Vec<String>, RolloutError>;

    /// The beginning of `text`: that share of the tokens which the policy reads it as, cut back to a
    /// whole character.
    ///
    /// # Errors
    ///
    /// Errors of the prompt format; the default refuses.
    fn first_tokens(&mut self, text: &str, level: HintLevel) -> Result<String, RolloutError> {
        let _ = (text, level);
        let message = "it has no tokens; cut the solution at words, lines or characters";
        Err(RolloutError::other("hint writer", message))
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

    /// The hints of several problems, one for each request and in order. This is what the collector
    /// calls. Override it to ask for many at once, or to let the policy write.
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

    /// Number of distinct levels of help that there are for `problem`, or `None` when any share can
    /// be given. Providers of one hint keep the default.
    fn levels(&self, problem: &Problem) -> Option<usize> {
        let _ = problem;
        Some(1)
    }

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

/// A pointer to a provider is one.
macro_rules! forward_to_provider {
    ($($pointer:ty),*) => {$(
        impl<P: HintProvider + ?Sized> HintProvider for $pointer {
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

/// Hints from the data set.
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

    /// Hints from another column. A problem without that column is an error, since a misspelt
    /// column would otherwise switch hints off without a word.
    pub fn column(name: impl Into<String>) -> Self {
        Self::levels(vec![name.into()])
    }

    /// Hints from several columns, the least help first. Each level holds the columns up to its own,
    /// one a line.
    pub const fn levels(columns: Vec<String>) -> Self {
        Self { columns }
    }
}

impl HintProvider for DatasetHints {
    fn hint(&self, request: &HintRequest<'_>) -> Result<Option<Hint>, RolloutError> {
        let problem = request.problem;
        if self.columns.is_empty() {
            return Ok(problem.hint.as_ref().map(Hint::new));
        }
        let mut texts = Vec::new();
        for column in &self.columns[..request.level.of(self.columns.len())] {
            match problem.columns.get(column) {
                Some(Value::String(text)) => texts.push(text.as_str()),
                Some(Value::Null) => {}
                _ => return Err(RolloutError::missing_column(problem, column)),
            }
        }
        Ok((!texts.is_empty()).then(|| Hint::new(texts.join("\n"))))
    }

    fn levels(&self, _problem: &Problem) -> Option<usize> {
        Some(self.columns.len().max(1))
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
