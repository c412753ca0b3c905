//! Faults: each ends in a typed error or a counted skip, and the run can be taken up again.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};

use hint_grpo::{
    GrpoConfig, GrpoError, Hints, Metrics, Observer, Outcome, RunDir, StepReport, Trainer,
};
use hint_policy::SharedPolicy;
use hint_reward::Rubric;
use hint_rollout::{
    Completion, DatasetHints, GenerationRequest, LocalEngine, PromptFormat, RolloutEngine,
    RolloutError, WeightSource,
};
use hint_tests::{Digits, STOP, bytes, config, lenient_rubric, problems, tiny_policy};

mod completions;
mod disk;
mod engine;
mod jsonl;
mod memory;
mod numbers;
mod updates;

const STEPS: u64 = 6;

fn run_config() -> GrpoConfig {
    let mut config = config(STEPS);
    config.run.num_iterations = 2;
    // Failures are judged step by step.
    config.rollout.verdicts.window = 1;
    config
}

/// Keeps the measurements of each step.
struct Keep(Sender<Metrics>);

impl Observer for Keep {
    fn on_step(&mut self, report: &StepReport) -> ControlFlow<()> {
        let _ = self.0.send(report.metrics.clone());
        ControlFlow::Continue(())
    }
}

/// The parts of a run that a fault may be in.
struct Faulty<E, F> {
    engine: E,
    format: F,
    rubric: Rubric,
}

/// An engine whose completions a closure changes, or fails for. Another one may fail before new weights are taken up.
struct Altered<C, S> {
    inner: LocalEngine,
    change: C,
    before_sync: S,
}

/// A part of which nothing but the completions is broken.
fn altered<C>(inner: LocalEngine, change: C) -> Faulty<impl RolloutEngine, Digits>
where
    C: FnMut(&mut Vec<Vec<Completion>>) -> Result<(), RolloutError> + Send,
{
    altered_twice(inner, change, || Ok(()))
}

/// A part whose completions and changes of weights are broken.
fn altered_twice<C, S>(
    inner: LocalEngine,
    change: C,
    before_sync: S,
) -> Faulty<Altered<C, S>, Digits> {
    let engine = Altered { inner, change, before_sync };
    Faulty { engine, format: Digits, rubric: lenient_rubric() }
}

impl<C, S> RolloutEngine for Altered<C, S>
where
    C: FnMut(&mut Vec<Vec<Completion>>) -> Result<(), RolloutError> + Send,
    S: FnMut() -> Result<(), RolloutError> + Send,
{
    fn name(&self) -> Option<String> {
        self.inner.name()
    }

    fn generate(
        &mut self,
        requests: &[GenerationRequest],
    ) -> Result<Vec<Vec<Completion>>, RolloutError> {
        let mut groups = self.inner.generate(requests)?;
        (self.change)(&mut groups)?;
        Ok(groups)
    }

    fn sync(&mut self, weights: &dyn WeightSource) -> Result<(), RolloutError> {
        (self.before_sync)()?;
        self.inner.sync(weights)
    }
}

/// A run of a fresh tiny policy with the broken parts.
fn trainer<E, F>(
    config: &GrpoConfig,
    run_dir: Option<RunDir>,
    parts: impl FnOnce(LocalEngine) -> Faulty<E, F>,
) -> (Trainer, SharedPolicy, Receiver<Metrics>)
where
    E: RolloutEngine + 'static,
    F: PromptFormat + 'static,
{
    let policy = SharedPolicy::new(tiny_policy(7));
    let Faulty { engine, format, rubric } = parts(LocalEngine::new(policy.clone(), vec![STOP]));
    let parts = hint_grpo::Parts {
        policy: policy.clone(),
        format,
        rewards: hint_grpo::Rewards::own(rubric),
        engine,
        hints: Hints::own(DatasetHints::new()),
    };
    let (sender, metrics) = channel();
    let mut builder = Trainer::from_config(config.clone(), parts)
        .expect("the configuration is valid")
        .observer(Keep(sender));
    if let Some(dir) = run_dir {
        builder = builder.run_dir(dir);
    }
    (builder.build().expect("the configuration is valid"), policy, metrics)
}

/// Nothing is broken.
fn sound(engine: LocalEngine) -> Faulty<LocalEngine, Digits> {
    Faulty { engine, format: Digits, rubric: lenient_rubric() }
}

/// Runs in `dir` to the end with sound parts, from its latest checkpoint if it has one.
fn finish(dir: &Path) {
    let config = run_config();
    let run_dir = RunDir::resume_or_create(dir, &config);
    let (mut trainer, _, _) = trainer(&config, Some(run_dir.expect("a usable folder")), sound);
    assert_eq!(trainer.run(&problems()).expect("the run works"), Outcome::Completed);
}

/// The files that must not depend on faults.
fn outcome(dir: &Path) -> Vec<Vec<u8>> {
    let last = dir.join(format!("checkpoints/step-{STEPS:08}"));
    let files = ["model.safetensors", "optimizer.safetensors"];
    let files = files.iter().map(|name| bytes(&last.join(name)));
    files.chain([bytes(&dir.join("metrics.jsonl"))]).collect()
}

/// Runs into the fault of `parts`, then on with sound ones. The end must equal a run without fault.
/// Returns the error.
fn fail_and_resume<E, F>(parts: impl FnOnce(LocalEngine) -> Faulty<E, F>) -> GrpoError
where
    E: RolloutEngine + 'static,
    F: PromptFormat + 'static,
{
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (whole, broken) = (dir.path().join("whole"), dir.path().join("broken"));
    finish(&whole);
    let config = run_config();
    let run_dir = RunDir::create(&broken, &config).expect("a new folder");
    let (mut trainer, _, _) = trainer(&config, Some(run_dir), parts);
    let error = trainer.run(&problems()).expect_err("a part is broken");
    drop(trainer);
    let hidden = std::fs::read_dir(broken.join("checkpoints")).expect("a folder");
    for entry in hidden {
        let name = entry.expect("readable").file_name().to_string_lossy().into_owned();
        assert!(name.starts_with("step-"), "{name} is half-written");
    }
    finish(&broken);
    assert!(outcome(&broken) == outcome(&whole), "after: {error}");
    error
}
