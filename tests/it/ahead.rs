//! Runs whose batches are sampled ahead of the learner.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hint_dist::Threads;
use hint_grpo::config::EvaluationConfig;
use hint_grpo::objective::{
    ImportanceCorrection, ImportanceLevel, LossInput, OldLogprobs, Reinforce, TokenLoss,
};
use hint_grpo::observer::Phase;
use hint_grpo::rollout_table::RolloutRecord;
use hint_grpo::{
    GrpoConfig, GrpoError, Hints, Observer, Outcome, Parts, PolicyLoss, Rewards, RunBuilder,
    RunDir, StepReport, Trainer, Warning,
};
use hint_policy::{LoraConfig, SharedPolicy};
use hint_rollout::collect::curriculum::{DynamicSampling, Replay, SignalCriterion};
use hint_rollout::{
    Completion, DatasetHints, GenerationRequest, LocalEngine, Problem, RolloutEngine, RolloutError,
    Seed, WeightSource,
};
use hint_tests::{
    Digits, STOP, StopAfter, bytes, config, lenient_rubric, problems, tiny_policy, weights,
};
use serde_json::Value;

use super::killed::EverySecondTime;

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

/// What an engine of these tests does beside sampling.
type Hook = Box<dyn FnMut(&[GenerationRequest]) -> Result<(), RolloutError> + Send>;

/// Samples after `before` has returned.
struct Hooked {
    inner: LocalEngine,
    before: Hook,
}

impl RolloutEngine for Hooked {
    fn generate(
        &mut self,
        requests: &[GenerationRequest],
    ) -> Result<Vec<Vec<Completion>>, RolloutError> {
        (self.before)(requests)?;
        self.inner.generate(requests)
    }

    fn sync(&mut self, weights: &dyn WeightSource) -> Result<(), RolloutError> {
        self.inner.sync(weights)
    }

    fn policy_id(&self) -> Option<usize> {
        self.inner.policy_id()
    }
}

fn nothing() -> Hook {
    Box::new(|_| Ok(()))
}

/// The builder of a run, its policy, and the copy that is sampled from.
struct Built {
    builder: RunBuilder<hint_grpo::stage::PolicyGradient>,
    policy: SharedPolicy,
    copy: SharedPolicy,
}

