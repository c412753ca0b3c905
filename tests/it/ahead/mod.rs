//! Runs whose batches are sampled ahead of the learner.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hint_grpo::objective::{
    ImportanceCorrection, ImportanceLevel, LossInput, OldLogprobs, Reinforce, TokenLoss,
};
use hint_grpo::observer::Phase;
use hint_grpo::rollout_table::RolloutRecord;
use hint_grpo::{
    GrpoConfig, GrpoError, Hints, Observer, Outcome, Parts, PolicyLoss, Rewards, RunBuilder,
    RunDir, StepReport, Trainer,
};
use hint_policy::SharedPolicy;
use hint_rollout::collect::curriculum::{DynamicSampling, Replay, SignalCriterion};
use hint_rollout::{GenerationRequest, LocalEngine, RolloutEngine, RolloutError, Seed};
use hint_tests::{
    Digits, STOP, Sampled, StopAfter, bytes, config, lenient_rubric, problems, tiny_policy, weights,
};
use serde_json::Value;

use super::killed::EverySecondTime;

mod evaluation;
mod refused;

const STEPS: u64 = 7;

fn run_config(ahead: u64) -> GrpoConfig {
    let mut config = config(STEPS);
    config.run.ahead = ahead;
    config.run.num_iterations = 2;
    config.run.num_minibatches = 2;
    config.run.checkpoint_every = 3;
    config.loss.importance_correction =
        ImportanceCorrection::Truncate { max_weight: 2.0, level: ImportanceLevel::Token };
    config
}

/// What an engine of these tests does before it samples.
type Hook = Box<dyn FnMut(&[GenerationRequest]) -> Result<(), RolloutError> + Send>;

fn nothing() -> Hook {
    Box::new(|_| Ok(()))
}

/// The builder of a run, its policy, and the copy that is sampled from.
struct Built {
    builder: RunBuilder<hint_grpo::stage::PolicyGradient>,
    policy: SharedPolicy,
    copy: SharedPolicy,
}

fn build(config: &GrpoConfig, mut before: Hook) -> Built {
    let policy = SharedPolicy::new(tiny_policy(7));
    // It gets the weights of the policy before it samples.
    let copy = SharedPolicy::new(tiny_policy(11));
    let sampled = if config.run.ahead > 0 { &copy } else { &policy };
    let inner = LocalEngine::new(sampled.clone(), vec![STOP]);
    let engine = Sampled::new(inner, move |inner, requests| {
        before(requests)?;
        inner.generate(requests)
    });
    let parts = Parts {
        policy: policy.clone(),
        engine,
        format: Digits,
        rewards: Rewards::own(lenient_rubric()),
        hints: Hints::own(EverySecondTime::default()),
    };
    let builder = Trainer::from_config(config.clone(), parts).expect("a valid configuration");
    let builder = builder.sampler_policy(copy.clone());
    Built { builder, policy, copy }
}

fn open(dir: &Path, config: &GrpoConfig) -> RunDir {
    RunDir::resume_or_create(dir, config).expect("a usable folder")
}

/// Runs in `dir` to the end or to `stop`, from its newest checkpoint if there is one.
fn run(dir: &Path, config: &GrpoConfig, before: Hook, stop: Option<u64>) -> Outcome {
    let builder = build(config, before).builder.run_dir(open(dir, config));
    let builder = builder.observer(StopAfter(stop.unwrap_or(u64::MAX)));
    let mut trainer = builder.changes(["run.ahead"]).build().expect("it can be built");
    trainer.run(&problems()).expect("the run works")
}

/// Everything of a finished run that neither the clock nor an interruption decides.
fn outcome(dir: &Path) -> BTreeMap<&'static str, Vec<u8>> {
    let last = dir.join(format!("checkpoints/step-{STEPS:08}"));
    let state: Value =
        serde_json::from_slice(&bytes(&last.join("trainer.json"))).expect("it is JSON");
    assert!(!last.join("ahead.cbor").exists(), "no batch is beyond the end");
    BTreeMap::from([
        ("weights", bytes(&last.join("model.safetensors"))),
        ("moments", bytes(&last.join("optimizer.safetensors"))),
        ("metrics", bytes(&dir.join("metrics.jsonl"))),
        ("parts", state["parts"].to_string().into_bytes()),
    ])
}

fn undisturbed(config: &GrpoConfig) -> BTreeMap<&'static str, Vec<u8>> {
    let dir = tempfile::tempdir().expect("a temporary folder");
    assert_eq!(run(dir.path(), config, nothing(), None), Outcome::Completed);
    outcome(dir.path())
}

