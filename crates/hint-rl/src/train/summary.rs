//! Final summary of the main example, read back from the files of its runs.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use hint_grpo::{RunDir, metrics};
use serde::{Deserialize, Serialize};

use crate::process::replace_file;
use crate::run_log::RunLog;

/// `summary.json`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Summary {
    /// One entry per run, in the order in which they ran.
    pub runs: Vec<RunSummary>,
}

/// One run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RunSummary {
    /// `grpo`, `hint` or `sft`.
    pub method: String,
    /// Seed of the run.
    pub seed: u64,
    /// Share of held-out problems solved without hints before training; `null` when none was held
    /// out.
    pub accuracy_before: Option<f64>,
    /// The same after training.
    pub accuracy_after: Option<f64>,
    /// Share of groups in which every plain completion was wrong, over all steps; `null` when none
    /// was sampled.
    pub all_wrong_share: Option<f64>,
    /// Mean Affinity of the ratio that trained, over the steps that trained anything; `null` when
    /// none did.
    pub affinity: Option<f64>,
    /// The same against the distribution that drew the hinted completions, for the table alone.
    #[serde(skip)]
    pub affinity_behavior: Option<f64>,
    /// Share of the sampled completions whose answer each rule of the verifier found, and the share of
    /// correct ones among them. Both are means over the steps.
    #[serde(default)]
    pub extracted_by: BTreeMap<String, (f64, f64)>,
    /// Completion tokens sampled for training, or learned from.
    pub tokens: u64,
    /// `tokens / seconds`: sampling and training together.
    pub tokens_per_second: f64,
    /// Time of all steps, without loading and evaluation.
    pub seconds: f64,
}

impl RunSummary {
    /// Summarizes the run in `dir`, all sessions of a resumed run included.
    ///
    /// # Errors
    ///
    /// A file of the run that cannot be read.
    pub(crate) fn read(dir: &Path, method: &str, seed: u64, last_step: u64) -> Result<Self> {
        let accuracy = |step| -> Result<Option<f64>> {
            Ok(RunDir::evaluation(dir, step)?.map(|evaluation| evaluation.accuracy()))
        };
        let log = RunLog::read(dir)?;
        let seconds = log.total(metrics::timings::STEP);
        let tokens = log.timings.iter().filter_map(|line| line[metrics::timings::TOKENS].as_u64());
        let tokens = tokens.sum::<u64>();
        Ok(Self {
            method: method.to_owned(),
            seed,
            accuracy_before: accuracy(0)?,
            accuracy_after: accuracy(last_step)?,
            all_wrong_share: log.mean(metrics::ROLLOUT_ALL_WRONG_FRAC),
            extracted_by: log.extracted_by(),
            affinity: log.mean(metrics::AFFINITY_VALUE),
            affinity_behavior: log.mean(metrics::AFFINITY_BEHAVIOR_VALUE),
            tokens,
            tokens_per_second: if seconds > 0.0 { tokens as f64 / seconds } else { 0.0 },
            seconds,
        })
    }
}

impl Summary {
    /// Writes `summary.json`.
    ///
    /// # Errors
    ///
    /// A file that cannot be written.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        replace_file(path, &text)
    }

    /// Rule of the verifier that found the answers that trained; nothing where none was judged.
    pub(crate) fn rules(&self) -> Option<Table> {
        if self.runs.iter().all(|run| run.extracted_by.is_empty()) {
            return None;
        }
        let mut table = Table::new();
        table.load_preset(UTF8_FULL_CONDENSED);
        table.set_header(["method", "seed", "answer found by", "completions", "correct"]);
        for run in &self.runs {
            for (rule, (share, correct)) in &run.extracted_by {
                table.add_row([
                    run.method.clone(),
                    run.seed.to_string(),
                    rule.clone(),
                    format!("{:.1} %", 100.0 * share),
                    format!("{:.1} %", 100.0 * correct),
                ]);
            }
        }
        for column in table.column_iter_mut().skip(3) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        Some(table)
    }

    /// The comparison as a table of at most 80 columns.
    pub(crate) fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_preset(UTF8_FULL_CONDENSED).set_header([
            "method",
            "seed",
            "accuracy\nbefore",
            "accuracy\nafter",
            "all\nwrong",
            "affinity",
            "affinity\nto hints",
            "tok/s",
            "seconds",
        ]);
        let optional = |value: Option<f64>| {
            value.map_or_else(|| "–".to_owned(), |value| format!("{value:.3}"))
        };
        for run in &self.runs {
            table.add_row([
                run.method.clone(),
                run.seed.to_string(),
                optional(run.accuracy_before),
                optional(run.accuracy_after),
                optional(run.all_wrong_share),
                optional(run.affinity),
                optional(run.affinity_behavior),
                format!("{:.0}", run.tokens_per_second),
                format!("{:.1}", run.seconds),
            ]);
        }
        // 80 columns are enough without a space on the left.
        for column in table.column_iter_mut() {
            column.set_padding((0, 1));
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }
}
