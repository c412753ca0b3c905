//! Processes that each sample ahead of their learner, compared with one that does.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use hint_dist::{Collective, Threads};
use hint_grpo::objective::{ImportanceCorrection, ImportanceLevel};
use hint_grpo::{GrpoConfig, GrpoError, Observer, Outcome, Parts, RunDir, StepReport, Trainer};
use hint_policy::SharedPolicy;
use hint_rollout::collect::curriculum::{DynamicSampling, SignalCriterion};
use hint_rollout::{RolloutEngine, RolloutError};
use hint_tests::{Sampled, lenient_rubric, parts, tiny_policy};

use super::{Scenario, assert_same, errors, outcome, preset, presets, shared_config, training};

/// A run whose processes must agree on the rounds of every batch, and on the correction for its age.
fn ahead_config(steps: u64, ahead: u64) -> GrpoConfig {
    let mut config = shared_config(steps);
    config.run.ahead = ahead;
    config.rollout_table.every = 1;
    config.rollout.dynamic_sampling =
        DynamicSampling::UntilSignal { max_rounds: 3, criterion: SignalCriterion::Verdicts };
    config.loss.importance_correction =
        ImportanceCorrection::Truncate { max_weight: 2.0, level: ImportanceLevel::Token };
    config
}

#[test]
fn processes_that_sample_ahead_end_with_the_bytes_of_one() {
    for ahead in [1, 2] {
        let mut config = ahead_config(4, ahead);
        config.evaluation.every = 2;
        let alone = Scenario::default().outcome_in(1, &config);
        assert!(alone.contains_key("step-00000004.json"), "{:?}", alone.keys());
        for world_size in [2, 3] {
            let shared = Scenario::default().outcome_in(world_size, &config);
            assert_same(&format!("{world_size} processes, ahead {ahead}"), &shared, &alone);
        }
    }
}

#[test]
fn adapters_and_presets_sampled_ahead_are_the_same_in_two_processes() {
    let scenario = Scenario { lora: true, wide: true, ..Scenario::default() };
    let config = ahead_config(3, 1);
    assert_same("LoRA", &scenario.outcome_in(2, &config), &scenario.outcome_in(1, &config));
    for name in presets().iter().step_by(3) {
        let mut config = preset(name);
        config.run.ahead = 1;
        let [alone, shared] =
            [1, 2].map(|world_size| Scenario::default().outcome_in(world_size, &config));
        assert_same(name, &shared, &alone);
    }
}

#[test]
fn a_run_ahead_goes_on_in_another_number_of_processes() {
    let config = ahead_config(5, 2);
    let whole = Scenario::default().outcome_in(1, &config);
    let dir = tempfile::tempdir().expect("a temporary folder");
    for (world_size, stop) in [(2, Some(1)), (3, Some(3)), (1, Some(4)), (2, None)] {
        Scenario { stop, ..Scenario::default() }.run_in(world_size, &config, dir.path());
        if let Some(stop) = stop {
            let file = dir.path().join(format!("checkpoints/step-{stop:08}/ahead.cbor"));
            assert!(file.is_file(), "batches wait after step {stop}");
        }
    }
    assert_same("2, 3, 1 and 2 processes", &outcome(dir.path()), &whole);
}

#[test]
fn a_stop_that_a_late_row_asks_for_reaches_every_process() {
    let mut config = ahead_config(5, 1);
    config.evaluation.every = 2;
    let whole = Scenario::default().outcome_in(1, &config);
    let dir = tempfile::tempdir().expect("a temporary folder");
    // The row of step 2 waits for its evaluation until the checkpoint, and the first process alone looks at it.
    Scenario { stop: Some(2), ..Scenario::default() }.run_in(2, &config, dir.path());
    let (step, _) = RunDir::checkpoints(dir.path()).expect("a run").pop().expect("a checkpoint");
    assert_eq!(step, 2);
    Scenario::default().run_in(3, &config, dir.path());
    assert_same("stopped by a late row", &outcome(dir.path()), &whole);
}

/// Panics after a step.
struct PanicsAfter(u64);

impl Observer for PanicsAfter {
    fn on_step(&mut self, report: &StepReport) -> ControlFlow<()> {
        assert!(report.step != self.0, "an observer panics");
        ControlFlow::Continue(())
    }
}

/// A run without a folder. The engine of this process has so many calls.
fn broken(
    collective: Arc<dyn Collective>,
    mut calls: usize,
    panics_after: u64,
) -> Result<Outcome, GrpoError> {
    let config = ahead_config(6, 2);
    let (policy, copy) = (SharedPolicy::new(tiny_policy(7)), SharedPolicy::new(tiny_policy(8)));
    let Parts { engine, format, rewards, hints, .. } = parts(&copy, lenient_rubric(), true);
    let engine = Sampled::new(engine, move |inner, requests| {
        let cut = || RolloutError::other("engine", "the cable was cut");
        calls = calls.checked_sub(1).ok_or_else(cut)?;
        inner.generate(requests)
    });
    let parts = Parts { policy, engine, format, rewards, hints };
    let builder = Trainer::from_config(config, parts)?.sampler_policy(copy);
    builder.observer(PanicsAfter(panics_after)).collective(collective).build()?.run(&training())
}

#[test]
fn an_engine_that_fails_ahead_in_one_process_ends_all_of_them() {
    let found = errors(|collective| {
        let calls = if collective.rank() == 1 { 8 } else { usize::MAX };
        broken(collective, calls, u64::MAX)
    });
    assert_eq!(found[1], "engine failed");
    let expected = "rank 1 failed: engine failed: the cable was cut";
    assert_eq!(found[0], expected);
}

#[test]
fn an_observer_that_panics_in_one_process_ends_all_of_them() {
    let run = |member: Threads| {
        let panics_after = if member.rank() == 0 { 2 } else { u64::MAX };
        let collective = Arc::new(member) as Arc<dyn Collective>;
        let run = || broken(collective, usize::MAX, panics_after);
        catch_unwind(AssertUnwindSafe(run)).map_err(|_| "a panic".to_owned())
    };
    let found = std::thread::scope(|scope| {
        let members = Threads::group(2, Duration::from_mins(2)).into_iter();
        let threads = members.map(|member| scope.spawn(move || run(member))).collect::<Vec<_>>();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect::<Vec<_>>()
    });
    assert!(found[0].is_err(), "{found:?}");
    let error = found[1].as_ref().expect("it does not panic").as_ref().expect_err("it fails");
    assert_eq!(error.to_string(), "rank 0 failed: it panicked");
}
