//! Engines that fail or break their contract in the middle of a run.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hint_grpo::observer::Phase;
use hint_grpo::{GrpoError, Observer, RunDir, Trainer};
use hint_policy::SharedPolicy;
use hint_rollout::data::{DataConfig, HeldOut};
use hint_rollout::{Completion, DatasetHints, LocalEngine, RolloutEngine, RolloutError};
use hint_tests::{Digits, STOP, bytes, problems, tiny_policy};

use super::{Faulty, altered, altered_twice, fail_and_resume, outcome, run_config, sound, trainer};

/// The fault.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// The call returns an error.
    Error,
    /// One completion is missing.
    Short,
    /// A whole group is missing.
    NoGroup,
    /// A token has no log-probability.
    NoLogprob,
    /// A log-probability is not a number.
    NotFinite,
    /// New weights are not taken up.
    Sync,
    /// The call panics.
    Panic,
}

/// Breaks at the `at`-th call of what the fault is in, from 0.
fn breaking(
    inner: LocalEngine,
    fault: Fault,
    at: u64,
) -> Faulty<impl RolloutEngine + 'static, Digits> {
    let is_due = || {
        let mut calls = 0;
        move || {
            calls += 1;
            calls - 1 == at
        }
    };
    let (mut completions_are_due, mut weights_are_due) = (is_due(), is_due());
    let is_sync = matches!(fault, Fault::Sync);
    let change = move |groups: &mut Vec<Vec<Completion>>| {
        if is_sync || !completions_are_due() {
            return Ok(());
        }
        let middle = groups.len() / 2;
        match fault {
            Fault::Error => return Err(RolloutError::other("engine", "the cable was cut")),
            Fault::Short => drop(groups[middle].pop()),
            Fault::NoGroup => drop(groups.pop()),
            Fault::NoLogprob => drop(groups[middle][0].behavior_logprobs.pop()),
            Fault::NotFinite => groups[middle][0].behavior_logprobs[0] = f64::NAN,
            Fault::Panic => panic!("the cable was cut"),
            Fault::Sync => {}
        }
        Ok(())
    };
    let before_sync = move || {
        if is_sync && weights_are_due() {
            return Err(RolloutError::other("engine", "the disk of the server is full"));
        }
        Ok(())
    };
    altered_twice(inner, change, before_sync)
}

#[test]
fn a_step_that_fails_is_preceded_by_a_checkpoint() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut config = run_config();
    config.run.checkpoint_every = 0;
    // In the middle of step 3, and when step 3 hands its weights over; the first call of `sync` precedes
    // all steps.
    for (fault, at, expected) in [(Fault::Error, 4, 2), (Fault::Panic, 4, 2), (Fault::Sync, 3, 3)] {
        let dir = dir.path().join(format!("{fault:?}"));
        let (whole, broken) = (dir.join("whole"), dir.join("broken"));
        let run_dir = |dir: &Path| RunDir::resume_or_create(dir, &config).expect("a usable folder");
        let run = |dir: &Path| {
            let (mut trainer, ..) = trainer(&config, Some(run_dir(dir)), sound);
            trainer.run(&problems()).expect("the run works");
        };
        run(&whole);
        let parts = |inner| breaking(inner, fault, at);
        let (mut trainer, ..) = trainer(&config, Some(run_dir(&broken)), parts);
        let error = trainer.run(&problems()).expect_err("the engine fails");
        assert_eq!(matches!(error, GrpoError::Panicked { .. }), matches!(fault, Fault::Panic));
        drop(trainer);
        let checkpoints = RunDir::checkpoints(&broken).expect("the folder can be listed");
        assert_eq!(checkpoints.last().map(|(step, _)| *step), Some(expected), "{fault:?}");
        run(&broken);
        assert!(outcome(&broken) == outcome(&whole), "after {fault:?}");
    }
}

/// Breaks the engine while step 3 is evaluated.
struct Cut(Arc<AtomicBool>);

