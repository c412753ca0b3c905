//! Our side: runs a task for each line of the input, and answers with one line of JSON.
//!
//! `decode`, `score` and `backward` take sizes behind their names; `hint-rl`'s benchmark `growth` asks for them.

use std::cell::Cell;
use std::io::BufRead;
use std::time::Instant;

use hint_policy::runtime::fused::{self, AdamWStep};
use hint_policy::runtime::{FastPath, device_memory};
use hint_policy::sampling::sample_until;
use hint_policy::{
    CausalLm, DeviceChoice, LoadOptions, Policy, SampleOptions, SampleRequest, SamplingParams,
    ScoreOptions, TokenBatch, TokenRow, sample,
};
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

use super::Result;

/// Arguments: the model folder, the precision, and a file of settings.
pub(crate) fn serve(args: &[String]) -> Result<()> {
    let [folder, precision, settings] = args else { return Err("three arguments".into()) };
    let settings: Value = serde_json::from_str(&std::fs::read_to_string(settings)?)?;
    let choice: DeviceChoice = settings["device"].as_str().ok_or("no device")?.parse()?;
    // Before the first tensor: it loads libtorch's CUDA library.
    let device = choice.resolve()?.device;
    if device == Device::Cpu {
        hint_policy::runtime::keep_freed_memory();
    }
    tch::set_num_threads(i32::try_from(number(&settings, "threads")?)?);
    let compute = if precision == "bfloat16" { Kind::BFloat16 } else { Kind::Float };
    let policy = CausalLm::load(folder, &LoadOptions { compute, device, base: None })?;
    let mut moments = None;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let mut parts = line.split_whitespace();
        let task = parts.next().unwrap_or_default();
        let sizes = parts.map(str::parse::<usize>).collect::<std::result::Result<Vec<_>, _>>()?;
        let mut start = Instant::now();
        let tokens = match (task, sizes.as_slice()) {
            ("generate", []) => generate(&policy, &settings, "prompts", "lengths")?,
            ("ragged", []) => generate(&policy, &settings, "ragged_prompts", "ragged_lengths")?,
            ("train", []) => train(&policy, &settings, &mut moments)?,
            ("decode", &[rows, prompt, new]) => {
                let (tokens, since) = decode(&policy, rows, prompt, new)?;
                start = since;
                tokens
            }
            ("score", &[rows, length]) => score(&policy, rows, length)?,
            ("backward", &[rows, length]) => backward(&policy, rows, length)?,
            _ => return Err(format!("no task {line}").into()),
        };
        if let Device::Cuda(index) = device {
            tch::Cuda::synchronize(i64::try_from(index)?);
        }
        let seconds = start.elapsed().as_secs_f64();
        let (bytes, flop) = work_of_a_token(&policy, &settings)?;
        println!(
            "{}",
            json!({
                "tokens": tokens, "seconds": seconds, "peak_gib": peak(device)?,
                "bytes_per_token": bytes, "flop_per_token": flop,
            })
        );
    }
    Ok(())
}

/// Bytes of weights and cache that decoding reads for a token, and the floating-point operations that training takes
/// for one. These are 6 for each weight of a product, and the operations of attention to half of the row.
fn work_of_a_token(policy: &CausalLm, settings: &Value) -> Result<(f64, f64)> {
    let config = policy.config();
    let element = policy.compute().elt_size_in_bytes() as f64;
    let untied =
        if config.tie_word_embeddings { 0 } else { config.vocab_size * config.hidden_size };
    let weights = (policy.report().parameters - untied) as f64;
    let prompts = rows(settings, "prompts")?;
    let lengths: Vec<usize> = serde_json::from_value(settings["lengths"].clone())?;
    let mean = |total: usize, count: usize| total as f64 / count.max(1) as f64;
    let positions = mean(prompts.iter().map(Vec::len).sum(), prompts.len())
        + mean(lengths.iter().sum(), lengths.len()) / 2.0;
    let cached = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim;
    let bytes = element * (weights / prompts.len().max(1) as f64 + positions * cached as f64);
    let rows = rows(settings, "rows")?;
    let seq = mean(rows.iter().map(Vec::len).sum(), rows.len());
    let heads = config.num_hidden_layers * config.num_attention_heads * config.head_dim;
    Ok((bytes, 6.0 * weights + 6.0 * seq * heads as f64))
}

