//! `hint-rl audit`: reports what the hints of a problem file give away.
//!
//! ```text
//! hint-rl audit problems.jsonl
//! hint-rl audit problems.jsonl --column planning_1 --json --deny answer
//! ```
//!
//! Prints each hint that gives the answer or the value of a step away, with the place, and totals; with
//! `--json` the same as one JSON object. Ends with exit code 1 if it finds what `--deny` names. Takes
//! about a second for ten thousand problems.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, ValueEnum};
use hint_rollout::hint::leak::{Leak, LeakDetector, LeakKind};
use hint_rollout::{DatasetHints, HintProvider, HintRequest, Problem, read_problems};
use serde::Serialize;

/// Reports what the hints of a problem file give away.
#[derive(Debug, Args)]
pub struct Options {
    /// Problems in JSONL, with `question`, `answer` and `abstract_hint`, and `solution` for the values of
    /// steps.
    file: PathBuf,
    /// Columns to look at in place of the hint; may be given several times.
    #[arg(long)]
    column: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Which leaks make the exit code 1.
    #[arg(long, value_enum, default_value = "none")]
    deny: Deny,
}

/// Leaks that make the exit code 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Deny {
    /// None.
    None,
    /// The answer.
    Answer,
    /// The answer, and values of steps.
    Any,
}

#[derive(Debug, Default, Serialize)]
struct Report {
    problems: usize,
    /// Hints looked at.
    hints: usize,
    /// Hints with a leak, and by its kind.
    leaking: usize,
    by_kind: BTreeMap<LeakKind, usize>,
    found: Vec<Finding>,
}

#[derive(Debug, Serialize)]
struct Finding {
    problem: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<String>,
    hint: String,
    leaks: Vec<Leak>,
}

/// Runs the command.
///
/// # Errors
///
/// Problems that cannot be read.
pub fn run(options: &Options) -> Result<ExitCode> {
    let problems = read_problems(&options.file)?;
    let mut report = Report { problems: problems.len(), ..Report::default() };
    let columns = options.column.iter().map(Some).chain(options.column.is_empty().then_some(None));
    for column in columns {
        let source = column.map_or_else(DatasetHints::new, DatasetHints::column);
        for problem in &problems {
            report.add(problem, &source, column)?;
        }
    }
    if options.json {
        say!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print(&report);
    }
    let count = |kind| report.by_kind.get(&kind).copied().unwrap_or(0);
    let denied = match options.deny {
        Deny::None => 0,
        Deny::Answer => count(LeakKind::Answer),
        Deny::Any => report.leaking,
    };
    Ok(ExitCode::from(u8::from(denied > 0)))
}

impl Report {
    fn add(
        &mut self,
        problem: &Problem,
        source: &DatasetHints,
        column: Option<&String>,
    ) -> Result<()> {
        let Some(hint) = source.hint(&HintRequest::new(problem))? else { return Ok(()) };
        self.hints += 1;
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
}

fn print(report: &Report) {
    for Finding { problem, column, hint, leaks } in &report.found {
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
    let count = |kind| report.by_kind.get(&kind).copied().unwrap_or(0);
    let percent = |count: usize| 100.0 * count as f64 / report.hints.max(1) as f64;
    say!("problems              {:>7}", report.problems);
    say!("hints                 {:>7}", report.hints);
    for (name, count) in [
        ("leaking             ", report.leaking),
        ("  the answer        ", count(LeakKind::Answer)),
        ("  a step's value    ", count(LeakKind::Step)),
    ] {
        say!("{name}  {count:>7}  {:.1} %", percent(count));
    }
}
