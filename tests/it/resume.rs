//! Runs that were stopped or killed, and resumed.

use std::path::Path;

use hint_grpo::objective::{
    CreditConfig, CreditForm, CreditTeacher, DivergenceKind, ObjectiveConfig, Support, Tail,
};
use hint_grpo::optim::Decay;
use hint_grpo::{GrpoConfig, GrpoError, Outcome, RunDir, Trainer};
use hint_policy::SharedPolicy;
use hint_rollout::Problem;
use hint_rollout::collect::hinted::{CombineRule, Contrast, HintTrigger, LevelSearch, Taught};
use hint_rollout::data::ProblemSetBuilder;
use hint_rollout::run::ValueSchedule;
use hint_tests::{
    StopAfter, bytes, config, lenient_rubric, metric_lines, parts, problems, tiny_policy, trainer,
    weights,
};
use serde_json::Value;

const STEPS: u64 = 8;

fn run_config() -> GrpoConfig {
    let mut config = config(STEPS);
    config.run.num_iterations = 2;
    config.run.num_minibatches = 2;
    config.run.checkpoint_every = 3;
    config
}

/// Runs in `dir` to the end, from its latest checkpoint if it has one. Returns the weights.
fn finish(dir: &Path, config: &GrpoConfig) -> Vec<f32> {
    let run_dir = RunDir::resume_or_create(dir, config);
    let (mut trainer, policy) = trainer(config, true, Some(run_dir.expect("a usable folder")));
    assert_eq!(trainer.run(&problems()).expect("the run works"), Outcome::Completed);
    weights(&policy)
}

/// The files that must not depend on interruptions.
fn outcome(dir: &Path) -> Vec<Vec<u8>> {
    let last = dir.join(format!("checkpoints/step-{STEPS:08}"));
    ["model.safetensors", "optimizer.safetensors", "config.json"]
        .iter()
        .map(|name| bytes(&last.join(name)))
        .chain([bytes(&dir.join("metrics.jsonl"))])
        .collect()
}

fn uninterrupted() -> (Vec<Vec<u8>>, Vec<f32>) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let weights = finish(dir.path(), &run_config());
    (outcome(dir.path()), weights)
}

#[test]
fn a_second_process_in_the_folder_of_a_run_changes_nothing() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let config = run_config();
    let in_use = |opened: Result<RunDir, GrpoError>| match opened {
        Err(GrpoError::InUse { path, owner }) => {
            assert_eq!(path, dir.path());
            assert!(owner.contains(&std::process::id().to_string()), "{owner}");
        }
        other => panic!("{other:?}"),
    };
    let run_dir = RunDir::create(dir.path(), &config).expect("an empty folder");
    in_use(RunDir::create(dir.path(), &config));
    in_use(RunDir::resume_or_create(dir.path(), &config));
    let (mut first, _) = trainer(&config, true, Some(run_dir));
    first.run(&problems()).expect("the run works");
    let metrics = bytes(&dir.path().join("metrics.jsonl"));
    let checkpoints = || RunDir::checkpoints(dir.path()).expect("the folder can be listed");
    let before = checkpoints();
    in_use(RunDir::resume(dir.path()));
    in_use(RunDir::resume_at(dir.path(), 3));
    assert!(matches!(RunDir::remove_optimizer(dir.path()), Err(GrpoError::InUse { .. })));
    assert!(bytes(&dir.path().join("metrics.jsonl")) == metrics, "no line is cut");
    assert_eq!(checkpoints(), before);
    drop(first);
    RunDir::resume(dir.path()).expect("it is free again");
}

