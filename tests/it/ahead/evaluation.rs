//! Evaluations beside a learner that trains on.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use hint_grpo::config::EvaluationConfig;
use hint_grpo::observer::Phase;
use hint_grpo::{GrpoConfig, GrpoError, Observer, Outcome, StepReport};
use hint_rollout::{GenerationRequest, Problem, RolloutError};
use hint_tests::{StopAfter, bytes, metric_lines, problems};

use super::{Hook, STEPS, assert_same, build, nothing, open, outcome, run_config};

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
    let lines = metric_lines(&whole).into_iter().filter(|line| line.get("eval/avg").is_some());
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
    let lines = metric_lines(dir.path());
    assert_eq!(lines.len(), 4, "the steps 0 to 3 have their rows: {lines:?}");
}
