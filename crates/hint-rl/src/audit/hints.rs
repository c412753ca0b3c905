//! Leaks in the hints of a problem file.

use std::collections::BTreeMap;

use anyhow::Result;
use clap::ValueEnum;
use hint_reward::{MathVerifier, RewardInput, Verifier};
use hint_rollout::hint::leak::{Leak, LeakDetector, LeakKind};
use hint_rollout::{DatasetHints, HintProvider, HintRequest, Problem};
use serde::Serialize;

/// Leaks that make the exit code 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Deny {
    /// None.
    None,
    /// The answer.
    Answer,
    /// The answer, and values of steps.
    Any,
}

/// The leaks found.
#[derive(Debug, Default, Serialize)]
pub(super) struct Leaks {
    problems: usize,
    /// Problems, and problems with a hint, by difficulty.
    levels: BTreeMap<String, Coverage>,
    /// Hints that state an answer other than the reference's.
    wrong: Vec<Wrong>,
    /// Hints looked at.
    hints: usize,
    /// Hints with a leak, and by its kind.
    leaking: usize,
    by_kind: BTreeMap<LeakKind, usize>,
    found: Vec<Finding>,
}

#[derive(Debug, Clone, Copy, Default, Serialize)]
struct Coverage {
    problems: usize,
    /// Over all columns that were looked at.
    hints: usize,
}

#[derive(Debug, Serialize)]
struct Wrong {
    problem: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<String>,
    hint: String,
    states: String,
}

#[derive(Debug, Serialize)]
struct Finding {
    problem: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<String>,
    hint: String,
    leaks: Vec<Leak>,
}

impl Leaks {
    /// Looks at the hint of each problem, or at these columns in its place.
    pub(super) fn of(problems: &[Problem], columns: &[String]) -> Result<Self> {
        let mut report = Self { problems: problems.len(), ..Self::default() };
        for column in columns.iter().map(Some).chain(columns.is_empty().then_some(None)) {
            let source = column.map_or_else(DatasetHints::new, DatasetHints::column);
            for problem in problems {
                report.add(problem, &source, column)?;
            }
        }
        for problem in problems {
            report.levels.entry(level(problem)).or_default().problems += 1;
        }
        Ok(report)
    }

    /// Whether it found a leak that `deny` names.
    pub(super) fn has(&self, deny: Deny) -> bool {
        match deny {
            Deny::None => false,
            Deny::Answer => self.count(LeakKind::Answer) > 0,
            Deny::Any => self.leaking > 0,
        }
    }

    fn count(&self, kind: LeakKind) -> usize {
        self.by_kind.get(&kind).copied().unwrap_or(0)
    }

    fn add(
        &mut self,
        problem: &Problem,
        source: &DatasetHints,
        column: Option<&String>,
    ) -> Result<()> {
        let Some(hint) = source.hint(&HintRequest::new(problem))? else { return Ok(()) };
        self.hints += 1;
        self.levels.entry(level(problem)).or_default().hints += 1;
        let judgment =
            MathVerifier::strict().verify(&RewardInput::new(&hint.text, &problem.answer));
        if let (true, Some(states)) = (judgment.verdict.is_wrong(), judgment.extracted) {
            let (problem, column) = (problem.id.clone(), column.cloned());
            self.wrong.push(Wrong { problem, column, hint: hint.text.clone(), states });
        }
        let leaks = LeakDetector::new().leaks(problem, &hint);
        if leaks.is_empty() {
            return Ok(());
        }
        self.leaking += 1;
        for kind in [LeakKind::Answer, LeakKind::Step] {
            if leaks.iter().any(|leak| leak.kind == kind) {
                *self.by_kind.entry(kind).or_default() += 1;
            }
        }
        let (problem, column) = (problem.id.clone(), column.cloned());
        self.found.push(Finding { problem, column, hint: hint.text, leaks });
        Ok(())
    }

    /// Prints each hint with its leaks, and totals.
    pub(super) fn print(&self) {
        for Finding { problem, column, hint, leaks } in &self.found {
            match column {
                Some(column) => say!("{problem}, column {column}"),
                None => say!("{problem}"),
            }
            say!("  {}", hint.replace('\n', "\n  "));
            for Leak { kind, text, span, value } in leaks {
                let what = match kind {
                    LeakKind::Answer => "the answer",
                    LeakKind::Step => "the value of a step",
                };
                say!("    bytes {}..{}: `{text}` is {what}, {value}", span.start, span.end);
            }
        }
        for Wrong { problem, column, hint, states } in &self.wrong {
            match column {
                Some(column) => say!("{problem}, column {column}"),
                None => say!("{problem}"),
            }
            say!("  {}", hint.replace('\n', "\n  "));
            say!("    states `{states}`, which is not the reference's answer");
        }
        let percent = |count: usize| 100.0 * count as f64 / self.hints.max(1) as f64;
        say!("problems              {:>7}", self.problems);
        say!("hints                 {:>7}", self.hints);
        for (name, count) in [
            ("leaking             ", self.leaking),
            ("  the answer        ", self.count(LeakKind::Answer)),
            ("  a step's value    ", self.count(LeakKind::Step)),
            ("another answer      ", self.wrong.len()),
        ] {
            say!("{name}  {count:>7}  {:.1} %", percent(count));
        }
        if self.levels.len() > 1 {
            for (level, Coverage { problems, hints }) in &self.levels {
                say!("  level {level:<12}  {hints:>7} hints of {problems} problems");
            }
        }
    }
}

fn level(problem: &Problem) -> String {
    problem.level.clone().unwrap_or_else(|| "none".to_owned())
}
