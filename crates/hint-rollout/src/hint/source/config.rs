//! The source axis: where hints come from, as configuration.

use serde::{Deserialize, Serialize};

use crate::data::Problem;
use crate::engine::Sampling;
use crate::error::{RolloutError, Violations};
use crate::hint::provider::HintProvider;
use crate::hint::source::control::{Placebo, Unrelated};
use crate::hint::source::dataset::DatasetHints;
use crate::hint::source::demonstration::Demonstrations;
use crate::hint::source::masked_solution::MaskedSolution;
use crate::hint::source::peer_success::PeerSuccess;
use crate::hint::source::self_hint::SelfHints;
use crate::hint::source::solution_prefix::{PrefixUnit, SolutionPrefix};
use crate::hint::source::teacher::TeacherOptions;
use crate::hint::source::wrong_answers::WrongAnswers;
use crate::net::ApiKey;
use crate::run::{no_fields, state};

/// Choice of the [`HintProvider`]. The set of providers is open; these can be named in a
/// configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum HintSourceConfig {
    /// [`DatasetHints`]: the Meta-Hint of the problem.
    Dataset {
        /// Columns with one hint level each, the lowest level first, instead of the problem's own
        /// hint. Each level holds the ones before it.
        #[serde(default)]
        columns: Vec<String>,
    },
    /// [`SolutionPrefix`]: the beginning of the reference solution.
    SolutionPrefix {
        /// Unit that the solution is cut into.
        #[serde(default)]
        unit: PrefixUnit,
        /// Whether it joins the question instead of standing where the completion begins.
        #[serde(default)]
        in_prompt: bool,
    },
    /// [`MaskedSolution`]: the reference solution with its numbers left out.
    MaskedSolution {
        /// Placeholder for a number.
        #[serde(default = "blank")]
        placeholder: String,
    },
    /// [`TeacherHints`](crate::hint::source::teacher::TeacherHints): another model writes the hint.
    Teacher(Box<TeacherOptions>),
    /// [`Demonstrations`]: the reference solution, or another column.
    Demonstration {
        /// The column; the problem's solution if it is not given.
        #[serde(default)]
        column: Option<String>,
    },
    /// [`SelfHints`]: the policy writes the hint, given the reference solution.
    SelfHint {
        /// Number of hint levels.
        levels: usize,
        /// Sampling of hints.
        #[serde(default = "short")]
        sampling: Sampling,
    },
    /// [`WrongAnswers`]: the answers that the plain completions gave.
    #[serde(deserialize_with = "no_fields")]
    WrongAnswers,
    /// [`PeerSuccess`]: a correct completion of the group.
    #[serde(deserialize_with = "no_fields")]
    PeerSuccess,
    /// [`Placebo`], a control: the hint of another problem of the step.
    Placebo {
        /// The source of those hints; the data set if it is not given.
        #[serde(default)]
        of: Box<Self>,
    },
    /// [`Unrelated`], a control: unrelated text, as long as the problem's own hint.
    Unrelated {
        /// The source of that hint; the data set if it is not given.
        #[serde(default)]
        of: Box<Self>,
    },
}