fn number(settings: &Value, name: &str) -> Result<usize> {
    Ok(usize::try_from(settings[name].as_u64().ok_or("no number")?)?)
}

fn rows(settings: &Value, name: &str) -> Result<Vec<Vec<u32>>> {
    Ok(serde_json::from_value(settings[name].clone())?)
}

/// Equal prompts that follow each other are one request of several completions.
fn generate(policy: &CausalLm, settings: &Value, prompts: &str, lengths: &str) -> Result<usize> {
    let lengths: Vec<usize> = serde_json::from_value(settings[lengths].clone())?;
    let mut requests: Vec<SampleRequest> = Vec::new();
    for (prompt, length) in rows(settings, prompts)?.into_iter().zip(lengths) {
        let params = SamplingParams {
            temperature: 0.9,
            max_new_tokens: length,
            ..SamplingParams::default()
        };
        match requests.last_mut() {
            Some(last) if last.prompt == prompt && last.params == params => {
                last.num_completions += 1;
            }
            _ => requests.push(SampleRequest { prompt, num_completions: 1, seed: 1, params }),
        }
    }
    let options = SampleOptions {
        max_batch: number(settings, "batch")?,
        batch_invariant: settings["batch_invariant"] == true,
    };
    let samples = sample(policy, &requests, &options)?;
    Ok(samples.iter().flatten().map(|sample| sample.tokens.len()).sum())
}

/// The words of the row `row`, the same on every side.
fn words(policy: &CausalLm, row: usize, length: usize) -> Result<Vec<u32>> {
    let vocab = policy.config().vocab_size - 1;
    (0..length).map(|at| Ok(u32::try_from(1 + (31 * row + 97 * at) % vocab)?)).collect()
}

/// Completions of one prompt: the tokens behind the first one of each row, and the time when all rows had that.
fn decode(policy: &CausalLm, rows: usize, prompt: usize, new: usize) -> Result<(usize, Instant)> {
    let request = SampleRequest {
        prompt: words(policy, 0, prompt)?,
        num_completions: rows,
        seed: 1,
        params: SamplingParams { max_new_tokens: new, ..SamplingParams::default() },
    };
    let options = SampleOptions { max_batch: rows, ..SampleOptions::default() };
    let started = Cell::new(Instant::now());
    let watch = |_request: usize, tokens: &[u32]| {
        if tokens.len() == 1 {
            started.set(Instant::now());
        }
        false
    };
    let samples = sample_until(policy, &[request], &options, &watch)?;
    let tokens = samples.iter().flatten().map(|sample| sample.tokens.len() - 1).sum();
    Ok((tokens, started.get()))
}

/// Log-probabilities of all tokens but the first of each row.
fn score(policy: &CausalLm, rows: usize, length: usize) -> Result<usize> {
    let rows = (0..rows).map(|row| words(policy, row, length)).collect::<Result<Vec<_>>>()?;
    let batch = TokenBatch::new(&scored(&rows), policy.device())?;
    let scores = tch::no_grad(|| policy.score(&batch, &ScoreOptions::default()))?;
    // Where they are read.
    let _ = scores.logprobs.sum(Kind::Float).double_value(&[]);
    Ok(batch.completion_tokens())
}

/// Log-probabilities, entropy and gradients of one micro-batch.
fn backward(policy: &CausalLm, rows: usize, length: usize) -> Result<usize> {
    let rows = (0..rows).map(|row| words(policy, row, length)).collect::<Result<Vec<_>>>()?;
    let batch = TokenBatch::new(&scored(&rows), policy.device())?;
    let options = ScoreOptions { entropy: true, ..ScoreOptions::default() };
    let pass = policy.forward(&batch, &options)?;
    let loss = -pass.scores().logprobs.mean(Kind::Float);
    pass.backward(&loss)?;
    for parameter in policy.parameters() {
        let _ = parameter.tensor.grad().zero_();
    }
    Ok(rows.iter().map(Vec::len).sum())
}

/// Rows whose first token is the prompt.
fn scored(rows: &[Vec<u32>]) -> Vec<TokenRow<'_>> {
    rows.iter().map(|ids| TokenRow { prompt: &ids[..1], completion: &ids[1..] }).collect()
}

/// State of AdamW.
struct Moments {
    pairs: Vec<(Tensor, Tensor)>,
    steps: i32,
}

