//! `hint-rl compare`: compares presets on the embedded task: the same weights, the same seeds, accuracy without hints.
//!
//! ```text
//! hint-rl compare
//! hint-rl compare --grid --num-iterations 2 --seeds 0,1,2 --csv grid.csv
//! hint-rl compare grpo hint luffy my_method.toml
//! ```
//!
//! Prints one table, and writes a CSV file whose rows are there as soon as their runs are done. Each preset keeps its own axes;
//! steps, optimizer and sampling come from `examples/configs/tiny.toml`, and answers are compared as text. The default, five
//! presets over three seeds, takes some minutes on two CPU cores. `--grid` runs HINT with both baselines and three ratio
//! schemes, each with and without Affinity weighting.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};
use clap::Args;
use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use hint_grpo::advantage::{AdvantageConfig, Baseline};
use hint_grpo::config::EvaluationConfig;
use hint_grpo::objective::RatioScheme;
use hint_grpo::{GrpoConfig, Observer, StepReport, Trainer, metrics};
use hint_reward::verifier::VerifierConfig;
use hint_rollout::LocalEngine;
use hint_rollout::data::DataConfig;
use hint_rollout::evaluate::EvaluationOptions;
use tch::Device;

use crate::presets;
use crate::process::{is_stream, replace_file};
use crate::workload::{Compute, Source, Workload, equality};

/// Compares presets on the embedded task.
#[derive(Debug, Args)]
pub struct Options {
    /// Methods to compare: names of presets (docs/methods.md), or files [default: `grpo`, `hint`,
    /// `oc_grpo`, `guide_grpo`, `luffy`].
    presets: Vec<String>,
    /// Compare HINT with both baselines and three ratio schemes, with and without Affinity weight.
    #[arg(long, conflicts_with = "presets")]
    grid: bool,
    /// Seeds.
    #[arg(long, value_delimiter = ',', default_value = "0,1,2")]
    seeds: Vec<u64>,
    /// Steps of each run, in place of the number in `examples/configs/tiny.toml`.
    #[arg(long)]
    steps: Option<u64>,
    /// Optimizer steps per rollout batch. With 1, an on-policy ratio is 1 and so is its Affinity.
    #[arg(long, default_value_t = 1)]
    num_iterations: usize,
    /// Held-out problems.
    #[arg(long, default_value_t = 200)]
    held_out: usize,
    /// Runs side by side, one thread each.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// File for the rows, each written when its run is done.
    #[arg(long, default_value = "compare_methods.csv")]
    csv: PathBuf,
}

/// One run.
struct Run {
    method: String,
    seed: u64,
    config: GrpoConfig,
}

/// Result of a run.
#[derive(Debug, Clone)]
struct Row {
    method: String,
    seed: u64,
    accuracy: f64,
    tokens: f64,
    all_wrong: Option<f64>,
    affinity: Option<f64>,
    affinity_behavior: Option<f64>,
}

/// Runs the command.
///
/// # Errors
///
/// A preset that cannot be read or used here, a run that fails, a table that cannot be written.
///
/// # Panics
///
/// When a run panics.
pub fn run(options: &Options) -> Result<()> {
    tch::set_num_threads(1);
    let runs = runs(options)?;
    let workload = Workload::load(&Source {
        model: "tiny",
        problems: "swaps",
        data: &DataConfig::default(),
        verifier: &VerifierConfig { equality: equality("swaps"), ..VerifierConfig::default() },
        device: Device::Cpu,
        compute: Compute::or_default(None, Device::Cpu),
        evaluation: &EvaluationConfig {
            max_problems: Some(options.held_out),
            ..EvaluationConfig::default()
        },
    })?;
    let rows = rows(runs, options.jobs, &options.csv, |run| compare(run, &workload))?;
    say!("{}", table(&rows));
    replace_file(&options.csv, &csv(&rows))
}

/// The rows of the runs, in their order; `jobs` of them go on side by side. A file has the rows of those that are done. It
/// keeps them if another one fails, or the process is killed. A stream gets none.
fn rows(
    runs: Vec<Run>,
    jobs: usize,
    path: &Path,
    compare: impl Fn(Run) -> Result<Row> + Sync,
) -> Result<Vec<Row>> {
    let queue = Mutex::new(runs.into_iter().enumerate().collect::<Vec<_>>());
    let rows = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        let work = || -> Result<()> {
            loop {
                let Some((index, run)) = queue.lock().expect("no run panics here").pop() else {
                    return Ok(());
                };
                let row = compare(run)?;
                note!("{} seed {}: {:.3}", row.method, row.seed, row.accuracy);
                let mut rows = rows.lock().expect("no run panics here");
                rows.insert(index, row);
                if !is_stream(path) {
                    replace_file(path, &csv(rows.values()))?;
                }
            }
        };
        let workers = (0..jobs.max(1)).map(|_| scope.spawn(work)).collect::<Vec<_>>();
        workers.into_iter().try_for_each(|worker| worker.join().expect("no run panics"))
    })?;
    Ok(rows.into_inner().expect("no run panics here").into_values().collect())
}

