//! Training low-rank adapters.

use std::path::Path;

use hint_grpo::{GrpoConfig, Outcome, RunDir, Trainer};
use hint_policy::{LoraConfig, Policy, SharedPolicy};
use hint_tests::{StopAfter, bytes, config, lenient_rubric, parts, problems, tiny_policy};
use tch::{Device, Tensor};

const STEPS: u64 = 5;

fn run_config() -> GrpoConfig {
    let mut config = config(STEPS);
    config.run.num_iterations = 2;
    config.run.checkpoint_every = 2;
    config.loss.kl.coef = 0.05;
    config
}

/// The adapters of a run, and its reference: the same weights without them.
fn policies() -> (SharedPolicy, SharedPolicy) {
    let lora = LoraConfig { rank: 4, dropout: 0.2, ..LoraConfig::default() };
    let policy = tiny_policy(7).with_lora(&lora, 1).expect("the targets exist");
    let reference = policy.base().expect("a model with adapters");
    (SharedPolicy::new(policy), SharedPolicy::new(reference))
}

fn run(dir: &Path, stop: u64) -> Outcome {
    let config = run_config();
    let run_dir = RunDir::resume_or_create(dir, &config);
    let (policy, reference) = policies();
    let frozen = |policy: &SharedPolicy| -> Vec<Tensor> {
        policy.lock().parameters().iter().map(|p| p.tensor.detach().copy()).collect()
    };
    let before = frozen(&reference);
    let parts = parts(&policy, lenient_rubric(), true);
    let mut trainer = Trainer::from_config(config, parts)
        .expect("the configuration is valid")
        .reference(reference.clone())
        .run_dir(run_dir.expect("a usable folder"))
        .observer(StopAfter(stop))
        .build()
        .expect("the configuration is valid");
    let outcome = trainer.run(&problems()).expect("the run works");
    for (before, after) in before.iter().zip(frozen(&reference)) {
        assert!(before.equal(&after), "the weights below the adapters were trained");
    }
    outcome
}

/// The files that must not depend on interruptions.
fn outcome(dir: &Path) -> Vec<Vec<u8>> {
    let last = dir.join(format!("checkpoints/step-{STEPS:08}"));
    ["adapter_model.safetensors", "adapter_config.json", "optimizer.safetensors"]
        .iter()
        .map(|name| bytes(&last.join(name)))
        .chain([bytes(&dir.join("metrics.jsonl"))])
        .collect()
}

#[test]
fn a_run_with_adapters_trains_them_alone_and_resumes_to_the_same_bytes() {
    let whole = tempfile::tempdir().expect("a temporary folder");
    assert_eq!(run(whole.path(), 0), Outcome::Completed);
    let expected = outcome(whole.path());

    let last = whole.path().join(format!("checkpoints/step-{STEPS:08}"));
    assert!(!last.join("model.safetensors").exists());
    let moments = Tensor::read_safetensors(last.join("optimizer.safetensors")).expect("a file");
    let adapters = policies().0.lock().parameters();
    let trained: usize = adapters.iter().map(|parameter| parameter.tensor.numel()).sum();
    let kept: usize = moments.iter().map(|(_, tensor)| tensor.numel()).sum();
    assert!(kept >= 2 * trained && kept < 2 * trained + 16, "{kept} for {trained} parameters");
    let written = Tensor::read_safetensors(last.join("adapter_model.safetensors")).expect("a file");
    let moved = written.iter().filter(|(name, tensor)| {
        let fresh = adapters.iter().find(|parameter| parameter.name == *name).expect("its name");
        !fresh.tensor.detach().to_device(Device::Cpu).equal(tensor)
    });
    assert_eq!(moved.count(), adapters.len());

    let stopped = tempfile::tempdir().expect("a temporary folder");
    assert!(matches!(run(stopped.path(), 3), Outcome::Stopped { .. }));
    assert_eq!(run(stopped.path(), 0), Outcome::Completed);
    assert!(outcome(stopped.path()) == expected);
}