fn blank() -> String {
    crate::hint::leak::PLACEHOLDER.to_owned()
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
    /// The `type` that names it in a configuration; a control also names the source behind it.
    pub fn name(&self) -> String {
        match self {
            Self::Placebo { of } | Self::Unrelated { of } => {
                format!("{} of {}", state::tag(self), of.name())
            }
            _ => state::tag(self),
        }
    }

    /// The name of its provider.
    pub(crate) fn provider_name(&self) -> String {
        match self {
            Self::Dataset { columns } => DatasetHints::levels(columns.clone()).name(),
            Self::SolutionPrefix { unit, in_prompt } => prefix(*unit, *in_prompt).name(),
            Self::MaskedSolution { placeholder } => masked(placeholder).name(),
            Self::Teacher(options) => options.name(),
            Self::Demonstration { column } => demonstrations(column.as_deref()).name(),
            Self::SelfHint { levels, sampling } => SelfHints::new(*levels, sampling.clone()).name(),
            Self::WrongAnswers => WrongAnswers.name(),
            Self::PeerSuccess => PeerSuccess.name(),
            Self::Placebo { of } => format!("placebo of {}", of.provider_name()),
            Self::Unrelated { of } => format!("unrelated of {}", of.provider_name()),
        }
    }

    /// Levels that exist for `problem`, as far as the problem alone shows. There is one entry per
    /// column of a data set, and one in all for other sources.
    pub fn available(&self, problem: &Problem) -> Vec<bool> {
        let is_text = |column: &String| matches!(problem.hint_text(column), Ok(Some(_)));
        match self {
            Self::Dataset { columns } if columns.is_empty() => vec![problem.hint.is_some()],
            Self::Dataset { columns } => columns.iter().map(is_text).collect(),
            Self::Demonstration { column: Some(column) } => vec![is_text(column)],
            Self::SolutionPrefix { .. }
            | Self::MaskedSolution { .. }
            | Self::Demonstration { column: None }
            | Self::SelfHint { .. } => vec![problem.solution.is_some()],
            Self::Teacher(_) | Self::WrongAnswers | Self::PeerSuccess => vec![true],
            Self::Placebo { of } | Self::Unrelated { of } => of.available(problem),
        }
    }

    /// Whether its hints are there before the run, and nothing has to be asked for them.
    pub(crate) fn is_known(&self) -> bool {
        match self {
            Self::Dataset { .. }
            | Self::SolutionPrefix { .. }
            | Self::MaskedSolution { .. }
            | Self::Demonstration { .. } => true,
            Self::Unrelated { of } => of.is_known(),
            Self::Teacher(_)
            | Self::SelfHint { .. }
            | Self::WrongAnswers
            | Self::PeerSuccess
            | Self::Placebo { .. } => false,
        }
    }

    /// Whether a server is asked for its hints.
    pub(crate) fn asks_server(&self) -> bool {
        match self {
            Self::Teacher(_) => true,
            Self::Placebo { of } | Self::Unrelated { of } => of.asks_server(),
            _ => false,
        }
    }

    /// Whether its hints join the question, so that they can teach plain completions.
    pub fn is_guidance(&self) -> bool {
        match self {
            Self::SolutionPrefix { in_prompt, .. } => *in_prompt,
            Self::Demonstration { .. } => false,
            Self::Placebo { of } | Self::Unrelated { of } => of.is_guidance(),
            _ => true,
        }
    }

    /// The provider. `key` gives the value of an environment variable, for a teacher that needs a key.
    /// Libraries read no environment, so a program hands it over here. Programs without a teacher pass
    /// `|_| None`.
    ///
    /// # Errors
    ///
    /// [`RolloutError::Config`] for a variable that is not set, and for a teacher without the feature
    /// `teacher`.
    pub fn build(
        &self,
        key: impl Fn(&str) -> Option<ApiKey>,
    ) -> Result<Box<dyn HintProvider>, RolloutError> {
        self.build_with(&key)
    }

    fn build_with(
        &self,
        key: &dyn Fn(&str) -> Option<ApiKey>,
    ) -> Result<Box<dyn HintProvider>, RolloutError> {
        Ok(match self {
            Self::Dataset { columns } => Box::new(DatasetHints::levels(columns.clone())),
            Self::SolutionPrefix { unit, in_prompt } => Box::new(prefix(*unit, *in_prompt)),
            Self::MaskedSolution { placeholder } => Box::new(masked(placeholder)),
            Self::Teacher(options) => teacher(options, key)?,
            Self::Demonstration { column } => Box::new(demonstrations(column.as_deref())),
            Self::SelfHint { levels, sampling } => {
                Box::new(SelfHints::new(*levels, sampling.clone()))
            }
            Self::WrongAnswers => Box::new(WrongAnswers),
            Self::PeerSuccess => Box::new(PeerSuccess),
            Self::Placebo { of } => Box::new(Placebo::new(of.build_with(key)?)),
            Self::Unrelated { of } => Box::new(Unrelated::new(of.build_with(key)?)),
        })
    }

    pub(crate) fn check(&self, at: &mut Violations) {
        match self {
            Self::Teacher(options) => options.check(at),
            Self::SelfHint { levels, sampling } => {
                at.at_least("levels", *levels, 1);
                at.within("sampling", |at| sampling.check(at));
            }
            Self::Placebo { of } | Self::Unrelated { of } => at.within("of", |at| {
                of.check(at);
                let is_control = matches!(
                    **of,
                    Self::Placebo { .. }
                        | Self::Unrelated { .. }
                        | Self::WrongAnswers
                        | Self::PeerSuccess
                );
                let expected = "must be a source that knows the problem, and no control";
                at.require(!is_control, "type", expected, of.name());
            }),
            _ => {}
        }
    }
}

fn prefix(unit: PrefixUnit, in_prompt: bool) -> SolutionPrefix {
    let prefix = SolutionPrefix::new(unit);
    if in_prompt { prefix.in_prompt() } else { prefix }
}

fn masked(placeholder: &str) -> MaskedSolution {
    MaskedSolution::new().with_placeholder(placeholder)
}

fn demonstrations(column: Option<&str>) -> Demonstrations {
    column.map_or_else(Demonstrations::new, Demonstrations::column)
}

#[cfg(feature = "teacher")]
fn teacher(
    options: &TeacherOptions,
    key: &dyn Fn(&str) -> Option<ApiKey>,
) -> Result<Box<dyn HintProvider>, RolloutError> {
    let missing = |name: &String| {
        let mut at = Violations::new();
        let expected = "must name an environment variable that is set";
        at.require(false, "source.api_key_env", expected, format_args!("`{name}`"));
        at
    };
    let key = match &options.api_key_env {
        Some(name) => Some(key(name).ok_or_else(|| missing(name))?),
        None => None,
    };
    Ok(Box::new(crate::hint::source::teacher::TeacherHints::new(options.clone(), key)?))
}

#[cfg(not(feature = "teacher"))]
fn teacher(
    options: &TeacherOptions,
    _key: &dyn Fn(&str) -> Option<ApiKey>,
) -> Result<Box<dyn HintProvider>, RolloutError> {
    let mut at = Violations::new();
    let expected = "must not be `teacher` unless hint-rollout is built with its feature `teacher`";
    at.require(false, "source.type", expected, format_args!("a teacher at `{}`", options.endpoint));
    Err(at.into())
}
