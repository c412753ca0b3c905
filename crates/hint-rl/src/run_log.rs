//! Metrics and timings of a run, read back step by step.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use hint_grpo::metrics;
use hint_grpo::verdict::History;
use serde_json::Value;

/// Metrics and timings of a run, all sessions of a resumed one included.
#[derive(Debug)]
pub(crate) struct RunLog {
    /// A line per step, and one for step 0 if there was an evaluation before the first.
    pub(crate) metrics: Vec<Value>,
    /// A line per step.
    pub(crate) timings: Vec<Value>,
}

impl RunLog {
    /// Reads the run in `dir`. A last line that a crash, or a run that is still writing, left half
    /// written is left out.
    ///
    /// # Errors
    ///
    /// A file that cannot be read, a line that is not JSON.
    pub(crate) fn read(dir: &Path) -> Result<Self> {
        let read = |name: &str| read_lines(&dir.join(name));
        Ok(Self { metrics: read("metrics.jsonl")?, timings: read("timings.jsonl")? })
    }

    /// The newest step; 0 before the first.
    pub(crate) fn last_step(&self) -> u64 {
        self.metrics.last().and_then(|line| line["step"].as_u64()).unwrap_or(0)
    }

    /// Input of the rules of a verdict.
    pub(crate) fn history(&self) -> History {
        let mut history = History::new();
        for line in &self.metrics {
            if let Some(step) = line["step"].as_u64() {
                history.record_with(step, |name| line[name].as_f64());
            }
        }
        history
    }

    /// The values of a metric, with their steps.
    pub(crate) fn values(&self, name: &str) -> impl Iterator<Item = (u64, f64)> {
        let value = move |line: &Value| Some((line["step"].as_u64()?, line[name].as_f64()?));
        self.metrics.iter().filter_map(value)
    }

    /// The mean of a metric over the steps that have it.
    pub(crate) fn mean(&self, name: &str) -> Option<f64> {
        mean(self.values(name).map(|(_, value)| value))
    }

    /// The rules of the verifier that found answers. Each has the share of completions over all steps, and the share of
    /// them that are correct.
    pub(crate) fn extracted_by(&self) -> BTreeMap<String, (f64, f64)> {
        let mut sums = BTreeMap::<String, (f64, f64)>::new();
        let mut count = 0;
        for step in self.metrics.iter().filter_map(Value::as_object) {
            let mut found = false;
            for (name, share) in step {
                let rule = metrics::which(metrics::VERIFIER_EXTRACTED_BY, name);
                let (Some(rule), Some(share)) = (rule, share.as_f64()) else { continue };
                let rate = step.get(&metrics::member(metrics::VERIFIER_PASS_RATE_BY, rule));
                let rate = rate.and_then(Value::as_f64);
                let sum = sums.entry(rule.to_owned()).or_default();
                *sum = (sum.0 + share, sum.1 + share * rate.unwrap_or(0.0));
                found = true;
            }
            count += usize::from(found);
        }
        let shares = |(share, correct): (f64, f64)| {
            let rate = if share > 0.0 { correct / share } else { 0.0 };
            (share / count.max(1) as f64, rate)
        };
        sums.into_iter().map(|(rule, sum)| (rule, shares(sum))).collect()
    }

    /// The sum of a timing.
    pub(crate) fn total(&self, name: &str) -> f64 {
        self.timings.iter().filter_map(|line| line[name].as_f64()).sum()
    }
}

/// The mean, if there is anything.
pub(crate) fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    (count > 0.0).then(|| sum / count)
}

fn read_lines(path: &Path) -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read `{}`", path.display()))?;
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let parse = |(line, number): (&str, usize)| {
        serde_json::from_str(line)
            .with_context(|| format!("`{}`, line {number} is not JSON", path.display()))
    };
    whole.lines().zip(1..).map(parse).collect()
}
