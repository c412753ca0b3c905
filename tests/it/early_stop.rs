//! Runs whose plain groups may end early.

use std::path::Path;

use hint_grpo::{GrpoConfig, Outcome, RunDir, Trainer};
use hint_policy::SharedPolicy;
use hint_rollout::collect::EarlyStop;
use hint_tests::{
    StopAfter, bytes, config, lenient_rubric, metric_lines, parts, problems, tiny_policy, trainer,
    weights,
};

const STEPS: u64 = 6;

fn run_config(needed: Option<usize>) -> GrpoConfig {
    let mut config = config(STEPS);
    config.run.prompts_per_step = 8;
    config.run.checkpoint_every = 2;
    config.rollout.group_size = 6;
    config.rollout.sampling.max_completion_len = 24;
    config.rollout.early_stop = needed.map(|needed| EarlyStop { needed });
    config
}

/// Runs in `dir` to the end, from its latest checkpoint if it has one. Returns the weights and the file of metrics.
fn finish(dir: &Path, config: &GrpoConfig) -> (Vec<f32>, String) {
    let run_dir = RunDir::resume_or_create(dir, config).expect("a usable folder");
    let (mut trainer, policy) = trainer(config, true, Some(run_dir));
    assert_eq!(trainer.run(&problems()).expect("the run works"), Outcome::Completed);
    let metrics = String::from_utf8(bytes(&dir.join("metrics.jsonl"))).expect("text");
    (weights(&policy), metrics)
}

/// The values of a metric in the order of the steps.
fn values(dir: &Path, name: &str) -> Vec<f64> {
    metric_lines(dir).iter().filter_map(|line| line[name].as_f64()).collect()
}

#[test]
fn groups_end_early_with_the_same_bytes_in_every_run_and_after_a_stop() {
    let config = run_config(Some(2));
    let dir = tempfile::tempdir().expect("a temporary folder");
    let expected = finish(dir.path(), &config);
    let shares = values(dir.path(), "rollout/early_stopped_frac");
    assert_eq!(shares.len(), 6, "every step has it");
    assert!(shares.iter().sum::<f64>() > 0.0, "no group ended early");
    assert!(values(dir.path(), "rollout/early_stopped_tokens").iter().sum::<f64>() > 0.0);

    let dir = tempfile::tempdir().expect("a temporary folder");
    let policy = SharedPolicy::new(tiny_policy(7));
    let run_dir = RunDir::create(dir.path(), &config).expect("an empty folder");
    let builder = Trainer::from_config(config.clone(), parts(&policy, lenient_rubric(), true))
        .expect("valid");
    let builder = builder.run_dir(run_dir).observer(StopAfter(3));
    let outcome = builder.build().expect("it can be built").run(&problems());
    let outcome = outcome.expect("the run works");
    assert!(matches!(outcome, Outcome::Stopped { step: 3, .. }), "{outcome:?}");
    assert!(finish(dir.path(), &config) == expected, "other bytes after a stop");
}

#[test]
fn without_the_key_nothing_of_it_is_in_the_metrics() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (_, metrics) = finish(dir.path(), &run_config(None));
    assert!(!metrics.contains("early_stop"), "{metrics}");
    assert_eq!(values(dir.path(), "rollout/pass_rate").len(), 6);
}
