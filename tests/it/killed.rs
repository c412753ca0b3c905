//! A run that is killed again and again, at any moment, and resumed each time.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hint_grpo::{GrpoConfig, Hints, Outcome, Parts, Rewards, RunDir, SupervisedTrainer, Trainer};
use hint_policy::SharedPolicy;
use hint_reward::{Judgment, Rubric, Verdict, verifier_from_fn};
use hint_rollout::{Hint, HintProvider, HintRequest, LocalEngine, RolloutError, Seed};
use hint_tests::{Digits, STOP, bytes, config, problems, tiny_policy, weights};
use serde_json::{Value, json};

use super::supervised::demonstrations;

const STEPS: u64 = 40;

fn run_config() -> GrpoConfig {
    let mut config = config(STEPS);
    config.run.prompts_per_step = 2;
    config.run.num_iterations = 2;
    config.run.num_minibatches = 2;
    config.run.checkpoint_every = 1;
    config.rollout.sampling.max_completion_len = 5;
    config.rollout_table.max_mib = 1;
    config
}

/// A coin that depends on the completion, with a long reason for every verdict, so that the rollout table outgrows its limit.
fn wordy_rubric() -> Rubric {
    Rubric::new(verifier_from_fn("wordy", |input| {
        let solved = input.completion.len().is_multiple_of(3);
        let verdict = if solved { Verdict::Correct } else { Verdict::Incorrect };
        let seed = Seed::new(3).named(input.completion);
        let words = (0..1250).map(|word| format!("{:016x}", seed.child(word).value()));
        Judgment::new(verdict).with_reason(words.collect::<String>())
    }))
}

/// Gives a hint every second time it is asked about a problem: its state decides the samples.
#[derive(Default)]
pub(super) struct EverySecondTime(Mutex<BTreeMap<String, u64>>);

impl HintProvider for EverySecondTime {
    fn hint(&self, request: &HintRequest<'_>) -> Result<Option<Hint>, RolloutError> {
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = asked.entry(request.problem.id.clone()).or_default();
        *asked += 1;
        Ok(asked.is_multiple_of(2).then(|| Hint::new("nine")))
    }

    fn state(&self) -> Value {
        json!(*self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn load_state(&self, state: &Value) -> Result<(), RolloutError> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) =
            serde_json::from_value(state.clone())
                .map_err(|error| RolloutError::other("hint provider", error))?;
        Ok(())
    }
}

fn build(run_dir: RunDir, ahead: u64) -> (Trainer, SharedPolicy) {
    let mut config = run_config();
    config.run.ahead = ahead;
    let policy = SharedPolicy::new(tiny_policy(7));
    let copy = SharedPolicy::new(tiny_policy(11));
    let sampled = if ahead > 0 { &copy } else { &policy };
    let engine = LocalEngine::new(sampled.clone(), vec![STOP]);
    let parts = Parts {
        policy: policy.clone(),
        format: Digits,
        rewards: Rewards::own(wordy_rubric()),
        engine,
        hints: Hints::own(EverySecondTime::default()),
    };
    let trainer =
        Trainer::from_config(config, parts).expect("the configuration is valid").run_dir(run_dir);
    let trainer = trainer.sampler_policy(copy);
    (trainer.build().expect("the checkpoint can be restored"), policy)
}

fn open(dir: &Path) -> RunDir {
    RunDir::resume_or_create(dir, &run_config()).expect("every checkpoint is complete")
}

/// The files that must not depend on interruptions.
fn outcome(dir: &Path) -> BTreeMap<&'static str, Vec<u8>> {
    let last = dir.join(format!("checkpoints/step-{STEPS:08}"));
    let state: Value =
        serde_json::from_slice(&bytes(&last.join("trainer.json"))).expect("it is JSON");
    let table = RunDir::rollouts(dir).expect("the folder can be listed").into_iter();
    let table = table.flat_map(|(step, path)| [step.to_le_bytes().to_vec(), bytes(&path)].concat());
    BTreeMap::from([
        ("weights", bytes(&last.join("model.safetensors"))),
        ("moments", bytes(&last.join("optimizer.safetensors"))),
        ("metrics", bytes(&dir.join("metrics.jsonl"))),
        ("rollout table", table.collect()),
        ("events", bytes(&dir.join("tensorboard/events.out.tfevents.0.hint-rl"))),
        ("parts", state["parts"].to_string().into_bytes()),
    ])
}

fn supervise(run_dir: RunDir) -> Vec<f32> {
    let policy = SharedPolicy::new(tiny_policy(7));
    let trainer = SupervisedTrainer::builder(policy.clone(), run_config()).run_dir(run_dir);
    let mut trainer = trainer.build().expect("the checkpoint can be restored");
    announce();
    let outcome = trainer.run(&demonstrations()).expect("the run works");
    assert_eq!(outcome, Outcome::Completed);
    weights(&policy)
}

fn train(run_dir: RunDir) -> Vec<f32> {
    train_with(run_dir, 0)
}

fn train_ahead(run_dir: RunDir) -> Vec<f32> {
    train_with(run_dir, 2)
}

