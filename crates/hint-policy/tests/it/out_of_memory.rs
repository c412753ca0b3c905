//! Running out of memory of the processor, for real: in a process with an address space that is nearly full.

use std::process::Command;

use hint_policy::config::Architecture;
use hint_policy::{
    CausalLm, Generation, ModelConfig, Policy, PolicyError, SampleOptions, SampleRequest,
    SamplingParams, ScoreOptions, TokenBatch, TokenRow, sample,
};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tch::Device;

/// What is left of the address space, in bytes.
const ROOM: u64 = 64 << 20;

fn model() -> CausalLm {
    CausalLm::init(&ModelConfig::small(Architecture::Llama, 60), 1, Device::Cpu).unwrap()
}

fn draw(policy: &CausalLm, rows: usize) -> Result<Vec<Vec<Generation>>, PolicyError> {
    let params = SamplingParams { max_new_tokens: 4, ..SamplingParams::default() };
    let request = SampleRequest { prompt: vec![1; 200], num_completions: rows, seed: 1, params };
    sample(policy, &[request], &SampleOptions { max_batch: rows, ..SampleOptions::default() })
}

/// The sum of log-probabilities of `rows` rows, after its backward pass.
fn score(policy: &CausalLm, rows: usize) -> Result<f64, PolicyError> {
    let tokens: Vec<u32> = (0..200).map(|index| index % 60).collect();
    let rows = vec![TokenRow { prompt: &tokens[..1], completion: &tokens[1..] }; rows];
    let batch = TokenBatch::new(&rows, Device::Cpu)?;
    let options = ScoreOptions { entropy: true, ..ScoreOptions::default() };
    let pass = policy.forward(&batch, &options)?;
    let sum = pass.scores().logprobs.sum(tch::Kind::Double);
    pass.backward(&sum)?;
    Ok(sum.double_value(&[]))
}

fn address_space() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmSize:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
fn running_out_of_memory_is_an_error_and_the_model_goes_on() {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "out_of_memory::in_a_small_address_space", "--ignored", "--nocapture"])
        .output()
        .unwrap();
    let (out, error) =
        (String::from_utf8_lossy(&child.stdout), String::from_utf8_lossy(&child.stderr));
    assert!(child.status.success() && out.contains("1 passed"), "{out}\n{error}");
}

#[test]
#[ignore = "the test above runs it in a process of its own"]
fn in_a_small_address_space() {
    let policy = model();
    let before = (draw(&policy, 2).unwrap(), score(&policy, 2).unwrap());
    let (old, most) = getrlimit(Resource::RLIMIT_AS).unwrap();
    setrlimit(Resource::RLIMIT_AS, address_space() + ROOM, most).unwrap();
    // Either needs many times that, in tensors.
    let errors = [draw(&policy, 4000).unwrap_err(), score(&policy, 2000).unwrap_err()];
    for error in &errors {
        assert!(matches!(error, PolicyError::OutOfMemory { .. }), "{error}");
    }
    assert_eq!((draw(&policy, 2).unwrap(), score(&policy, 2).unwrap()), before);
    setrlimit(Resource::RLIMIT_AS, old, most).unwrap();
}
