//! The weights that a pass asks for, stage by stage.

use std::error::Error;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use hint_policy::config::Architecture;
use hint_policy::policy::StageWeights;
use hint_policy::{
    ForwardPass, LoraConfig, ModelConfig, Policy, PolicyError, ScoreOptions, TokenBatch, TokenRow,
};
use tch::Kind;

use crate::device;
use crate::model::random_model;

/// Stages that a pass asked for. An empty range stands for a release.
type Asked = Arc<Mutex<Vec<Range<usize>>>>;

/// Notes what a pass asks for, and fails at its call of this number.
#[derive(Debug)]
struct Noted {
    asked: Asked,
    fails_at: usize,
}

impl StageWeights for Noted {
    fn gather(&mut self, stages: Range<usize>) -> Result<(), Box<dyn Error + Send + Sync>> {
        let mut asked = self.asked.lock().unwrap();
        if asked.len() == self.fails_at {
            return Err("the cable was cut".into());
        }
        asked.push(stages);
        Ok(())
    }

    fn release(&mut self) {
        self.asked.lock().unwrap().push(0..0);
    }
}

/// Gives the policy an object that fails at its call of this number.
fn note(policy: &dyn Policy, fails_at: usize) -> Asked {
    let asked = Asked::default();
    let noted = Noted { asked: Arc::clone(&asked), fails_at };
    assert!(policy.set_stage_weights(Some(Box::new(noted))));
    asked
}

fn taken(asked: &Asked) -> Vec<Range<usize>> {
    std::mem::take(&mut *asked.lock().unwrap())
}

fn batch() -> TokenBatch {
    TokenBatch::new(&[TokenRow { prompt: &[1, 2], completion: &[3, 4] }], device()).unwrap()
}

fn backward(pass: ForwardPass<'_>) -> Result<(), PolicyError> {
    let loss = pass.scores().logprobs.sum(Kind::Float);
    pass.backward(&loss)
}

fn config() -> ModelConfig {
    ModelConfig { num_hidden_layers: 2, ..ModelConfig::small(Architecture::Llama, 30) }
}

#[test]
fn a_pass_asks_for_the_stages_that_it_reads_in_order() {
    let forward = [3..4, 2..3, 1..2, 0..1, 0..0];
    for recomputes in [false, true] {
        let policy = random_model(&config(), 1).with_gradient_checkpointing(recomputes);
        let asked = note(&policy, usize::MAX);
        tch::no_grad(|| policy.score(&batch(), &ScoreOptions::default())).unwrap();
        assert_eq!(taken(&asked), forward);
        let pass = policy.forward(&batch(), &ScoreOptions::default()).unwrap();
        assert_eq!(taken(&asked), forward);
        backward(pass).unwrap();
        // The gradient of the embedding needs none of its values.
        assert_eq!(taken(&asked), [0..1, 1..2, 2..3, 0..0]);
        let _ = policy.logits(&batch()).unwrap();
        assert_eq!(taken(&asked), std::slice::from_ref(&(0..usize::MAX)));
        policy.set_stage_weights(None);
        tch::no_grad(|| policy.score(&batch(), &ScoreOptions::default())).unwrap();
        assert!(taken(&asked).is_empty());
    }
}

#[test]
fn weights_that_do_not_come_are_an_error_of_the_pass() {
    let policy = random_model(&config(), 1);
    // Four stages and a release in the forward pass, and three stages in the backward pass.
    for fails_at in [0, 2, 3, 5, 7] {
        note(&policy, fails_at);
        let passed = policy.forward(&batch(), &ScoreOptions::default()).and_then(backward);
        let error = passed.expect_err("it fails");
        assert!(matches!(error, PolicyError::Gather { .. }), "{error}");
        assert_eq!(error.source().unwrap().to_string(), "the cable was cut", "{fails_at}");
    }
}

#[test]
fn weights_that_do_not_come_are_not_written() {
    let lora = LoraConfig { rank: 2, ..LoraConfig::default() };
    let adapted = random_model(&config(), 1).with_lora(&lora, 1).unwrap();
    for policy in [random_model(&config(), 1), adapted] {
        let asked = note(&policy, 2);
        let dir = tempfile::tempdir().unwrap();
        policy.save(dir.path()).unwrap();
        let tensors = || tch::no_grad(|| policy.checkpoint_tensors(false));
        assert!(tensors().is_some());
        let all = 0..usize::MAX;
        assert_eq!(*asked.lock().unwrap(), [all.clone(), all]);
        let dir = tempfile::tempdir().unwrap();
        let error = policy.save(dir.path()).expect_err("it fails");
        assert!(matches!(error, PolicyError::Gather { .. }), "{error}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(tensors().is_none());
    }
}
