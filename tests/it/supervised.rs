//! The supervised stage, on a real (tiny) model.

use std::ops::ControlFlow;
use std::path::Path;

use hint_grpo::config::LearnedTokens;
use hint_grpo::{
    Demonstration, GrpoConfig, GrpoError, Observer, Outcome, RunDir, StepReport, SupervisedTrainer,
    metrics,
};
use hint_policy::SharedPolicy;
use hint_rollout::PromptFormat;
use hint_tests::{Digits, STOP, bytes, config, problems, tiny_policy, trainer, weights};

const STEPS: u64 = 12;

fn run_config() -> GrpoConfig {
    let mut config = config(STEPS);
    config.run.prompts_per_step = 8;
    config.run.num_iterations = 2;
    config.run.num_minibatches = 2;
    config.optimizer.learning_rate = 1e-2;
    config
}

/// Every problem is answered with its second digit, three times.
pub(crate) fn demonstrations() -> Vec<Demonstration> {
    problems()
        .iter()
        .map(|problem| {
            let prompt = Digits.encode(problem, None).expect("digits are tokens");
            let digit = prompt[1];
            Demonstration::new(&problem.id, prompt, vec![digit, digit, digit, STOP])
        })
        .collect()
}

/// Stops after a step and remembers the loss.
struct Watch {
    stop: u64,
    losses: std::sync::mpsc::Sender<f64>,
}

impl Observer for Watch {
    fn on_step(&mut self, report: &StepReport) -> ControlFlow<()> {
        let _ = self.losses.send(report.metrics.get(metrics::NLL).unwrap_or(f64::NAN));
        if report.step == self.stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

fn run(config: &GrpoConfig, run_dir: RunDir, stop: u64) -> (Vec<f64>, Vec<f32>, Outcome) {
    let policy = SharedPolicy::new(tiny_policy(7));
    let (losses, received) = std::sync::mpsc::channel();
    let mut trainer = SupervisedTrainer::builder(policy.clone(), config.clone())
        .run_dir(run_dir)
        .observer(Watch { stop, losses })
        .build()
        .expect("the configuration is valid");
    let outcome = trainer.run(&demonstrations()).expect("the run works");
    drop(trainer);
    (received.iter().collect(), weights(&policy), outcome)
}

fn files(dir: &Path) -> [Vec<u8>; 3] {
    let last = dir.join(format!("checkpoints/step-{STEPS:08}"));
    [
        bytes(&last.join("model.safetensors")),
        bytes(&last.join("optimizer.safetensors")),
        bytes(&dir.join("metrics.jsonl")),
    ]
}

#[test]
fn demonstrations_are_learned_and_a_stopped_run_resumes_to_the_same_bytes() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let config = run_config();
    let (whole, split) = (dir.path().join("whole"), dir.path().join("split"));
    let run_dir = RunDir::create(&whole, &config).expect("a new folder");
    let (losses, expected, _) = run(&config, run_dir, 0);
    let (first, last) = (losses[0], losses[losses.len() - 1]);
    assert!(last < first / 2.0, "from {first} to {last} nats");

    let run_dir = RunDir::create(&split, &config).expect("a new folder");
    let (_, _, outcome) = run(&config, run_dir, 5);
    assert!(matches!(outcome, Outcome::Stopped { step: 5, .. }));
    let (_, weights, _) = run(&config, RunDir::resume(&split).expect("a stopped run"), 0);
    assert!(weights == expected);
    assert!(files(&split) == files(&whole));
}

#[test]
fn many_micro_batches_give_the_weights_of_one() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut results = Vec::new();
    for (name, max_tokens) in [("one", 1 << 20), ("many", 12)] {
        let mut config = run_config();
        config.sft.tokens = LearnedTokens::All;
        config.run.max_tokens_per_micro_batch = max_tokens;
        // One optimizer step: rounding would grow from step to step.
        (config.run.steps, config.run.num_iterations, config.run.num_minibatches) = (1, 1, 1);
        // Without Adam's division by the root of the second moment, which turns rounding into sign.
        let adamw = hint_grpo::optim::AdamWConfig {
            epsilon: 1.0,
            ..hint_grpo::optim::AdamWConfig::default()
        };
        config.optimizer.algorithm = hint_grpo::optim::AlgorithmConfig::AdamW(adamw);
        config.optimizer.learning_rate = 1.0;
        let run_dir = RunDir::create(dir.path().join(name), &config).expect("a new folder");
        results.push(run(&config, run_dir, 0).1);
    }
    let distance = results[0]
        .iter()
        .zip(&results[1])
        .map(|(one, many)| (one - many).abs())
        .fold(0.0, f32::max);
    // The weights are near 1, where an f32 is exact to 6e-8.
    assert!(distance < 1e-6, "{distance:e}");
}

#[test]
fn a_checkpoint_of_one_stage_does_not_resume_the_other() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let config = run_config();
    let (mut policy_gradient, _) =
        trainer(&config, false, Some(RunDir::create(dir.path(), &config).expect("a new folder")));
    policy_gradient.run(&problems()).expect("the run works");
    drop(policy_gradient);
    let run_dir = RunDir::resume(dir.path()).expect("a finished run");
    let error = SupervisedTrainer::builder(SharedPolicy::new(tiny_policy(7)), config)
        .run_dir(run_dir)
        .build()
        .expect_err("another stage");
    assert!(matches!(error, GrpoError::Mismatch { .. }));
    assert!(error.to_string().contains("stage: policy_gradient there, supervised here"), "{error}");
}

#[test]
fn no_demonstrations_are_an_error() {
    let policy = SharedPolicy::new(tiny_policy(7));
    let mut trainer = SupervisedTrainer::builder(policy, run_config())
        .build()
        .expect("the configuration is valid");
    assert!(matches!(trainer.run(&[]), Err(GrpoError::NoProblems)));
}
