//! Hints tried on a policy before training: do they rescue what is all wrong, and do they fit the policy?

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Result;
use clap::Args;
use comfy_table::{CellAlignment, Table, presets::UTF8_FULL_CONDENSED};
use hint_grpo::GrpoConfig;
use hint_grpo::config::EvaluationConfig;
use hint_policy::DeviceChoice;
use hint_reward::Rubric;
use hint_rollout::collect::hinted::{CombineRule, HintTrigger, KeepIf};
use hint_rollout::data::{Columns, DataConfig, HeldOut};
use hint_rollout::evaluate::Estimate;
use hint_rollout::hint::source::HintSourceConfig;
use hint_rollout::sample::VerdictPolicy;
use hint_rollout::{
    Collector, CollectorConfig, DatasetHints, HintProvider, HintRequest, LocalEngine, Problem,
    RolloutGroup, Seed,
};
use serde::Serialize;

use super::outcome::{Measures, Outcome, measures, share};
use crate::process::set_threads;
use crate::workload::{Compute, Model, Source, Workload, api_key, device, report_refusals};

/// Resamples of an interval.
const RESAMPLES: usize = 1000;

/// Options of the trial of hints on a policy.
#[derive(Debug, Args)]
pub(super) struct TrialOptions {
    /// Try the hints on this policy, as `hint-rl train` takes it: a sample of the problems is answered with and without
    /// them.
    #[arg(long)]
    model: Option<String>,
    /// Problems of the sample, with the lowest hashes of ids.
    #[arg(long, default_value_t = 20, requires = "model")]
    sample: usize,
    /// Device: auto, cpu, cuda or cuda:N.
    #[arg(long, default_value = "auto", requires = "model")]
    device: DeviceChoice,
}

/// The effect of one column of hints on the problems of one difficulty; the last row is of all.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<String>,
    /// `all` for every problem.
    level: String,
    /// Problems that were tried.
    problems: usize,
    /// Shares of correct completions, each with its 95 % interval over problems.
    plain: f64,
    plain_interval: [f64; 2],
    hinted: f64,
    hinted_interval: [f64; 2],
    /// Problems with no correct plain completion, and how many of them have a hinted one. The share of these has an
    /// interval.
    all_wrong: usize,
    rescued: usize,
    rescued_interval: [f64; 2],
    #[serde(flatten)]
    measures: Measures,
}

impl TrialOptions {
    /// Tries the hint that the configured source has for each problem, or the hints of the columns in its place. `None`
    /// without a model. A problem that cannot be tried is left out, with a note.
    pub(super) fn run(
        &self,
        file: &str,
        columns: &Columns,
        hint_columns: &[String],
        config: &GrpoConfig,
    ) -> Result<Option<Vec<Row>>> {
        let Some(name) = &self.model else { return Ok(None) };
        set_threads((name == "tiny").then_some(1));
        let device = device(self.device)?;
        let data = DataConfig { columns: columns.clone(), ..DataConfig::default() };
        let evaluation =
            EvaluationConfig { held_out: HeldOut::None, ..EvaluationConfig::default() };
        let workload = Workload::load(&Source {
            model: name,
            problems: file,
            data: &data,
            verifier: &config.verifier,
            device,
            compute: Compute::or_default(None, device),
            evaluation: &evaluation,
        })?
        .with_prompt(&config.model, &config.prompt);
        let model = workload.model(0)?;
        report_refusals(&model.refusals, device);
        let mut rows = Vec::new();
        for column in hint_columns.iter().map(Some).chain(hint_columns.is_empty().then_some(None)) {
            let source: Box<dyn HintProvider> = match column {
                Some(column) => Box::new(DatasetHints::column(column)),
                None => config.rollout.source.build(api_key)?,
            };
            // Hints that are columns are known; others are written for the sample alone.
            let is_column = column.is_some()
                || matches!(config.rollout.source, HintSourceConfig::Dataset { .. });
            let has_hint = |problem: &Problem| {
                let hint = || anyhow::Ok(source.hint(&HintRequest::new(problem))?.is_some());
                if is_column { hint() } else { Ok(true) }
            };
            let hinted = workload.train.filter(has_hint)?;
            let sample = hinted.sample_by_hash(self.sample)?.to_vec()?;
            let name = column.map_or("hint", String::as_str);
            if sample.is_empty() {
                note!("{name}: no problem has a hint to try");
                continue;
            }
            let outcomes = try_hints(&model, config, source, &sample)?;
            let left_out = sample.len() - outcomes.len();
            if left_out > 0 {
                note!(
                    "{name}: {} of {} problems were tried; the others have no hint, are too long, or none of their plain \
                     or of their hinted completions could be judged",
                    outcomes.len(),
                    sample.len()
                );
            }
            rows.extend(by_level(column, &outcomes)?);
        }
        Ok(Some(rows))
    }
}