#[test]
fn a_run_without_its_optimizer_keeps_its_weights_and_takes_no_more_steps() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    assert!(matches!(
        RunDir::remove_optimizer(dir.path()),
        Err(GrpoError::NoCheckpoint { path }) if path == dir.path()
    ));
    let config = run_config();
    finish(dir.path(), &config);
    let last = dir.path().join(format!("checkpoints/step-{STEPS:08}"));
    let kept = || {
        ["checkpoints/step-00000008/model.safetensors", "metrics.jsonl", "config.toml"]
            .map(|name| bytes(&dir.path().join(name)))
    };
    let before = kept();
    RunDir::remove_optimizer(dir.path()).expect("a free folder");
    let checkpoints = RunDir::checkpoints(dir.path()).expect("the folder can be listed");
    assert!(checkpoints.len() > 1);
    for (_, checkpoint) in &checkpoints {
        assert!(!checkpoint.join("optimizer.safetensors").exists(), "{checkpoint:?}");
    }
    // A kill after the record was written leaves the file, which the next call removes.
    std::fs::write(last.join("optimizer.safetensors"), "left").expect("a writable folder");
    let mut longer = config.clone();
    longer.run.steps += 1;
    let refused = [
        RunDir::resume(dir.path()),
        RunDir::resume_at(dir.path(), STEPS),
        RunDir::resume_or_create(dir.path(), &longer),
    ];
    for opened in refused {
        let error = opened.expect_err("it has no optimizer");
        assert!(matches!(&error, GrpoError::NoOptimizer { path } if *path == last), "{error}");
        assert!(error.to_string().contains("start a new run from its weights"), "{error}");
    }
    RunDir::remove_optimizer(dir.path()).expect("a free folder");
    assert!(!last.join("optimizer.safetensors").exists());
    assert!(kept() == before, "weights and numbers are as they were");
    assert_eq!(RunDir::checkpoints(dir.path()).expect("the folder can be listed"), checkpoints);
}

#[test]
fn a_stopped_run_resumes_to_the_same_bytes() {
    let expected = uninterrupted();
    // Where problems are kept changes nothing, not even from one session to the next.
    for (stop, memory) in [(1, u64::MAX), (4, 0)] {
        let mut on_disk = ProblemSetBuilder::new(memory, None);
        problems().into_iter().try_for_each(|one| on_disk.push(one)).expect("there is room");
        let on_disk = on_disk.finish().expect("there is room");
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut config = run_config();
        config.data.memory_mib = memory >> 20;
        let run_dir = RunDir::create(dir.path(), &config).expect("an empty folder");
        let policy = SharedPolicy::new(tiny_policy(7));
        let parts = parts(&policy, lenient_rubric(), true);
        let mut trainer = Trainer::from_config(config, parts)
            .expect("the configuration is valid")
            .run_dir(run_dir)
            .observer(StopAfter(stop))
            .build()
            .expect("the configuration is valid");
        let outcome_of_run = trainer.run(&on_disk).expect("the run works");
        assert!(matches!(outcome_of_run, Outcome::Stopped { step, .. } if step == stop));
        drop(trainer);
        let weights = finish(dir.path(), &run_config());
        assert!((outcome(dir.path()), weights) == expected, "stopped after step {stop}");
    }
}

/// Runs in `dir` to step `STEPS`, or to `stop`, with hints that teach by an average of the weights.
fn with_average(dir: &Path, stop: Option<u64>) -> Vec<Vec<u8>> {
    let mut config = run_config();
    config.rollout.trigger = HintTrigger::Always;
    config.rollout.combine =
        CombineRule::Teach { completions: Taught::All, contrast: Contrast::None, samples: false };
    config.loss.credit = CreditConfig {
        form: CreditForm::Divergence {
            mix: 0.5,
            coef: 1.0,
            kind: DivergenceKind::ReverseKl,
            top_k: 5,
            support: Support::Student,
            tail: Tail::Bucket,
        },
        teacher: CreditTeacher::Average { decay: 0.8 },
    };
    let run_dir = RunDir::resume_or_create(dir, &config).expect("a usable folder");
    let policy = SharedPolicy::new(tiny_policy(7));
    let parts = parts(&policy, lenient_rubric(), true);
    let mut builder = Trainer::from_config(config, parts)
        .expect("the configuration is valid")
        .teacher(SharedPolicy::new(tiny_policy(7)))
        .run_dir(run_dir);
    if let Some(step) = stop {
        builder = builder.observer(StopAfter(step));
    }
    let mut trainer = builder.build().expect("the configuration is valid");
    trainer.run(&problems()).expect("the run works");
    if stop.is_some() { Vec::new() } else { outcome(dir) }
}