fn train_with(run_dir: RunDir, ahead: u64) -> Vec<f32> {
    let (mut trainer, policy) = build(run_dir, ahead);
    announce();
    assert_eq!(trainer.run(&problems()).expect("the run works"), Outcome::Completed);
    weights(&policy)
}

/// Signals to a waiting parent that training is about to start.
pub(super) fn announce() {
    let mut out = std::io::stdout();
    out.write_all(b"\nready\n").and_then(|()| out.flush()).expect("the test reads");
}

/// Names the folder in which this process, started by [`kill_again_and_again`], is to be killed.
const CHILD_DIR: &str = "HINT_TESTS_CHILD_DIR";

#[test]
fn a_run_killed_at_fifty_moments_ends_with_the_same_bytes() {
    let kept =
        kill_again_and_again("a_run_killed_at_fifty_moments_ends_with_the_same_bytes", 50, train);
    assert!(
        kept.is_none_or(|kept| kept > 1 && kept < STEPS / 2),
        "the table is not thinned: {kept:?}"
    );
}

#[test]
fn a_run_that_samples_ahead_killed_at_twenty_moments_ends_with_the_same_bytes() {
    let test = "a_run_that_samples_ahead_killed_at_twenty_moments_ends_with_the_same_bytes";
    kill_again_and_again(test, 20, train_ahead);
}

#[test]
fn a_supervised_run_killed_at_ten_moments_ends_with_the_same_bytes() {
    let test = "a_supervised_run_killed_at_ten_moments_ends_with_the_same_bytes";
    kill_again_and_again(test, 10, supervise);
}

/// Compares `run`, from the first step to the last, with the same killed `kills` times on its way. `test` is the
/// test that calls this, which the children run once more. Returns the steps that the rollout table keeps; nothing in a
/// child.
#[expect(clippy::print_stdout, reason = "shown when the test fails")]
fn kill_again_and_again(test: &str, kills: u64, run: fn(RunDir) -> Vec<f32>) -> Option<u64> {
    #[expect(clippy::disallowed_methods, reason = "tells the child process from the test")]
    if let Some(dir) = std::env::var_os(CHILD_DIR) {
        run(open(Path::new(&dir)));
        return None;
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (whole, killed) = (dir.path().join("whole"), dir.path().join("killed"));
    #[expect(clippy::disallowed_methods, reason = "the moments of the kills are meant to vary")]
    let start = Instant::now();
    let expected = run(open(&whole));
    let step = start.elapsed() / u32::try_from(STEPS).expect("a small number");

    // From the clock, so that every run of the test tries other moments; printed for a repetition.
    let seed = u64::from(start.elapsed().subsec_nanos());
    println!("seed of the moments: {seed}");
    let moments = Seed::new(seed);
    let mut alive = 0;
    // A fresh process is slower than a warm one; the range grows while the run is behind the kills
    // and shrinks while it is ahead, so that it lives through most of them.
    let mut range = step * u32::try_from(4 * 50 / kills).expect("a small number");
    for kill in 0..kills {
        let behind = newest_step(&killed) * kills < kill * STEPS;
        range = range.mul_f64(if behind { 1.2 } else { 0.8 });
        let this = std::env::current_exe().expect("tests are files");
        let mut child = Command::new(this)
            .args(["--exact", &format!("killed::{test}")])
            .arg("--nocapture")
            .env(CHILD_DIR, &killed)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the test can start itself");
        let fraction = moments.child(kill).value() as f64 / u64::MAX as f64;
        if kill % 10 == 9 {
            // While libraries are loaded, or while the run is taken up again.
            std::thread::sleep(Duration::from_millis(250).mul_f64(fraction));
        } else {
            wait_until_ready(&mut child);
            std::thread::sleep(range.mul_f64(fraction));
        }
        let finished = child.try_wait().expect("a child can be asked").is_some();
        alive += u64::from(!finished);
        child.kill().expect("a child can be killed");
        let output = child.wait_with_output().expect("a child can be awaited");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!finished || output.status.success(), "a resumed child failed: {errors}");
    }
    let reached = newest_step(&killed);
    println!("{alive} of {kills} kills hit a running process; step {reached} of {STEPS} reached");
    assert!(alive >= kills / 2, "only {alive} kills hit a running process");
    let weights = run(open(&killed));
    assert!(weights == expected, "weights differ");
    for (name, bytes) in outcome(&whole) {
        assert!(outcome(&killed)[name] == bytes, "{name} differ");
    }
    let kept = RunDir::rollouts(&killed).expect("the folder can be listed").len();
    u64::try_from(kept).ok()
}

fn newest_step(dir: &Path) -> u64 {
    let checkpoints = RunDir::checkpoints(dir).expect("the folder can be listed");
    checkpoints.last().map_or(0, |(step, _)| *step)
}

/// Reads until the child is about to train, or has ended.
pub(super) fn wait_until_ready(child: &mut std::process::Child) {
    let out = child.stdout.as_mut().expect("the output is piped");
    let mut seen = Vec::new();
    let mut byte = [0];
    while !seen.ends_with(b"ready\n") && out.read(&mut byte).is_ok_and(|read| read == 1) {
        seen.push(byte[0]);
    }
}