/// The outcome of each problem that can be tried, with its level: half of its completions are plain and half hinted.
///
/// # Errors
///
/// Problems that cannot be sampled, a policy that cannot score.
pub(crate) fn try_hints(
    model: &Model,
    config: &GrpoConfig,
    source: Box<dyn HintProvider>,
    sample: &[Problem],
) -> Result<Vec<(String, Outcome)>> {
    let groups = collect(model, config, source, sample)?;
    let temperature = config.rollout.sampling.temperature;
    let mut outcomes = Vec::new();
    for problem in sample {
        let is_its = |group: &&RolloutGroup| group.problem_id == problem.id && group.is_hinted();
        let Some(group) = groups.iter().find(is_its) else { continue };
        let outcome = Outcome::of(group, &**model.policy.lock(), temperature)?;
        if outcome.plain.is_empty() || outcome.hinted.is_empty() {
            continue;
        }
        outcomes.push((problem.level.clone().unwrap_or_else(|| "–".to_owned()), outcome));
    }
    Ok(outcomes)
}

/// The groups of the problems that can be tried, half of each plain and half of it hinted.
fn collect(
    model: &Model,
    config: &GrpoConfig,
    source: Box<dyn HintProvider>,
    sample: &[Problem],
) -> Result<Vec<RolloutGroup>> {
    let rollout = CollectorConfig {
        sampling: config.rollout.sampling.clone(),
        group_size: config.rollout.group_size,
        trigger: HintTrigger::Always,
        keep_if: KeepIf::Always,
        combine: CombineRule::Append,
        // Problems that cannot be judged are left out and counted, however many there are.
        verdicts: VerdictPolicy { max_dropped_frac: 1.0, ..VerdictPolicy::default() },
        ..CollectorConfig::default()
    };
    let engine = LocalEngine::new(model.policy.clone(), model.stop_tokens.clone())
        .with_tokenizer(Arc::clone(&model.tokenizer));
    let rubric = Rubric::new(config.verifier.build()?);
    let collector = Collector::new(engine, Arc::clone(&model.format), rubric, rollout)?;
    let problems = sample.iter().collect::<Vec<_>>();
    Ok(collector.with_hints(source).collect(&problems, Seed::new(0))?.groups)
}

/// A row per level, and one of all.
fn by_level(column: Option<&String>, outcomes: &[(String, Outcome)]) -> Result<Vec<Row>> {
    let mut levels = BTreeMap::<&str, Vec<&Outcome>>::new();
    for (level, outcome) in outcomes {
        levels.entry(level).or_default().push(outcome);
    }
    let all = outcomes.iter().map(|(_, outcome)| outcome).collect::<Vec<_>>();
    if all.is_empty() {
        return Ok(Vec::new());
    }
    let levels = if levels.len() > 1 { levels } else { BTreeMap::new() };
    levels.into_iter().chain([("all", all)]).map(|(level, of)| row(column, level, &of)).collect()
}

fn row(column: Option<&String>, level: &str, outcomes: &[&Outcome]) -> Result<Row> {
    let over = |values: &[f64]| {
        let estimate = Estimate::over(values, RESAMPLES, Seed::new(0));
        (estimate.value, [estimate.low, estimate.high])
    };
    let shares = |side: &dyn Fn(&Outcome) -> &Vec<bool>| {
        over(&outcomes.iter().map(|one| share(side(one))).collect::<Vec<_>>())
    };
    let is_all_wrong = |one: &&&Outcome| !one.plain.contains(&true);
    let all_wrong = outcomes.iter().filter(is_all_wrong).collect::<Vec<_>>();
    let rescued = all_wrong.iter().map(|one| one.hinted.contains(&true)).collect::<Vec<_>>();
    let [(plain, plain_interval), (hinted, hinted_interval)] =
        [shares(&|one| &one.plain), shares(&|one| &one.hinted)];
    let (_, rescued_interval) =
        over(&rescued.iter().map(|rescued| f64::from(*rescued)).collect::<Vec<_>>());
    Ok(Row {
        column: column.cloned(),
        level: level.to_owned(),
        problems: outcomes.len(),
        plain,
        plain_interval,
        hinted,
        hinted_interval,
        all_wrong: all_wrong.len(),
        rescued: rescued.iter().filter(|rescued| **rescued).count(),
        rescued_interval,
        measures: measures(outcomes)?,
    })
}