/// Every configuration with every seed.
fn runs(options: &Options) -> Result<Vec<Run>> {
    let default = ["grpo", "hint", "oc_grpo", "guide_grpo", "luffy"].map(str::to_owned);
    let named = if options.presets.is_empty() { &default[..] } else { &options.presets };
    let configs = if options.grid {
        grid()?
    } else {
        named.iter().map(|name| preset(name)).collect::<Result<_>>()?
    };
    let task = GrpoConfig::from_toml(include_str!("../presets/tiny.toml"))?;
    let mut runs = Vec::new();
    for (method, preset) in configs {
        let mut config = presets::on_task(&preset, &task);
        config.run.steps = options.steps.unwrap_or(task.run.steps);
        config.run.num_iterations = options.num_iterations;
        config.verifier.equality = equality("swaps");
        for &seed in &options.seeds {
            config.run.seed = seed;
            config.validate().with_context(|| format!("preset `{method}` on this task"))?;
            runs.push(Run { method: method.clone(), seed, config: config.clone() });
        }
    }
    Ok(runs)
}

/// A preset by its name, or a file.
fn preset(name: &str) -> Result<(String, GrpoConfig)> {
    let path = Path::new(name);
    let is_file_name = path.extension().is_some() || path.components().count() > 1;
    if !path.is_file() && !is_file_name {
        return Ok((name.to_owned(), GrpoConfig::from_toml(presets::text(name)?)?));
    }
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read `{name}`"))?;
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let config = GrpoConfig::from_toml(&text).with_context(|| format!("in `{name}`"))?;
    Ok((stem, config))
}

/// HINT with both baselines and three ratio schemes, with and without Affinity weight.
fn grid() -> Result<Vec<(String, GrpoConfig)>> {
    let hint = GrpoConfig::from_toml(include_str!("../presets/hint.toml"))?;
    let mut configs = Vec::new();
    for (baseline_name, baseline) in [("group", Baseline::Group), ("union", Baseline::Union)] {
        for (scheme_name, scheme) in [
            ("plain", RatioScheme::Plain),
            ("hinted", RatioScheme::Hinted),
            ("off-context", RatioScheme::OffContext),
        ] {
            for weighted in [true, false] {
                let mut config = hint.clone();
                config.advantage = AdvantageConfig::GroupNormalized { baseline };
                config.loss.ratio_scheme = scheme;
                if !weighted {
                    config.loss.hinted_weight.clear();
                }
                let weight = if weighted { "affinity" } else { "1" };
                configs.push((format!("{baseline_name}, {scheme_name}, {weight}"), config));
            }
        }
    }
    Ok(configs)
}

/// Sums of the metrics that the table shows.
#[derive(Debug, Default)]
struct Sums {
    tokens: f64,
    means: [(f64, u32); 3],
}

struct Watch(Arc<Mutex<Sums>>);

const MEANS: [&str; 3] =
    [metrics::ROLLOUT_ALL_WRONG_FRAC, metrics::AFFINITY_VALUE, metrics::AFFINITY_BEHAVIOR_VALUE];

impl Observer for Watch {
    fn on_step(&mut self, report: &StepReport) -> ControlFlow<()> {
        let mut sums = self.0.lock().expect("no observer panics");
        sums.tokens += report.tokens as f64;
        for (name, mean) in MEANS.iter().zip(&mut sums.means) {
            if let Some(value) = report.metrics.get(name) {
                *mean = (mean.0 + value, mean.1 + 1);
            }
        }
        ControlFlow::Continue(())
    }
}