fn build(config: &GrpoConfig, before: Hook) -> Built {
    let policy = SharedPolicy::new(tiny_policy(7));
    // It gets the weights of the policy before it samples.
    let copy = SharedPolicy::new(tiny_policy(11));
    let sampled = if config.run.ahead > 0 { &copy } else { &policy };
    let parts = Parts {
        policy: policy.clone(),
        engine: Hooked { inner: LocalEngine::new(sampled.clone(), vec![STOP]), before },
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

fn held_out() -> Vec<Problem> {
    (20..23).map(|number| Problem::new(format!("h{number}"), number.to_string(), "large")).collect()
}

/// As [`run_config`], with greedy evaluations.
fn evaluated(ahead: u64) -> GrpoConfig {
    let mut config = run_config(ahead);
    config.run.checkpoint_every = 0;
    config.evaluation =
        EvaluationConfig { every: 2, at_start: true, ..EvaluationConfig::default() };
    config
}

/// Whether a call is one of an evaluation, which alone is greedy here.
fn evaluates(requests: &[GenerationRequest]) -> bool {
    requests.iter().all(|request| request.sampling.temperature == 0.0)
}

/// Sends each step whose update begins, and the steps in the order of their reports.
struct Watch {
    updates: Sender<u64>,
    reports: Sender<u64>,
}

impl Observer for Watch {
    fn on_phase(&mut self, step: u64, phase: Phase) {
        if phase == Phase::Update {
            let _ = self.updates.send(step);
        }
    }

    fn on_step(&mut self, report: &StepReport) -> ControlFlow<()> {
        let _ = self.reports.send(report.step);
        ControlFlow::Continue(())
    }
}

#[test]
fn an_evaluation_does_not_hold_the_learner_up() {
    let config = evaluated(1);
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (whole, slow) = (dir.path().join("whole"), dir.path().join("slow"));
    let run = |dir: &Path, before: Hook, watch: Option<Watch>| {
        let builder = build(&config, before).builder.run_dir(open(dir, &config));
        let mut builder = builder.held_out(held_out());
        if let Some(watch) = watch {
            builder = builder.observer(watch);
        }
        builder.build().expect("it can be built").run(&problems()).expect("the run works");
    };
    run(&whole, nothing(), None);
    let (updates, updated): (_, Receiver<u64>) = channel();
    let (reports, reported) = channel();
    let mut due = [3, 5].into_iter();
    let mut is_first = true;
    // The evaluations after the steps 2 and 4 begin when the learner is in the step behind.
    let before: Hook = Box::new(move |requests| {
        if !evaluates(requests) || std::mem::take(&mut is_first) {
            return Ok(());
        }
        let Some(step) = due.next() else { return Ok(()) };
        while updated.recv_timeout(Duration::from_mins(1)).expect("the learner trains on") < step {}
        Ok(())
    });
    run(&slow, before, Some(Watch { updates, reports }));
    assert_eq!(reported.iter().collect::<Vec<_>>(), (0..=STEPS).collect::<Vec<_>>(), "in order");
    for name in
        ["metrics.jsonl", "evaluations/step-00000004.json", "evaluations/step-00000007.json"]
    {
        assert!(bytes(&slow.join(name)) == bytes(&whole.join(name)), "{name}");
    }
    let text = String::from_utf8(bytes(&whole.join("metrics.jsonl"))).expect("text");
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let lines = lines.filter(|line| line.get("eval/avg").is_some());
    let steps = lines.map(|line| line["step"].as_u64().expect("a step")).collect::<Vec<_>>();
    assert_eq!(steps, [0, 2, 4, 6, 7]);
}

#[test]
fn evaluations_are_the_same_after_resuming() {
    let config = evaluated(2);
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (whole, split) = (dir.path().join("whole"), dir.path().join("split"));
    let run = |dir: &Path, stop: u64| {
        let builder = build(&config, nothing()).builder.run_dir(open(dir, &config));
        let builder = builder.held_out(held_out()).observer(StopAfter(stop));
        builder.build().expect("it can be built").run(&problems()).expect("the run works")
    };
    run(&whole, u64::MAX);
    // The row of step 2 waits for its evaluation, which comes before the batch of step 5.
    for (stop, expected) in [(1, 1), (2, 5)] {
        let stopped = run(&split, stop);
        let is_expected = matches!(stopped, Outcome::Stopped { step, .. } if step == expected);
        assert!(is_expected, "{stopped:?}");
    }
    run(&split, u64::MAX);
    assert_same(&outcome(&split), &outcome(&whole), "stopped twice");
    for step in [2, 4, 6, 7] {
        let name = format!("evaluations/step-{step:08}.json");
        assert!(bytes(&split.join(&name)) == bytes(&whole.join(&name)), "{name}");
    }
}

#[test]
fn an_engine_that_fails_in_an_evaluation_ends_the_run() {
    let config = evaluated(1);
    let mut calls = 0;
    let before: Hook = Box::new(move |requests| {
        calls += u64::from(evaluates(requests));
        if calls < 3 { Ok(()) } else { Err(RolloutError::other("engine", "the cable was cut")) }
    });
    let dir = tempfile::tempdir().expect("a temporary folder");
    let builder = build(&config, before).builder.run_dir(open(dir.path(), &config));
    let mut trainer = builder.held_out(held_out()).build().expect("it can be built");
    let error = trainer.run(&problems()).expect_err("the engine fails");
    assert!(matches!(error, GrpoError::Rollout(RolloutError::Other { .. })), "{error}");
    let text = String::from_utf8(bytes(&dir.path().join("metrics.jsonl"))).expect("text");
    assert_eq!(text.lines().count(), 4, "the steps 0 to 3 have their rows: {text}");
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

/// The error of building a run.
#[track_caller]
fn refused(builder: RunBuilder<hint_grpo::stage::PolicyGradient>, expected: &str) {
    let error = builder.build().expect_err("it is refused").to_string();
    assert!(error.contains("run.ahead") && error.contains(expected), "{error}");
}

#[test]
fn a_run_ahead_is_refused_where_it_cannot_be_right() {
    let config = run_config(1);
    let parts = |engine: LocalEngine, policy: &SharedPolicy| Parts {
        policy: policy.clone(),
        engine,
        format: Digits,
        rewards: Rewards::own(lenient_rubric()),
        hints: Hints::own(DatasetHints::new()),
    };
    let new = || SharedPolicy::new(tiny_policy(7));
    let (policy, copy) = (new(), new());
    let of = |sampled: &SharedPolicy| {
        let engine = LocalEngine::new(sampled.clone(), vec![STOP]);
        Trainer::from_config(config.clone(), parts(engine, &policy)).expect("it is valid")
    };
    refused(of(&copy), "must be 0 without a copy of the policy");
    refused(of(&policy).sampler_policy(policy.clone()), "the policy itself");
    refused(of(&policy).sampler_policy(copy.clone()), "samples from another policy");
    let mut in_turn = config.clone();
    in_turn.run.ahead = 0;
    let engine = LocalEngine::new(copy.clone(), vec![STOP]);
    let builder = Trainer::from_config(in_turn, parts(engine, &policy)).expect("it is valid");
    refused(builder.sampler_policy(copy.clone()), "samples from the copy");
    let adapted = tiny_policy(7).with_lora(&LoraConfig::default(), 1).expect("it has projections");
    let adapted = SharedPolicy::new(adapted);
    refused(of(&adapted).sampler_policy(adapted.clone()), "other parameters");

    let mut stale = config.clone();
    stale.run.max_staleness = Some(3);
    let error = stale.validate().expect_err("4 updates are behind").to_string();
    assert!(error.contains("run.max_staleness: must be at least 4"), "{error}");
    stale.run.max_staleness = Some(4);
    stale.validate().expect("nothing is older");
    stale.run.ahead = u64::MAX;
    stale.validate().expect_err("a number that large is an error, not an overflow");
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

#[test]
fn several_processes_are_refused_by_name() {
    let found = std::thread::scope(|scope| {
        let build = |member: Threads| {
            let builder = build(&run_config(1), nothing()).builder.collective(Arc::new(member));
            builder.build().expect_err("it is refused").to_string()
        };
        let members = Threads::group(2, Duration::from_mins(2)).into_iter();
        let threads = members.map(|member| scope.spawn(move || build(member))).collect::<Vec<_>>();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect::<Vec<_>>()
    });
    for found in found {
        assert!(found.contains("must be 0 where several processes share the run"), "{found}");
    }
}

#[test]
fn the_correction_for_the_age_is_on_by_default() {
    let read = |text: &str| GrpoConfig::from_toml(text).expect("it is valid");
    let correction = |text: &str| read(text).loss.importance_correction;
    assert_eq!(correction(""), ImportanceCorrection::Off);
    let ahead = correction("run.ahead = 1");
    assert_eq!(
        ahead,
        ImportanceCorrection::Truncate { max_weight: 2.0, level: ImportanceLevel::Token }
    );
    let written = read("run.ahead = 1").to_toml().expect("it can be written");
    assert_eq!(correction(&written), ahead);
    for text in [
        "run.ahead = 1\nloss.importance_correction.type = 'off'",
        "run.ahead = 1\nloss.old_logprobs = 'engine'",
        "run.ahead = 1\nrollout.sampling.top_k = 5",
        "run.ahead = 1\nmodel.banned_tokens = ['a']",
    ] {
        assert_eq!(correction(text), ImportanceCorrection::Off, "{text}");
    }
}

#[test]
fn an_age_without_correction_is_warned_of_once() {
    struct Warned(Sender<u64>);
    impl Observer for Warned {
        fn on_step(&mut self, report: &StepReport) -> ControlFlow<()> {
            if report.warnings.contains(&Warning::UncorrectedStaleness { ahead: 1 }) {
                let _ = self.0.send(report.step);
            }
            ControlFlow::Continue(())
        }
    }
    let warned = |change: &dyn Fn(&mut GrpoConfig)| {
        let mut config = run_config(1);
        change(&mut config);
        let (sender, warned) = channel();
        let builder = build(&config, nothing()).builder.observer(Warned(sender));
        builder.build().expect("it can be built").run(&problems()).expect("the run works");
        warned.iter().collect::<Vec<_>>()
    };
    let off =
        |config: &mut GrpoConfig| config.loss.importance_correction = ImportanceCorrection::Off;
    assert_eq!(warned(&off), [1]);
    assert_eq!(warned(&|_| ()), [0; 0]);
}
