//! The same model on the CPU and on the device: logits, log-probabilities, entropies, gradients, samples.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use hint_policy::tch::{Device, Kind, Tensor, no_grad};
use hint_policy::{
    CausalLm, LoadOptions, Policy, SampleOptions, SampleRequest, SamplingParams, ScoreOptions,
    TokenBatch, TokenRow, sample,
};

/// The device may be so many times farther from f64 than the CPU is in the same format.
const FACTOR: f64 = 3.0;

/// Number formats with their tolerance, in values and in gradients. Gradients are f32, since the weights are.
const FORMATS: [(Kind, [f64; 2]); 3] =
    [(Kind::Double, [1e-9, 1e-6]), (Kind::Float, [1e-6, 1e-6]), (Kind::BFloat16, [1e-2, 1e-2])];

/// Compares every model folder in `folder`.
pub(crate) fn compare(folder: &Path, device: Device) -> Result<()> {
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("cannot list `{}`", folder.display()))?;
    let mut models: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.join("config.json").is_file())
        .collect();
    models.sort();
    ensure!(!models.is_empty(), "`{}` holds no models", folder.display());
    let mut failures = 0;
    println!("largest differences from f64 on the CPU: of the CPU, of the device");
    for model in &models {
        let exact = results(model, Kind::Double, Device::Cpu)?;
        for (kind, floors) in FORMATS {
            let host = results(model, kind, Device::Cpu)?;
            let other = results(model, kind, device)?;
            let near = exact.errors(&host)?;
            let far = exact.errors(&other)?;
            let close = (0..2).all(|part| far[part] <= FACTOR * near[part] + floors[part]);
            // In bf16 two tokens may change places.
            let same_tokens = kind == Kind::BFloat16 || host.tokens == other.tokens;
            let verdict = if close && same_tokens { "ok" } else { "DIFFERS" };
            failures += usize::from(verdict != "ok");
            println!(
                "{:20} {kind:8?} values {:.1e} {:.1e} gradients {:.1e} {:.1e} {verdict}",
                model.file_name().unwrap_or_default().to_string_lossy(),
                near[0],
                far[0],
                near[1],
                far[1],
            );
        }
    }
    match failures {
        0 => Ok(()),
        count => bail!("{count} of {} comparisons differ", models.len() * FORMATS.len()),
    }
}

/// Results of a model.
struct Results {
    logits: Vec<f64>,
    logprobs: Vec<f64>,
    entropy: Vec<f64>,
    gradients: Vec<f64>,
    tokens: Vec<u32>,
}

impl Results {
    /// The largest differences of `other`, in values and in gradients.
    fn errors(&self, other: &Self) -> Result<[f64; 2]> {
        let values = distance(&self.logits, &other.logits)?
            .max(distance(&self.logprobs, &other.logprobs)?)
            .max(distance(&self.entropy, &other.entropy)?);
        Ok([values, distance(&self.gradients, &other.gradients)?])
    }
}

fn results(folder: &Path, compute: Kind, device: Device) -> Result<Results> {
    let options = LoadOptions { device, compute, ..LoadOptions::default() };
    let policy = CausalLm::load(folder, &options)?;
    let vocabulary = u32::try_from(policy.vocab_size())?;
    let tokens = |count: u32, factor: u32| -> Vec<u32> {
        (0..count).map(|index| (index * factor + count) % vocabulary).collect()
    };
    // Ragged on purpose, and longer than the windows of the golden models.
    let rows = [(3, 14), (17, 5), (9, 9)]
        .map(|(prompt, completion)| (tokens(prompt, 13), tokens(completion, 5)));
    let views: Vec<TokenRow<'_>> =
        rows.iter().map(|(prompt, completion)| TokenRow { prompt, completion }).collect();
    let batch = TokenBatch::new(&views, device)?;
    let options = ScoreOptions { entropy: true, temperature: 0.8, ..ScoreOptions::default() };
    let logits = no_grad(|| policy.logits(&batch))?;
    let scores = no_grad(|| policy.score(&batch, &options))?;
    let entropy = scores.entropy.context("the entropy was asked for")?;

    let pass = policy.forward(&batch, &options)?;
    let logprobs = &pass.scores().logprobs;
    let count = i64::try_from(logprobs.numel())?;
    let weights = (Tensor::arange(count, (Kind::Float, device)) * 1.3).sin();
    let loss = (logprobs.view([-1]) * weights).sum(Kind::Float);
    pass.backward(&loss)?;
    let mut gradients = Vec::new();
    for parameter in policy.parameters() {
        gradients.extend(values(&parameter.tensor.grad())?);
    }

    let mut drawn = Vec::new();
    let defaults = SamplingParams { max_new_tokens: 12, ..SamplingParams::default() };
    for params in [
        defaults.clone(),
        SamplingParams { temperature: 0.0, ..defaults.clone() },
        SamplingParams { top_k: Some(9), top_p: 0.9, min_p: 0.01, ..defaults },
    ] {
        let requests = rows.each_ref().map(|(prompt, _)| SampleRequest {
            prompt: prompt.clone(),
            num_completions: 3,
            seed: 5,
            params: params.clone(),
        });
        let options = SampleOptions { max_batch: 5, ..SampleOptions::default() };
        let samples = sample(&policy, &requests, &options)?;
        drawn.extend(samples.into_iter().flatten().flat_map(|sample| sample.tokens));
    }
    Ok(Results {
        logits: values(&logits)?,
        logprobs: values(&scores.logprobs)?,
        entropy: values(&entropy)?,
        gradients,
        tokens: drawn,
    })
}

fn values(tensor: &Tensor) -> Result<Vec<f64>> {
    let flat = tensor.to_device(Device::Cpu).to_kind(Kind::Double).contiguous().view([-1]);
    Ok(Vec::try_from(flat)?)
}

/// The largest difference, relative where values are above 1; infinite if one is not a number.
fn distance(host: &[f64], other: &[f64]) -> Result<f64> {
    ensure!(
        host.len() == other.len(),
        "{} values on the CPU, {} on the device",
        host.len(),
        other.len()
    );
    let scale = host.iter().fold(1.0, |largest: f64, value| largest.max(value.abs()));
    let far = |(host, other): (&f64, &f64)| match (host - other).abs() / scale {
        distance if distance.is_nan() => f64::INFINITY,
        distance => distance,
    };
    Ok(host.iter().zip(other).map(far).fold(0.0, f64::max))
}