#[test]
fn an_average_that_teaches_resumes_to_the_same_bytes() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let expected = with_average(dir.path(), None);
    let last = dir.path().join(format!("checkpoints/step-{STEPS:08}"));
    let read =
        |name: &str| tch::Tensor::read_safetensors(last.join(name)).expect("a file of tensors");
    let model = read("model.safetensors");
    let average = read("optimizer.safetensors");
    for (name, weights) in &model {
        let of_teacher = average.iter().find(|(other, _)| *other == format!("teacher/{name}"));
        let (_, of_teacher) = of_teacher.expect("the average is in the checkpoint");
        assert_ne!(of_teacher, weights, "{name} follows, and is not the same");
    }
    for stop in [1, 4] {
        let dir = tempfile::tempdir().expect("a temporary folder");
        with_average(dir.path(), Some(stop));
        assert!(with_average(dir.path(), None) == expected, "stopped after step {stop}");
    }
}

#[test]
fn a_steered_level_resumes_to_the_same_bytes() {
    let annealing = ValueSchedule::constant(1.0);
    let mut config = run_config();
    config.rollout.trigger = HintTrigger::Always;
    config.rollout.level =
        LevelSearch::Steered { start: 0.3, target_rate: 0.5, gain: 0.5, annealing };
    let run = |dir: &Path, stop: Option<u64>| {
        let run_dir = RunDir::resume_or_create(dir, &config).expect("a usable folder");
        let policy = SharedPolicy::new(tiny_policy(7));
        let parts = parts(&policy, lenient_rubric(), true);
        let mut builder = Trainer::from_config(config.clone(), parts)
            .expect("the configuration is valid")
            .run_dir(run_dir);
        if let Some(step) = stop {
            builder = builder.observer(StopAfter(step));
        }
        let mut trainer = builder.build().expect("the configuration is valid");
        trainer.run(&problems()).expect("the run works");
        let record = trainer.collector_mut().record();
        problems().iter().map(|one| record.get(&one.id).and_then(|one| one.level)).collect()
    };
    let dir = tempfile::tempdir().expect("a temporary folder");
    let levels: Vec<Option<f64>> = run(dir.path(), None);
    let moved = levels.iter().filter(|level| level.is_some_and(|level| level != 0.3)).count();
    assert!(moved > 2, "{levels:?}");
    let expected = outcome(dir.path());
    let dir = tempfile::tempdir().expect("a temporary folder");
    run(dir.path(), Some(5));
    assert_eq!(run(dir.path(), None), levels);
    assert!(outcome(dir.path()) == expected);
}

#[test]
fn another_configuration_is_refused_with_the_keys_that_differ() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    finish(dir.path(), &run_config());
    let mut other = run_config();
    other.loss.objective = ObjectiveConfig::ClippedSurrogate {
        clip_low: 0.2,
        clip_high: 0.28,
        max_ratio: None,
        dual_clip: None,
    };
    other.rollout.group_size = 6;
    let policy = SharedPolicy::new(tiny_policy(7));
    let parts = parts(&policy, lenient_rubric(), true);
    let error = Trainer::from_config(other, parts)
        .expect("the configuration is valid")
        .run_dir(RunDir::resume(dir.path()).expect("a finished run"))
        .build()
        .expect_err("the configuration differs");
    let GrpoError::Mismatch { differences, .. } = error else { panic!("unexpected {error}") };
    assert_eq!(
        differences,
        ["rollout.group_size: 4 there, 6 here", "loss.objective.clip_high: 0.2 there, 0.28 here"]
    );
}

#[test]
fn a_constant_schedule_can_be_prolonged() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut short = run_config();
    short.run.steps = 5;
    finish(dir.path(), &short);
    let weights = finish(dir.path(), &run_config());
    assert!((outcome(dir.path()), weights) == uninterrupted());
}

/// Resumes the run in `dir` with `config`, allowing `changes`, on `problems`.
fn resume(
    dir: &Path,
    config: &GrpoConfig,
    changes: &[&str],
    problems: &[Problem],
    model: &str,
) -> Result<Outcome, GrpoError> {
    let policy = SharedPolicy::new(tiny_policy(7));
    let parts = parts(&policy, lenient_rubric(), true);
    Trainer::from_config(config.clone(), parts)?
        .run_dir(RunDir::resume_or_create(dir, config)?)
        .depends_on("model", model)
        .changes(changes.iter().copied())
        .build()?
        .run(&problems.to_vec())
}