impl Observer for Cut {
    fn on_phase(&mut self, step: u64, phase: Phase) {
        self.0.store(step == 3 && phase == Phase::Evaluation, Ordering::Relaxed);
    }
}

#[test]
fn a_step_whose_evaluation_fails_has_a_checkpoint_from_which_it_is_finished() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    for (every, checkpoint_every) in [(1, 0), (3, 1), (2, 2)] {
        let dir = dir.path().join(format!("{every}-{checkpoint_every}"));
        let mut config = run_config();
        config.run.checkpoint_every = checkpoint_every;
        config.evaluation.held_out = HeldOut::Share { frac: 0.4 };
        config.evaluation.every = every;
        let split = config.evaluation.split(problems(), &DataConfig::default());
        let split = split.expect("no file is read");
        let run = |dir: &Path, cut: Option<Cut>| {
            let policy = SharedPolicy::new(tiny_policy(7));
            let now = cut.as_ref().map_or_else(Arc::default, |cut| Arc::clone(&cut.0));
            let change = move |_: &mut Vec<Vec<Completion>>| {
                let is_cut = now.load(Ordering::Relaxed);
                let error = || RolloutError::other("engine", "the cable was cut");
                if is_cut { Err(error()) } else { Ok(()) }
            };
            let Faulty { engine, format, rubric } =
                altered(LocalEngine::new(policy.clone(), vec![STOP]), change);
            let parts = hint_grpo::Parts {
                policy,
                format,
                rewards: hint_grpo::Rewards::own(rubric),
                engine,
                hints: hint_grpo::Hints::own(DatasetHints::new()),
            };
            let run_dir = RunDir::resume_or_create(dir, &config).expect("a usable folder");
            let mut builder = Trainer::from_config(config.clone(), parts)
                .expect("the configuration is valid")
                .held_out(split.held_out.clone())
                .run_dir(run_dir);
            if let Some(cut) = cut {
                builder = builder.observer(cut);
            }
            builder.build().expect("the checkpoint can be restored").run(&split.train)
        };
        let (whole, broken) = (dir.join("whole"), dir.join("broken"));
        run(&whole, None).expect("the run works");
        let failed = run(&broken, Some(Cut(Arc::default())));
        if every == 2 {
            failed.expect("step 3 is not evaluated");
            continue;
        }
        failed.expect_err("the engine fails");
        let checkpoints = RunDir::checkpoints(&broken).expect("the folder can be listed");
        assert_eq!(checkpoints.last().map(|(step, _)| *step), Some(3));
        run(&broken, None).expect("the run works");
        assert!(outcome(&broken) == outcome(&whole), "every {every}");
        let evaluation = "evaluations/step-00000003.json";
        assert!(bytes(&broken.join(evaluation)) == bytes(&whole.join(evaluation)));
    }
}

#[test]
fn an_engine_that_fails_in_the_middle_of_a_step_loses_nothing() {
    let faults = [
        Fault::Error,
        Fault::Short,
        Fault::NoGroup,
        Fault::NoLogprob,
        Fault::NotFinite,
        Fault::Sync,
    ];
    for (index, fault) in faults.into_iter().enumerate() {
        // Odd calls are mostly those of the hinted stage. The first step of all may fail, too.
        for at in [0, 3 + index as u64 % 2] {
            let error = fail_and_resume(|inner| breaking(inner, fault, at));
            let GrpoError::Rollout(error) = error else { panic!("{fault:?}: {error}") };
            let is_expected = match fault {
                Fault::Error | Fault::Sync | Fault::Panic => {
                    matches!(error, RolloutError::Other { .. })
                }
                Fault::Short | Fault::NoGroup | Fault::NoLogprob => {
                    matches!(error, RolloutError::EngineContract { .. })
                }
                Fault::NotFinite => matches!(error, RolloutError::EngineNotFinite { .. }),
            };
            assert!(is_expected, "{fault:?}: {error}");
        }
    }
}
