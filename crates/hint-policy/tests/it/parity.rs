//! Different ways to the same numbers.

use hint_policy::policy::{DecoderOptions, RecomputeDecoder};
use hint_policy::{
    CausalLm, Decoder, Generation, LoadOptions, ModelConfig, Policy, SampleOptions, SampleRequest,
    SamplingParams, ScoreOptions, TokenBatch, TokenRow, sample,
};
use proptest::prelude::*;
use tch::{Device, Kind, Tensor};

use crate::golden::model_dirs;
use crate::model::{configs, random_model};
use crate::{device, options};

fn difference(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.size(), b.size());
    (a - b).abs().max().double_value(&[])
}

/// Prompts of different lengths with ids below `vocab`.
fn prompts(vocab: usize, count: usize) -> Vec<Vec<u32>> {
    (0..count)
        .map(|row| (0..=(row * 5) % 11).map(|i| ((i * 7 + row * 3) % vocab) as u32).collect())
        .collect()
}

fn requests(config: &ModelConfig, count: usize, params: &SamplingParams) -> Vec<SampleRequest> {
    prompts(config.vocab_size, count)
        .into_iter()
        .zip(0..)
        .map(|(prompt, seed)| SampleRequest {
            prompt,
            num_completions: 3,
            seed,
            params: params.clone(),
        })
        .collect()
}

/// Log-probabilities of `samples` by [`Policy::score`].
fn rescored(
    policy: &CausalLm,
    requests: &[SampleRequest],
    samples: &[Vec<Generation>],
    temperature: f64,
) -> Vec<Vec<f64>> {
    let rows: Vec<TokenRow<'_>> = requests
        .iter()
        .zip(samples)
        .flat_map(|(request, samples)| {
            samples.iter().map(|s| TokenRow { prompt: &request.prompt, completion: &s.tokens })
        })
        .collect();
    let batch = TokenBatch::new(&rows, device()).expect("rows are not empty");
    let options = ScoreOptions { temperature, ..ScoreOptions::default() };
    let scores = tch::no_grad(|| policy.score(&batch, &options)).expect("ids are in range");
    (0..rows.len())
        .map(|row| {
            let (start, len) = (batch.prompt_lens()[row], batch.completion_lens()[row]);
            let row = scores.logprobs.get(row as i64).narrow(0, start as i64, len as i64);
            Vec::try_from(row.to_kind(Kind::Double)).expect("one dimension")
        })
        .collect()
}

fn close(a: &[f64], b: &[f64], tolerance: f64) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= tolerance)
}

const DECODER: DecoderOptions =
    DecoderOptions { max_rows: 5, max_positions: 60, batch_invariant: false };

/// Log-probabilities over the vocabulary after each step of a run in which rows come and go.
fn decoded(decoder: &mut dyn Decoder, vocab: usize) -> Vec<Tensor> {
    let mut logits = Vec::new();
    let run = |decoder: &mut dyn Decoder, steps: usize, logits: &mut Vec<Tensor>| {
        for step in 0..steps {
            let token = |row: usize| ((row * 3 + step * 5) % vocab) as u32;
            let tokens: Vec<u32> = (0..decoder.rows()).map(token).collect();
            logits.push(decoder.step(&tokens).unwrap());
        }
    };
    let prompts = prompts(vocab, 3);
    let prompts: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
    let prefill = decoder.prefill(&prompts).unwrap();
    logits.push(prefill.logits);
    decoder.fork(prefill.prefixes[0], 2).unwrap();
    decoder.fork(prefill.prefixes[1], 1).unwrap();
    run(decoder, 4, &mut logits);
    decoder.retain(&[2, 1]).unwrap();
    decoder.fork(prefill.prefixes[2], 2).unwrap();
    run(decoder, 30, &mut logits);
    decoder.retain(&[3, 0]).unwrap();
    decoder.release(prefill.prefixes[2]);
    run(decoder, 3, &mut logits);
    logits.into_iter().map(|logits| logits.log_softmax(-1, Kind::Double)).collect()
}

