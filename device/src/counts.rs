//! The steps whose work is counted. Each is taken once and then several times, and the device is synchronized before
//! and after. So the difference of the two counts is the cost of further steps.

use anyhow::Result;
use hint_policy::config::Architecture;
use hint_policy::runtime::FastPath;
use hint_policy::tch::{Cuda, Device, Kind, no_grad};
use hint_policy::{
    CausalLm, ModelConfig, Policy, SampleOptions, SampleRequest, SamplingParams, ScoreOptions,
    TokenBatch, TokenRow, sample,
};

/// Layers of the model: the counts are of a model as deep as SmolLM2-135M, and as narrow as can be.
const LAYERS: usize = 30;

/// Takes every step, and prints a line `NAME<tab>TIMES` for each section that the device's log has.
pub(crate) fn take(device: Device) -> Result<()> {
    let config = ModelConfig {
        num_hidden_layers: LAYERS,
        hidden_size: 72,
        intermediate_size: 192,
        num_attention_heads: 9,
        num_key_value_heads: 3,
        head_dim: 8,
        max_position_embeddings: 512,
        tie_word_embeddings: true,
        ..ModelConfig::small(Architecture::Llama, 300)
    };
    let windows = ModelConfig {
        sliding_windows: vec![Some(16); LAYERS],
        architecture: Architecture::Mistral,
        ..config.clone()
    };
    // Trials are no part of a step.
    for path in FastPath::ALL {
        path.refusal(device);
    }
    let twice = |name: &str, more: usize, step: &mut dyn FnMut(usize) -> Result<()>| {
        section(device, name, 1, step)?;
        section(device, name, more, step)
    };
    for (format, compute) in [("f32", Kind::Float), ("bf16", Kind::BFloat16)] {
        let policy = CausalLm::init(&config, 1, device)?.with_compute(compute)?;
        // Norms are folded into the weights once, which is no part of a step.
        draw(&policy, &[20], 1)?;
        for (shape, lengths) in [("even", &[20, 20][..]), ("ragged", &[20, 31])] {
            let name = format!("decode step, {format}, {shape}");
            twice(&name, 41, &mut |tokens| draw(&policy, lengths, tokens))?;
        }
        twice(&format!("prompts and first token, {format}"), 3, &mut |times| {
            (0..times).try_for_each(|_| draw(&policy, &[20, 31], 1))
        })?;
        let windows = CausalLm::init(&windows, 1, device)?.with_compute(compute)?;
        draw(&windows, &[20], 1)?;
        twice(&format!("decode step, {format}, windows"), 41, &mut |tokens| {
            draw(&windows, &[20, 31], tokens)
        })?;
        let rows = [20, 23, 26, 29].map(prompt);
        let completion: Vec<u32> = (0..30).map(|index| index * 11 % 290).collect();
        let views: Vec<TokenRow<'_>> =
            rows.iter().map(|prompt| TokenRow { prompt, completion: &completion }).collect();
        let options = ScoreOptions { entropy: true, ..ScoreOptions::default() };
        twice(&format!("scores without gradient, {format}"), 3, &mut |times| {
            no_grad(|| {
                for _ in 0..times {
                    policy.score(&TokenBatch::new(&views, device)?, &options)?;
                }
                Ok(())
            })
        })?;
        twice(&format!("forward and backward, {format}"), 3, &mut |times| {
            for _ in 0..times {
                let pass = policy.forward(&TokenBatch::new(&views, device)?, &options)?;
                let loss = pass.scores().logprobs.mean(Kind::Float);
                pass.backward(&loss)?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// Trains on rows of two lengths, whose peaks of memory show its growth, for attention without a fused kernel. Prints
/// lines as [`take`] does.
pub(crate) fn memory(device: Device) -> Result<()> {
    let forms = [
        ("grouped queries, f32", Architecture::Llama, Kind::Float, None),
        ("grouped queries, bf16", Architecture::Llama, Kind::BFloat16, None),
        ("window, f32", Architecture::Mistral, Kind::Float, Some(200)),
        ("window, bf16", Architecture::Mistral, Kind::BFloat16, Some(200)),
        ("bounded scores, f32", Architecture::Gemma2, Kind::Float, None),
    ];
    for (name, architecture, compute, window) in forms {
        let config = ModelConfig {
            num_hidden_layers: 2,
            num_key_value_heads: 2,
            max_position_embeddings: 4096,
            sliding_windows: vec![window; 2],
            ..ModelConfig::small(architecture, 300)
        };
        let policy = CausalLm::init(&config, 1, device)?.with_compute(compute)?;
        for length in [1024, 2048] {
            section(device, name, length, &mut |length| {
                let row: Vec<u32> = (0..u32::try_from(length)?).map(|at| at * 7 % 290).collect();
                let row = TokenRow { prompt: &row[..1], completion: &row[1..] };
                let batch = TokenBatch::new(&[row], device)?;
                let pass = policy.forward(&batch, &ScoreOptions::default())?;
                let loss = pass.scores().logprobs.mean(Kind::Float);
                Ok(pass.backward(&loss)?)
            })?;
        }
    }
    Ok(())
}

/// Takes a step in a section of its own of the device's log.
fn section(
    device: Device,
    name: &str,
    times: usize,
    step: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<()> {
    let Device::Cuda(index) = device else { anyhow::bail!("counts are of a GPU") };
    Cuda::synchronize(i64::try_from(index)?);
    println!("-\t0");
    step(times)?;
    Cuda::synchronize(i64::try_from(index)?);
    println!("{name}\t{times}");
    Ok(())
}

fn prompt(length: u32) -> Vec<u32> {
    (0..length).map(|index| index * 7 % 290).collect()
}

/// Draws `tokens` tokens in each of eight rows.
fn draw(policy: &CausalLm, lengths: &[u32], tokens: usize) -> Result<()> {
    let params = SamplingParams { max_new_tokens: tokens, ..SamplingParams::default() };
    let requests: Vec<SampleRequest> = lengths
        .iter()
        .zip(1..)
        .map(|(&length, seed)| SampleRequest {
            prompt: prompt(length),
            num_completions: 4,
            seed,
            params: params.clone(),
        })
        .collect();
    sample(policy, &requests, &SampleOptions::default())?;
    Ok(())
}