fn compare(run: Run, workload: &Workload) -> Result<Row> {
    let Run { method, seed, config } = run;
    let model = workload.model(seed)?;
    let engine = LocalEngine::new(model.policy.clone(), model.stop_tokens.clone());
    let sampling = config.rollout.sampling.clone();
    let sums = Arc::<Mutex<Sums>>::default();
    let builder = Trainer::from_config(config.clone(), model.parts(Box::new(engine)))?
        .observer(Watch(Arc::clone(&sums)));
    let (builder, _) = workload.with_frozen_policies(builder, &config, &model)?;
    let mut trainer = builder.build()?;
    trainer.run(&workload.train)?;
    let options = EvaluationOptions::greedy(&sampling);
    let accuracy = trainer.collector_mut().evaluate(&workload.held_out, &options)?.accuracy();
    let sums = sums.lock().expect("no observer panics");
    let mean = |(sum, count): (f64, u32)| (count > 0).then(|| sum / f64::from(count));
    let [all_wrong, affinity, affinity_behavior] = sums.means.map(mean);
    let tokens = sums.tokens;
    Ok(Row { method, seed, accuracy, tokens, all_wrong, affinity, affinity_behavior })
}

/// One line per method: means over the seeds, and the sample deviation of the accuracy.
fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_preset(UTF8_FULL_CONDENSED);
    table.set_header(["method", "accuracy", "tokens", "all wrong", "affinity", "behavior"]);
    for group in rows.chunk_by(|left, right| left.method == right.method) {
        let mean = |value: &dyn Fn(&Row) -> Option<f64>| {
            let values = group.iter().filter_map(value).collect::<Vec<_>>();
            (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
        };
        let cell =
            |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.3}"));
        let accuracy = mean(&|row| Some(row.accuracy)).unwrap_or(0.0);
        let squares = group.iter().map(|row| (row.accuracy - accuracy).powi(2)).sum::<f64>();
        let deviation = (squares / (group.len() as f64 - 1.0).max(1.0)).sqrt();
        table.add_row([
            group[0].method.clone(),
            format!("{accuracy:.3} ± {deviation:.3}"),
            format!("{:.0}", mean(&|row| Some(row.tokens)).unwrap_or(0.0)),
            cell(mean(&|row| row.all_wrong)),
            cell(mean(&|row| row.affinity)),
            cell(mean(&|row| row.affinity_behavior)),
        ]);
    }
    table
}

/// One line per run.
fn csv<'a>(rows: impl IntoIterator<Item = &'a Row>) -> String {
    let mut text = "method,seed,accuracy,tokens,all_wrong,affinity,affinity_behavior\n".to_owned();
    let cell = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
    for row in rows {
        let Row { method, seed, accuracy, tokens, .. } = row;
        let method = method.replace(", ", " / ");
        let [all_wrong, affinity, behavior] =
            [row.all_wrong, row.affinity, row.affinity_behavior].map(cell);
        // Writing to a string cannot fail.
        let _ =
            writeln!(text, "{method},{seed},{accuracy},{tokens},{all_wrong},{affinity},{behavior}");
    }
    text
}

#[cfg(test)]
mod tests {
    use anyhow::ensure;

    use super::*;

    fn runs() -> Vec<Run> {
        let run = |seed| Run { method: "grpo".to_owned(), seed, config: GrpoConfig::default() };
        (0..3).map(run).collect()
    }

    fn row(run: Run) -> Row {
        let Run { method, seed, config: _ } = run;
        let [all_wrong, affinity, affinity_behavior] = [None; 3];
        Row { method, seed, accuracy: 0.5, tokens: 8.0, all_wrong, affinity, affinity_behavior }
    }

    #[test]
    fn rows_are_in_the_file_while_other_runs_go_on_and_after_one_that_fails() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.csv");
        let read = || std::fs::read_to_string(&path).unwrap();
        // The first run is the last to go on.
        let first_fails = |run: Run| {
            ensure!(run.seed > 0, "{}", read());
            Ok(row(run))
        };
        let error = rows(runs(), 1, &path, first_fails).unwrap_err().to_string();
        let lines = error.lines().skip(1).collect::<Vec<_>>();
        assert_eq!(lines, ["grpo,1,0.5,8,,,", "grpo,2,0.5,8,,,"]);
        assert_eq!(read(), error);
        let seeds = rows(runs(), 2, &path, |run| Ok(row(run))).unwrap();
        assert_eq!(seeds.iter().map(|row| row.seed).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(read(), csv(&seeds));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_stream_does_not_get_rows_twice() {
        use std::os::fd::AsRawFd as _;

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("output");
        let output = std::fs::File::create(&path).unwrap();
        let stream = PathBuf::from(format!("/proc/self/fd/{}", output.as_raw_fd()));
        rows(runs(), 1, &stream, |run| Ok(row(run))).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "");
    }
}