fn worst(a: &[Tensor], b: &[Tensor]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| difference(a, b)).fold(0.0, f64::max)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn cached_decoding_equals_recomputation(config in configs(), seed in 0_u64..1000) {
        let policy = random_model(&config, seed);
        let recomputed = |policy: &CausalLm| {
            decoded(&mut RecomputeDecoder::new(policy, &DECODER), config.vocab_size)
        };
        let cached = |policy: &CausalLm| {
            decoded(&mut *policy.decoder(&DECODER).unwrap(), config.vocab_size)
        };
        let exact = policy.with_compute(Kind::Double).unwrap();
        let reference = recomputed(&exact);
        let error = worst(&cached(&exact), &reference);
        prop_assert!(error <= 1e-9, "in Double: {error}");
        // These models are far more erratic than trained ones and may amplify rounding, so that in
        // `Float` the cache is measured against what recomputation itself loses.
        let policy = exact.with_compute(Kind::Float).unwrap();
        let (error, rounding) =
            (worst(&cached(&policy), &reference), worst(&recomputed(&policy), &reference));
        prop_assert!(error <= 1e-5 + 8.0 * rounding, "in Float: {error} against {rounding}");
    }

    #[test]
    fn samples_do_not_depend_on_the_batch(config in configs(), seed in 0_u64..1000) {
        // In `Double`: the rounding of `Float` may tip a draw that falls between two tokens.
        let policy = random_model(&config, seed).with_compute(Kind::Double).unwrap();
        let params = SamplingParams {
            max_new_tokens: 9,
            stop_tokens: vec![0, 1],
            top_p: if seed % 2 == 0 { 1.0 } else { 0.8 },
            ..SamplingParams::default()
        };
        let requests = requests(&config, 8, &params);
        let all = sample(&policy, &requests, &SampleOptions::default()).unwrap();
        let few = sample(&policy, &requests, &SampleOptions { max_batch: 4, ..SampleOptions::default() }).unwrap();
        for (index, request) in requests.iter().enumerate() {
            let alone =
                sample(&policy, std::slice::from_ref(request), &SampleOptions { max_batch: 1, ..SampleOptions::default() }).unwrap();
            for other in [&few[index], &alone[0]] {
                for (a, b) in all[index].iter().zip(other) {
                    prop_assert_eq!(&a.tokens, &b.tokens);
                    prop_assert_eq!(a.stop, b.stop);
                    prop_assert!(close(&a.behavior_logprobs, &b.behavior_logprobs, 1e-6));
                }
            }
        }
    }

    #[test]
    fn batch_invariant_samples_do_not_depend_on_the_batch_to_the_last_bit(
        config in configs(),
        seed in 0_u64..1000,
        wide: bool,
    ) {
        let compute = if wide { Kind::Float } else { Kind::BFloat16 };
        let policy = random_model(&config, seed).with_compute(compute).unwrap();
        let params = SamplingParams { max_new_tokens: 9, stop_tokens: vec![0, 1], ..SamplingParams::default() };
        let requests = requests(&config, 8, &params);
        let options = |max_batch| SampleOptions { max_batch, batch_invariant: true };
        if policy.device() != Device::Cpu {
            let refused = sample(&policy, &requests, &options(5)).unwrap_err().to_string();
            prop_assert!(refused.contains("batch_invariant"), "{refused}");
            return Ok(());
        }
        let draw = |requests: &[SampleRequest], max_batch| {
            sample(&policy, requests, &options(max_batch)).unwrap()
        };
        let all = draw(&requests, 256);
        prop_assert_eq!(&draw(&requests, 5), &all);
        for (request, samples) in requests.iter().zip(&all) {
            prop_assert_eq!(&draw(std::slice::from_ref(request), 1)[0], samples);
        }
    }

    #[test]
    fn behavior_logprobs_equal_the_scores(config in configs(), seed in 0_u64..1000, temperature in 0.5_f64..1.5) {
        let policy = random_model(&config, seed);
        let params = SamplingParams { temperature, max_new_tokens: 12, ..SamplingParams::default() };
        let requests = requests(&config, 4, &params);
        let samples = sample(&policy, &requests, &SampleOptions::default()).unwrap();
        let scored = rescored(&policy, &requests, &samples, temperature);
        for (sample, scored) in samples.iter().flatten().zip(&scored) {
            prop_assert!(close(&sample.behavior_logprobs, scored, 1e-4), "{sample:?} {scored:?}");
        }
    }

    /// So a trainer may take the scores of the one for those of the other.
    #[test]
    fn a_pass_with_gradient_has_the_bits_of_one_without(
        config in configs(),
        seed in 0_u64..1000,
        wide: bool,
    ) {
        let compute = if wide { Kind::Float } else { Kind::BFloat16 };
        let policy = random_model(&config, seed).with_compute(compute).unwrap();
        let tokens: Vec<u32> = (0..50).map(|i| (i * i + 3) % config.vocab_size as u32).collect();
        let rows = [(3, 4), (20, 30), (2, 9)]
            .map(|(prompt, completion)| TokenRow { prompt: &tokens[..prompt], completion: &tokens[prompt..prompt + completion] });
        let batch = TokenBatch::new(&rows, device()).unwrap();
        let options = ScoreOptions { temperature: 0.9, ..ScoreOptions::default() };
        let scores = tch::no_grad(|| policy.score(&batch, &options)).unwrap();
        let trained = ScoreOptions { entropy: true, top_k: 2, dropout_seed: Some(seed), ..options };
        let pass = policy.forward(&batch, &trained).unwrap();
        prop_assert!(pass.scores().logprobs.equal(&scores.logprobs));
    }

    #[test]
    fn scores_do_not_depend_on_padding_or_batch(config in configs(), seed in 0_u64..1000) {
        let policy = random_model(&config, seed);
        let vocab = config.vocab_size as u32;
        let tokens: Vec<u32> = (0..50).map(|i| (i * i + 3) % vocab).collect();
        let rows = [(3, 4), (1, 0), (20, 30), (2, 9)]
            .map(|(prompt, completion)| TokenRow { prompt: &tokens[..prompt], completion: &tokens[prompt..prompt + completion] });
        let options = ScoreOptions { temperature: 0.9, entropy: true, ..ScoreOptions::default() };
        let score = |rows: &[TokenRow<'_>]| {
            let batch = TokenBatch::new(rows, device()).unwrap();
            let outside = batch.completion_mask().logical_not();
            let scores = policy.score(&batch, &options).unwrap();
            let entropy = scores.entropy.unwrap();
            assert!(!entropy.requires_grad());
            for values in [&scores.logprobs, &entropy] {
                assert!(values.masked_select(&outside).abs().sum(Kind::Double).double_value(&[]) < 1e-12);
            }
            Tensor::stack(&[scores.logprobs.detach(), entropy], 0)
        };
        let together = score(&rows);
        for (index, row) in rows.iter().enumerate() {
            let alone = score(std::slice::from_ref(row));
            let padded = together.narrow(1, index as i64, 1).narrow(2, 0, alone.size()[2]);
            prop_assert!(difference(&alone, &padded) <= 2e-5);
        }
    }
}

