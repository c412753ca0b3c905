//! The source axis: where hints come from, as configuration.

use serde::{Deserialize, Serialize};

use crate::{
    DatasetHints, Demonstrations, HintProvider, PrefixUnit, Sampling, SelfHints, SolutionPrefix,
    WrongAnswers,
};

/// Which [`HintProvider`] to use. The set of providers is open; these can be named in a
/// configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum HintSourceConfig {
    /// [`DatasetHints`]: the Meta-Hint of the problem.
    Dataset {
        /// Columns with one level of help each, the least help first, instead of the problem's own
        /// hint. Each level holds the ones before it.
        #[serde(default)]
        columns: Vec<String>,
    },
    /// [`SolutionPrefix`]: the beginning of the reference solution.
    SolutionPrefix {
        /// What the solution is cut into.
        #[serde(default)]
        unit: PrefixUnit,
        /// Whether it joins the question instead of standing where the completion begins.
        #[serde(default)]
        in_prompt: bool,
    },
    /// [`Demonstrations`]: the reference solution, or another column.
    Demonstration {
        /// The column; the problem's solution if it is not given.
        #[serde(default)]
        column: Option<String>,
    },
    /// [`SelfHints`]: the policy writes the hint, given the reference solution.
    SelfHint {
        /// Number of levels of help.
        levels: usize,
        /// How hints are sampled.
        #[serde(default = "short")]
        sampling: Sampling,
    },
    /// [`WrongAnswers`]: the answers that the plain completions gave.
    WrongAnswers {},
}

/// Hints are short.
fn short() -> Sampling {
    Sampling { temperature: 1.0, max_completion_len: 512, ..Sampling::default() }
}

impl Default for HintSourceConfig {
    /// The Meta-Hints of the data set.
    fn default() -> Self {
        Self::Dataset { columns: Vec::new() }
    }
}

impl HintSourceConfig {
    /// The provider.
    pub fn build(&self) -> Box<dyn HintProvider> {
        match self {
            Self::Dataset { columns } => Box::new(DatasetHints::levels(columns.clone())),
            Self::SolutionPrefix { unit, in_prompt: false } => Box::new(SolutionPrefix::new(*unit)),
            Self::SolutionPrefix { unit, in_prompt: true } => {
                Box::new(SolutionPrefix::new(*unit).in_prompt())
            }
            Self::Demonstration { column: None } => Box::new(Demonstrations::new()),
            Self::Demonstration { column: Some(column) } => {
                Box::new(Demonstrations::column(column.clone()))
            }
            Self::SelfHint { levels, sampling } => {
                Box::new(SelfHints::new(*levels, sampling.clone()))
            }
            Self::WrongAnswers {} => Box::new(WrongAnswers),
        }
    }
}
