//! Checks of a run's problems before its first step.

use std::collections::HashSet;
use std::fmt;

use crate::collect::collector::Collector;
use crate::collect::config::{CollectorConfig, EarlyStop};
use crate::collect::hinted::HintTrigger;
use crate::data::{HintKind, Problem, ProblemSet, Problems};
use crate::engine::{RolloutEngine as _, TooLong};
use crate::error::{RolloutError, Violations};
use crate::hint::{HintProvider, HintRequest};

/// A text that is longer than the engine holds.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TooLongText {
    /// Id of the problem.
    pub problem: String,
    /// The text that is too long.
    pub what: &'static str,
    /// Its tokens, with the tokens of the prompt.
    pub len: usize,
    /// Number of tokens that fit.
    pub limit: usize,
}

/// The plain prompt of a problem that is trained on.
const PROMPT: &str = "prompt";
const HINT: &str = "hint";
const DEMONSTRATION: &str = "demonstration";
/// A prompt of the evaluation.
const HELD_OUT: &str = "held-out prompt";
/// Everything that may be too long, in the order of a report.
const WHAT: [&str; 4] = [PROMPT, HINT, DEMONSTRATION, HELD_OUT];

/// Lengths and hints of the problems of a run. It can be displayed, in a few lines.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProblemReport {
    /// Problems to train on.
    pub problems: usize,
    /// Problems with a hint, by level; `None` where no hints are given, or by a source of a user's own.
    pub hints: Option<Vec<usize>>,
    /// Texts that are longer than the engine holds. Hints that are written during the run are not
    /// among them.
    pub too_long: Vec<TooLongText>,
    /// Treatment of these.
    pub treatment: TooLong,
}

impl ProblemReport {
    /// The problems whose prompts fit.
    ///
    /// # Errors
    ///
    /// A problem that cannot be read.
    pub fn fitting(&self, problems: &ProblemSet) -> Result<ProblemSet, RolloutError> {
        let prompts = self.too_long.iter().filter(|text| text.what == PROMPT);
        let left_out = prompts.map(|text| text.problem.as_str()).collect::<HashSet<_>>();
        if left_out.is_empty() {
            return Ok(problems.clone());
        }
        problems.filter(|problem| Ok(!left_out.contains(problem.id.as_str())))
    }
}

impl fmt::Display for ProblemReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = if self.problems == 1 { "" } else { "s" };
        match self.hints.as_deref() {
            None => write!(f, "{} problem{s}", self.problems)?,
            Some([count]) => write!(f, "{} problem{s}, {count} with a hint", self.problems)?,
            Some(levels) => {
                write!(f, "{} problem{s}, with hints of level", self.problems)?;
                for (number, count) in (1..).zip(levels) {
                    write!(f, "{} {number}: {count}", if number == 1 { "" } else { "," })?;
                }
            }
        }
        for what in WHAT {
            let of = self.too_long.iter().filter(|text| text.what == what).collect::<Vec<_>>();
            let (Some(first), Some(longest)) = (of.first(), of.iter().map(|text| text.len).max())
            else {
                continue;
            };
            let ids = of.iter().take(3).map(|text| format!("`{}`", text.problem));
            let ids = ids.collect::<Vec<_>>().join(", ");
            let (count, limit) = (of.len(), first.limit);
            let more = if count > 3 { ", …" } else { "" };
            let are = if count == 1 { " is" } else { "s are" };
            let then = match (what, self.treatment) {
                (PROMPT, _) => ", left out",
                (HINT, TooLong::TruncateHint) => ", cut to fit",
                (HINT | DEMONSTRATION, _) => ", not used",
                _ => "",
            };
            write!(
                f,
                "\n{count} {what}{are} longer than {limit} tokens (up to {longest}){then}: {ids}{more}"
            )?;
        }
        Ok(())
    }
}

impl CollectorConfig {
    /// Number of problems with hints of the configured source, by level; `None` where the trigger
    /// never fires.
    ///
    /// # Errors
    ///
    /// [`RolloutError::NoHints`] when the trigger may fire and no problem has a hint, unless
    /// [`CollectorConfig::allow_no_hints`] is on.
    pub fn check_hints(&self, problems: &dyn Problems) -> Result<Option<Vec<usize>>, RolloutError> {
        if self.trigger == HintTrigger::Never {
            return Ok(None);
        }
        self.count_hints(problems).map(Some)
    }

    fn count_hints(&self, problems: &dyn Problems) -> Result<Vec<usize>, RolloutError> {
        let mut levels: Vec<usize> = Vec::new();
        for problem in problems.iter() {
            let available = self.source.available(&*problem?);
            levels.resize(available.len(), 0);
            for (count, is_there) in levels.iter_mut().zip(available) {
                *count += usize::from(is_there);
            }
        }
        if levels.iter().all(|count| *count == 0) && !self.allow_no_hints {
            let (problems, hint_source) = (problems.len(), self.source.name());
            return Err(RolloutError::NoHints { problems, hint_source });
        }
        Ok(levels)
    }
}

