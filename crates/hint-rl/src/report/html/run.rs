//! One run as the page shows it: who it is, its columns of numbers, its evaluations.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use hint_grpo::metrics::{self, timings};
use hint_grpo::rollout_table::{RolloutRecord, RolloutRole};
use hint_grpo::{GrpoConfig, RunDir};
use hint_rollout::collect::hinted::HintTrigger;
use serde::Serialize;
use serde_json::Value;

pub(super) use crate::report::findings::Verdict;
use crate::report::{curves, facts};
use crate::run_dirs::read_config;
use crate::run_log::RunLog;
use crate::run_state::RunState;

/// The file of options that `hint-rl train` writes beside the folders of its methods.
const OPTIONS: &str = "options.json";

/// A share of groups that follows from several metrics: see [`curves::wrong_after_hints`].
pub(super) const WRONG_AFTER_HINTS: &str = "report/all_wrong_frac_after_hints";
/// Before the name of a timing.
pub(super) const TIMING: &str = "timing/";
/// Most points of a curve. Longer runs are thinned: each point is then a step, not a mean.
const POINTS: usize = 2000;

/// Numbers by name, a value or nothing per point of [`Run::steps`].
pub(super) type Columns = BTreeMap<String, Vec<Option<f64>>>;

/// One run.
#[derive(Debug, Serialize)]
pub(super) struct Run {
    pub(super) name: String,
    pub(super) method: String,
    model: Option<String>,
    problems: Option<String>,
    pub(super) seed: u64,
    /// Steps finished, and steps of the whole run.
    pub(super) step: u64,
    pub(super) total_steps: u64,
    pub(super) state: RunState,
    /// Seconds of everything that was timed.
    pub(super) seconds: f64,
    pub(super) verdict: Verdict,
    facts: Vec<String>,
    config: String,
    /// The index of its curve: runs that differ in the seed alone are one.
    pub(super) series: usize,
    pub(super) steps: Vec<u64>,
    /// Completion tokens sampled until then.
    tokens: Vec<f64>,
    /// Steps between two points.
    every: usize,
    pub(super) columns: Columns,
    /// Why tokens of its completions are not colored, if they are not.
    pub(super) uncolored: Option<String>,
    by: Vec<Slice>,
    #[serde(skip)]
    pub(super) dir: PathBuf,
    #[serde(skip)]
    pub(super) parsed: GrpoConfig,
}

/// Accuracy over the held-out problems with one value of a column, such as level 5.
#[derive(Debug, Serialize)]
struct Slice {
    step: u64,
    column: String,
    value: String,
    problems: usize,
    avg: f64,
    low: f64,
    high: f64,
}

impl Run {
    /// Reads the run in `dir`.
    ///
    /// # Errors
    ///
    /// Files that cannot be read, or do not belong to a run.
    pub(super) fn read(dir: &Path) -> Result<Self> {
        // `.` has neither a name nor a folder above it.
        let dir = &dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
        let log = RunLog::read(dir)?;
        let (config, parsed) = read_config(dir)?;
        let every = log.metrics.len().div_ceil(POINTS).max(1);
        let (steps, tokens, columns) = columns(&log, every);
        let options = options(dir);
        let option = |name: &str| options[name].as_str().map(str::to_owned);
        let phases = [timings::STEP, timings::EVALUATION, timings::CHECKPOINT];
        Ok(Self {
            name: name(dir),
            method: method(dir, &log, &parsed),
            model: option("model"),
            problems: option("problems"),
            seed: parsed.run.seed,
            step: log.metrics.last().and_then(|line| line["step"].as_u64()).unwrap_or(0),
            total_steps: parsed.run.steps,
            state: RunState::read(dir, &log, parsed.run.steps),
            seconds: phases.iter().map(|phase| log.total(phase)).sum(),
            verdict: Verdict::read(dir, &log, &parsed)?,
            facts: facts::facts(&log, &parsed),
            config,
            series: 0,
            by: by(dir, &steps)?,
            steps,
            tokens,
            every,
            columns,
            uncolored: None,
            dir: dir.to_owned(),
            parsed,
        })
    }

    /// Key of the runs that differ only in their seed: everything except the seed.
    pub(super) fn settings(&self) -> BTreeMap<String, String> {
        let mut settings = BTreeMap::from([("method".to_owned(), self.method.clone())]);
        for (key, value) in [("model", &self.model), ("problems", &self.problems)] {
            settings.extend(value.clone().map(|value| (key.to_owned(), value)));
        }
        if let Ok(table) = self.config.parse::<toml::Table>() {
            flatten("", &table, &mut settings);
        }
        settings.remove("run.seed");
        settings
    }

    /// Sets a column, whose values are given by step.
    pub(super) fn set(&mut self, name: &str, values: &BTreeMap<u64, f64>) {
        let column = self.steps.iter().map(|step| values.get(step).copied()).collect();
        self.columns.insert(name.to_owned(), column);
    }

    /// The value of a column at a step.
    pub(super) fn at(&self, name: &str, step: u64) -> Option<f64> {
        let point = self.steps.binary_search(&step).ok()?;
        *self.columns.get(name)?.get(point)?
    }

    /// Whether the verdict shows this group.
    pub(super) fn shows(&self, group: &[RolloutRecord]) -> bool {
        let mut examples = self.verdict.findings.iter().flat_map(|finding| &finding.examples);
        let first = &group[0];
        let evaluated = first.role == RolloutRole::Evaluated;
        examples
            .any(|one| (one.step, one.group, one.evaluated) == (first.step, first.group, evaluated))
    }
}

