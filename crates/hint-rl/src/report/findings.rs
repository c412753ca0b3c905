//! The verdict on a run: each finding with its evidence, advice, and groups that show it.

use std::path::Path;

use anyhow::Result;
use hint_grpo::rollout_table::{RolloutRecord, read_rollouts};
use hint_grpo::verdict::{Condition, Example, Finding, RunVerdict, examples};
use hint_grpo::{GrpoConfig, RunDir};
use serde::Serialize;

use crate::run_log::RunLog;

/// Groups shown for each finding.
const EXAMPLES: usize = 3;
/// Files of the rollout table that are searched for them, the newest first.
const FILES: usize = 3;

/// The verdict on a run, as a report shows it.
#[derive(Debug, Serialize)]
pub(super) struct Verdict {
    /// Nothing while it is too early.
    condition: Option<&'static str>,
    tone: &'static str,
    /// Evidence so far, while it is too early.
    so_far: Option<String>,
    pub(super) findings: Vec<Shown>,
    /// The verdict in one line.
    #[serde(skip)]
    line: String,
}

/// A finding with groups that show it.
#[derive(Debug, Serialize)]
pub(super) struct Shown {
    condition: &'static str,
    tone: &'static str,
    evidence: String,
    /// The steps that were looked at, in words.
    steps: String,
    advice: String,
    pub(super) examples: Vec<Example>,
}

/// The color of a condition: right, wrong, or what may pass.
fn tone(condition: Option<Condition>) -> &'static str {
    match condition {
        None => "",
        Some(Condition::Healthy) => "correct",
        Some(Condition::Saturated) => "other",
        Some(_) => "wrong",
    }
}

impl Verdict {
    /// Asks every rule about the run in `dir`.
    ///
    /// # Errors
    ///
    /// A file of the rollout table that is damaged.
    pub(super) fn read(dir: &Path, log: &RunLog, config: &GrpoConfig) -> Result<Self> {
        let verdict = RunVerdict::of(&log.history(), config);
        let first = verdict.findings.first().map(|first| *first.steps.start());
        let records = first.map(|first| recent(dir, first)).transpose()?.unwrap_or_default();
        Ok(Self {
            condition: verdict.condition().map(Condition::name),
            tone: tone(verdict.condition()),
            line: verdict.to_string(),
            findings: verdict.findings.iter().map(|finding| Shown::of(finding, &records)).collect(),
            so_far: verdict.so_far,
        })
    }

    /// One paragraph for each finding, for a terminal.
    pub(super) fn paragraphs(&self, dir: &Path) -> Vec<String> {
        match self.findings.as_slice() {
            [] => vec![self.line.clone()],
            findings => findings.iter().map(|finding| finding.paragraph(dir)).collect(),
        }
    }
}

impl Shown {
    fn of(finding: &Finding, records: &[RolloutRecord]) -> Self {
        Self {
            condition: finding.condition.name(),
            tone: tone(Some(finding.condition)),
            evidence: finding.evidence.clone(),
            steps: finding.steps_in_words(),
            advice: finding.advice.clone(),
            examples: examples(finding.condition, records, EXAMPLES),
        }
    }

    fn paragraph(&self, dir: &Path) -> String {
        let Self { condition, evidence, steps, advice, examples, .. } = self;
        let mut lines =
            vec![format!("{condition}: {evidence} ({steps})"), format!("try: {advice}")];
        lines.extend(examples.iter().map(|example| {
            let Example { step, problem, why, .. } = example;
            format!("step {step}, problem {problem}: {why}")
        }));
        if let Some(Example { step, problem, .. }) = examples.first() {
            let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
            let (dir, problem) = (quoted(&dir.display().to_string()), quoted(problem));
            lines.push(format!("see: hint-rl show {dir} --step {step} --problem {problem}"));
        }
        lines.join("\n")
    }
}

/// The completions of the newest steps from `first` on that the rollout table keeps, the newest first.
fn recent(dir: &Path, first: u64) -> Result<Vec<RolloutRecord>> {
    let files = RunDir::rollouts(dir)?;
    let mut records = Vec::new();
    for (_, path) in files.iter().rev().filter(|(step, _)| *step >= first).take(FILES) {
        match read_rollouts(path) {
            Ok(read) => records.extend(read),
            // A run that is still training removes files.
            Err(_) if !path.exists() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(records)
}
