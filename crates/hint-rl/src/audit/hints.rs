//! Hints of a problem file, by column: leaks, blanks, and wrong answers.

use std::collections::BTreeMap;

use anyhow::Result;
use clap::ValueEnum;
use comfy_table::{CellAlignment, Table, presets::UTF8_FULL_CONDENSED};
use hint_reward::verifier::VerifierConfig;
use hint_reward::{Level, RewardInput, Verifier};
use hint_rollout::hint::leak::{Leak, LeakDetector, LeakKind};
use hint_rollout::{DatasetHints, HintProvider, HintRequest, Problem};
use serde::Serialize;

/// Hints and ids that are printed of a list; the JSON has all of them.
const SHOWN: usize = 5;

/// Findings that make the exit code 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Deny {
    /// A hint that gives the answer away.
    Answer,
    /// A hint that gives the value of a step away.
    Step,
    /// A problem without a hint, or with a blank one.
    Blank,
    /// A hint that states another answer.
    Wrong,
    /// Any of these.
    Any,
}

/// The hints of a file, by column.
#[derive(Debug, Serialize)]
pub(super) struct Hints {
    columns: Vec<Audited>,
}

/// The hints of one column.
#[derive(Debug, Default, Serialize)]
struct Audited {
    /// Its name; nothing for the problems' own hint.
    column: Option<String>,
    problems: usize,
    /// Problems with a hint that says something.
    hints: usize,
    /// The other problems: without a hint, or with one that has neither a letter nor a digit.
    blank: Vec<String>,
    /// Hints that give the answer, or the value of a step, away.
    leaking: usize,
    answer: usize,
    step: usize,
    leaks: Vec<Leaking>,
    /// Hints that state an answer other than the reference's.
    wrong: Vec<Wrong>,
    levels: Vec<Difficulty>,
}

/// The same by difficulty.
#[derive(Debug, Default, Serialize)]
struct Difficulty {
    level: String,
    problems: usize,
    hints: usize,
    leaking: usize,
    answer: usize,
    step: usize,
    wrong: usize,
}

/// Hints of one column and one level. Counted apart are those that give the answer or the value of a step away, and those
/// that state another answer.
#[derive(Debug, Serialize)]
pub(crate) struct HintCounts {
    pub(crate) column: String,
    pub(crate) level: String,
    pub(crate) problems: usize,
    pub(crate) hints: usize,
    pub(crate) answer: usize,
    pub(crate) step: usize,
    pub(crate) wrong: usize,
}

/// Counts the hints of these columns by level, as a run with this verifier judges them.
///
/// # Errors
///
/// A column that a problem lacks, a verifier that cannot be built.
pub(crate) fn hint_counts(
    problems: &[Problem],
    columns: &[String],
    verifier: &VerifierConfig,
) -> Result<Vec<HintCounts>> {
    let hints = Hints::of(problems, columns, verifier)?;
    let of_column = |column: Audited| {
        let name = column.name().to_owned();
        let count = move |of: Difficulty| {
            let Difficulty { level, problems, hints, answer, step, wrong, .. } = of;
            HintCounts { column: name.clone(), level, problems, hints, answer, step, wrong }
        };
        column.levels.into_iter().map(count)
    };
    Ok(hints.columns.into_iter().flat_map(of_column).collect())
}

#[derive(Debug, Serialize)]
struct Wrong {
    problem: String,
    hint: String,
    states: String,
}

#[derive(Debug, Serialize)]
struct Leaking {
    problem: String,
    hint: String,
    leaks: Vec<Leak>,
}

impl Hints {
    /// Looks at the hint of each problem, or at these columns in its place, as a run with this verifier judges them.
    pub(super) fn of(
        problems: &[Problem],
        columns: &[String],
        verifier: &VerifierConfig,
    ) -> Result<Self> {
        // A hint is running text: a number in it is no answer, unless the hint says so.
        let strict = VerifierConfig { level: Level::Strict, ..verifier.clone() };
        let (judge, detector) = (strict.build()?, LeakDetector::of(verifier)?);
        let names = columns.iter().map(Some).chain(columns.is_empty().then_some(None));
        let columns = names.map(|name| Audited::of(problems, name, &judge, &detector));
        Ok(Self { columns: columns.collect::<Result<_>>()? })
    }

    /// Whether it found something that `deny` names.
    pub(super) fn has(&self, deny: &[Deny]) -> bool {
        let is_in = |column: &Audited, what| match what {
            Deny::Answer => column.answer > 0,
            Deny::Step => column.step > 0,
            Deny::Blank => !column.blank.is_empty(),
            Deny::Wrong => !column.wrong.is_empty(),
            Deny::Any => column.leaking + column.blank.len() + column.wrong.len() > 0,
        };
        self.columns.iter().any(|column| deny.iter().any(|what| is_in(column, *what)))
    }

