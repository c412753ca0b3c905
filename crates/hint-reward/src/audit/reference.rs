//! Checking the reference answers of a data set before training on them.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use crate::extract::bare_reference;
use crate::input::RewardInput;
use crate::math::lex::typography::has_damaged_command;
use crate::verifier::MathVerifier;
use crate::verifier::Verdict;
use crate::verifier::Verifier;

/// Fault of a reference answer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuditFinding {
    /// It is empty.
    Empty,
    /// It cannot be read: only a completion that repeats it letter for letter would be correct.
    Unreadable {
        /// Why.
        reason: String,
    },
    /// A completion that boxes it is not judged correct.
    NotItself {
        /// The verdict instead.
        verdict: Verdict,
    },
    /// It does not equal the form it was read as, so it was misread.
    Misread {
        /// The form it was read as.
        rendered: String,
    },
}

impl AuditFinding {
    /// Key of a table's count: the kind, and for an unreadable reference the reason.
    pub fn reason(&self) -> String {
        match self {
            Self::Empty => "empty".to_owned(),
            Self::Unreadable { reason } => {
                let reason = reason.rsplit(": ").next().unwrap_or(reason);
                format!("unreadable: {reason}")
            }
            Self::NotItself { verdict } => format!("does not equal itself: {verdict}"),
            Self::Misread { .. } => "misread".to_owned(),
        }
    }
}

impl fmt::Display for AuditFinding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => formatter.write_str("the reference is empty"),
            Self::Unreadable { reason } => write!(formatter, "cannot be read: {reason}"),
            Self::NotItself { verdict } => {
                write!(formatter, "does not equal itself: the verdict is {verdict}")
            }
            Self::Misread { rendered } => {
                write!(formatter, "does not equal what it was read as, `{rendered}`")
            }
        }
    }
}

/// Findings of an audit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuditReport {
    /// References checked.
    pub checked: usize,
    /// Unusable references in the order given: index, reference, and its fault.
    pub findings: Vec<(usize, String, AuditFinding)>,
    /// References that a JSON reader damaged and that are read in their original form: index and reference. An
    /// example is `\frac` as a form feed and `rac`. They are usable unless they are findings as well.
    pub repaired: Vec<(usize, String)>,
    /// Usable references that are words and name no value, so that only the same words are correct: index and reference.
    pub words_only: Vec<(usize, String)>,
}

impl AuditReport {
    /// Whether every reference is usable.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }

    /// The unusable references by reason, the most frequent first, with up to three examples each, as a Markdown table.
    /// Repaired ones and those that are only words have a row as well. An example starts with the index of its reference.
    ///
    /// ```
    /// use hint_reward::MathVerifier;
    ///
    /// let table = MathVerifier::new().audit(["1", "", "\\frac{1}{"]).table();
    /// assert!(table.contains("| empty | 1 | 33.3 % | 1: `` |"), "{table}");
    /// ```
    pub fn table(&self) -> String {
        self.table_by(|index| index.to_string())
    }

    /// As [`AuditReport::table`], with a name for the reference of each index, such as the id of its row.
    ///
    /// ```
    /// use hint_reward::MathVerifier;
    ///
    /// let ids = ["a", "b"];
    /// let table = MathVerifier::new().audit(["1", ""]).table_by(|index| ids[index].to_owned());
    /// assert!(table.contains("| empty | 1 | 50.0 % | b: `` |"), "{table}");
    /// ```
    pub fn table_by(&self, name: impl Fn(usize) -> String) -> String {
        const EXAMPLES: usize = 3;
        let mut reasons: BTreeMap<String, Vec<(usize, &str)>> = BTreeMap::new();
        for (index, reference, finding) in &self.findings {
            reasons.entry(finding.reason()).or_default().push((*index, reference));
        }
        let repaired = self.repaired.iter().filter(|(index, _)| self.is_usable(*index));
        for (index, reference) in repaired {
            let reason = "usable, repaired: a command damaged by a JSON escape";
            reasons.entry(reason.to_owned()).or_default().push((*index, reference));
        }
        for (index, reference) in &self.words_only {
            let reason = "usable, word for word only";
            reasons.entry(reason.to_owned()).or_default().push((*index, reference));
        }
        let mut rows: Vec<_> = reasons.into_iter().collect();
        rows.sort_by_key(|(_, found)| std::cmp::Reverse(found.len()));
        let mut table =
            String::from("| reason | references | share | examples |\n|---|---|---|---|\n");
        for (reason, found) in rows {
            let share = 100.0 * found.len() as f64 / self.checked.max(1) as f64;
            let examples = found.iter().take(EXAMPLES).map(|(index, reference)| {
                let head = reference.chars().take(48);
                // A control character would say nothing on a terminal.
                let head: String = head.map(|c| if c < ' ' { '\u{fffd}' } else { c }).collect();
                format!("{}: `{}`", name(*index), head.replace('|', " "))
            });
            let examples = examples.collect::<Vec<_>>().join(", ");
            let _ = writeln!(table, "| {reason} | {} | {share:.1} % | {examples} |", found.len());
        }
        table
    }

