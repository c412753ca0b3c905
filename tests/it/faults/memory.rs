//! Memory that runs out while training.

use std::cell::Cell;

use hint_policy::policy::DecoderOptions;
use hint_policy::{
    CausalLm, Decoder, Parameter, Policy, PolicyError, ScoreOptions, TokenBatch, TokenScores,
};
use tch::{Device, Kind, Tensor};

use super::*;

/// From the given call of `score` on needs more memory than there is.
struct Hungry {
    inner: CausalLm,
    calls_left: Cell<usize>,
}

impl Policy for Hungry {
    fn logits(&self, tokens: &TokenBatch) -> Result<Tensor, PolicyError> {
        self.inner.logits(tokens)
    }

    fn score(
        &self,
        tokens: &TokenBatch,
        options: &ScoreOptions,
    ) -> Result<TokenScores, PolicyError> {
        let Some(left) = self.calls_left.get().checked_sub(1) else {
            // 4 PiB: libtorch's own allocator refuses, and `tch` panics.
            let _ = Tensor::zeros([1 << 50], (Kind::Float, self.device()));
            unreachable!("no process can address so much");
        };
        self.calls_left.set(left);
        self.inner.score(tokens, options)
    }

    fn parameters(&self) -> Vec<Parameter> {
        self.inner.parameters()
    }

    fn device(&self) -> Device {
        self.inner.device()
    }

    fn vocab_size(&self) -> usize {
        self.inner.vocab_size()
    }

    fn max_positions(&self) -> usize {
        self.inner.max_positions()
    }

    fn decoder(&self, options: &DecoderOptions) -> Result<Box<dyn Decoder + '_>, PolicyError> {
        self.inner.decoder(options)
    }

    fn parameters_changed(&self) {
        self.inner.parameters_changed();
    }

    fn save(&self, dir: &Path) -> Result<(), PolicyError> {
        self.inner.save(dir)
    }
}

#[test]
fn a_step_without_memory_is_an_error_after_which_the_run_goes_on_from_its_checkpoint() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut config = run_config();
    config.run.checkpoint_every = 1;
    let policy = SharedPolicy::new(Hungry { inner: tiny_policy(7), calls_left: Cell::new(9) });
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