    /// Prints totals by column and level. Some hints that leak or are wrong follow, and ids of blank ones.
    pub(super) fn print(&self) {
        let mut totals = table(["hint", "problems", "hints", "blank", "answer", "step", "wrong"]);
        let mut levels = table(["hint", "level", "problems", "hints", "leaking", "wrong"]);
        for column in &self.columns {
            let Audited { problems, hints, answer, step, .. } = column;
            let (blank, wrong) = (column.blank.len(), column.wrong.len());
            let of_hints = |count: usize| share(count, *hints);
            totals.add_row([
                column.name().to_owned(),
                problems.to_string(),
                hints.to_string(),
                share(blank, *problems),
                of_hints(*answer),
                of_hints(*step),
                of_hints(wrong),
            ]);
            for Difficulty { level, problems, hints, leaking, wrong, .. } in &column.levels {
                let counts = [problems, hints, leaking, wrong].map(ToString::to_string);
                levels.add_row([column.name().to_owned(), level.clone()].into_iter().chain(counts));
            }
        }
        right(&mut totals, 1);
        say!("{totals}");
        if self.columns.iter().any(|column| column.levels.len() > 1) {
            right(&mut levels, 2);
            say!("{levels}");
        }
        for column in &self.columns {
            column.print();
        }
    }
}

impl Audited {
    fn of(
        problems: &[Problem],
        name: Option<&String>,
        judge: &dyn Verifier,
        detector: &LeakDetector,
    ) -> Result<Self> {
        let source = name.map_or_else(DatasetHints::new, DatasetHints::column);
        let mut column = Self { column: name.cloned(), ..Self::default() };
        let mut levels = BTreeMap::<&str, Difficulty>::new();
        for problem in problems {
            let level = problem.level.as_deref().unwrap_or("none");
            let level = levels
                .entry(level)
                .or_insert_with(|| Difficulty { level: level.to_owned(), ..Difficulty::default() });
            (column.problems, level.problems) = (column.problems + 1, level.problems + 1);
            let hint = source.hint(&HintRequest::new(problem))?;
            let Some(hint) = hint.filter(|hint| hint.text.contains(char::is_alphanumeric)) else {
                column.blank.push(problem.id.clone());
                continue;
            };
            (column.hints, level.hints) = (column.hints + 1, level.hints + 1);
            let input = RewardInput::new(&hint.text, &problem.answer)
                .with_accepted(&problem.accepted)
                .with_prompt(&problem.question)
                .with_columns(&problem.columns);
            let judgment = judge.verify(&input);
            let id = || problem.id.clone();
            // A blank in the place of the answer states none.
            if let (true, Some(states)) = (judgment.verdict.is_wrong(), judgment.extracted)
                && states.contains(char::is_alphanumeric)
            {
                level.wrong += 1;
                column.wrong.push(Wrong { problem: id(), hint: hint.text.clone(), states });
            }
            let leaks = detector.leaks(problem, &hint);
            if leaks.is_empty() {
                continue;
            }
            let has = |kind| usize::from(leaks.iter().any(|leak| leak.kind == kind));
            let (answer, step) = (has(LeakKind::Answer), has(LeakKind::Step));
            (column.answer, column.step) = (column.answer + answer, column.step + step);
            (level.answer, level.step) = (level.answer + answer, level.step + step);
            (column.leaking, level.leaking) = (column.leaking + 1, level.leaking + 1);
            column.leaks.push(Leaking { problem: id(), hint: hint.text, leaks });
        }
        column.levels = levels.into_values().collect();
        Ok(column)
    }

    fn name(&self) -> &str {
        self.column.as_deref().unwrap_or("hint")
    }

    /// Says how many hints that `what` are not printed.
    fn say_more(&self, count: usize, what: &str) {
        if let Some(more) = count.checked_sub(SHOWN).filter(|more| *more > 0) {
            say!("{more} more of column {} {what}: --json lists them", self.name());
        }
    }

    fn print(&self) {
        let head = |problem: &str, hint: &str| {
            let column = self.column.as_ref().map(|column| format!(", column {column}"));
            say!("{problem}{}\n  {}", column.unwrap_or_default(), hint.replace('\n', "\n  "));
        };
        for Leaking { problem, hint, leaks } in self.leaks.iter().take(SHOWN) {
            head(problem, hint);
            for Leak { kind, text, span, value } in leaks {
                let what = match kind {
                    LeakKind::Answer => "the answer",
                    LeakKind::Step => "the value of a step",
                };
                say!("    bytes {}..{}: `{text}` is {what}, {value}", span.start, span.end);
            }
        }
        self.say_more(self.leaks.len(), "leak");
        for Wrong { problem, hint, states } in self.wrong.iter().take(SHOWN) {
            head(problem, hint);
            say!("    states `{states}`, which is not the reference's answer");
        }
        self.say_more(self.wrong.len(), "are wrong");
        if !self.blank.is_empty() {
            let ids = self.blank.iter().take(SHOWN).map(|id| format!("`{id}`"));
            let ids = ids.collect::<Vec<_>>().join(", ");
            let more = match self.blank.len().saturating_sub(SHOWN) {
                0 => String::new(),
                more => format!(" and {more} more, which --json lists"),
            };
            say!("no {}, or a blank one: {ids}{more}", self.name());
        }
    }
}

fn table<const N: usize>(head: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_preset(UTF8_FULL_CONDENSED).set_header(head);
    table
}

/// Aligns the columns from `first` on to the right.
fn right(table: &mut Table, first: usize) {
    for column in table.column_iter_mut().skip(first) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}

/// A count with its share.
fn share(count: usize, total: usize) -> String {
    format!("{count}  {:.1} %", 100.0 * count as f64 / total.max(1) as f64)
}
