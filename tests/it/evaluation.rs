//! Evaluation in the course of a run.

use std::path::Path;

use hint_grpo::config::EvaluationConfig;
use hint_grpo::rollout_table::{RolloutRole, read_rollouts};
use hint_grpo::{
    Demonstration, GrpoConfig, GrpoError, Observer, Outcome, RunDir, SupervisedTrainer, Trainer,
    metrics,
};
use hint_policy::SharedPolicy;
use hint_rollout::data::{DataConfig, HeldOut, Split, is_held_out};
use hint_rollout::evaluate::Evaluation;
use hint_rollout::{Collector, LocalEngine, Problem, PromptFormat as _};
use hint_tests::{
    Digits, STOP, StopAfter, bytes, config, lenient_rubric, metric_lines, parts, problems,
    tiny_policy, weights,
};
use serde_json::Value;

const STEPS: u64 = 5;

/// Two evaluations on the way, with four sampled completions per problem.
fn evaluated() -> GrpoConfig {
    let mut config = config(STEPS);
    config.evaluation = EvaluationConfig {
        held_out: HeldOut::Share { frac: 0.4 },
        every: 2,
        completions_per_problem: 4,
        temperature: 1.0,
        resamples: 50,
        ..EvaluationConfig::default()
    };
    config
}

fn run(dir: &Path, config: &GrpoConfig, held_out: &[Problem], stop: Option<u64>) -> Vec<f32> {
    let run_dir = RunDir::resume_or_create(dir, config);
    let policy = SharedPolicy::new(tiny_policy(7));
    let parts = parts(&policy, lenient_rubric(), true);
    let (train, _) = split();
    let outcome = Trainer::from_config(config.clone(), parts)
        .expect("the configuration is valid")
        .run_dir(run_dir.expect("a usable folder"))
        .held_out(held_out.to_vec())
        .observer(StopAfter(stop.unwrap_or(u64::MAX)))
        .build()
        .expect("the configuration is valid")
        .run(&train)
        .expect("the run works");
    assert_eq!(outcome == Outcome::Completed, stop.is_none());
    weights(&policy)
}

fn held_out() -> Vec<Problem> {
    split().1
}

/// The problems to train on, and the held-out ones.
fn split() -> (Vec<Problem>, Vec<Problem>) {
    let split = evaluated().evaluation.split(problems(), &DataConfig::default());
    let Split { train, held_out, .. } = split.expect("no file is read");
    (train.to_vec().expect("in memory"), held_out.to_vec().expect("in memory"))
}

/// The lines of `metrics.jsonl`, and those of them that are about the evaluation.
fn metrics_of(dir: &Path) -> (Vec<Value>, Vec<Value>) {
    metric_lines(dir)
        .into_iter()
        .map(|line| {
            let Value::Object(line) = line else { panic!("a line is an object") };
            let (eval, rest): (serde_json::Map<_, _>, serde_json::Map<_, _>) =
                line.into_iter().partition(|(name, _)| name.starts_with("eval/"));
            (Value::Object(rest), Value::Object(eval))
        })
        .unzip()
}

#[test]
fn evaluation_changes_no_number_of_the_training() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (with, without) = (dir.path().join("with"), dir.path().join("without"));
    let expected = run(&without, &config(STEPS), &[], None);
    assert_eq!(run(&with, &evaluated(), &held_out(), None), expected);
    let (mut trained, eval) = metrics_of(&with);
    let start = trained.remove(0);
    assert_eq!(start, serde_json::json!({"step": 0}));
    assert_eq!(trained, metrics_of(&without).0);
    let evaluated = eval.iter().zip(0..).filter(|(line, _)| line.get("eval/avg").is_some());
    assert_eq!(evaluated.map(|(_, step)| step).collect::<Vec<u64>>(), [0, 2, 4, 5]);
    assert!(eval[2].get("eval/pass_at_4").is_some() && eval[2].get("eval/pass_at_1").is_none());
}

/// A run in `dir` that takes the first evaluation of another one.
fn run_after(dir: &Path, config: &GrpoConfig, first: Evaluation) -> Vec<f32> {
    let run_dir = RunDir::create(dir, config).expect("a new folder");
    let policy = SharedPolicy::new(tiny_policy(7));
    let mut trainer = Trainer::from_config(config.clone(), parts(&policy, lenient_rubric(), true))
        .expect("the configuration is valid")
        .run_dir(run_dir)
        .held_out(held_out())
        .first_evaluation(first)
        .build()
        .expect("the configuration is valid");
    assert_eq!(trainer.run(&split().0).expect("the run works"), Outcome::Completed);
    weights(&policy)
}