#[track_caller]
fn assert_same(
    found: &BTreeMap<&'static str, Vec<u8>>,
    expected: &BTreeMap<&'static str, Vec<u8>>,
    what: &str,
) {
    for (name, bytes) in expected {
        assert!(found[name] == *bytes, "{what}: {name} differ");
    }
}

/// Sleeps at random, up to 20 ms.
fn at_random(seed: u64) -> impl FnMut() + Send {
    let (seed, mut calls) = (Seed::new(seed), 0);
    move || {
        calls += 1;
        std::thread::sleep(Duration::from_micros(seed.child(calls).value() % 20_000));
    }
}

/// Sleeps in the learner.
struct Dawdle<F>(F);

impl<F: FnMut() + Send> Observer for Dawdle<F> {
    fn on_phase(&mut self, _step: u64, _phase: Phase) {
        self.0();
    }
}

#[test]
fn timing_changes_no_byte() {
    for ahead in [1, 2] {
        let config = run_config(ahead);
        let expected = undisturbed(&config);
        for seed in [1, 2] {
            let dir = tempfile::tempdir().expect("a temporary folder");
            let mut pause = at_random(seed);
            let before: Hook = Box::new(move |_| {
                pause();
                Ok(())
            });
            let builder = build(&config, before).builder.run_dir(open(dir.path(), &config));
            let builder = builder.observer(Dawdle(at_random(seed + 10)));
            let mut trainer = builder.build().expect("it can be built");
            trainer.run(&problems()).expect("the run works");
            assert_same(&outcome(dir.path()), &expected, &format!("ahead {ahead}, seed {seed}"));
        }
    }
}

/// Keeps the versions of each step's completions, and the learner's weights after each step.
struct Keep {
    versions: Sender<(u64, Vec<u64>)>,
    weights: Sender<Vec<f32>>,
    policy: SharedPolicy,
}

impl Observer for Keep {
    fn on_rollouts(&mut self, step: u64, rollouts: &[RolloutRecord]) {
        let _ = self.versions.send((step, rollouts.iter().map(|one| one.version).collect()));
    }

    fn on_step(&mut self, _report: &StepReport) -> ControlFlow<()> {
        let _ = self.weights.send(weights(&self.policy));
        ControlFlow::Continue(())
    }
}

#[test]
fn a_batch_comes_from_the_weights_of_a_fixed_number_of_steps_before() {
    let updates_per_step = 4;
    for ahead in [0, 1, 3] {
        let mut config = run_config(ahead);
        config.rollout_table.every = 1;
        let (sent_versions, versions) = channel();
        let (sent_weights, learned) = channel();
        let sampled = Arc::new(Mutex::new(Vec::new()));
        let (log, place) = (Arc::clone(&sampled), Arc::new(Mutex::new(None::<SharedPolicy>)));
        let read = Arc::clone(&place);
        let before: Hook = Box::new(move |_| {
            let place = read.lock().expect("no panic");
            let mut log = log.lock().expect("no panic");
            let found = weights(place.as_ref().expect("it is set before the run"));
            if log.last() != Some(&found) {
                log.push(found);
            }
            Ok(())
        });
        let Built { builder, policy, copy } = build(&config, before);
        *place.lock().expect("no panic") = Some(if ahead > 0 { copy } else { policy.clone() });
        let first = weights(&policy);
        let keep = Keep { versions: sent_versions, weights: sent_weights, policy };
        let mut trainer = builder.observer(keep).build().expect("it can be built");
        trainer.run(&problems()).expect("the run works");
        drop(trainer);
        for (step, versions) in versions {
            let expected = (step - 1).saturating_sub(ahead) * updates_per_step;
            assert!(versions.iter().all(|found| *found == expected), "{ahead}: {versions:?}");
        }
        // Each set of weights that was sampled from is one that the learner had, in order.
        let used = STEPS - ahead;
        let learned = std::iter::once(first).chain(learned).take(usize::try_from(used).unwrap());
        assert!(*sampled.lock().expect("no panic") == learned.collect::<Vec<_>>(), "{ahead}");
    }
}

