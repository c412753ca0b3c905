//! Time of scoring, training, decoding, drawing and loading. One model is the main demonstration's. The other is two
//! blocks with the widths and the vocabulary of SmolLM2-135M. There, the kernels of `src/kernels` make most of the
//! difference to libtorch's products.
//!
//! `cargo bench -p hint-policy`

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hint_policy::config::Architecture;
use hint_policy::policy::DecoderOptions;
use hint_policy::{
    CausalLm, LoadOptions, ModelConfig, Policy, SampleOptions, SampleRequest, SamplingParams,
    ScoreOptions, TokenBatch, TokenRow, sample,
};
use tch::{Device, Kind};

fn model() -> CausalLm {
    let config = ModelConfig::small(Architecture::Llama, 60);
    CausalLm::init(&config, 1, Device::Cpu).expect("the configuration is valid")
}

fn score(criterion: &mut Criterion) {
    let policy = model();
    let tokens: Vec<u32> = (0..84).map(|i| i % 60).collect();
    let rows = vec![TokenRow { prompt: &tokens[..24], completion: &tokens[24..] }; 64];
    let batch = TokenBatch::new(&rows, Device::Cpu).expect("rows are not empty");
    let mut group = criterion.benchmark_group("score");
    group.throughput(Throughput::Elements(batch.completion_tokens() as u64));
    group.bench_function("64 rows of 24 + 60 tokens", |bencher| {
        let run = || policy.score(&batch, &ScoreOptions::default());
        bencher.iter(|| black_box(tch::no_grad(run)));
    });
    group.finish();
}

fn decode(criterion: &mut Criterion) {
    let policy = model();
    let mut group = criterion.benchmark_group("decode step");
    for rows in [32, 64, 128, 256] {
        group.throughput(Throughput::Elements(rows as u64));
        group.bench_function(BenchmarkId::from_parameter(rows), |bencher| {
            let options =
                DecoderOptions { max_rows: rows, max_positions: 512, batch_invariant: false };
            let tokens = vec![3; rows];
            let start = || {
                let mut decoder = policy.decoder(&options).expect("the policy decodes");
                let prefill = decoder.prefill(&[&[1; 54]]).expect("the prompt fits");
                decoder.fork(prefill.prefixes[0], rows).expect("the prefix exists");
                decoder
            };
            let step = |decoder: &mut Box<dyn hint_policy::Decoder + '_>| {
                black_box(decoder.step(&tokens).expect("there is room"))
            };
            bencher.iter_batched_ref(start, step, criterion::BatchSize::PerIteration);
        });
    }
    group.finish();
}

fn generate(criterion: &mut Criterion) {
    let policy = model();
    let params =
        SamplingParams { max_new_tokens: 60, temperature: 0.9, ..SamplingParams::default() };
    let request = SampleRequest { prompt: vec![1; 24], num_completions: 64, seed: 1, params };
    let mut group = criterion.benchmark_group("sample");
    group.sample_size(10).throughput(Throughput::Elements(64 * 60));
    group.bench_function("64 rows of 60 tokens", |bencher| {
        let requests = std::slice::from_ref(&request);
        bencher.iter(|| black_box(sample(&policy, requests, &SampleOptions::default())));
    });
    group.finish();
}

/// Two blocks as wide as SmolLM2-135M's, computing in `kind`.
fn wide(kind: Kind) -> CausalLm {
    let config = ModelConfig {
        hidden_size: 576,
        intermediate_size: 1536,
        num_hidden_layers: 2,
        num_attention_heads: 9,
        num_key_value_heads: 3,
        head_dim: 64,
        ..ModelConfig::small(Architecture::Llama, 49_152)
    };
    let policy = CausalLm::init(&config, 1, Device::Cpu).expect("the configuration is valid");
    policy.with_compute(kind).expect("the kind is one to compute in")
}

fn train(criterion: &mut Criterion) {
    let tokens: Vec<u32> = (0..512).map(|i| i * 97 % 49_152).collect();
    let rows = [TokenRow { prompt: &tokens[..1], completion: &tokens[1..] }; 2];
    let batch = TokenBatch::new(&rows, Device::Cpu).expect("rows are not empty");
    let options = ScoreOptions { entropy: true, ..ScoreOptions::default() };
    let mut group = criterion.benchmark_group("log-probabilities, entropy and gradient");
    group.sample_size(10).throughput(Throughput::Elements(2 * 512));
    for kind in [Kind::Float, Kind::BFloat16] {
        let policy = wide(kind);
        group.bench_function(
            BenchmarkId::new("2 rows of 512 tokens", format!("{kind:?}")),
            |bencher| {
                bencher.iter(|| {
                    let pass = policy.forward(&batch, &options).expect("the batch fits");
                    let loss = -pass.scores().logprobs.sum(Kind::Float);
                    pass.backward(&loss).expect("the loss depends on the scores");
                });
            },
        );
    }
    group.finish();
}

fn draw(criterion: &mut Criterion) {
    let config =
        ModelConfig { num_hidden_layers: 1, ..ModelConfig::small(Architecture::Llama, 49_152) };
    let policy = CausalLm::init(&config, 1, Device::Cpu).expect("the configuration is valid");
    let mut group = criterion.benchmark_group("sample from 49152 tokens, 32 rows of 16");
    group.sample_size(10).throughput(Throughput::Elements(32 * 16));
    let whole =
        SamplingParams { max_new_tokens: 16, temperature: 0.9, ..SamplingParams::default() };
    let ways = [
        ("whole", whole.clone()),
        ("top_k 50", SamplingParams { top_k: Some(50), ..whole.clone() }),
        ("top_p 0.9", SamplingParams { top_p: 0.9, ..whole.clone() }),
        ("greedy", SamplingParams { temperature: 0.0, ..whole }),
    ];
    for (name, params) in ways {
        let request = SampleRequest { prompt: vec![1; 24], num_completions: 32, seed: 1, params };
        group.bench_function(name, |bencher| {
            let requests = std::slice::from_ref(&request);
            bencher.iter(|| black_box(sample(&policy, requests, &SampleOptions::default())));
        });
    }
    group.finish();
}

/// With the checks of every weight. The file is in the page cache.
fn load(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("there is a folder for temporary files");
    wide(Kind::Float).save(dir.path()).expect("there is room");
    let bytes = dir.path().join("model.safetensors").metadata().expect("it was saved").len();
    let mut group = criterion.benchmark_group("load");
    group.sample_size(10).throughput(Throughput::Bytes(bytes));
    group.bench_function("safetensors", |bencher| {
        bencher.iter(|| CausalLm::load(dir.path(), &LoadOptions::default()).expect("it was saved"));
    });
    group.finish();
}

criterion_group!(benches, score, decode, generate, train, draw, load);
criterion_main!(benches);
