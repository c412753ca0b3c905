//! Time of scoring and of decoding, on the model of the main demonstration.
//!
//! `cargo bench -p hint-policy`

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hint_policy::{
    Architecture, CausalLm, DecoderOptions, ModelConfig, Policy, SampleOptions, SampleRequest,
    SamplingParams, ScoreOptions, TokenBatch, TokenRow, sample,
};
use tch::Device;

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

criterion_group!(benches, score, decode, generate);
criterion_main!(benches);