#[test]
fn a_run_that_samples_ahead_resumes_to_the_same_bytes_from_every_step() {
    let with_dynamic_sampling = |ahead| {
        let mut config = run_config(ahead);
        config.rollout.dynamic_sampling =
            DynamicSampling::UntilSignal { max_rounds: 3, criterion: SignalCriterion::Verdicts };
        config
    };
    let with_replay = |ahead| {
        let mut config = with_dynamic_sampling(ahead);
        config.loss.old_logprobs = OldLogprobs::Engine;
        config.loss.importance_correction = ImportanceCorrection::Off;
        config.rollout.replay =
            Replay::Recent { capacity: 8, max_age: 3, criterion: SignalCriterion::Verdicts };
        config
    };
    for config in [with_dynamic_sampling(1), with_dynamic_sampling(3), with_replay(1)] {
        let expected = undisturbed(&config);
        for stop in 1..STEPS {
            let dir = tempfile::tempdir().expect("a temporary folder");
            run(dir.path(), &config, nothing(), Some(stop));
            let file = dir.path().join(format!("checkpoints/step-{stop:08}/ahead.cbor"));
            assert!(file.is_file(), "batches wait after step {stop}");
            run(dir.path(), &config, nothing(), None);
            let what = format!("ahead {}, stopped after step {stop}", config.run.ahead);
            assert_same(&outcome(dir.path()), &expected, &what);
        }
    }
}

#[test]
fn a_stopped_run_goes_on_in_the_same_program() {
    let config = run_config(2);
    let expected = undisturbed(&config);
    let dir = tempfile::tempdir().expect("a temporary folder");
    let builder = build(&config, nothing()).builder.run_dir(open(dir.path(), &config));
    let mut trainer = builder.observer(StopAfter(3)).build().expect("it can be built");
    let stopped = trainer.run(&problems()).expect("the run works");
    assert!(matches!(stopped, Outcome::Stopped { step: 3, .. }), "{stopped:?}");
    assert!(trainer.collector_mut().drawn() > 0, "the collector is back");
    assert_eq!(trainer.run(&problems()).expect("the run works"), Outcome::Completed);
    assert_same(&outcome(dir.path()), &expected, "called twice");
}

/// The problems of each step, by the rollout table of a run.
fn trained(dir: &Path) -> BTreeMap<u64, Vec<String>> {
    let read = |step: u64| {
        let path = dir.join(format!("rollouts/step-{step:08}.parquet"));
        let records = hint_grpo::rollout_table::read_rollouts(&path).expect("a table");
        let mut ids = records.into_iter().map(|record| record.problem).collect::<Vec<_>>();
        ids.dedup();
        (step, ids)
    };
    (1..=STEPS).map(read).collect()
}

/// As [`run_config`], with the completions of every step in a table.
fn tabled(ahead: u64) -> GrpoConfig {
    let mut config = run_config(ahead);
    config.rollout_table.every = 1;
    config
}

#[test]
fn another_lag_on_resuming_trains_every_batch_once() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (whole, changed) = (dir.path().join("whole"), dir.path().join("changed"));
    run(&whole, &tabled(0), nothing(), None);
    for (ahead, stop) in [(2, Some(2)), (0, Some(3)), (1, Some(5)), (3, None)] {
        run(&changed, &tabled(ahead), nothing(), stop);
    }
    assert_eq!(trained(&changed), trained(&whole));
}

#[test]
fn an_engine_that_fails_in_the_middle_of_a_batch_loses_and_repeats_none() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (whole, broken) = (dir.path().join("whole"), dir.path().join("broken"));
    run(&whole, &tabled(2), nothing(), None);
    let config = tabled(2);
    let mut calls = 0;
    let before: Hook = Box::new(move |_| {
        calls += 1;
        if calls == 8 { Err(RolloutError::other("engine", "the cable was cut")) } else { Ok(()) }
    });
    let builder = build(&config, before).builder.run_dir(open(&broken, &config));
    let mut trainer = builder.build().expect("it can be built");
    let error = trainer.run(&problems()).expect_err("the engine fails");
    assert!(matches!(error, GrpoError::Rollout(RolloutError::Other { .. })), "{error}");
    let (step, newest) = RunDir::checkpoints(&broken).expect("a run").pop().expect("a checkpoint");
    assert!(step > 0 && step < STEPS, "the batches before it have trained: {step}");
    assert!(!newest.join("ahead.cbor").exists(), "all of them");
    drop(trainer);
    run(&broken, &config, nothing(), None);
    assert_eq!(trained(&broken), trained(&whole));
}

/// REINFORCE, which fails in one step.
struct FailsOnce {
    step: Arc<AtomicU64>,
    at: u64,
}

impl PolicyLoss for FailsOnce {
    fn token_loss(&self, input: &LossInput<'_>) -> Result<TokenLoss, GrpoError> {
        if self.step.load(Ordering::Relaxed) == self.at {
            return Err(GrpoError::other("loss", "as the test asks"));
        }
        Reinforce.token_loss(input)
    }

    fn name(&self) -> String {
        "fails_once".to_owned()
    }
}

/// Keeps the step whose update has begun.
struct Updating(Arc<AtomicU64>);

