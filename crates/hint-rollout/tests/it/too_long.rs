//! Prompts, hints and demonstrations that are longer than the engine holds.

use std::sync::Arc;

use hint_reward::{ExactMatch, Rubric};
use hint_rollout::collect::{Collected, ProblemReport};
use hint_rollout::data::{ProblemSet, Problems};
use hint_rollout::engine::TooLong;
use hint_rollout::evaluate::{EvaluationOptions, evaluate};
use hint_rollout::hint::source::{Demonstrations, HintSourceConfig, SelfHints};
use hint_rollout::{
    Collector, CollectorConfig, Completion, DatasetHints, GenerationRequest, Problem,
    RolloutEngine, RolloutError, Sampling, Seed, WeightSource,
};

use crate::scripted::{Bytes, Scripted};

/// An engine of 160 positions that refuses what is longer, as real ones do.
struct Small<E>(E);

impl<E: RolloutEngine> RolloutEngine for Small<E> {
    fn generate(
        &mut self,
        requests: &[GenerationRequest],
    ) -> Result<Vec<Vec<Completion>>, RolloutError> {
        if requests.iter().any(|request| request.prompt.len() > 159) {
            return Err(RolloutError::other("engine", "a row is too long"));
        }
        self.0.generate(requests)
    }

    fn sync(&mut self, weights: &dyn WeightSource) -> Result<(), RolloutError> {
        self.0.sync(weights)
    }

    fn max_positions(&self) -> Option<usize> {
        Some(160)
    }
}

fn problems() -> Vec<Problem> {
    vec![
        Problem::new("fits", "1 + 1", "2").with_hint("Add."),
        Problem::new("long-prompt", "1 + 1".repeat(40), "2").with_hint("Add."),
        Problem::new("long-hint", "2 + 2", "2").with_hint("Add. ".repeat(20)),
    ]
}

/// Right with a hint alone, and every hint begins with `Add.`.
fn script(prompt: &str, _: usize) -> String {
    format!("\\boxed{{{}}}", if prompt.contains("Add.") { "2" } else { "0" })
}

fn collector(config: CollectorConfig) -> Collector {
    let engine = Small(Scripted::new(script).0);
    let config = CollectorConfig { group_size: 2, ..config };
    Collector::new(engine, Bytes::default(), Rubric::new(ExactMatch::new()), config)
        .expect("the configuration is valid")
        .with_hints(DatasetHints::new())
}

fn collect(too_long: TooLong) -> Result<Collected, RolloutError> {
    let mut collector = collector(CollectorConfig { too_long, ..CollectorConfig::default() });
    collector.collect(&problems().iter().collect::<Vec<_>>(), Seed::new(3))
}

#[test]
fn too_long_prompts_and_hints_are_left_out_and_counted() {
    let collected = collect(TooLong::Drop).expect("nothing stops the step");
    let found = collected.groups.iter().map(|group| (&*group.problem_id, group.is_hinted()));
    assert_eq!(found.collect::<Vec<_>>(), [("fits", true), ("long-hint", false)]);
    assert_eq!((collected.stats.sampled.too_long_prompts, collected.stats.hinted.too_long), (1, 1));
}

#[test]
fn a_hint_can_be_cut_until_it_fits() {
    let collected = collect(TooLong::TruncateHint).expect("nothing stops the step");
    let group = collected.groups.iter().find(|group| group.problem_id == "long-hint");
    let hint = group.and_then(|group| group.hint()).expect("its hint is cut");
    assert!(hint.hint.text.starts_with("Add. ") && hint.prompt.len() <= 159, "{hint:?}");
    assert!(hint.prompt.len() > 155, "no more than needed: {}", hint.prompt.len());
    assert_eq!((collected.stats.sampled.too_long_prompts, collected.stats.hinted.too_long), (1, 1));
}

#[test]
fn a_run_may_stop_for_them_and_the_error_names_the_problem() {
    let error = collect(TooLong::Abort).expect_err("the second prompt is too long");
    assert_eq!(
        error.to_string(),
        "the prompt of problem `long-prompt` takes 200 tokens, and at most 159 fit; shorten it, or \
         set `too_long` to \"drop\" or \"truncate_hint\""
    );
}

