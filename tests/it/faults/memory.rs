//! Memory that runs out while training.

use std::cell::Cell;

use hint_policy::{Policy, PolicyError};
use hint_tests::Scored;
use tch::{Kind, Tensor};

use super::*;

#[test]
fn a_step_without_memory_is_an_error_after_which_the_run_goes_on_from_its_checkpoint() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut config = run_config();
    config.run.checkpoint_every = 1;
    let calls_left = Cell::new(9_usize);
    let policy = Scored::new(tiny_policy(7), true, move |inner, tokens, options| {
        let Some(left) = calls_left.get().checked_sub(1) else {
            // 4 PiB: libtorch's own allocator refuses, and `tch` panics.
            let _ = Tensor::zeros([1 << 50], (Kind::Float, inner.device()));
            unreachable!("no process can address so much");
        };
        calls_left.set(left);
        inner.score(tokens, options)
    });
    let policy = SharedPolicy::new(policy);
    let engine = LocalEngine::new(policy.clone(), vec![STOP]);
    let parts = hint_grpo::Parts {
        policy,
        format: Digits,
        rewards: hint_grpo::Rewards::own(lenient_rubric()),
        engine,
        hints: Hints::own(DatasetHints::new()),
    };
    let mut trainer = Trainer::from_config(config.clone(), parts)
        .expect("the configuration is valid")
        .run_dir(RunDir::create(folder.path(), &config).expect("a usable folder"))
        .build()
        .expect("the configuration is valid");
    let error = trainer.run(&problems()).expect_err("memory runs out");
    let GrpoError::Policy(PolicyError::OutOfMemory { .. }) = &error else { panic!("{error}") };
    assert!(error.to_string().contains("max_tokens_per_micro_batch"), "{error}");
    assert!((1..STEPS).contains(&trainer.step()), "{}", trainer.step());
    drop(trainer);

    let run_dir = RunDir::resume_or_create(folder.path(), &config).expect("a usable folder");
    let (mut again, _, _) = super::trainer(&config, Some(run_dir), sound);
    assert_eq!(again.run(&problems()).expect("the run works"), Outcome::Completed);
}
