//! Audit of the reference answers of a problem file.

use std::path::Path;

use anyhow::Result;
use hint_reward::audit::{AuditFinding, AuditReport};
use hint_reward::verifier::{Equality, VerifierConfig};
use hint_reward::{MathVerifier, RewardInput, Verdict, Verifier};
use hint_rollout::Problem;
use serde_json::{Value, json};

use crate::problem_row::problem_lines;
use crate::process::replace_file;
use crate::workload::NOT_MATH;

/// An audit of the reference answers, several of one problem where it accepts several.
#[derive(Debug)]
pub(super) struct References<'p> {
    problems: &'p [Problem],
    /// The problem of each reference.
    owners: Vec<usize>,
    report: AuditReport,
    /// Whether they are read as mathematics.
    is_math: bool,
}

impl<'p> References<'p> {
    /// Audits them for the configured verifier.
    pub(super) fn of(problems: &'p [Problem], verifier: &VerifierConfig) -> Result<Self> {
        let references = problems.iter().enumerate().flat_map(|(owner, problem)| {
            problem.references().map(move |reference| (owner, reference))
        });
        let (owners, references): (Vec<_>, Vec<_>) = references.unzip();
        let report = match &verifier.equality {
            Equality::Math { strictness, relative_tolerance } => MathVerifier::new()
                .with_strictness(strictness.clone())
                .with_relative_tolerance(*relative_tolerance)?
                .audit(references),
            _ => read_by(&*verifier.build()?, problems),
        };
        let is_math = matches!(verifier.equality, Equality::Math { .. });
        Ok(Self { problems, owners, report, is_math })
    }

    /// Whether every reference is usable.
    pub(super) fn is_clean(&self) -> bool {
        self.report.is_clean()
    }

    /// The problems with a reference that can be judged.
    fn usable(&self) -> impl Iterator<Item = &'p Problem> {
        let mut usable = vec![false; self.problems.len()];
        for (index, owner) in self.owners.iter().enumerate() {
            usable[*owner] |= self.report.is_usable(index);
        }
        self.problems.iter().zip(usable).filter(|(_, usable)| *usable).map(|(problem, _)| problem)
    }

    /// Prints the unusable and repaired references and those that are only words, by reason, and a summary.
    pub(super) fn print(&self) {
        let AuditReport { repaired, words_only, .. } = &self.report;
        if !(self.is_clean() && repaired.is_empty() && words_only.is_empty()) {
            say!("{}", self.table());
        }
        say!("{}", self.report.summary_by(|index| format!("problem `{}`", self.id(index))));
        if self.is_math && 2 * self.report.findings.len() > self.report.checked {
            say!("{NOT_MATH}");
        }
    }

    /// The references by reason, each with the id of its problem.
    pub(super) fn table(&self) -> String {
        self.report.table_by(|index| self.id(index).to_owned())
    }

    fn id(&self, index: usize) -> &'p str {
        &self.problems[self.owners[index]].id
    }

    /// Findings, by problem.
    pub(super) fn json(&self) -> Value {
        let unusable = self.report.findings.iter().map(|(index, reference, finding)| {
            let (problem, reason) = (self.id(*index), finding.reason());
            json!({ "problem": problem, "reference": reference, "reason": reason, "message": finding.to_string() })
        });
        let rows = |found: &[(usize, String)]| -> Vec<Value> {
            let row = |(index, reference): &(usize, String)| json!({ "problem": self.id(*index), "reference": reference });
            found.iter().map(row).collect()
        };
        json!({
            "checked": self.report.checked,
            "unusable": unusable.collect::<Vec<_>>(),
            "repaired": rows(&self.report.repaired),
            "words_only": rows(&self.report.words_only),
        })
    }

    /// Writes the problems with a usable reference as JSONL, and returns how many there are.
    pub(super) fn write_usable(&self, path: &Path) -> Result<usize> {
        replace_file(path, &problem_lines(self.usable()))?;
        Ok(self.usable().count())
    }
}

/// An audit of references that are no mathematics: those that the verifier cannot read.
fn read_by(verifier: &dyn Verifier, problems: &[Problem]) -> AuditReport {
    let mut report = AuditReport::default();
    for problem in problems {
        for reference in problem.references() {
            let boxed = format!("\\boxed{{{reference}}}");
            let input = RewardInput::new(&boxed, reference).with_columns(&problem.columns);
            let judgment = verifier.verify(&input);
            let finding = if reference.trim().is_empty() {
                Some(AuditFinding::Empty)
            } else if judgment.verdict == Verdict::ReferenceUnparseable {
                Some(AuditFinding::Unreadable { reason: judgment.reason.unwrap_or_default() })
            } else {
                None
            };
            let found = finding.map(|finding| (report.checked, reference.to_owned(), finding));
            report.findings.extend(found);
            report.checked += 1;
        }
    }
    report
}
