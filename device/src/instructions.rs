//! The work whose instructions are counted on a CPU, under callgrind (`cargo xtask counts`).
//!
//! Each case runs once to warm up, and once more in [`counted_section`], by whose name callgrind counts. The models are small
//! and compute in `Float`, on one thread.

use anyhow::Result;
use hint_grpo::learner::{Learner, LearnerParts, Sample, SampleBatch, SftLoss};
use hint_grpo::optim::{AdamW, AdamWConfig};
use hint_grpo::{GrpoConfig, Optimizer};
use hint_policy::config::Architecture;
use hint_policy::policy::DecoderOptions;
use hint_policy::tch::{Device, Kind, no_grad};
use hint_policy::{
    CausalLm, ModelConfig, Policy, SampleOptions, SampleRequest, SamplingParams, ScoreOptions,
    SharedPolicy, TokenBatch, TokenRow, sample,
};
use hint_rollout::run::RunProgress;

const VOCAB: usize = 512;

/// Rows of a group.
const ROWS: u32 = 8;

/// Takes every case, and prints its name before it is counted.
pub(crate) fn take() -> Result<()> {
    decode()?;
    score()?;
    update()
}

/// Callgrind counts in here. The second call keeps the first one from becoming a jump.
#[inline(never)]
fn counted_section(work: &mut dyn FnMut() -> Result<()>) -> Result<()> {
    let result = work();
    std::hint::black_box(());
    result
}

fn case(name: &str, mut work: impl FnMut() -> Result<()>) -> Result<()> {
    work()?;
    println!("{name}");
    counted_section(&mut work)
}

fn model() -> Result<CausalLm> {
    let config = ModelConfig {
        hidden_size: 64,
        intermediate_size: 128,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 16,
        ..ModelConfig::small(Architecture::Llama, VOCAB)
    };
    Ok(CausalLm::init(&config, 1, Device::Cpu)?)
}

fn tokens(count: u32, seed: u32) -> Vec<u32> {
    (0..count).map(|index| (index * index + 7 * index + 31 * seed) % 500).collect()
}

fn decode() -> Result<()> {
    let policy = model()?;
    case("decoder of new weights", || {
        policy.parameters_changed();
        let options = DecoderOptions { max_rows: 8, max_positions: 64, batch_invariant: false };
        drop(policy.decoder(&options)?);
        Ok(())
    })?;
    let prompts = [50, 50, 50, 50].map(|len| tokens(len, len));
    let prompts: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
    let options = DecoderOptions { max_rows: 8, max_positions: 128, batch_invariant: false };
    case("prefill of four prompts of 50 tokens", || {
        policy.decoder(&options)?.prefill(&prompts)?;
        Ok(())
    })?;
    for (shape, lens) in [("one length", [50, 50]), ("two lengths", [50, 20])] {
        let prompts = lens.map(|len| tokens(len, 1));
        let mut decoder = policy.decoder(&options)?;
        let prefixes = decoder.prefill(&prompts.each_ref().map(Vec::as_slice))?.prefixes;
        for prefix in prefixes {
            decoder.fork(prefix, 4)?;
        }
        case(&format!("decode step of eight rows of {shape}"), || {
            let _ = decoder.step(&tokens(ROWS, 2))?;
            Ok(())
        })?;
    }
    let request = SampleRequest {
        prompt: tokens(20, 1),
        num_completions: 8,
        seed: 1,
        params: SamplingParams { max_new_tokens: 8, ..SamplingParams::default() },
    };
    case("sampling eight completions of 8 tokens", || {
        sample(&policy, std::slice::from_ref(&request), &SampleOptions::default())?;
        Ok(())
    })
}

/// Prompts of 80 tokens and completions of 24: those of a group, or each with another first token.
fn group(shared: bool) -> Vec<(Vec<u32>, Vec<u32>)> {
    let row = |row: u32| {
        let mut prompt = tokens(80, 3);
        prompt[0] = if shared { 0 } else { row };
        (prompt, tokens(24, row))
    };
    (0..ROWS).map(row).collect()
}

const GROUPS: [(&str, bool); 2] = [("one prompt", true), ("eight prompts", false)];

fn score() -> Result<()> {
    let policy = model()?;
    let options = ScoreOptions { entropy: true, ..ScoreOptions::default() };
    for (prompts, shared) in GROUPS {
        let rows = group(shared);
        let rows: Vec<TokenRow<'_>> =
            rows.iter().map(|(prompt, completion)| TokenRow { prompt, completion }).collect();
        case(&format!("scores of eight rows of {prompts}"), || {
            let batch = TokenBatch::new(&rows, Device::Cpu)?;
            no_grad(|| policy.score(&batch, &options))?;
            Ok(())
        })?;
        case(&format!("forward and backward of eight rows of {prompts}"), || {
            let pass = policy.forward(&TokenBatch::new(&rows, Device::Cpu)?, &options)?;
            let loss = pass.scores().logprobs.mean(Kind::Float);
            Ok(pass.backward(&loss)?)
        })?;
    }
    let mut optimizer = AdamW::new(policy.parameters(), AdamWConfig::default());
    case("AdamW step", || Ok(optimizer.step(1e-6)?))
}

/// Two optimizer steps on a group: three forward passes, of which the first one is also that of the old policy.
fn update() -> Result<()> {
    for (prompts, shared) in GROUPS {
        let mut config = GrpoConfig::default();
        config.run.num_iterations = 2;
        let policy = SharedPolicy::new(model()?);
        let mut learner =
            Learner::new(policy, &config, SftLoss::default(), LearnerParts::default())?;
        let sample = |(prompt, completion): (Vec<u32>, Vec<u32>)| {
            let logprobs = vec![-6.0; completion.len()];
            Sample::new(0, prompt, completion, logprobs)
        };
        let samples = group(shared)
            .into_iter()
            .map(sample)
            .enumerate()
            .map(|(row, sample)| sample.with_advantage(if row % 2 == 0 { 1.0 } else { -1.0 }));
        let batch = SampleBatch::new(1, samples.collect());
        case(&format!("two optimizer steps on eight rows of {prompts}"), || {
            learner.update(&batch, RunProgress::new(0, 1))?;
            Ok(())
        })?;
    }
    Ok(())
}