impl Observer for Updating {
    fn on_phase(&mut self, step: u64, phase: Phase) {
        if phase == Phase::Update {
            self.0.store(step, Ordering::Relaxed);
        }
    }
}

#[test]
fn a_learner_that_fails_keeps_the_batches_that_wait() {
    let mut config = run_config(2);
    (config.run.num_iterations, config.run.num_minibatches) = (1, 1);
    let run = |dir: &Path, at: u64| {
        let step = Arc::new(AtomicU64::new(0));
        let objective = FailsOnce { step: Arc::clone(&step), at };
        let builder = build(&config, nothing()).builder.run_dir(open(dir, &config));
        let builder = builder.objective(objective).observer(Updating(step));
        builder.build().expect("it can be built").run(&problems())
    };
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (whole, broken) = (dir.path().join("whole"), dir.path().join("broken"));
    run(&whole, 0).expect("the run works");
    run(&broken, 5).expect_err("the loss fails");
    let (step, newest) = RunDir::checkpoints(&broken).expect("a run").pop().expect("a checkpoint");
    assert_eq!(step, 4, "the state before the step");
    assert!(newest.join("ahead.cbor").is_file(), "three batches wait");
    run(&broken, 0).expect("the run works");
    assert_same(&outcome(&broken), &outcome(&whole), "after the failure");
}

/// Sends the calls that the engine had when each checkpoint began, and when it was there.
struct Written {
    calls: Arc<AtomicU64>,
    begun: Option<u64>,
    found: Sender<(u64, u64)>,
}

impl Observer for Written {
    fn on_phase(&mut self, _step: u64, phase: Phase) {
        if phase == Phase::Checkpoint {
            self.begun.get_or_insert(self.calls.load(Ordering::Relaxed));
        }
    }

    fn on_checkpoint(&mut self, _dir: &Path) {
        if let Some(begun) = self.begun.take() {
            let _ = self.found.send((begun, self.calls.load(Ordering::Relaxed)));
        }
    }
}

#[test]
fn a_checkpoint_begins_when_the_batches_that_wait_are_there() {
    let config = run_config(2);
    let calls = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&calls);
    // The learner is faster, so it waits.
    let before: Hook = Box::new(move |_| {
        std::thread::sleep(Duration::from_millis(100));
        counted.fetch_add(1, Ordering::Relaxed);
        Ok(())
    });
    let (sender, found) = channel();
    let dir = tempfile::tempdir().expect("a temporary folder");
    let builder = build(&config, before).builder.run_dir(open(dir.path(), &config));
    let builder = builder.observer(Written { calls, begun: None, found: sender });
    builder.build().expect("it can be built").run(&problems()).expect("the run works");
    let found = found.iter().collect::<Vec<_>>();
    assert!(found.len() > 2 && found.iter().all(|(begun, done)| begun == done), "{found:?}");
}

#[test]
fn a_damaged_file_of_batches_is_named() {
    let config = run_config(1);
    let dir = tempfile::tempdir().expect("a temporary folder");
    run(dir.path(), &config, nothing(), Some(3));
    let file = dir.path().join("checkpoints/step-00000003/ahead.cbor");
    let mut content = bytes(&file);
    let middle = content.len() / 2;
    content[middle] ^= 1;
    std::fs::write(&file, content).expect("the folder is writable");
    let error = RunDir::resume(dir.path()).expect_err("a bit is flipped").to_string();
    assert!(error.contains("`ahead.cbor` is damaged"), "{error}");
}

#[test]
fn a_panic_ends_the_thread_that_samples() {
    struct Panics;
    impl Observer for Panics {
        fn on_step(&mut self, _report: &StepReport) -> ControlFlow<()> {
            panic!("an observer panics")
        }
    }
    let mut trainer =
        build(&run_config(1), nothing()).builder.observer(Panics).build().expect("it can be built");
    // Without an end of the thread, this would wait for ever.
    let ended = catch_unwind(AssertUnwindSafe(|| trainer.run(&problems()).map(|_| ())));
    let panic = ended.expect_err("the panic arrives");
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"an observer panics"));
}

#[test]
fn a_panic_of_the_engine_is_an_error_of_the_run() {
    let mut calls = 0;
    let before: Hook = Box::new(move |_| {
        calls += 1;
        assert!(calls < 4, "the engine panics");
        Ok(())
    });
    let mut trainer = build(&run_config(1), before).builder.build().expect("it can be built");
    let error = trainer.run(&problems()).expect_err("the engine panics").to_string();
    assert!(error.contains("the engine panics"), "{error}");
    assert!(trainer.collector_mut().drawn() > 0, "the collector is back");
}
