//! The verdict on a run: each finding with its evidence, advice, and groups that show it.

use std::path::Path;

use anyhow::Result;
use hint_grpo::rollout_table::{RolloutRecord, read_rollouts};
use hint_grpo::verdict::{Example, Finding, RunVerdict, examples};
use hint_grpo::{GrpoConfig, RunDir};

use crate::run_log::RunLog;

/// Groups shown for each finding.
const EXAMPLES: usize = 3;
/// Files of the rollout table that are searched for them, the newest first.
const FILES: usize = 3;

/// The verdict and its findings, one paragraph each.
///
/// # Errors
///
/// A file of the rollout table that is damaged.
pub(super) fn paragraphs(dir: &Path, log: &RunLog, config: &GrpoConfig) -> Result<Vec<String>> {
    let verdict = RunVerdict::of(&log.history(), config);
    let Some(first) = verdict.findings.first() else { return Ok(vec![verdict.to_string()]) };
    let records = recent(dir, *first.steps.start())?;
    Ok(verdict.findings.iter().map(|finding| paragraph(dir, finding, &records)).collect())
}

fn paragraph(dir: &Path, finding: &Finding, records: &[RolloutRecord]) -> String {
    let mut lines = vec![finding.to_string(), format!("try: {}", finding.advice)];
    let shown = examples(finding.condition, records, EXAMPLES);
    lines.extend(shown.iter().map(|example| {
        let Example { step, problem, why, .. } = example;
        format!("step {step}, problem {problem}: {why}")
    }));
    if let Some(Example { step, problem, .. }) = shown.first() {
        let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
        let (dir, problem) = (quoted(&dir.display().to_string()), quoted(problem));
        lines.push(format!("see: hint-rl show {dir} --step {step} --problem {problem}"));
    }
    lines.join("\n")
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
