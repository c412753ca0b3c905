//! Configurations of a run ahead: those that are refused, the correction for the age of weights.

use std::ops::ControlFlow;
use std::sync::mpsc::{Sender, channel};

use hint_grpo::objective::{ImportanceCorrection, ImportanceLevel};
use hint_grpo::{
    GrpoConfig, Hints, Observer, Parts, Rewards, RunBuilder, StepReport, Trainer, Warning,
};
use hint_policy::{LoraConfig, SharedPolicy};
use hint_rollout::{DatasetHints, LocalEngine};
use hint_tests::{Digits, STOP, lenient_rubric, problems, tiny_policy};

use super::{build, nothing, open, run, run_config};

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
fn more_steps_of_a_run_ahead_are_refused_with_their_reason() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut config = run_config(0);
    config.run.steps = 1;
    run(dir.path(), &config, nothing(), None);
    (config.run.steps, config.run.ahead) = (3, 1);
    let builder = build(&config, nothing()).builder.run_dir(open(dir.path(), &config));
    let builder = builder.changes(["run.ahead", "run.steps"]);
    refused(
        builder,
        "1 there, 3 here; with `run.ahead` no batch is sampled beyond `run.steps`, and schedules",
    );
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