/// The expected difference.
#[track_caller]
fn differences(found: Result<Outcome, GrpoError>) -> Vec<String> {
    let error = found.expect_err("the run differs");
    let GrpoError::Mismatch { differences, .. } = error else { panic!("unexpected {error}") };
    differences
}

#[test]
fn whatever_a_run_depends_on_is_compared_on_resuming() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut short = run_config();
    short.run.steps = 3;
    resume(dir.path(), &short, &[], &problems(), "f00d").expect("the run works");
    let again =
        |problems: &[Problem], model| resume(dir.path(), &run_config(), &[], problems, model);
    let mut other = problems();
    other[3] = other[3].clone().with_hint("ten").with_solution("9 + 1");
    let found = differences(again(&other, "f00d"));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[0].starts_with("hints: \"16-") && found[0].contains(" there, \"16-"),
        "{found:?}"
    );
    assert!(found[1].starts_with("solutions: \"0-00000000\" there, \"1-"), "{found:?}");
    let found = differences(again(&problems(), "beef"));
    assert_eq!(found, ["model: \"f00d\" there, \"beef\" here"]);
    again(&problems(), "f00d").expect("nothing differs");
}

#[test]
fn a_change_that_the_run_names_is_made_and_recorded() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut short = run_config();
    short.run.steps = 3;
    resume(dir.path(), &short, &[], &problems(), "f00d").expect("the run works");
    let mut slower = run_config();
    slower.optimizer.learning_rate = 1e-4;
    let found = differences(resume(dir.path(), &slower, &[], &problems(), "f00d"));
    assert_eq!(found, ["optimizer.learning_rate: 0.003 there, 0.0001 here"]);
    let changes = ["optimizer.learning_rate", "problems", "hints"];
    let fewer = &problems()[2..];
    resume(dir.path(), &slower, &changes, fewer, "f00d").expect("it may");
    let last = dir.path().join(format!("checkpoints/step-{STEPS:08}/trainer.json"));
    let state: Value = serde_json::from_slice(&bytes(&last)).expect("it is JSON");
    let history = state["history"].as_array().expect("a list");
    let keys = history.iter().map(|change| change["key"].as_str().expect("a key"));
    assert_eq!(keys.collect::<Vec<_>>(), ["optimizer.learning_rate", "hints", "problems"]);
    let rate = &history[0];
    assert_eq!(
        (&rate["step"], &rate["before"], &rate["after"]),
        (&3.into(), &0.003.into(), &1e-4.into())
    );
    let text = String::from_utf8(bytes(&dir.path().join("config.toml"))).expect("text");
    assert!(text.contains("learning_rate = 0.0001"), "{text}");
    // The history is kept, and the change need not be named again.
    slower.run.steps += 1;
    resume(dir.path(), &slower, &[], fewer, "f00d").expect("nothing differs");
    let last = dir.path().join("checkpoints/step-00000009/trainer.json");
    let state: Value = serde_json::from_slice(&bytes(&last)).expect("it is JSON");
    assert_eq!(state["history"].as_array().map(Vec::len), Some(3));
}

#[test]
fn more_steps_stretch_no_schedule_silently() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let config = |steps| {
        let mut config = run_config();
        config.run.steps = steps;
        config.optimizer.schedule.decay = Decay::Cosine { final_frac: 0.1 };
        config
    };
    resume(dir.path(), &config(3), &[], &problems(), "").expect("the run works");
    let found = differences(resume(dir.path(), &config(5), &["run.steps"], &problems(), ""));
    assert!(
        found[0].starts_with("run.steps: 3 there, 5 here; schedules are in shares"),
        "{found:?}"
    );
    let mut stated = config(5);
    stated.run.schedule_steps = Some(3);
    let changes = ["run.steps", "run.schedule_steps"];
    resume(dir.path(), &stated, &changes, &problems(), "").expect("the schedule is stated");
    let lines = metric_lines(dir.path());
    let rates = lines.iter().map(|line| line["learning_rate"].as_f64().expect("a rate"));
    let rates = rates.collect::<Vec<_>>();
    assert!(
        rates[2..] == [rates[2]; 3] && rates[0] > rates[1],
        "at its end since step 3: {rates:?}"
    );
}

