//! The verdict on real runs, from the metrics that they report and the files that they write.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use hint_grpo::rollout_table::read_rollouts;
use hint_grpo::verdict::{Condition, History, RunVerdict, examples};
use hint_grpo::{GrpoConfig, RunDir, Trainer, metrics, observer_from_fn};
use hint_policy::SharedPolicy;
use hint_tests::{bytes, config, lenient_rubric, parts, problems, tiny_policy};

/// The history of a run in `dir`.
fn history(config: &GrpoConfig, dir: &std::path::Path) -> History {
    let policy = SharedPolicy::new(tiny_policy(7));
    let history = Arc::new(Mutex::new(History::new()));
    let seen = Arc::clone(&history);
    let observer = observer_from_fn(move |report| {
        seen.lock().expect("no test panics here").record(report.step, &report.metrics);
        ControlFlow::Continue(())
    });
    let mut trainer = Trainer::from_config(config.clone(), parts(&policy, lenient_rubric(), false))
        .expect("the configuration is valid")
        .run_dir(RunDir::create(dir, config).expect("an empty folder"))
        .observer(observer)
        .build()
        .expect("the configuration is valid");
    trainer.run(&problems()).expect("the run works");
    let history = history.lock().expect("no test panics here");
    history.clone()
}

#[test]
fn a_run_of_one_token_is_cut_off() {
    let mut config = config(3);
    config.rollout.sampling.max_completion_len = 1;
    let dir = tempfile::tempdir().expect("a temporary folder");
    let verdict = RunVerdict::of(&history(&config, dir.path()), &config);
    assert_eq!(verdict.condition(), Some(Condition::CutOff), "{verdict}");
    let is_frozen = verdict.findings.iter().any(|finding| finding.condition == Condition::Frozen);
    assert!(!is_frozen, "{verdict}");
    let (_, newest) = RunDir::rollouts(dir.path()).expect("a table").pop().expect("a file");
    let records = read_rollouts(&newest).expect("a whole file");
    let shown = examples(&verdict.findings[0], &records, 3);
    assert_eq!(shown.len(), 3);
    assert!(shown.iter().all(|example| example.why.contains("completions cut off")), "{shown:?}");
}

#[test]
fn a_learning_rate_below_the_resolution_freezes_a_run() {
    let mut config = config(4);
    config.optimizer.learning_rate = 1e-14;
    let dir = tempfile::tempdir().expect("a temporary folder");
    let verdict = RunVerdict::of(&history(&config, dir.path()), &config);
    let frozen = verdict.findings.iter().find(|one| one.condition == Condition::Frozen);
    let frozen = frozen.unwrap_or_else(|| panic!("{verdict}"));
    let (name, changed) = frozen.measured[0];
    assert_eq!(name, metrics::WEIGHTS_CHANGED_FRAC);
    assert!(changed < 0.001, "{frozen}");
    // TensorBoard gets the same steps.
    let events = bytes(&dir.path().join("tensorboard/events.out.tfevents.0.hint-rl"));
    let name = b"train/weights/changed_frac";
    assert_eq!(events.windows(name.len()).filter(|window| window == name).count(), 4);
}
