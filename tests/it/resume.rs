//! Runs that were stopped or killed, and resumed.

use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hint_grpo::{GrpoConfig, GrpoError, Observer, Outcome, RunDir, StepReport, Trainer};
use hint_policy::SharedPolicy;
use hint_tests::{
    bytes, collector, config, lenient_rubric, problems, tiny_policy, trainer, weights,
};

const STEPS: u64 = 8;

fn run_config() -> GrpoConfig {
    let mut config = config(STEPS);
    config.run.updates_per_batch = 2;
    config.run.checkpoint_every = 3;
    config
}

/// Runs in `dir` to the end, from its latest checkpoint if it has one. Returns the weights.
fn finish(dir: &Path, config: &GrpoConfig) -> Vec<f32> {
    let run_dir = match RunDir::resume(dir) {
        Err(GrpoError::NoCheckpoint { .. }) => RunDir::create(dir, config),
        resumed => resumed,
    };
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

/// Stops after a step.
struct StopAfter(u64);

impl Observer for StopAfter {
    fn on_step(&mut self, report: &StepReport) -> ControlFlow<()> {
        if report.step == self.0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

#[test]
fn a_stopped_run_resumes_to_the_same_bytes() {
    let expected = uninterrupted();
    for stop in [1, 4] {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let config = run_config();
        let run_dir = RunDir::create(dir.path(), &config).expect("an empty folder");
        let policy = SharedPolicy::new(tiny_policy(7));
        let collector = collector(&policy, &config, lenient_rubric(), true);
        let mut trainer = Trainer::builder(policy, collector, config)
            .run_dir(run_dir)
            .observer(StopAfter(stop))
            .build()
            .expect("the configuration is valid");
        let outcome_of_run = trainer.run(&problems()).expect("the run works");
        assert!(matches!(outcome_of_run, Outcome::Stopped { step, .. } if step == stop));
        let weights = finish(dir.path(), &run_config());
        assert!((outcome(dir.path()), weights) == expected, "stopped after step {stop}");
    }
}

/// Names the folder in which this process, started by the test below, is to be killed.
const CHILD_DIR: &str = "HINT_TESTS_CHILD_DIR";

#[test]
fn a_run_killed_at_any_moment_resumes_to_the_same_bytes() {
    #[expect(clippy::disallowed_methods, reason = "tells the child process from the test")]
    if let Some(dir) = std::env::var_os(CHILD_DIR) {
        finish(Path::new(&dir), &run_config());
        return;
    }
    let (expected, _) = uninterrupted();
    #[expect(clippy::disallowed_methods, reason = "the moment of a kill is meant to vary")]
    let start = Instant::now();
    let dir = tempfile::tempdir().expect("a temporary folder");
    finish(&dir.path().join("timed"), &run_config());
    let duration = start.elapsed();

    for kill in 1..=6_u32 {
        let run = dir.path().join(kill.to_string());
        // Killed again and again, at other moments, until it gets through.
        for attempt in 0..40_u32 {
            let this = std::env::current_exe().expect("tests are files");
            let mut child = Command::new(this)
                .args(["--exact", "resume::a_run_killed_at_any_moment_resumes_to_the_same_bytes"])
                .env(CHILD_DIR, &run)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("the test can start itself");
            let delay = duration * (kill + 2 * attempt) / 6 + Duration::from_millis(50);
            std::thread::sleep(delay.min(duration * 4));
            let finished = child.try_wait().expect("a child can be asked").is_some();
            child.kill().expect("a child can be killed");
            let status = child.wait().expect("a child can be awaited");
            if finished {
                assert!(status.success(), "a resumed child failed");
                break;
            }
        }
        finish(&run, &run_config());
        assert!(outcome(&run) == expected, "killed, round {kill}");
    }
}

#[test]
fn another_configuration_is_refused_with_the_keys_that_differ() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    finish(dir.path(), &run_config());
    let mut other = run_config();
    other.clip_high = 0.28;
    other.rollout.group_size = 6;
    let policy = SharedPolicy::new(tiny_policy(7));
    let collector = collector(&policy, &other, lenient_rubric(), true);
    let error = Trainer::builder(policy, collector, other)
        .run_dir(RunDir::resume(dir.path()).expect("a finished run"))
        .build()
        .expect_err("the configuration differs");
    let GrpoError::Mismatch { differences, .. } = error else { panic!("unexpected {error}") };
    assert_eq!(
        differences,
        ["rollout.group_size: 4 there, 6 here", "clip_high: 0.2 there, 0.28 here"]
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

#[test]
fn a_damaged_checkpoint_is_named_and_the_one_before_still_works() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    finish(dir.path(), &run_config());
    let last = dir.path().join(format!("checkpoints/step-{STEPS:08}"));
    let file = last.join("model.safetensors");
    let mut content = bytes(&file);
    let middle = content.len() / 2;
    content[middle] ^= 1;
    std::fs::write(&file, content).expect("the folder is writable");
    let policy = SharedPolicy::new(tiny_policy(7));
    let collector = collector(&policy, &run_config(), lenient_rubric(), true);
    let error = Trainer::builder(policy, collector, run_config())
        .run_dir(RunDir::resume(dir.path()).expect("the folder lists fine"))
        .build()
        .expect_err("a bit is flipped");
    assert!(error.to_string().contains("`model.safetensors` is damaged"), "{error}");

    std::fs::remove_dir_all(&last).expect("the folder is writable");
    finish(dir.path(), &run_config());
    assert!(outcome(dir.path()) == uninterrupted().0);
}

#[test]
fn other_problems_are_refused() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut short = run_config();
    short.run.steps = 3;
    finish(dir.path(), &short);
    let run_dir = RunDir::resume(dir.path()).expect("a finished run");
    let (mut trainer, _) = trainer(&run_config(), true, Some(run_dir));
    let error = trainer.run(&problems()[1..]).expect_err("one problem is missing");
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