#[test]
fn a_damaged_checkpoint_is_named_and_the_intact_one_before_it_is_used_only_on_request() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    finish(dir.path(), &run_config());
    let last = dir.path().join(format!("checkpoints/step-{STEPS:08}"));
    let file = last.join("model.safetensors");
    let mut content = bytes(&file);
    let middle = content.len() / 2;
    content[middle] ^= 1;
    std::fs::write(&file, content).expect("the folder is writable");

    let error = RunDir::resume(dir.path()).expect_err("a bit is flipped").to_string();
    assert!(error.contains("step-00000008"), "{error}");
    assert!(error.contains("`model.safetensors` is damaged"), "{error}");
    assert!(error.contains("the one of step 6 is intact: resume at it (--from-step 6)"), "{error}");

    let run_dir = RunDir::resume_at(dir.path(), 6).expect("step 6 is intact");
    let (mut trainer, _) = trainer(&run_config(), true, Some(run_dir));
    assert_eq!(trainer.run(&problems()).expect("the run works"), Outcome::Completed);
    assert!(outcome(dir.path()) == uninterrupted().0);
}

#[test]
fn a_checkpoint_that_lacks_a_file_or_whose_state_is_cut_off_is_named() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    finish(dir.path(), &run_config());
    let last = dir.path().join(format!("checkpoints/step-{STEPS:08}"));
    let moved = dir.path().join("optimizer");
    std::fs::rename(last.join("optimizer.safetensors"), &moved).expect("the folder is writable");
    let error = RunDir::resume(dir.path()).expect_err("a file is gone").to_string();
    assert!(error.contains("`optimizer.safetensors` is missing"), "{error}");
    std::fs::rename(moved, last.join("optimizer.safetensors")).expect("the folder is writable");

    let state = bytes(&last.join("trainer.json"));
    std::fs::write(last.join("trainer.json"), &state[..state.len() / 2]).expect("writable");
    let error = RunDir::resume(dir.path()).expect_err("half a file").to_string();
    assert!(error.contains("`trainer.json` is damaged"), "{error}");
    let error = RunDir::resume_at(dir.path(), 8).expect_err("half a file").to_string();
    assert!(error.contains("`trainer.json` is damaged"), "{error}");
}

#[test]
fn metrics_that_are_shorter_than_the_checkpoint_says_are_an_error() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    finish(dir.path(), &run_config());
    std::fs::write(dir.path().join("metrics.jsonl"), "").expect("the folder is writable");
    let error = RunDir::resume(dir.path()).expect_err("lines are missing").to_string();
    assert!(error.contains("`metrics.jsonl` of the run has 0 bytes"), "{error}");
}

#[test]
fn only_the_newest_checkpoints_are_kept() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut config = run_config();
    config.run.checkpoint_every = 1;
    config.run.keep_checkpoints = 3;
    finish(dir.path(), &config);
    let steps = RunDir::checkpoints(dir.path()).expect("the folder can be listed");
    assert_eq!(steps.iter().map(|(step, _)| *step).collect::<Vec<_>>(), [6, 7, 8]);
    let entries = std::fs::read_dir(dir.path().join("checkpoints")).expect("a folder").count();
    assert_eq!(entries, 3, "nothing hidden is left behind");
}

#[test]
fn other_problems_are_refused() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut short = run_config();
    short.run.steps = 3;
    finish(dir.path(), &short);
    let run_dir = RunDir::resume(dir.path()).expect("a finished run");
    let (mut trainer, _) = trainer(&run_config(), true, Some(run_dir));
    let error = trainer.run(&problems()[1..].to_vec()).expect_err("one problem is missing");
    assert!(matches!(error, GrpoError::Mismatch { .. }), "{error}");
}

#[test]
fn a_folder_that_holds_a_run_is_not_overwritten() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    finish(dir.path(), &run_config());
    let before = outcome(dir.path());
    let error = RunDir::create(dir.path(), &run_config()).expect_err("the folder is taken");
    assert!(matches!(error, GrpoError::Write { .. }));
    assert!(outcome(dir.path()) == before);
}
