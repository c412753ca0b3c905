//! Batches that fail after their first optimizer step.

use std::path::Path;

use hint_grpo::optim::{
    AdafactorConfig, AdamWConfig, AlgorithmConfig, FlatBuffer, MuonConfig, Optimizer, SavedState,
    Shard, StatePart,
};
use hint_grpo::{GrpoConfig, GrpoError, Hints, Outcome, Parts, Rewards, RunDir, Trainer};
use hint_policy::{Parameter, SharedPolicy};
use hint_rollout::{DatasetHints, LocalEngine};
use hint_tests::{Digits, STOP, lenient_rubric, problems, tiny_policy};
use tch::Tensor;

use super::{outcome, run_config};

/// The fault.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// An error before any weight changed.
    Error,
    /// A panic.
    Panic,
    /// An error after the weights changed.
    Torn,
}

/// Breaks at its `at`-th optimizer step, from 0.
struct Broken {
    inner: Box<dyn Optimizer>,
    fault: Fault,
    at: u64,
    steps: u64,
}

impl Optimizer for Broken {
    fn name(&self) -> String {
        self.inner.name()
    }

    fn step(&mut self, learning_rate: f64) -> Result<(), GrpoError> {
        self.steps += 1;
        let is_due = self.steps - 1 == self.at;
        let cut = || Err(GrpoError::other("optimizer", "the cable was cut"));
        match self.fault {
            Fault::Error if is_due => return cut(),
            Fault::Panic if is_due => panic!("the cable was cut"),
            _ => self.inner.step(learning_rate)?,
        }
        if self.fault == Fault::Torn && is_due { cut() } else { Ok(()) }
    }

    fn parameters(&self) -> &[Parameter] {
        self.inner.parameters()
    }

    fn state(&self) -> Vec<(String, Tensor)> {
        self.inner.state()
    }

    fn shard(&mut self, shard: Shard) -> Option<Vec<FlatBuffer>> {
        self.inner.shard(shard)
    }

    fn state_parts(&self) -> Vec<StatePart> {
        self.inner.state_parts()
    }

    fn state_bytes(&self) -> u64 {
        self.inner.state_bytes()
    }

    fn load_state(&mut self, state: &[(String, Tensor)]) -> Result<(), GrpoError> {
        self.inner.load_state(state)
    }

    fn load_parts(&mut self, saved: &SavedState<'_>) -> Result<(), GrpoError> {
        self.inner.load_parts(saved)
    }
}

/// A run in `dir`, from its newest checkpoint if there is one.
fn run(config: &GrpoConfig, dir: &Path, fault: Fault, at: u64) -> Result<Outcome, GrpoError> {
    let policy = SharedPolicy::new(tiny_policy(7));
    let inner = config.optimizer.build(policy.lock().parameters()).expect("a valid optimizer");
    let parts = Parts {
        policy: policy.clone(),
        format: Digits,
        rewards: Rewards::own(lenient_rubric()),
        engine: LocalEngine::new(policy, vec![STOP]),
        hints: Hints::own(DatasetHints::new()),
    };
    let run_dir = RunDir::resume_or_create(dir, config).expect("a usable folder");
    let trainer = Trainer::from_config(config.clone(), parts).expect("the configuration is valid");
    let mut trainer = trainer
        .optimizer(Broken { inner, fault, at, steps: 0 })
        .run_dir(run_dir)
        .build()
        .expect("the checkpoint can be restored");
    trainer.run(&problems())
}

fn newest(dir: &Path) -> Option<u64> {
    RunDir::checkpoints(dir).expect("the folder can be listed").last().map(|(step, _)| *step)
}

#[test]
fn a_step_that_fails_at_a_later_optimizer_step_is_taken_back_and_has_a_checkpoint_before_it() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let algorithms = [
        AlgorithmConfig::AdamW(AdamWConfig::default()),
        AlgorithmConfig::Muon(MuonConfig::default()),
        AlgorithmConfig::Adafactor(AdafactorConfig::default()),
    ];
    // Of several workers, the optimizer has the gradient in its buffers, and its state in parts.
    let cases = algorithms.into_iter().flat_map(|one| [(one.clone(), None), (one, Some(2))]);
    for (number, (algorithm, virtual_workers)) in cases.enumerate() {
        let mut config = run_config();
        config.run.checkpoint_every = 0;
        config.run.virtual_workers = virtual_workers;
        config.optimizer.algorithm = algorithm;
        let dir = dir.path().join(number.to_string());
        let whole = dir.join("whole");
        run(&config, &whole, Fault::None, 0).expect("the run works");
        // The second of the two optimizer steps of step 3, and the first one, torn.
        for (fault, at) in
            [(Fault::Error, 5), (Fault::Panic, 5), (Fault::Torn, 5), (Fault::Torn, 4)]
        {
            let broken = dir.join(format!("{fault:?}-{at}"));
            run(&config, &broken, fault, at).expect_err("the optimizer fails");
            assert_eq!(newest(&broken), Some(2), "{fault:?} at {at}, {virtual_workers:?}");
            run(&config, &broken, Fault::None, 0).expect("the run works");
            let is_same = outcome(&broken) == outcome(&whole);
            assert!(is_same, "after {fault:?} at {at}, {virtual_workers:?}");
        }
    }
}

#[test]
fn a_state_that_is_too_large_for_its_copy_is_resumed_from_the_last_regular_checkpoint() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (whole, broken) = (dir.path().join("whole"), dir.path().join("broken"));
    let mut config = run_config();
    run(&config, &whole, Fault::None, 0).expect("the run works");
    config.run.undo_mib = 0;
    // Step 4 fails; checkpoints follow every second step.
    run(&config, &broken, Fault::Error, 7).expect_err("the optimizer fails");
    assert_eq!(newest(&broken), Some(2));
    // The limit may change at any time.
    config.run.undo_mib = 1;
    run(&config, &broken, Fault::None, 0).expect("the run works");
    assert!(outcome(&broken) == outcome(&whole));
}
