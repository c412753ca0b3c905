//! `hint-rl evaluate`: evaluates a model on problems, without hints.
//!
//! ```text
//! hint-rl evaluate
//! hint-rl evaluate --model runs/0001/hint --problems swaps
//! hint-rl evaluate --model model.gguf --problems problems.jsonl --out result.json
//! ```
//!
//! Prints one table, for all problems and by level and category. It has the accuracy of one greedy
//! completion per problem. It has avg@k, pass@k and maj@k of sampled ones, with 95 % intervals over
//! problems. `--out FILE.json` keeps everything, down to each completion's verdict. The default
//! takes half a minute on two CPU cores. `--help` lists the options.

mod options;
mod table;

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use hint_grpo::GrpoConfig;
use hint_grpo::config::EvaluationConfig;
use hint_grpo::rollout_table::{RolloutRecord, evaluated, write_rollouts};
use hint_policy::SharedPolicy;
use hint_reward::Rubric;
use hint_reward::verifier::VerifierConfig;
use hint_rollout::data::ProblemSet;
use hint_rollout::evaluate::{Evaluation, EvaluationOptions, evaluate};
use hint_rollout::run::Activity;
use hint_rollout::{LocalEngine, RolloutEngine};
use serde::Serialize;

pub use self::options::Options;
use self::table::{Counter, rules, table};
use crate::process::{is_small, keep_freed_memory, replace_file, set_threads};
use crate::progress::Output;
use crate::terminal::hush;
use crate::workload::{Compute, Source, Workload, device, report_refusals};

/// Content of the `--out` file.
#[derive(Debug, Serialize)]
struct Report<'a> {
    model: &'a str,
    problems: &'a str,
    /// The verifier.
    verifier: &'a VerifierConfig,
    /// One greedy completion per problem.
    greedy: Option<&'a Evaluation>,
    /// Sampled completions.
    sampled: Option<&'a Evaluation>,
}

impl Report<'_> {
    fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        replace_file(path, &text)
    }
}

/// Runs the command.
///
/// # Errors
///
/// Options out of range, a model or problems that cannot be read, a result that cannot be written.
pub fn run(options: &Options) -> Result<()> {
    if options.quiet {
        hush();
    }
    let config = options.config()?;
    // Before the model is loaded, which can take long.
    options.protocols(&config)?;
    set_threads(options.threads.or(is_small(&options.model).then_some(1)));
    let (workload, problems) = find(options, &config)?;
    let (greedy, sampled) = evaluate_model(options, &config, &workload, &problems)?;
    let (greedy, sampled) = (greedy.as_ref(), sampled.as_ref());
    let left_out = greedy.or(sampled).map_or(&[][..], |one| &one.left_out);
    if let Some(first) = left_out.first() {
        let count = left_out.len();
        note!(
            "{count} problems are left out, because their prompts are too long; the first is `{first}`"
        );
    }
    say!("{}", table(greedy, sampled));
    say!("{}", rules(greedy, sampled));
    if let Some(path) = &options.out {
        let (model, problems) = (&options.model, &options.problems);
        Report { model, problems, verifier: &config.verifier, greedy, sampled }.write(path)?;
    }
    if let Some(path) = &options.completions {
        write_rollouts(path, &records(greedy, sampled, &problems)?)?;
    }
    Ok(())
}

/// The model's place, and the problems to evaluate on.
fn find(options: &Options, config: &GrpoConfig) -> Result<(Workload, ProblemSet)> {
    options.fast_paths.apply();
    let device = device(options.device)?;
    let evaluation = EvaluationConfig {
        max_problems: config.evaluation.max_problems,
        held_out: config.evaluation.held_out.clone(),
        ..EvaluationConfig::default()
    };
    let workload = Workload::load(&Source {
        model: &options.model,
        problems: &options.problems,
        data: &config.data,
        verifier: &config.verifier,
        device,
        compute: Compute::or_default(options.compute, device),
        evaluation: &evaluation,
    })?
    .with_prompt(&config.model, &config.prompt);
    let problems = if workload.held_out.is_empty() {
        workload.train.sample_by_hash(options.held_out)?
    } else {
        workload.held_out.clone()
    };
    let output = Output { quiet: options.quiet, json: false };
    let (model, count) = (&options.model, problems.len());
    output.note(format_args!("{model} on {}: {count} problems", options.problems));
    for line in &workload.left_out {
        note!("warning: {line}");
    }
    for line in &workload.notes {
        output.note(format_args!("{line}"));
    }
    Ok((workload, problems))
}

/// The greedy and the sampled evaluation, where they are asked for.
fn evaluate_model(
    options: &Options,
    config: &GrpoConfig,
    workload: &Workload,
    problems: &ProblemSet,
) -> Result<(Option<Evaluation>, Option<Evaluation>)> {
    let model = workload.load_model()?;
    let report = model.policy.report();
    Output { quiet: options.quiet, json: false }.note(format_args!("{report}"));
    report_refusals(&model.policy.refusals(), report.device);
    keep_freed_memory(report.device);
    let mut config = config.clone();
    config.resolve_tokens(&model.tokenizer)?;
    let [greedy, sampled] = options.protocols(&config)?;
    let tokenizer = model.tokenizer.into();
    let format = workload.format(&tokenizer, model.stop_tokens.clone());
    let mut engine = LocalEngine::new(SharedPolicy::new(model.policy), model.stop_tokens)
        .with_tokenizer(tokenizer);
    if let Some(max_batch) = options.max_batch {
        engine = engine.with_max_batch(max_batch);
    }
    let activity = Activity::default();
    engine.watch(&activity);
    let rubric = Arc::new(Rubric::new(config.verifier.build()?));
    let mut run = |name: &str, protocol: EvaluationOptions| {
        let each = protocol.completions_per_problem;
        let mut counter =
            (!options.quiet).then(|| Counter::new(name, problems.len(), each, &activity));
        let done = &mut |done| {
            if let Some(counter) = &mut counter {
                counter.set(done);
            }
        };
        evaluate(&mut engine, &format, &rubric, problems, &protocol, done)
            .context("cannot evaluate")
    };
    let greedy = greedy.map(|protocol| run("greedy", protocol)).transpose()?;
    let sampled = sampled.map(|protocol| run("sampled", protocol)).transpose()?;
    Ok((greedy, sampled))
}

/// The completions of both evaluations, by problem.
fn records(
    greedy: Option<&Evaluation>,
    sampled: Option<&Evaluation>,
    problems: &ProblemSet,
) -> Result<Vec<RolloutRecord>> {
    let of =
        |one: Option<&Evaluation>| one.map_or(Ok(Vec::new()), |one| evaluated(0, one, problems));
    let (mut all, sampled) = (of(greedy)?, of(sampled)?);
    let first = usize::from(greedy.is_some());
    all.extend(sampled.into_iter().map(|mut record| {
        record.completion += first;
        record
    }));
    all.sort_by_key(|record| (record.group, record.completion));
    Ok(all)
}