/// One step: log-probabilities and entropy of all tokens, gradients, AdamW.
fn train(policy: &CausalLm, settings: &Value, moments: &mut Option<Moments>) -> Result<usize> {
    let rows = rows(settings, "rows")?;
    let micro_batch = number(settings, "own_micro_batch")?;
    let all_tokens: usize = rows.iter().map(|ids| ids.len() - 1).sum();
    for part in rows.chunks(micro_batch) {
        let batch = TokenBatch::new(&scored(part), policy.device())?;
        let options = ScoreOptions { entropy: true, ..ScoreOptions::default() };
        let pass = policy.forward(&batch, &options)?;
        let loss = -pass.scores().logprobs.sum(Kind::Float) / all_tokens as f64;
        pass.backward(&loss)?;
    }
    let parameters = policy.parameters();
    let moments = moments.get_or_insert_with(|| {
        let zeros = |tensor: &Tensor| tensor.detach().zeros_like();
        let pairs = parameters.iter().map(|p| (zeros(&p.tensor), zeros(&p.tensor)));
        Moments { pairs: pairs.collect(), steps: 0 }
    });
    moments.steps += 1;
    // `torch.optim.AdamW` with its defaults and a learning rate of 1e-6, worked on as `hint_grpo::optim::AdamW` does.
    let (rate, decay, first_beta, second_beta) = (1e-6, 0.01, 0.9_f64, 0.999_f64);
    let first_correction = 1.0 - first_beta.powi(moments.steps);
    let second_correction = (1.0 - second_beta.powi(moments.steps)).sqrt();
    // Some elements at a time, which stay in a CPU's cache from the first operation to the last.
    let at_a_time = if policy.device() == Device::Cpu { 3 << 13 } else { 1 << 25 };
    let mut chunks = Vec::new();
    for (parameter, (first, second)) in parameters.iter().zip(&moments.pairs) {
        let (weights, grad) = (parameter.tensor.detach(), parameter.tensor.grad());
        let split = |tensor: &Tensor| tensor.view([-1]).split(at_a_time, 0);
        let states = split(first).into_iter().zip(split(second));
        chunks.extend(split(&weights).into_iter().zip(split(&grad)).zip(states));
    }
    if FastPath::AdamW.is_taken(policy.device()) {
        let steps = Tensor::from(f64::from(moments.steps)).to_kind(Kind::Float);
        let steps = steps.to_device(policy.device());
        let step = AdamWStep {
            learning_rate: rate,
            beta1: first_beta,
            beta2: second_beta,
            weight_decay: decay,
            epsilon: 1e-8,
        };
        tch::no_grad(|| {
            chunks.iter_mut().try_for_each(|((weights, grad), (first, second))| {
                fused::adamw([weights, grad, first, second], &steps, &step)?;
                grad.f_zero_().map(drop)
            })
        })?;
        policy.parameters_changed();
        return Ok(rows.iter().map(Vec::len).sum());
    }
    let update = |((weights, grad), (first, second)): &mut ((Tensor, Tensor), (Tensor, Tensor))| {
        let _ = weights.g_mul_scalar_(1.0 - rate * decay);
        let _ = first.lerp_(grad, 1.0 - first_beta);
        let _ = second.g_mul_scalar_(second_beta);
        let _ = second.addcmul_(&(&*grad * (1.0 - second_beta)), grad);
        let denominator = second.sqrt().g_div_scalar_(second_correction).g_add_scalar_(1e-8);
        let step = &*first * (-rate / first_correction);
        let _ = weights.addcdiv_(&step, &denominator);
        let _ = grad.zero_();
    };
    let share = chunks.len().div_ceil(number(settings, "threads")?);
    std::thread::scope(|scope| {
        for chunks in chunks.chunks_mut(share) {
            scope.spawn(move || tch::no_grad(|| chunks.iter_mut().for_each(update)));
        }
    });
    policy.parameters_changed();
    Ok(rows.iter().map(Vec::len).sum())
}

/// The most memory this process has had, in GiB. On a GPU, the memory that all processes use there, most of which
/// libtorch keeps.
fn peak(device: Device) -> Result<f64> {
    if let Some(memory) = device_memory(device) {
        return Ok(memory.used() as f64 / f64::from(1 << 30));
    }
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).ok_or("no VmHWM")?;
    let kib: f64 = line.split_whitespace().nth(1).ok_or("no number")?.parse()?;
    Ok(kib / f64::from(1 << 20))
}
