//! What is known about the problems of a run before its first step.

use std::fmt;

use crate::collect::collector::Collector;
use crate::collect::hinted::HintTrigger;
use crate::data::{HintKind, Problem};
use crate::engine::TooLong;
use crate::error::RolloutError;
use crate::hint::HintRequest;

/// A text that is longer than the engine holds.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TooLongText {
    /// Id of the problem.
    pub problem: String,
    /// `"prompt"`, `"hint"` or `"demonstration"`.
    pub what: &'static str,
    /// Its tokens, with those of the prompt.
    pub len: usize,
    /// How many fit.
    pub limit: usize,
}

/// Lengths and hints of the problems of a run. It can be displayed, in a few lines.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProblemReport {
    /// How many problems there are.
    pub problems: usize,
    /// Problems that have a hint, by level; `None` without hints, or with a source of a user's own.
    pub hints: Option<Vec<usize>>,
    /// What is longer than the engine holds. Hints that are written during the run are not among it.
    pub too_long: Vec<TooLongText>,
}

impl fmt::Display for ProblemReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.hints.as_deref() {
            None => write!(f, "{} problems", self.problems)?,
            Some([count]) => write!(f, "{} problems, {count} with a hint", self.problems)?,
            Some(levels) => {
                write!(f, "{} problems, with hints of level", self.problems)?;
                for (number, count) in (1..).zip(levels) {
                    write!(f, "{} {number}: {count}", if number == 1 { "" } else { "," })?;
                }
            }
        }
        for what in ["prompt", "hint", "demonstration"] {
            let of = self.too_long.iter().filter(|text| text.what == what).collect::<Vec<_>>();
            let (Some(first), Some(longest)) = (of.first(), of.iter().map(|text| text.len).max())
            else {
                continue;
            };
            let ids = of.iter().take(3).map(|text| format!("`{}`", text.problem));
            let ids = ids.collect::<Vec<_>>().join(", ");
            let more = if of.len() > 3 { ", …" } else { "" };
            write!(
                f,
                "\n{} {what}s longer than {} tokens (the longest {longest}): {ids}{more}",
                of.len(),
                first.limit
            )?;
        }
        Ok(())
    }
}

impl Collector {
    /// Checks the problems of a run before its first step: the lengths of prompts and of the hints that
    /// are there already, and how many problems have hints.
    ///
    /// # Errors
    ///
    /// [`RolloutError::NoHints`] when the trigger may fire, no problem has a hint, and
    /// [`CollectorConfig::allow_no_hints`](crate::collect::CollectorConfig::allow_no_hints) is off;
    /// [`RolloutError::TooLong`] when something is too long and the configuration says to stop for
    /// that; errors of the prompt format.
    pub fn check_problems(&self, problems: &[Problem]) -> Result<ProblemReport, RolloutError> {
        let mut report =
            ProblemReport { problems: problems.len(), hints: None, too_long: Vec::new() };
        let source = &self.config.source;
        let provider = self.hints.as_deref().filter(|provider| provider.name() == source.name());
        if provider.is_some() && self.config.trigger != HintTrigger::Never {
            let mut levels: Vec<usize> = Vec::new();
            for problem in problems {
                let available = source.available(problem);
                levels.resize(available.len(), 0);
                for (count, is_there) in levels.iter_mut().zip(available) {
                    *count += usize::from(is_there);
                }
            }
            if levels.iter().all(|count| *count == 0) && !self.config.allow_no_hints {
                let (problems, hint_source) = (problems.len(), source.name());
                return Err(RolloutError::NoHints { problems, hint_source });
            }
            report.hints = Some(levels);
        }
        let Some(limit) = self.engine.max_prompt_len(&self.config.sampling) else {
            return Ok(report);
        };
        for problem in problems {
            let plain = self.format.encode(problem, None)?.len();
            let mut note = |what, len, limit| {
                if len > limit {
                    let problem = problem.id.clone();
                    report.too_long.push(TooLongText { problem, what, len, limit });
                }
            };
            note("prompt", plain, limit);
            // Sources that write or draw are asked during the run.
            let request = HintRequest::new(problem);
            let known = provider.filter(|_| source.is_known());
            let Some(Ok(Some(hint))) = known.map(|provider| provider.hint(&request)) else {
                continue;
            };
            match hint.kind {
                HintKind::Guidance => {
                    note("hint", self.format.encode(problem, Some(&hint))?.len(), limit);
                }
                HintKind::Prefix => {
                    let prefix = self.format.encode_completion(&hint.text)?.len();
                    note("hint", plain + prefix, limit);
                }
                HintKind::Demonstration => {
                    let tokens = self.format.encode_demonstration(&hint.text)?.len();
                    let limit = self.engine.max_positions().unwrap_or(usize::MAX);
                    note("demonstration", plain + tokens, limit);
                }
            }
        }
        match report.too_long.first() {
            Some(text) if self.config.too_long == TooLong::Abort => {
                let TooLongText { problem, what, len, limit } = text.clone();
                Err(RolloutError::TooLong { problem, what, len, limit })
            }
            _ => Ok(report),
        }
    }
}
