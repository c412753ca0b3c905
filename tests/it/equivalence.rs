//! Switches that change no number.

use hint_grpo::{GrpoConfig, RunDir};
use hint_rollout::collect::hinted::HintTrigger;
use hint_tests::{bytes, config, problems, trainer, weights};

/// Metrics and weights after three steps.
fn run(config: &GrpoConfig, hints: bool) -> (Vec<u8>, Vec<f32>) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let run_dir = RunDir::create(dir.path(), config).expect("an empty folder");
    let (mut trainer, policy) = trainer(config, hints, Some(run_dir));
    trainer.run(&problems()).expect("the run works");
    (bytes(&dir.path().join("metrics.jsonl")), weights(&policy))
}

#[test]
fn switching_hints_off_is_plain_grpo_bit_for_bit() {
    let config = config(3);
    let mut never = config.clone();
    never.rollout.trigger = HintTrigger::Never;
    let grpo = run(&config, false);
    assert!(grpo == run(&never, true), "a trigger that never fires");
    assert!(grpo == run(&never, false), "no provider either");
    assert!(grpo != run(&config, true), "hints do something in this scenario");
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    assert!(run(&config(3), true) == run(&config(3), true));
    let mut other = config(3);
    other.run.seed = 43;
    assert!(run(&config(3), true) != run(&other, true));
}

#[test]
fn on_policy_plain_updates_have_an_affinity_of_exactly_one() {
    let config = config(3);
    let mut unweighted = config.clone();
    unweighted.loss.hinted_weight.clear();
    assert_eq!(run(&config, true).1, run(&unweighted, true).1);
}