/// The keys of a table, with dots.
fn flatten(prefix: &str, table: &toml::Table, into: &mut BTreeMap<String, String>) {
    for (key, value) in table {
        match value {
            toml::Value::Table(table) => flatten(&format!("{prefix}{key}."), table, into),
            value => drop(into.insert(format!("{prefix}{key}"), value.to_string())),
        }
    }
}

/// The last two parts of the folder's path, such as `0001/hint`.
fn name(dir: &Path) -> String {
    let parts = dir.iter().rev().take(2).map(|part| part.to_string_lossy());
    let mut parts = parts.filter(|part| part != "/").collect::<Vec<_>>();
    parts.reverse();
    parts.join("/")
}

/// The name of the method: the name of the folder, where `hint-rl train` chose it.
fn method(dir: &Path, log: &RunLog, config: &GrpoConfig) -> String {
    let folder = dir.file_name().unwrap_or_default().to_string_lossy();
    let is_named = dir.parent().is_some_and(|parent| parent.join(OPTIONS).is_file());
    let method = if is_named || matches!(&*folder, "grpo" | "hint" | "sft") {
        &folder
    } else if log.values(metrics::ROLLOUT_PASS_RATE).next().is_none()
        && log.values(metrics::NLL).next().is_some()
    {
        "sft"
    } else if config.rollout.trigger == HintTrigger::Never {
        "grpo"
    } else {
        "hint"
    };
    method.to_owned()
}

/// The options of `hint-rl train`, beside or in the run's folder; null for a run of another program.
fn options(dir: &Path) -> Value {
    let folders = [dir.parent(), Some(dir)].into_iter().flatten();
    let mut texts = folders.filter_map(|dir| std::fs::read(dir.join(OPTIONS)).ok());
    texts.find_map(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
}

/// Steps, tokens sampled until then, and every metric and timing. Lines are every `every`-th one,
/// those with an evaluation, and the last.
fn columns(log: &RunLog, every: usize) -> (Vec<u64>, Vec<f64>, Columns) {
    let by_step = |line: &'_ Value| line["step"].as_u64();
    let mut timed = BTreeMap::new();
    let mut sum = 0.0;
    for line in &log.timings {
        sum += line[timings::TOKENS].as_f64().unwrap_or(0.0);
        timed.extend(by_step(line).map(|step| (step, (sum, line))));
    }
    let last = log.metrics.len().saturating_sub(1);
    let lines = log.metrics.iter().enumerate();
    let lines = lines.filter(|(at, line)| {
        at.is_multiple_of(every) || *at == last || line.get(metrics::EVAL_AVG).is_some()
    });
    let lines =
        lines.filter_map(|(_, line)| Some((by_step(line)?, line.as_object()?))).collect::<Vec<_>>();
    let steps = lines.iter().map(|(step, _)| *step).collect::<Vec<_>>();
    let tokens = steps.iter().map(|step| timed.range(..=step).next_back());
    let tokens = tokens.map(|found| found.map_or(0.0, |(_, (sum, _))| *sum)).collect();
    let mut columns = Columns::new();
    let mut put = |name: String, point: usize, value: &Value| {
        if let Some(value) = value.as_f64() {
            columns.entry(name).or_insert_with(|| vec![None; steps.len()])[point] = Some(value);
        }
    };
    for (point, (step, line)) in lines.iter().enumerate() {
        for (name, value) in line.iter().filter(|(name, _)| *name != "step") {
            put(name.clone(), point, value);
        }
        let timing = timed.get(step).and_then(|(_, line)| line.as_object());
        for (name, value) in timing.into_iter().flatten().filter(|(name, _)| *name != "step") {
            put(format!("{TIMING}{name}"), point, value);
        }
    }
    let wrong = curves::wrong_after_hints(log).into_iter().collect::<BTreeMap<_, _>>();
    if !wrong.is_empty() {
        let column = steps.iter().map(|step| wrong.get(step).copied()).collect();
        columns.insert(WRONG_AFTER_HINTS.to_owned(), column);
    }
    (steps, tokens, columns)
}

/// The slices of the evaluations at `steps`.
fn by(dir: &Path, steps: &[u64]) -> Result<Vec<Slice>> {
    let mut slices = Vec::new();
    for &step in steps {
        let evaluation = RunDir::evaluation(dir, step)
            .with_context(|| format!("in the evaluation of step {step}"))?;
        for (column, values) in evaluation.into_iter().flat_map(|evaluation| evaluation.by) {
            slices.extend(values.into_iter().map(|(value, scores)| Slice {
                step,
                column: column.clone(),
                value,
                problems: scores.problems,
                avg: scores.avg.value,
                low: scores.avg.low,
                high: scores.avg.high,
            }));
        }
    }
    Ok(slices)
}

/// Joins runs that differ in the seed alone. Returns the name of each curve: the method, and the settings that
/// no other curve has.
pub(super) fn series(runs: &mut [Run]) -> Vec<String> {
    let mut series = Vec::<BTreeMap<String, String>>::new();
    for run in runs {
        let settings = run.settings();
        run.series = series.iter().position(|one| *one == settings).unwrap_or_else(|| {
            series.push(settings);
            series.len() - 1
        });
    }
    let label = |settings: &BTreeMap<String, String>| {
        let others = series.iter().filter(|other| other["method"] == settings["method"]);
        let others = others.collect::<Vec<_>>();
        let differs = |key: &str| others.iter().any(|other| other.get(key) != settings.get(key));
        let keys = settings.iter().filter(|(key, _)| differs(key));
        let short = |key: &str| key.rsplit('.').next().unwrap_or(key).to_owned();
        let keys = keys.map(|(key, value)| format!("{} {}", short(key), value.trim_matches('"')));
        let parts = std::iter::once(settings["method"].clone()).chain(keys.take(3));
        parts.collect::<Vec<_>>().join(", ")
    };
    series.iter().map(label).collect()
}