impl Collector {
    /// Checks a run's problems against the configuration, without their lengths: hints, and the data
    /// sets of a mixture. Returns the number of problems with hints, by level. A run does this before
    /// its first step.
    ///
    /// # Errors
    ///
    /// As [`CollectorConfig::check_hints`]; [`RolloutError::Config`] for a mixture of data sets that are
    /// not there. The latter also for groups that are to end early where they cannot.
    pub fn check_data(&self, problems: &dyn Problems) -> Result<Option<Vec<usize>>, RolloutError> {
        let mut read = Ok(());
        Violations::check(|at| {
            at.within("rollout.selection", |at| {
                read = self.config.selection.check_problems(problems, at);
            });
        })?;
        read?;
        self.check_early_stop()?;
        match &self.own.trigger {
            _ if self.configured_hints().is_none() => Ok(None),
            Some(_) => self.config.count_hints(problems).map(Some),
            None => self.config.check_hints(problems),
        }
    }

    /// Refuses groups that end early where the engine, or another process, would not end them.
    pub(super) fn check_early_stop(&self) -> Result<(), RolloutError> {
        let Some(EarlyStop { needed }) = self.config.early_stop else { return Ok(()) };
        let is_one = self.engine.peers().is_none_or(|peers| peers.world_size() == 1);
        Violations::check(|at| {
            let (field, found) = ("rollout.early_stop", format!("needed = {needed}"));
            let expected =
                "must not be given with an engine that ends no requests, such as vLLM servers";
            at.require(self.engine.ends_requests(), field, expected, &found);
            at.require(is_one, field, "must not be given in several processes", &found);
        })?;
        Ok(())
    }

    /// The source of hints, if it is the configuration's.
    fn configured_hints(&self) -> Option<&dyn HintProvider> {
        let name = self.config.source.provider_name();
        self.hints.as_deref().filter(|provider| provider.name() == name)
    }

    /// Checks the problems of a run before its first step, as [`Collector::check_data`] does. Also
    /// checks the lengths of prompts and of existing hints.
    ///
    /// # Errors
    ///
    /// As [`Collector::check_data`]. [`RolloutError::TooLong`] when a text to train on is too long and
    /// the configuration stops for that. Errors of the prompt format.
    pub fn check_problems(
        &self,
        problems: &dyn Problems,
        held_out: &dyn Problems,
    ) -> Result<ProblemReport, RolloutError> {
        let hints = self.check_data(problems)?;
        let gives_hints = hints.is_some() && self.config.source.is_known();
        let (too_long, treatment) = (Vec::new(), self.config.too_long);
        let mut report = ProblemReport { problems: problems.len(), hints, too_long, treatment };
        let limit = self.config.longest_prompt(&*self.engine).unwrap_or(usize::MAX);
        let mut note = |problem: &Problem, what, len, limit| {
            if len > limit {
                let problem = problem.id.clone();
                report.too_long.push(TooLongText { problem, what, len, limit });
            }
        };
        for problem in problems.iter() {
            let problem = &*problem?;
            let plain = self.format.encode(problem, None)?.len();
            note(problem, PROMPT, plain, limit);
            // Sources that write or draw are asked during the run.
            let known = self.configured_hints().filter(|_| gives_hints);
            let request = HintRequest::new(problem);
            let Some(Ok(Some(hint))) = known.map(|provider| provider.hint(&request)) else {
                continue;
            };
            match hint.kind {
                HintKind::Guidance => {
                    note(problem, HINT, self.format.encode(problem, Some(&hint))?.len(), limit);
                }
                HintKind::Prefix => {
                    let prefix = self.format.encode_completion(&hint.text)?.len();
                    note(problem, HINT, plain + prefix, limit);
                }
                HintKind::Demonstration => {
                    let tokens = self.format.encode_demonstration(&hint.text)?.len();
                    let limit = self.engine.max_positions().unwrap_or(usize::MAX);
                    note(problem, DEMONSTRATION, plain + tokens, limit);
                }
            }
        }
        for problem in held_out.iter() {
            let problem = &*problem?;
            let len = self.format.encode(problem, None)?.len();
            let limit = self.engine.max_prompt_len(&self.config.sampling).unwrap_or(usize::MAX);
            note(problem, HELD_OUT, len, limit);
        }
        let stops = |text: &&TooLongText| text.what != HELD_OUT;
        match report.too_long.iter().find(stops) {
            Some(text) if self.config.too_long == TooLong::Abort => {
                let TooLongText { problem, what, len, limit } = text.clone();
                Err(RolloutError::TooLong { problem, what, len, limit })
            }
            _ => Ok(report),
        }
    }
}