#[test]
fn lengths_and_hints_are_known_before_the_first_step() {
    let report = collector(CollectorConfig::default())
        .check_problems(&problems(), &problems()[1..2].to_vec());
    let report = report.expect("they are left out");
    assert_eq!(
        report.to_string(),
        "3 problems, 3 with a hint\n\
         1 prompt is longer than 159 tokens (up to 200), left out: `long-prompt`\n\
         2 hints are longer than 159 tokens (up to 120), not used: `long-prompt`, `long-hint`\n\
         1 held-out prompt is longer than 159 tokens (up to 200): `long-prompt`"
            .replace("up to 120", &format!("up to {}", report.too_long[1].len))
    );
    let all = ProblemSet::from(problems());
    let fitting = report.fitting(&all).unwrap().to_vec().unwrap();
    assert_eq!(
        fitting.iter().map(|problem| &*problem.id).collect::<Vec<_>>(),
        ["fits", "long-hint"]
    );
    let config = CollectorConfig { too_long: TooLong::TruncateHint, ..CollectorConfig::default() };
    let report = collector(config).check_problems(&problems(), &Vec::new()).expect("they are cut");
    assert!(report.to_string().contains("), cut to fit: `long-prompt`"), "{report}");
    let config = CollectorConfig { max_prompt_len: Some(4), ..CollectorConfig::default() };
    let report = collector(config).check_problems(&problems(), &problems()).expect("too long");
    assert!(report.fitting(&all).unwrap().is_empty(), "every prompt has five tokens or more");
    assert!(
        report
            .to_string()
            .ends_with("1 held-out prompt is longer than 159 tokens (up to 200): `long-prompt`")
    );
    let config = CollectorConfig { too_long: TooLong::Abort, ..CollectorConfig::default() };
    let error = collector(config)
        .check_problems(&problems(), &Vec::new())
        .expect_err("the run may not start");
    assert!(matches!(error, RolloutError::TooLong { what: "prompt", .. }), "{error}");
}

#[test]
fn too_long_demonstrations_and_requests_for_hints_give_no_hint() {
    let problem = Problem::new("p", "1 + 1", "2").with_solution("2".repeat(200));
    let rubric = || Rubric::new(ExactMatch::new());
    let source = |source| CollectorConfig { group_size: 2, source, ..CollectorConfig::default() };
    let config = source(HintSourceConfig::Demonstration { column: None });
    let engine = Small(Scripted::new(script).0);
    let mut collector = Collector::new(engine, Bytes::default(), rubric(), config)
        .expect("the configuration is valid")
        .with_hints(Demonstrations::new());
    let collected = collector.collect(&[&problem], Seed::new(3)).expect("nothing stops the step");
    assert!(!collected.groups[0].is_hinted());
    assert_eq!(collected.stats.hinted.too_long, 1);
    let engine = Small(Scripted::new(script).0);
    let config = CollectorConfig { group_size: 2, ..CollectorConfig::default() };
    let mut collector = Collector::new(engine, Bytes::default(), rubric(), config)
        .expect("the configuration is valid")
        .with_hints(SelfHints::new(1, Sampling::default()));
    let collected = collector.collect(&[&problem], Seed::new(3)).expect("nothing stops the step");
    assert!(!collected.groups[0].is_hinted(), "the request shows the solution, which is too long");
}

#[test]
fn an_evaluation_leaves_them_out_by_name() {
    let run = |options: &EvaluationOptions, problems: &[Problem]| {
        let mut engine = Small(Scripted::new(script).0);
        let rubric = Arc::new(Rubric::new(ExactMatch::new()));
        evaluate(&mut engine, &Bytes::default(), &rubric, &problems, options, &mut |_| {})
    };
    let options = EvaluationOptions::default();
    let found = run(&options, &problems()).expect("two problems fit");
    assert_eq!((found.problems.len(), &*found.left_out), (2, &["long-prompt".to_owned()][..]));
    let error = run(&options, &problems()[1..2]).expect_err("nothing is left");
    assert!(matches!(error, RolloutError::NothingToEvaluate), "{error}");
    let options = EvaluationOptions { too_long: TooLong::Abort, ..options };
    let error = run(&options, &problems()).expect_err("the options say so");
    assert!(matches!(error, RolloutError::TooLong { problem, .. } if problem == "long-prompt"));
}

fn report(
    problems: &dyn Problems,
    source: HintSourceConfig,
) -> Result<ProblemReport, RolloutError> {
    let provider = source.build(|_| None)?;
    let config = CollectorConfig { source, ..CollectorConfig::default() };
    let (engine, _) = Scripted::new(script);
    Collector::new(engine, Bytes::default(), Rubric::new(ExactMatch::new()), config)?
        .with_hints(provider)
        .check_problems(problems, &Vec::new())
}

#[test]
fn a_run_that_is_to_give_hints_needs_some() {
    let without = [Problem::new("a", "1", "1"), Problem::new("b", "2", "2").with_hint(" \n")];
    let error = report(&without, HintSourceConfig::default()).expect_err("a blank hint is none");
    assert!(error.to_string().starts_with("none of the 2 problems has a hint of source `dataset`"));
    let solved = [Problem::new("a", "1", "1").with_solution("s"), Problem::new("b", "2", "2")];
    let source = HintSourceConfig::MaskedSolution { placeholder: "_".to_owned() };
    let found = report(&solved, source).expect("one has a solution");
    assert_eq!(found.to_string(), "2 problems, 1 with a hint");
    let mut columns = Problem::new("a", "1", "1");
    columns.columns.insert("first".to_owned(), "Look.".into());
    columns.columns.insert("second".to_owned(), "".into());
    let source = ["first", "second"].map(str::to_owned).to_vec();
    let found = report(&[columns], HintSourceConfig::Dataset { columns: source });
    let found = found.expect("one has the first");
    assert_eq!(found.to_string(), "1 problem, with hints of level 1: 1, 2: 0");
}
