//! Audit of the reference answers of a problem file.

use std::path::Path;

use anyhow::{Context, Result};
use hint_reward::audit::{AuditFinding, AuditReport};
use hint_reward::verifier::{Equality, VerifierConfig};
use hint_reward::{MathVerifier, RewardInput, Verdict, Verifier};
use hint_rollout::Problem;
use serde_json::{Value, json};

use crate::problem_row::problem_row;

/// An audit of the reference answers, several of one problem where it accepts several.
#[derive(Debug)]
pub(super) struct References<'p> {
    problems: &'p [Problem],
    /// The problem of each reference.
    owners: Vec<usize>,
    report: AuditReport,
}

impl<'p> References<'p> {
    /// Audits them for the configured verifier.
    pub(super) fn of(problems: &'p [Problem], verifier: &VerifierConfig) -> Result<Self> {
        let references = problems.iter().enumerate().flat_map(|(owner, problem)| {
            problem.references().map(move |reference| (owner, reference))
        });
        let (owners, references): (Vec<_>, Vec<_>) = references.unzip();
        let report = match verifier.equality {
            Equality::Math { .. } => MathVerifier::new().audit(references),
            _ => read_by(&*verifier.build()?, problems),
        };
        Ok(Self { problems, owners, report })
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

    /// Prints the unusable and repaired references by reason, and a summary.
    pub(super) fn print(&self) {
        if !(self.is_clean() && self.report.repaired.is_empty()) {
            say!("{}", self.report.table());
        }
        say!("{}", self.report.summary());
    }

    /// Findings, by problem.
    pub(super) fn json(&self) -> Value {
        let id = |index: usize| &self.problems[self.owners[index]].id;
        let unusable = self.report.findings.iter().map(|(index, reference, finding)| {
            let (problem, reason) = (id(*index), finding.reason());
            json!({ "problem": problem, "reference": reference, "reason": reason, "message": finding.to_string() })
        });
        let repaired = self.report.repaired.iter();
        let repaired = repaired
            .map(|(index, reference)| json!({ "problem": id(*index), "reference": reference }));
        json!({
            "checked": self.report.checked,
            "unusable": unusable.collect::<Vec<_>>(),
            "repaired": repaired.collect::<Vec<_>>(),
        })
    }

    /// Writes the problems with a usable reference as JSONL, and returns how many there are.
    pub(super) fn write_usable(&self, path: &Path) -> Result<usize> {
        let mut lines = Vec::new();
        let mut count = 0;
        for problem in self.usable() {
            serde_json::to_writer(&mut lines, &problem_row(problem))?;
            lines.push(b'\n');
            count += 1;
        }
        std::fs::write(path, lines)
            .with_context(|| format!("cannot write `{}`", path.display()))?;
        Ok(count)
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