#[test]
fn a_run_takes_the_first_evaluation_of_another_and_ends_with_the_same_bytes() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (own, taken, other) =
        (dir.path().join("own"), dir.path().join("taken"), dir.path().join("other"));
    let mut config = evaluated();
    config.evaluation.kept_completions = 0;
    let expected = run(&own, &config, &held_out(), None);
    let first = || RunDir::evaluation(&own, 0).expect("it can be read").expect("it was written");
    assert_eq!(run_after(&taken, &config, first()), expected);
    let steps = [0, 2, 4, 5].map(|step| format!("evaluations/step-{step:08}.json"));
    for name in std::iter::once("metrics.jsonl".to_owned()).chain(steps) {
        assert!(bytes(&taken.join(&name)) == bytes(&own.join(&name)), "{name}");
    }
    // It is taken, and not made again.
    let mut changed = first();
    changed.overall.avg.value = 0.123;
    assert_eq!(run_after(&other, &config, changed), expected);
    let (_, eval) = metrics_of(&other);
    assert_eq!(eval[0]["eval/avg"], 0.123);
    assert_eq!(eval[2]["eval/avg"], metrics_of(&own).1[2]["eval/avg"]);
}

#[test]
fn a_first_evaluation_that_the_run_would_not_make_is_refused() {
    type Change = (&'static str, fn(&mut GrpoConfig));
    let dir = tempfile::tempdir().expect("a temporary folder");
    run(dir.path(), &evaluated(), &held_out(), Some(0));
    let found = RunDir::evaluation(dir.path(), 0).expect("it can be read").expect("it was written");
    let build = |config: GrpoConfig, held_out: Vec<Problem>| {
        let policy = SharedPolicy::new(tiny_policy(7));
        Trainer::from_config(config, parts(&policy, lenient_rubric(), true))
            .expect("the configuration is valid")
            .held_out(held_out)
            .first_evaluation(found.clone())
            .build()
            .map(drop)
    };
    build(evaluated(), held_out()).expect("it is that of this run");
    let changes: [Change; 4] = [
        ("seed", |config| config.run.seed += 1),
        ("completions_per_problem", |config| config.evaluation.completions_per_problem = 2),
        ("resamples", |config| config.evaluation.resamples = 60),
        ("sampling", |config| config.evaluation.temperature = 0.5),
    ];
    for (field, change) in changes {
        let mut config = evaluated();
        change(&mut config);
        let error = build(config, held_out()).expect_err("it is of another run").to_string();
        assert!(error.contains(&format!("first_evaluation.{field}: must be")), "{error}");
    }
    let error = build(evaluated(), held_out()[1..].to_vec()).expect_err("one is missing");
    let missing = format!("problem `{}` in one of the two alone", held_out()[0].id);
    assert!(error.to_string().contains(&missing), "{error}");
}

#[test]
fn the_results_of_an_evaluation_are_kept() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    run(dir.path(), &evaluated(), &held_out(), None);
    let found = RunDir::evaluation(dir.path(), 4).expect("it can be read").expect("it was written");
    let ids = found.problems.iter().map(|problem| problem.id.clone()).collect::<Vec<_>>();
    let expected =
        problems().into_iter().map(|problem| problem.id).filter(|id| is_held_out(id, 0.4));
    assert_eq!(ids, expected.collect::<Vec<_>>());
    assert_eq!(found.overall.completions, 4 * ids.len());
    let (_, eval) = metrics_of(dir.path());
    assert_eq!(eval[4]["eval/avg"], found.accuracy());
    assert_eq!(RunDir::evaluation(dir.path(), 3).expect("no file is no error"), None);
    let kept = RunDir::evaluated(dir.path()).expect("a readable folder");
    assert_eq!(kept.iter().map(|(step, _)| *step).collect::<Vec<_>>(), [0, 2, 4, 5]);
    let records = read_rollouts(&kept[2].1).expect("a whole file");
    assert_eq!(records.len(), 4 * ids.len(), "all four completions of each problem are kept");
    assert!(records.iter().all(|record| record.role == RolloutRole::Evaluated));
    let correct = records.iter().filter(|record| record.verdict.is_correct()).count();
    assert_eq!(correct, found.problems.iter().map(|problem| problem.correct).sum::<usize>());
}

#[test]
fn a_stopped_run_resumes_to_the_same_evaluations() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (whole, split) = (dir.path().join("whole"), dir.path().join("split"));
    let expected = run(&whole, &evaluated(), &held_out(), None);
    // Step 0 is the evaluation before the first step.
    run(&split, &evaluated(), &held_out(), Some(0));
    run(&split, &evaluated(), &held_out(), Some(3));
    // As a run that was killed after step 4, whose last checkpoint is that of step 3.
    let later = split.join("evaluations/step-00000004.json");
    std::fs::write(&later, "half a fi").expect("the folder is writable");
    assert_eq!(run(&split, &evaluated(), &held_out(), None), expected);
    let files = ["step-00000004.json", "step-00000004.parquet", "step-00000005.parquet"];
    let files = files.map(|name| format!("evaluations/{name}"));
    for name in std::iter::once("metrics.jsonl".to_owned()).chain(files) {
        assert!(bytes(&split.join(&name)) == bytes(&whole.join(&name)), "{name}");
    }
}

