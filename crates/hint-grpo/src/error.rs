//! Errors of this crate.

use std::any::Any;
use std::error::Error;
use std::fmt::Display;
use std::path::PathBuf;

use hint_dist::CollectiveError;
use hint_rollout::error::Violations;

/// A configuration is invalid; the message names every violated field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Values are out of range, or names are unknown.
    #[error("invalid configuration: {}", .0.join("; "))]
    Invalid(Vec<String>),
    /// The text is not valid TOML, or has an unknown key or type.
    #[error("cannot read the configuration: {message}")]
    Syntax {
        /// Message of the parser, with line and column.
        message: String,
    },
}

impl ConfigError {
    /// One value that is out of range.
    pub(crate) fn one(field: &str, expected: impl Display, found: impl Display) -> Self {
        Self::Invalid(vec![format!("{field}: {expected}, found {found}")])
    }
}

impl From<Violations> for ConfigError {
    fn from(found: Violations) -> Self {
        Self::Invalid(found.iter().map(ToString::to_string).collect())
    }
}

/// Errors of training.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GrpoError {
    /// Two tensors that must agree in shape do not.
    #[error("`{name}` has shape {found:?}, expected {expected:?} (shape of `{like}`)")]
    Shape {
        /// The offending tensor.
        name: &'static str,
        /// The tensor it must agree with.
        like: &'static str,
        /// Its shape.
        found: Vec<i64>,
        /// The shape it should have.
        expected: Vec<i64>,
    },

    /// A loss asked for a tensor that its input lacks.
    #[error("this loss needs `{name}`, which the loss input does not have; {fix}")]
    MissingInput {
        /// The tensor.
        name: &'static str,
        /// The remedy.
        fix: &'static str,
    },

    /// A group is too small for a group-relative baseline.
    #[error("group of problem `{problem}` has {found} completions, at least {min} are needed")]
    GroupTooSmall {
        /// Problem id.
        problem: String,
        /// Completions present.
        found: usize,
        /// Completions needed.
        min: usize,
    },

    /// A sample has a column that does not fit it.
    #[error("sample {index} has {found} values of `{column}`, expected {expected}")]
    SampleColumn {
        /// Index of the sample in its batch.
        index: usize,
        /// The column.
        column: &'static str,
        /// Its length.
        found: usize,
        /// The length that fits.
        expected: usize,
    },

    /// A sample names a group that its batch does not have.
    #[error("sample {index} is of group {found}, which must be below {groups}")]
    SampleGroup {
        /// Index of the sample in its batch.
        index: usize,
        /// The group that it names.
        found: usize,
        /// Groups of the batch.
        groups: usize,
    },

    /// A weight of hinted samples returned another number of factors than there are.
    #[error("the hinted weight `{name}` returned {found} factors, expected {expected}")]
    HintedFactors {
        /// The weight.
        name: String,
        /// Factors returned.
        found: usize,
        /// Samples, or tokens of all of them.
        expected: usize,
    },

    /// An estimator returned another number of advantages than there are completions.
    #[error(
        "the advantage estimator returned {found} advantages for the {expected} completions of problem `{problem}`"
    )]
    AdvantageCount {
        /// Problem id.
        problem: String,
        /// Advantages returned.
        found: usize,
        /// Completions of the group.
        expected: usize,
    },

    /// An estimator returned advantages for another number of groups than the batch has.
    #[error(
        "the advantage estimator returned advantages for {found} groups, the batch has {expected}"
    )]
    AdvantageGroups {
        /// Groups returned.
        found: usize,
        /// Groups of the batch.
        expected: usize,
    },

    /// A number that must be finite is not.
    #[error(
        "{what} is {value} in step {step}; the weights are unchanged since the last finite step"
    )]
    NotFinite {
        /// The quantity.
        what: &'static str,
        /// Its value.
        value: f64,
        /// The step, counted from 1.
        step: u64,
    },

    /// Gradients were outliers too many times in a row.
    #[error(
        "the gradient norm is {norm} in step {step}, against a median of {median}, and {in_a_row} optimizer steps in a row were skipped; lower the learning rate, or raise `optimizer.guard.outlier_factor`"
    )]
    GradientOutlier {
        /// The norm of the last one.
        norm: f64,
        /// The median of the steps that were taken.
        median: f64,
        /// Optimizer steps skipped.
        in_a_row: u64,
        /// The step, counted from 1.
        step: u64,
    },

    /// A parameter group cannot be applied.
    #[error("the parameter group `{pattern}` {problem}")]
    ParameterGroup {
        /// Its pattern.
        pattern: String,
        /// The fault.
        problem: String,
    },

    /// A group was sampled with weights that are too old, and the run does not continue without it.
    #[error(
        "the group of problem `{problem}` was sampled {staleness} weight versions ago, at most {max_staleness} are allowed; sample with newer weights, or set `run.stale_groups` to \"drop\""
    )]
    Stale {
        /// Problem id.
        problem: String,
        /// Weight versions between the oldest of its completions and now.
        staleness: u64,
        /// Weight versions that are allowed.
        max_staleness: u64,
    },

    /// No problem is left to train on.
    #[error("no problems to train on")]
    NoProblems,

    /// A configuration is invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),

    /// A file of the run could not be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The place.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },

    /// A file of the run could not be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The place.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },

    /// Another process writes to the folder of the run.
    #[error("`{}` is in use by {owner}; wait for it, or choose another folder", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
        /// The process and its host.
        owner: String,
    },

    /// A checkpoint is damaged or not one of ours.
    #[error("checkpoint `{}`: {problem}", path.display())]
    Checkpoint {
        /// The checkpoint's folder.
        path: PathBuf,
        /// The fault, and the remedy.
        problem: String,
    },

    /// A checkpoint lost the state of its optimizer on purpose, by
    /// [`RunDir::remove_optimizer`](crate::RunDir::remove_optimizer).
    #[error(
        "checkpoint `{}` takes no more steps, because the state of its optimizer was removed when the run was done; start a \
         new run from its weights, with its path as the model",
        path.display()
    )]
    NoOptimizer {
        /// The checkpoint's folder.
        path: PathBuf,
    },

    /// There is no checkpoint to resume from.
    #[error("no checkpoint under `{}`; start the run without resuming", path.display())]
    NoCheckpoint {
        /// The folder that was searched.
        path: PathBuf,
    },

    /// There is no checkpoint of the step that was asked for.
    #[error("no checkpoint of step {step} under `{}`; there are: {}", path.display(), available.iter().map(u64::to_string).collect::<Vec<_>>().join(", "))]
    NoCheckpointAt {
        /// The folder that was searched.
        path: PathBuf,
        /// The step asked for.
        step: u64,
        /// The steps that have a complete checkpoint.
        available: Vec<u64>,
    },

    /// A checkpoint belongs to a run with another configuration or other problems.
    #[error("checkpoint `{}` was written by another run: {}", path.display(), differences.join("; "))]
    Mismatch {
        /// The checkpoint's folder.
        path: PathBuf,
        /// `key: checkpoint's value, this run's value` for each difference.
        differences: Vec<String>,
    },

    /// libtorch refused an operation.
    #[error("{operation} failed in libtorch")]
    Torch {
        /// The operation that failed.
        operation: &'static str,
        /// Why.
        #[source]
        source: tch::TchError,
    },

    /// The policy failed.
    #[error(transparent)]
    Policy(#[from] hint_policy::PolicyError),

    /// Sampling or scoring failed.
    #[error(transparent)]
    Rollout(#[from] hint_rollout::RolloutError),

    /// The Affinity could not be computed.
    #[error(transparent)]
    Affinity(#[from] hint_affinity::AffinityError),

    /// Another process of the run has ended, is late or gave up. The same on every rank.
    #[error(transparent)]
    Collective(#[from] hint_dist::CollectiveError),

    /// A process of the run has something else than the first one.
    #[error(
        "rank {rank} differs from rank 0 in {what} ({found}, not {expected}); start all processes alike, on machines of one \
         kind; parts of your own must decide alike in all of them"
    )]
    Diverged {
        /// Everything that differs; values are of the first.
        what: String,
        /// The first rank that differs.
        rank: usize,
        /// That of rank 0.
        expected: String,
        /// That of the other rank.
        found: String,
    },

    /// Something panicked in a step. A message with its place is on standard error.
    #[error("a part of the step panicked: {message}")]
    Panicked {
        /// Message of the panic.
        message: String,
    },

    /// An error of a user's own part.
    #[error("{part} failed")]
    Other {
        /// The part, e.g. `"loss"`.
        part: &'static str,
        /// The user's error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl GrpoError {
    /// Wraps an error of a user's own part.
    pub fn other(
        part: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Other { part, source: source.into() }
    }

    /// A panic that was caught.
    pub(crate) fn panicked(panic: &(dyn Any + Send)) -> Self {
        let message = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let message = message.or_else(|| panic.downcast_ref::<String>().cloned());
        Self::Panicked { message: message.unwrap_or_default() }
    }

    /// The error of a policy with another index of the row that it names, see
    /// [`PolicyError::renumbered`](hint_policy::PolicyError::renumbered).
    pub(crate) fn renumbered(self, rows: &[usize]) -> Self {
        match self {
            Self::Policy(error) => Self::Policy(error.renumbered(rows)),
            other => other,
        }
    }

    /// The error and its causes, in one line.
    pub(crate) fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut source = self.source();
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        text
    }

    /// Whether an exchange with other processes failed.
    pub(crate) fn comes_from_others(&self) -> bool {
        let mut cause = self.source();
        while let Some(error) = cause {
            if error.is::<CollectiveError>() {
                return true;
            }
            cause = error.source();
        }
        matches!(self, Self::Collective(_))
    }

    /// The error of a libtorch call that failed in `operation`:
    /// [`PolicyError::OutOfMemory`](hint_policy::PolicyError::OutOfMemory) if an allocator did, else
    /// [`GrpoError::Torch`].
    pub(crate) fn torch(operation: &'static str, source: tch::TchError) -> Self {
        match hint_policy::PolicyError::torch(operation, source) {
            hint_policy::PolicyError::Torch { source, .. } => Self::Torch { operation, source },
            other => Self::Policy(other),
        }
    }
}
