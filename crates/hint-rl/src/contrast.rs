//! `hint-rl contrast`: measures what a model does on a family with and without hints, by level.
//!
//! ```text
//! hint-rl contrast
//! hint-rl contrast --model runs/0001/hint --problems walks
//! ```
//!
//! Prints the accuracy of sampled completions without a hint and with a hint of each degree. Beside it stands the share
//! of groups in which every completion is wrong. Takes about half a minute on one CPU core.

use anyhow::{Context, Result, bail};
use clap::Args;
use comfy_table::{CellAlignment, Table, presets::UTF8_FULL_CONDENSED};
use hint_policy::{LoadOptions, LoadedModel, SharedPolicy};
use hint_reward::{ExactMatch, Rubric};
use hint_rollout::evaluate::{Evaluation, EvaluationOptions, evaluate};
use hint_rollout::{LocalEngine, Problem, Sampling};

use crate::tasks::{Degree, FAMILIES, Family, LEVELS, family, problems};
use crate::tiny::swaps::HINT_INTRODUCTION;
use crate::tiny::tiny_format;
use crate::workload::model_path;

/// Measures what a model does on a task family with and without hints, by level.
#[derive(Debug, Args)]
pub struct Options {
    /// The model, as `train` takes it.
    #[arg(long, default_value = "tiny-tasks")]
    model: String,
    /// `chains` or `walks`.
    #[arg(long, default_value = "chains")]
    problems: String,
    /// Held-out problems of each level.
    #[arg(long, default_value_t = 40)]
    count: usize,
    /// Completions per problem.
    #[arg(long, default_value_t = 8)]
    group_size: usize,
}

/// Runs the command.
///
/// # Errors
///
/// A model that cannot be read, problems of no family.
pub fn run(options: &Options) -> Result<()> {
    tch::set_num_threads(1);
    let Some(family) = family(&options.problems) else {
        let names = FAMILIES.map(Family::name).join("`, `");
        bail!("`{}` is no family; families are `{names}`", options.problems);
    };
    let model = LoadedModel::load(model_path(&options.model)?, &LoadOptions::default())
        .with_context(|| format!("cannot load the model `{}`", options.model))?;
    let format = tiny_format(model.tokenizer, model.stop_tokens.clone());
    let mut engine = LocalEngine::new(SharedPolicy::new(model.policy), model.stop_tokens);
    let rubric = Rubric::new(ExactMatch::new()).into();
    let problems = problems(family, true, options.count * LEVELS.count())?;
    let sampling = Sampling { temperature: 1.0, max_completion_len: 64, ..Sampling::default() };
    let protocol = EvaluationOptions::sampled(options.group_size, sampling);
    let mut measure = |degree: Option<Degree>| {
        let asked = problems.iter().map(|problem| hinted(problem, degree)).collect::<Vec<_>>();
        evaluate(&mut engine, &format, &rubric, &asked, &protocol, &mut |_| {})
    };
    let plain = measure(None)?;
    let hinted = Degree::ALL.into_iter().map(|degree| measure(Some(degree)));
    let hinted = hinted.collect::<Result<Vec<_>, _>>()?;
    say!("{}", table(&problems, &plain, &hinted));
    Ok(())
}

/// The problem with the hint in its question, where the prompt would have it.
fn hinted(problem: &Problem, degree: Option<Degree>) -> Problem {
    let mut problem = problem.clone();
    let hint = match degree {
        None => None,
        Some(Degree::Abstract) => problem.hint.clone(),
        Some(degree) => problem.text_of(degree.column()),
    };
    problem.question.extend(hint.map(|hint| format!("{HINT_INTRODUCTION}{hint}")));
    problem
}

/// A row per level, and one over all of them.
fn table(problems: &[Problem], plain: &Evaluation, hinted: &[Evaluation]) -> Table {
    let mut table = Table::new();
    table.load_preset(UTF8_FULL_CONDENSED);
    let all_wrong = ["all wrong", "all wrong\nwith abstract"];
    let titles = ["level", "no hint", "abstract", "medium", "direct"].into_iter().chain(all_wrong);
    table.set_header(titles);
    let levels = LEVELS.map(|level| Some(level.to_string())).chain([None]);
    for level in levels {
        let mean = |evaluation: &Evaluation, value: &dyn Fn(usize, usize) -> f64| {
            let outcomes = evaluation.problems.iter().zip(problems);
            let outcomes =
                outcomes.filter(|(_, problem)| level.is_none() || problem.level == level);
            let values = outcomes.map(|(one, _)| value(one.correct, one.verdicts.len()));
            let values = values.collect::<Vec<_>>();
            format!("{:.3}", values.iter().sum::<f64>() / values.len().max(1) as f64)
        };
        let accuracy =
            |one: &Evaluation| mean(one, &|correct, count| correct as f64 / count as f64);
        let wrong = |one: &Evaluation| mean(one, &|correct, _| f64::from(u8::from(correct == 0)));
        let mut row = vec![level.clone().unwrap_or_else(|| "all".to_owned()), accuracy(plain)];
        row.extend(hinted.iter().map(accuracy));
        row.extend([wrong(plain), wrong(&hinted[0])]);
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