#[test]
fn other_held_out_problems_are_refused_on_resuming() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    run(dir.path(), &evaluated(), &held_out(), Some(2));
    let policy = SharedPolicy::new(tiny_policy(7));
    let parts = parts(&policy, lenient_rubric(), true);
    let (train, held_out) = split();
    let error = Trainer::from_config(evaluated(), parts)
        .expect("the configuration is valid")
        .run_dir(RunDir::resume(dir.path()).expect("a stopped run"))
        .held_out(held_out[1..].to_vec())
        .build()
        .expect("the configuration is valid")
        .run(&train)
        .expect_err("a problem is missing");
    assert!(matches!(error, GrpoError::Mismatch { .. }), "{error}");
}

#[test]
fn problems_that_are_trained_on_cannot_be_held_out() {
    let policy = SharedPolicy::new(tiny_policy(7));
    let build = |held_out: Vec<Problem>| {
        let parts = parts(&policy, lenient_rubric(), true);
        Trainer::from_config(evaluated(), parts)
            .expect("the configuration is valid")
            .held_out(held_out)
            .build()
    };
    let error = build(held_out()).expect("a valid trainer").run(&problems()).expect_err("overlap");
    assert!(error.to_string().contains("must hold out no problem that is trained on"), "{error}");
    let error = build(Vec::new()).expect_err("nothing is held out").to_string();
    assert!(error.contains("must come with problems"), "{error}");
}

#[test]
fn a_supervised_run_is_evaluated_as_well() {
    /// Keeps the accuracies.
    struct Watch(std::sync::mpsc::Sender<(u64, f64)>);
    impl Observer for Watch {
        fn on_evaluation(&mut self, step: u64, evaluation: &Evaluation) {
            let _ = self.0.send((step, evaluation.accuracy()));
        }
    }
    let mut config = evaluated();
    config.run.steps = 20;
    config.run.prompts_per_step = 8;
    config.evaluation.every = 0;
    config.optimizer.learning_rate = 1e-2;
    let (train, held_out) = split();
    // 9 is `9` times three: solves either kind of problem.
    let nines = Digits.encode_completion("999").expect("digits are tokens");
    let demonstrations = train.iter().map(|problem| {
        let prompt = Digits.encode(problem, None).expect("digits are tokens");
        Demonstration::new(&problem.id, prompt, [nines.as_slice(), &[STOP]].concat())
    });
    let demonstrations = demonstrations.collect::<Vec<_>>();
    let policy = SharedPolicy::new(tiny_policy(7));
    let engine = LocalEngine::new(policy.clone(), vec![STOP]);
    let collector = Collector::new(engine, Digits, hint_tests::rubric(), config.rollout.clone())
        .expect("the configuration is valid");
    let (accuracies, received) = std::sync::mpsc::channel();
    let mut trainer = SupervisedTrainer::builder(policy, config)
        .evaluator(collector)
        .held_out(held_out)
        .observer(Watch(accuracies))
        .build()
        .expect("the configuration is valid");
    trainer.run(&demonstrations).expect("the run works");
    drop(trainer);
    let found = received.iter().collect::<Vec<_>>();
    let [(0, before), (20, after)] = found[..] else { panic!("unexpected {found:?}") };
    assert!(before < 0.6 && after > 0.9, "from {before} to {after}");
}

#[test]
fn all_lengths_are_reported_under_their_names() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    run(dir.path(), &config(STEPS), &[], None);
    let (lines, _) = metrics_of(dir.path());
    let value = |name: &str| lines[0][name].as_f64().unwrap_or_else(|| panic!("no `{name}`"));
    let [least, mean, most] = [
        metrics::COMPLETIONS_MIN_LENGTH,
        metrics::COMPLETIONS_MEAN_LENGTH,
        metrics::COMPLETIONS_MAX_LENGTH,
    ]
    .map(value);
    assert!(1.0 <= least && least <= mean && mean <= most && most == 8.0, "{least} {mean} {most}");
    assert!(value(metrics::COMPLETIONS_MAX_TERMINATED_LENGTH) <= most);
    assert!(value(metrics::COMPLETIONS_MEAN_TERMINATED_LENGTH) <= mean);
    assert!(value("rewards/correct/std") > 0.0);
}
