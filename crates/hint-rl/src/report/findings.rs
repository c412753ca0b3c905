//! The verdict on a run: each finding with its evidence, advice, and groups that show it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};

use anyhow::Result;
use hint_grpo::rollout_table::{RolloutRecord, read_rollouts};
use hint_grpo::verdict::{Condition, Example, Finding, RunVerdict, examples};
use hint_grpo::{GrpoConfig, RunDir};
use hint_rollout::evaluate::ProblemOutcome;
use serde::Serialize;

use super::Item;
use crate::run_log::RunLog;
use crate::terminal::quoted;

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
        let mut records = Vec::new();
        for path in files(dir, &verdict.findings)? {
            match read_rollouts(&path) {
                Ok(read) => records.extend(read),
                // A run that is still training removes files.
                Err(_) if !path.exists() => {}
                Err(error) => return Err(error.into()),
            }
        }
        let mut findings = Vec::new();
        for finding in &verdict.findings {
            // An evaluation keeps some completions alone. The rate of a problem is that of all of them.
            findings.push(match problems_that_fell(dir, finding)? {
                None => Shown::of(finding, &records),
                Some(fell) => {
                    let of_fallen = records.iter().filter(|record| fell.contains(&record.problem));
                    Shown::of(finding, &of_fallen.cloned().collect::<Vec<_>>())
                }
            });
        }
        Ok(Self {
            condition: verdict.condition().map(Condition::name),
            tone: tone(verdict.condition()),
            line: verdict.to_string(),
            findings,
            so_far: verdict.so_far,
        })
    }

    /// One item for each finding, for a terminal.
    pub(super) fn items(&self, dir: &Path) -> Vec<Item> {
        match self.findings.as_slice() {
            [] => vec![Item::new(self.line.clone())],
            findings => findings.iter().map(|finding| finding.item(dir)).collect(),
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
            examples: examples(finding, records, EXAMPLES),
        }
    }

    fn item(&self, dir: &Path) -> Item {
        let Self { condition, evidence, steps, advice, examples, .. } = self;
        let mut lines =
            vec![format!("{condition}: {evidence} ({steps})"), format!("try: {advice}")];
        lines.extend(examples.iter().map(|example| {
            let Example { step, problem, why, .. } = example;
            let what = if example.evaluated { "evaluation at step" } else { "step" };
            format!("{what} {step}, problem {problem}: {why}")
        }));
        let command = examples.first().map(|Example { step, group, evaluated, .. }| {
            let dir = quoted(&dir.display().to_string());
            let evaluation = if *evaluated { " --evaluation" } else { "" };
            format!("hint-rl show {dir}{evaluation} --step {step} --group {group}")
        });
        Item { text: lines.join("\n"), command }
    }
}

/// The files of completions that are searched for groups that show the findings, the newest first. They are those of the
/// latest steps that the table keeps. Its newest one is among them, also if it is before the steps of a finding. For
/// findings of evaluations, those of the first and the last step.
fn files(dir: &Path, findings: &[Finding]) -> Result<Vec<PathBuf>> {
    let (evaluations, steps) = findings.iter().partition::<Vec<_>, _>(|one| one.is_of_evaluation());
    let mut files = Vec::new();
    if let Some(first) = steps.iter().map(|finding| *finding.steps.start()).min() {
        let kept = RunDir::rollouts(dir)?.into_iter().rev().enumerate();
        let recent = kept.take(FILES).filter(|(at, (step, _))| *at == 0 || *step >= first);
        files.extend(recent.map(|(_, (_, path))| path));
    }
    if !evaluations.is_empty() {
        let kept = RunDir::evaluated(dir)?;
        let newest = kept.last().map(|(step, _)| *step);
        let wanted = evaluations.iter().map(|finding| *finding.steps.start()).chain(newest);
        let wanted = wanted.collect::<BTreeSet<_>>();
        files.extend(
            kept.into_iter().filter(|(step, _)| wanted.contains(step)).map(|(_, path)| path),
        );
    }
    Ok(files)
}

/// For a fall between evaluations, the problems of which fewer completions are right, by all that were judged. `None`
/// for other findings.
fn problems_that_fell(dir: &Path, finding: &Finding) -> Result<Option<HashSet<String>>> {
    if finding.condition != Condition::Worsening || !finding.is_of_evaluation() {
        return Ok(None);
    }
    let Some((newest, _)) = RunDir::evaluated(dir)?.pop() else { return Ok(None) };
    let before = RunDir::evaluation(dir, *finding.steps.start())?;
    let now = RunDir::evaluation(dir, newest)?;
    Ok(before.zip(now).map(|(before, now)| fallen(&before.problems, &now.problems)))
}

fn fallen(before: &[ProblemOutcome], now: &[ProblemOutcome]) -> HashSet<String> {
    let share = |one: &ProblemOutcome| one.correct as f64 / one.verdicts.len().max(1) as f64;
    let before = before.iter().map(|one| (&one.id, share(one))).collect::<HashMap<_, _>>();
    let fell = |one: &&ProblemOutcome| before.get(&one.id).is_some_and(|was| share(one) < *was);
    now.iter().filter(fell).map(|one| one.id.clone()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_problem_falls_by_all_of_its_completions() {
        let outcome = |id: &str, correct: usize| {
            let verdict = |at| if at < correct { "correct" } else { "incorrect" };
            let verdicts = (0..4).map(verdict).collect::<Vec<_>>();
            let outcome = json!({
                "id": id, "correct": correct, "votes": null, "verdicts": verdicts,
                "answers": [null, null, null, null], "lengths": [1, 1, 1, 1], "truncated": 0,
            });
            serde_json::from_value::<ProblemOutcome>(outcome).expect("an outcome")
        };
        let before = [outcome("fell", 3), outcome("rose", 1), outcome("gone", 4)];
        let now = [outcome("fell", 1), outcome("rose", 2), outcome("new", 0)];
        assert_eq!(fallen(&before, &now), HashSet::from(["fell".to_owned()]));
    }
}