#[test]
fn golden_models_decode_as_they_score() {
    tch::set_num_threads(1);
    // The rows go through differently blocked kernels: with weights of deviation 0.25 the noise of
    // `Float` exceeds 1e-5, while `Double` shows that the formulas are the same.
    for (compute, tolerance) in [(Kind::Double, 1e-6), (Kind::Float, 1e-4)] {
        let options = LoadOptions { compute, ..options() };
        for dir in model_dirs() {
            let policy = CausalLm::load(&dir, &options).unwrap();
            let params = SamplingParams { max_new_tokens: 12, ..SamplingParams::default() };
            let requests = requests(policy.config(), 4, &params);
            let samples = sample(
                &policy,
                &requests,
                &SampleOptions { max_batch: 10, ..SampleOptions::default() },
            )
            .unwrap();
            let scored = rescored(&policy, &requests, &samples, 1.0);
            for (sample, scored) in samples.iter().flatten().zip(&scored) {
                let worst = sample.behavior_logprobs.iter().zip(scored).map(|(a, b)| (a - b).abs());
                let worst = worst.fold(0.0, f64::max);
                assert!(worst <= tolerance, "{}: {worst}", dir.display());
            }
        }
    }
}

#[test]
fn chunked_head_equals_the_whole() {
    let config = ModelConfig {
        // So large a vocabulary that the head runs in several chunks.
        hidden_size: 8,
        head_dim: 2,
        num_hidden_layers: 1,
        ..ModelConfig::small(hint_policy::config::Architecture::Llama, 1 << 19)
    };
    let whole = Whole(random_model(&config, 1));
    let policy = &whole.0;
    let tokens: Vec<u32> = (0..80).map(|i| i * 6007).collect();
    let rows = [TokenRow { prompt: &tokens[..1], completion: &tokens[1..] }];
    let batch = TokenBatch::new(&rows, device()).unwrap();
    let options = ScoreOptions { temperature: 0.7, entropy: true, ..ScoreOptions::default() };
    let grads = |scores: hint_policy::TokenScores| {
        let weights = Tensor::arange(80, (Kind::Float, device())).sin();
        (scores.logprobs * weights).sum(Kind::Float).backward();
        policy
            .parameters()
            .into_iter()
            .map(|parameter| {
                let grad = parameter.tensor.grad().copy();
                let mut tensor = parameter.tensor;
                tensor.zero_grad();
                grad
            })
            .collect::<Vec<_>>()
    };
    let chunked = policy.score(&batch, &options).unwrap();
    let whole = whole.score(&batch, &options).unwrap();
    assert!(difference(&chunked.logprobs, &whole.logprobs) <= 1e-5);
    assert!(difference(chunked.entropy.as_ref().unwrap(), whole.entropy.as_ref().unwrap()) <= 1e-4);
    for (a, b) in grads(chunked).iter().zip(grads(whole)) {
        assert!(difference(a, &b) <= 1e-4);
    }
}