    /// Whether the reference with this index is usable.
    pub fn is_usable(&self, index: usize) -> bool {
        self.findings.binary_search_by_key(&index, |finding| finding.0).is_err()
    }

    /// One line for a log.
    pub fn summary(&self) -> String {
        self.summary_by(|index| format!("number {index}"))
    }

    /// As [`AuditReport::summary`], with a name for the reference of each index.
    pub fn summary_by(&self, name: impl Fn(usize) -> String) -> String {
        match self.findings.first() {
            None => format!("audit: {} references, all usable", self.checked),
            Some((index, reference, finding)) => {
                let head: String = reference.chars().take(60).collect();
                format!(
                    "audit: {} of {} references are unusable; the first is {}, `{head}`: {finding}",
                    self.findings.len(),
                    self.checked,
                    name(*index)
                )
            }
        }
    }
}

impl MathVerifier {
    /// Checks one reference answer: can it be read, does it equal itself, does it equal what it was read as?
    ///
    /// # Examples
    ///
    /// ```
    /// use hint_reward::{MathVerifier, audit::AuditFinding};
    ///
    /// let verifier = MathVerifier::new();
    /// assert_eq!(verifier.audit_reference(r"\frac{3}{4}"), None);
    /// assert_eq!(verifier.audit_reference(" "), Some(AuditFinding::Empty));
    /// assert!(matches!(verifier.audit_reference(r"\frac{1}{"), Some(AuditFinding::Unreadable { .. })));
    /// ```
    pub fn audit_reference(&self, reference: &str) -> Option<AuditFinding> {
        if reference.trim().is_empty() {
            return Some(AuditFinding::Empty);
        }
        // An answer that no reference equals shows how the reference reads.
        let probe = self.verify(&RewardInput::new(
            "\\boxed{\\text{an answer unlike any reference}}",
            reference,
        ));
        if probe.verdict == Verdict::ReferenceUnparseable {
            return Some(AuditFinding::Unreadable { reason: probe.reason.unwrap_or_default() });
        }
        let answer = bare_reference(reference);
        let itself = self.verify(&RewardInput::new(&format!("\\boxed{{{answer}}}"), reference));
        if !itself.verdict.is_correct() {
            return Some(AuditFinding::NotItself { verdict: itself.verdict });
        }
        let rendered = probe.compared?;
        let again = self.verify(&RewardInput::new(&format!("\\boxed{{{rendered}}}"), reference));
        (!again.verdict.is_correct()).then_some(AuditFinding::Misread { rendered })
    }

    /// Checks the reference answers of a data set.
    ///
    /// # Examples
    ///
    /// ```
    /// use hint_reward::MathVerifier;
    ///
    /// let report = MathVerifier::new().audit(["1", "x^2", ""]);
    /// assert_eq!(report.checked, 3);
    /// assert_eq!(report.findings[0].0, 2);
    /// ```
    pub fn audit<S: AsRef<str>>(&self, references: impl IntoIterator<Item = S>) -> AuditReport {
        let mut report = AuditReport::default();
        for (index, reference) in references.into_iter().enumerate() {
            let reference = reference.as_ref();
            report.checked += 1;
            if has_damaged_command(reference) {
                report.repaired.push((index, reference.to_owned()));
            }
            match self.audit_reference(reference) {
                Some(finding) => report.findings.push((index, reference.to_owned(), finding)),
                None if self.is_words(reference) => {
                    report.words_only.push((index, reference.to_owned()));
                }
                None => {}
            }
        }
        report
    }
}