/// The rows as a table.
pub(super) fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_preset(UTF8_FULL_CONDENSED);
    table.set_header([
        "hint",
        "level",
        "problems",
        "plain",
        "hinted",
        "all wrong",
        "rescued",
        "affinity",
        "of teacher",
    ]);
    let within = |value: String, [low, high]: [f64; 2]| format!("{value}\n[{low:.2}, {high:.2}]");
    for row in rows {
        let rescued = match row.all_wrong {
            0 => row.rescued.to_string(),
            _ => within(row.rescued.to_string(), row.rescued_interval),
        };
        table.add_row([
            row.column.clone().unwrap_or_else(|| "hint".to_owned()),
            row.level.clone(),
            row.problems.to_string(),
            within(format!("{:.3}", row.plain), row.plain_interval),
            within(format!("{:.3}", row.hinted), row.hinted_interval),
            row.all_wrong.to_string(),
            rescued,
            format!("{:.3}", row.measures.affinity),
            format!("{:.3}", row.measures.teacher_affinity),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// The other measures of the rows as a table, see the page on compatibility in the book.
pub(super) fn measures_table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_preset(UTF8_FULL_CONDENSED);
    let names = rows.first().map(|row| row.measures.named().map(|(name, _)| name));
    let head = ["hint", "level"].into_iter().chain(names.into_iter().flatten());
    table.set_header(head);
    for row in rows {
        let column = row.column.clone().unwrap_or_else(|| "hint".to_owned());
        let values = row
            .measures
            .named()
            .map(|(_, value)| value.map_or_else(|| "–".to_owned(), |value| format!("{value:.3}")));
        table.add_row([column, row.level.clone()].into_iter().chain(values));
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem_row::problem_lines;
    use crate::tiny::swaps;

    #[test]
    fn hints_are_tried_on_a_policy() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("swaps.jsonl");
        let (problems, _) = swaps::problems(1);
        std::fs::write(&file, problem_lines(&problems[..12])).unwrap();
        let set = ["verifier.equality.type=exact", "rollout.sampling.max_completion_len=64"];
        let mut options =
            TrialOptions { model: Some("tiny".to_owned()), sample: 6, device: DeviceChoice::Cpu };
        let config = GrpoConfig::from_toml_with("", set).unwrap();
        let run = |options: &TrialOptions| {
            options.run(&file.to_string_lossy(), &Columns::default(), &[], &config).unwrap()
        };
        let rows = run(&options).unwrap();
        let all = rows.last().unwrap();
        assert_eq!((all.level.as_str(), all.problems), ("all", 6));
        assert!(all.hinted > all.plain + 0.2, "{all:?}");
        assert!(all.rescued > 0 && all.rescued <= all.all_wrong, "{all:?}");
        let measures = &all.measures;
        for share in [measures.affinity, measures.teacher_affinity] {
            assert!(0.0 < share && share < 1.0, "{all:?}");
        }
        assert!((measures.accuracy_gap - (all.hinted - all.plain)).abs() < 1e-12, "{all:?}");
        // Correct hinted completions are likelier under the hint: the same two rows, weighed by completion and by token.
        let (reliance, gap) = (measures.hint_reliance.unwrap(), measures.log_gap.unwrap());
        assert!(reliance < 0.0 && gap > 0.0, "{all:?}");
        let weight = measures.off_context_weight.unwrap();
        assert!((0.01..1.0).contains(&weight), "{all:?}");
        let [overlap, compatibility, teachability] =
            [measures.overlap, measures.compatibility, measures.teachability].map(Option::unwrap);
        assert!(0.0 < overlap && overlap <= 1.0, "{all:?}");
        assert!(0.0 < compatibility && compatibility < 1.0001 && teachability > 0.0, "{all:?}");
        let shown = measures_table(&rows).to_string();
        assert!(shown.contains("hint reliance") && shown.contains("teachability"), "{shown}");
        let [low, high] = all.rescued_interval;
        let rescued = all.rescued as f64 / all.all_wrong as f64;
        assert!(low <= rescued && rescued <= high && low < high, "{all:?}");
        assert!(all.plain_interval[0] <= all.plain && all.hinted <= all.hinted_interval[1]);
        options.model = None;
        assert!(run(&options).is_none());
    }

    #[test]
    fn a_problem_that_cannot_be_tried_does_not_end_the_trial() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("swaps.jsonl");
        let (problems, _) = swaps::problems(1);
        let mut problems = problems.iter().take(3).cloned().collect::<Vec<_>>();
        problems[1].question = problems[1].question.repeat(60);
        std::fs::write(&file, problem_lines(&problems)).unwrap();
        let options =
            TrialOptions { model: Some("tiny".to_owned()), sample: 3, device: DeviceChoice::Cpu };
        let run = |set: &str| {
            let set =
                [set, "verifier.equality.type=exact", "rollout.sampling.max_completion_len=64"];
            let config = GrpoConfig::from_toml_with("", set).unwrap();
            options
                .run(&file.to_string_lossy(), &Columns::default(), &[], &config)
                .unwrap()
                .unwrap()
        };
        assert_eq!(
            run("run.seed=0").last().unwrap().problems,
            2,
            "one is longer than the model holds"
        );
        // The configured source is tried, not the columns alone.
        let masked = run("rollout.source.type=masked_solution");
        assert_eq!(masked.last().map(|all| all.problems), Some(2));
    }
}