/// Hides the chunked `score` of a policy, so that the default through `logits` runs.
struct Whole(CausalLm);

impl Policy for Whole {
    fn logits(&self, tokens: &TokenBatch) -> Result<Tensor, hint_policy::PolicyError> {
        self.0.logits(tokens)
    }
    fn parameters(&self) -> Vec<hint_policy::Parameter> {
        self.0.parameters()
    }
    fn vocab_size(&self) -> usize {
        self.0.vocab_size()
    }
    fn max_positions(&self) -> usize {
        self.0.max_positions()
    }
    fn save(&self, dir: &std::path::Path) -> Result<(), hint_policy::PolicyError> {
        self.0.save(dir)
    }
}

#[test]
fn decoding_follows_changed_parameters() {
    let config = ModelConfig::small(hint_policy::config::Architecture::Llama, 30);
    let policy = random_model(&config, 1);
    let request = SampleRequest {
        prompt: vec![1, 2, 3],
        num_completions: 1,
        seed: 0,
        params: SamplingParams { max_new_tokens: 5, ..SamplingParams::default() },
    };
    let draw =
        || sample(&policy, std::slice::from_ref(&request), &SampleOptions::default()).unwrap();
    let before = draw();
    tch::no_grad(|| {
        for mut parameter in policy.parameters() {
            let _ = parameter.tensor.g_mul_scalar_(1.5);
        }
    });
    // Even without `parameters_changed`: in-place updates are noticed.
    let after = draw();
    assert_ne!(before[0][0].behavior_logprobs, after[0][0].behavior_logprobs);
    let scored = rescored(&policy, std::slice::from_ref(&request), &after, 1.0);
    assert!(close(&after[0][0].behavior_logprobs, &scored[0], 1e-4));
}

#[test]
fn bfloat16_stays_near_float() {
    let config = ModelConfig::small(hint_policy::config::Architecture::Qwen3, 30);
    let policy = random_model(&config, 1);
    let rows = [TokenRow { prompt: &[1, 2], completion: &[3, 4, 5, 6, 7] }];
    let batch = TokenBatch::new(&rows, device()).unwrap();
    let exact = policy.score(&batch, &ScoreOptions::default()).unwrap().logprobs;
    let policy = policy.with_compute(Kind::BFloat16).unwrap();
    let rounded = policy.score(&batch, &ScoreOptions::default()).unwrap().logprobs;
    assert_eq!(rounded.kind(), Kind::Float);
    assert!(difference(&exact, &rounded) < 0.1);
    rounded.sum(Kind::Float).backward();
    assert_eq!(policy.parameters()[0].tensor.grad().kind(), Kind::Float);
    let request = SampleRequest {
        prompt: vec![1, 2],
        num_completions: 2,
        seed: 0,
        params: SamplingParams { max_new_tokens: 8, ..SamplingParams::default() },
    };
    let samples =
        sample(&policy, std::slice::from_ref(&request), &SampleOptions::default()).unwrap();
    let scored = rescored(&policy, &[request], &samples, 1.0);
    assert!(close(&samples[0][0].behavior_logprobs, &scored[0], 0.1));
}
