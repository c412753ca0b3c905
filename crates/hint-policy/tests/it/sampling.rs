//! Sampling: distributions, reproducibility, stopping, and refused requests.

use std::cell::RefCell;

use hint_policy::config::Architecture;
use hint_policy::sampling::{FinishReason, Generation, SampleWatch, sample_until};
use hint_policy::{
    CausalLm, ModelConfig, Policy, PolicyError, SampleOptions, SampleRequest, SamplingParams,
    sample,
};

use crate::device;
use crate::model::FixedLogits;

const LOGITS: [f32; 8] = [0.0, 1.5, -0.5, 2.0, 0.3, 1.0, -3.0, 0.3];

fn request(params: SamplingParams, num_completions: usize, seed: u64) -> SampleRequest {
    SampleRequest { prompt: vec![1], num_completions, seed, params }
}

/// The distribution that `params` asks for, by sorting everything.
fn expected_probs(params: &SamplingParams) -> Vec<f64> {
    let weight = |(token, &logit): (u32, &f32)| {
        let is_banned = params.banned_tokens.contains(&token);
        if is_banned { 0.0 } else { (f64::from(logit) / params.temperature).exp() }
    };
    let total: f64 = (0..).zip(&LOGITS).map(weight).sum();
    let mut ranked: Vec<(usize, f64)> =
        (0..).zip(&LOGITS).map(|entry| weight(entry) / total).enumerate().collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    ranked.truncate(params.top_k.unwrap_or(ranked.len()));
    let kept: f64 = ranked.iter().map(|entry| entry.1).sum();
    let mut cumulative = 0.0;
    ranked.retain(|entry| {
        let keep = cumulative < params.top_p * kept;
        cumulative += entry.1;
        keep
    });
    let best = ranked[0].1;
    ranked.retain(|entry| entry.1 >= params.min_p * best);
    let kept: f64 = ranked.iter().map(|entry| entry.1).sum();
    let mut probs = vec![0.0; LOGITS.len()];
    for (token, prob) in ranked {
        probs[token] = prob / kept;
    }
    probs
}

/// Draws 10⁵ tokens and compares their counts and reported log-probabilities.
#[track_caller]
fn check_distribution(change: impl FnOnce(&mut SamplingParams)) {
    let mut params = SamplingParams { max_new_tokens: 20, ..SamplingParams::default() };
    change(&mut params);
    let probs = expected_probs(&params);
    let policy = FixedLogits::new(&LOGITS);
    let options = SampleOptions { max_batch: 5000, ..SampleOptions::default() };
    let samples = sample(&policy, &[request(params, 5000, 11)], &options).unwrap();
    let mut counts = vec![0_u32; probs.len()];
    for sample in &samples[0] {
        for (&token, &logprob) in sample.tokens.iter().zip(&sample.behavior_logprobs) {
            counts[token as usize] += 1;
            assert!((logprob - probs[token as usize].ln()).abs() < 1e-5);
        }
    }
    let draws = f64::from(counts.iter().sum::<u32>());
    let (mut statistic, mut kinds) = (0.0, 0.0);
    for (&count, &prob) in counts.iter().zip(&probs) {
        if prob == 0.0 {
            assert_eq!(count, 0);
        } else {
            statistic += (f64::from(count) - draws * prob).powi(2) / (draws * prob);
            kinds += 1.0;
        }
    }
    // Mean and variance of chi-square with k − 1 degrees of freedom are k − 1 and 2 (k − 1).
    let freedom: f64 = kinds - 1.0;
    let bound = freedom + 4.0 * (2.0 * freedom).sqrt();
    assert!(statistic <= bound, "chi-square {statistic} above {bound}: {counts:?}");
}

#[test]
fn banned_tokens_are_never_drawn_and_the_others_renormalized() {
    check_distribution(|params| params.banned_tokens = vec![3, 1]);
    check_distribution(|params| {
        params.banned_tokens = vec![3];
        params.top_p = 0.9;
    });
    let params = SamplingParams { banned_tokens: vec![3], temperature: 0.0, ..Default::default() };
    let greedy = SamplingParams { max_new_tokens: 2, ..params };
    let samples =
        sample(&FixedLogits::new(&LOGITS), &[request(greedy, 1, 0)], &SampleOptions::default());
    assert_eq!(samples.unwrap()[0][0].tokens, [1, 1], "the second most probable token");
    for banned in [vec![8], (0..8).collect()] {
        let params = SamplingParams { banned_tokens: banned, ..SamplingParams::default() };
        let refused =
            sample(&FixedLogits::new(&LOGITS), &[request(params, 1, 0)], &SampleOptions::default());
        assert!(refused.unwrap_err().to_string().contains("banned_tokens"));
    }
}

#[test]
fn stop_tokens_wait_for_the_least_length() {
    let params = SamplingParams {
        stop_tokens: vec![3],
        min_new_tokens: 5,
        max_new_tokens: 20,
        ..SamplingParams::default()
    };
    let samples =
        sample(&FixedLogits::new(&LOGITS), &[request(params, 500, 3)], &SampleOptions::default());
    let samples = samples.unwrap();
    assert!(samples[0].iter().all(|sample| !sample.tokens[..5].contains(&3)));
    let at_once = samples[0].iter().filter(|sample| sample.tokens.len() == 6).count();
    // Token 3 has 0.37 of the whole.
    assert!((130..240).contains(&at_once), "{at_once}");
}

#[test]
fn a_caller_may_end_completions() {
    let policy = FixedLogits::new(&LOGITS);
    let params = SamplingParams { max_new_tokens: 20, ..SamplingParams::default() };
    let requests = [request(params.clone(), 50, 3), request(params, 50, 4)];
    let is_over = |index: usize, tokens: &[u32]| index == 1 && tokens.ends_with(&[3, 1]);
    let ended = sample_until(&policy, &requests, &SampleOptions::default(), &is_over).unwrap();
    let whole = sample(&policy, &requests, &SampleOptions::default()).unwrap();
    assert_eq!(ended[0], whole[0]);
    for (ended, whole) in ended[1].iter().zip(&whole[1]) {
        let at = whole.tokens.windows(2).position(|pair| pair == [3, 1]).map(|at| at + 2);
        assert_eq!(ended.tokens, whole.tokens[..at.unwrap_or(20)]);
        assert_eq!(ended.stop == FinishReason::Stop, at.is_some());
    }
}

/// Completions in the order in which they end, each with its request and its number there.
#[derive(Default)]
struct Ends(RefCell<Vec<(usize, usize, Generation)>>);

impl SampleWatch for Ends {
    fn is_over(&self, _request: usize, _tokens: &[u32]) -> bool {
        false
    }

    fn on_end(&self, request: usize, completion: usize, sample: &Generation) {
        self.0.borrow_mut().push((request, completion, sample.clone()));
    }
}

#[test]
fn a_caller_hears_of_every_completion_once_and_in_the_order_of_their_ends() {
    let policy = FixedLogits::new(&LOGITS);
    let params = |max_new_tokens| SamplingParams {
        max_new_tokens,
        stop_tokens: vec![3],
        ..SamplingParams::default()
    };
    let requests = [request(params(30), 20, 3), request(params(1), 4, 4), request(params(9), 7, 5)];
    for max_batch in [3, 100] {
        let ends = Ends::default();
        let options = SampleOptions { max_batch, ..SampleOptions::default() };
        let samples = sample_until(&policy, &requests, &options, &ends).unwrap();
        let mut told = ends.0.into_inner();
        if max_batch == 100 {
            assert!(told.iter().map(|(_, _, sample)| sample.tokens.len()).is_sorted());
        }
        told.sort_by_key(|(request, completion, _)| (*request, *completion));
        let expected = samples.into_iter().enumerate().flat_map(|(request, group)| {
            group.into_iter().enumerate().map(move |(place, sample)| (request, place, sample))
        });
        assert_eq!(told, expected.collect::<Vec<_>>());
    }
}

/// Ends the first request with its completion of number 1.
#[derive(Default)]
struct EndsFirst(Ends);

impl SampleWatch for EndsFirst {
    fn is_over(&self, _request: usize, _tokens: &[u32]) -> bool {
        false
    }

    fn on_end(&self, request: usize, completion: usize, sample: &Generation) {
        self.0.on_end(request, completion, sample);
    }

    fn ends_request(&self, request: usize) -> bool {
        request == 0 && self.0.0.borrow().iter().any(|(of, index, _)| (*of, *index) == (0, 1))
    }
}

#[test]
fn a_caller_may_end_all_completions_of_a_request() {
    let policy = FixedLogits::new(&LOGITS);
    let params =
        SamplingParams { max_new_tokens: 40, stop_tokens: vec![3], ..SamplingParams::default() };
    let requests = [request(params.clone(), 40, 3), request(params, 30, 4)];
    for max_batch in [5, 100] {
        let options = SampleOptions { max_batch, ..SampleOptions::default() };
        let whole = sample(&policy, &requests, &options).unwrap();
        let watch = EndsFirst::default();
        let ended = sample_until(&policy, &requests, &options, &watch).unwrap();
        let told = watch.0.0.into_inner();
        assert_eq!(ended[1], whole[1]);
        let end = whole[0][1].tokens.len();
        let (mut cut, mut never) = (0, 0);
        for (index, (ended, whole)) in ended[0].iter().zip(&whole[0]).enumerate() {
            let is_told = told.iter().any(|(of, place, _)| (*of, *place) == (0, index));
            if is_told {
                assert_eq!(ended, whole);
                continue;
            }
            assert_eq!(ended.stop, FinishReason::Length);
            assert_eq!(ended.tokens, whole.tokens[..ended.tokens.len()]);
            assert_eq!(ended.tokens.len(), ended.behavior_logprobs.len());
            cut += 1;
            never += usize::from(ended.tokens.is_empty());
        }
        assert_eq!(ended[0].len(), 40);
        assert!(cut > 0, "no completion was cut");
        if max_batch == 100 {
            assert!(ended[0].iter().all(|one| (1..=end + 1).contains(&one.tokens.len())));
        } else {
            assert!(never > 0, "every completion began");
        }
    }
}

#[test]
fn draws_follow_the_tempered_softmax() {
    check_distribution(|_| ());
    check_distribution(|params| params.temperature = 0.6);
    check_distribution(|params| params.temperature = 1.7);
}

#[test]
fn draws_follow_the_truncated_softmax() {
    check_distribution(|params| params.top_k = Some(3));
    check_distribution(|params| params.top_p = 0.8);
    check_distribution(|params| params.min_p = 0.2);
    check_distribution(|params| {
        params.temperature = 1.3;
        params.top_k = Some(6);
        params.top_p = 0.9;
        params.min_p = 0.15;
    });
}

#[test]
fn sampler_emits_these_ids_for_seed_42() {
    let params = SamplingParams { max_new_tokens: 12, ..SamplingParams::default() };
    let policy = FixedLogits::new(&LOGITS);
    let samples = sample(&policy, &[request(params, 2, 42)], &SampleOptions::default()).unwrap();
    assert_eq!(samples[0][0].tokens, [3, 3, 3, 7, 4, 5, 3, 3, 7, 3, 4, 3]);
    assert_eq!(samples[0][1].tokens, [4, 3, 1, 4, 3, 1, 1, 3, 5, 5, 3, 3]);
}

#[test]
fn random_numbers_depend_on_seed_completion_and_position_only() {
    let params = SamplingParams { max_new_tokens: 12, ..SamplingParams::default() };
    let policy = FixedLogits::new(&LOGITS);
    let one = sample(&policy, &[request(params.clone(), 4, 7)], &SampleOptions::default()).unwrap();
    let requests = [request(params.clone(), 3, 5), request(params, 6, 7)];
    let many =
        sample(&policy, &requests, &SampleOptions { max_batch: 2, ..SampleOptions::default() })
            .unwrap();
    assert_eq!(one[0][..], many[1][..4]);
    assert_ne!(many[0][0].tokens, many[1][0].tokens);
    assert_ne!(many[1][0].tokens, many[1][1].tokens);
}

#[test]
fn temperature_zero_is_greedy() {
    let params =
        SamplingParams { temperature: 0.0, max_new_tokens: 3, ..SamplingParams::default() };
    let policy = FixedLogits::new(&LOGITS);
    let samples = sample(&policy, &[request(params, 2, 1)], &SampleOptions::default()).unwrap();
    assert_eq!(samples[0][0].tokens, [3, 3, 3]);
    assert_eq!(samples[0][0].behavior_logprobs, [0.0; 3]);
}

#[test]
fn requests_of_one_batch_may_differ_in_temperature() {
    let policy = FixedLogits::new(&LOGITS);
    let with = |temperature| SamplingParams {
        temperature,
        max_new_tokens: 9,
        ..SamplingParams::default()
    };
    let requests = [request(with(0.0), 2, 1), request(with(0.8), 2, 1)];
    let together = sample(&policy, &requests, &SampleOptions::default()).unwrap();
    for (request, together) in requests.iter().zip(&together) {
        let alone =
            sample(&policy, std::slice::from_ref(request), &SampleOptions::default()).unwrap();
        assert_eq!(&alone[0], together);
    }
}

#[test]
fn completions_end_with_a_stop_token_or_at_the_limit() {
    let policy = FixedLogits::new(&LOGITS);
    let params =
        SamplingParams { max_new_tokens: 4, stop_tokens: vec![3, 6], ..SamplingParams::default() };
    let samples = sample(&policy, &[request(params, 200, 3)], &SampleOptions::default()).unwrap();
    let mut reasons = [0, 0];
    for sample in &samples[0] {
        let stops = sample.tokens.iter().filter(|token| [3, 6].contains(*token)).count();
        match sample.stop {
            FinishReason::Stop => {
                reasons[0] += 1;
                assert_eq!(stops, 1);
                assert!([3, 6].contains(sample.tokens.last().unwrap()));
            }
            FinishReason::Length => {
                reasons[1] += 1;
                assert_eq!((stops, sample.tokens.len()), (0, 4));
            }
        }
        assert_eq!(sample.tokens.len(), sample.behavior_logprobs.len());
    }
    assert!(reasons[0] > 20 && reasons[1] > 20, "{reasons:?}");
}

#[test]
fn completions_end_at_the_model_s_last_position() {
    tch::set_num_threads(1);
    let config =
        ModelConfig { max_position_embeddings: 10, ..ModelConfig::small(Architecture::Llama, 9) };
    let policy = CausalLm::init(&config, 1, device()).unwrap();
    let params = SamplingParams::default();
    let request = SampleRequest { prompt: vec![1; 7], num_completions: 2, seed: 1, params };
    let samples = sample(&policy, &[request], &SampleOptions::default()).unwrap();
    assert_eq!(samples[0][0].tokens.len(), 3);
    assert_eq!(samples[0][0].stop, FinishReason::Length);
}

#[test]
fn refused_requests_name_row_and_reason() {
    let config =
        ModelConfig { max_position_embeddings: 10, ..ModelConfig::small(Architecture::Llama, 9) };
    let policy = CausalLm::init(&config, 1, device()).unwrap();
    let good = request(SamplingParams::default(), 1, 1);
    let run = |prompt: Vec<u32>| {
        let requests = [good.clone(), SampleRequest { prompt, ..good.clone() }];
        sample(&policy, &requests, &SampleOptions::default()).unwrap_err()
    };
    assert!(matches!(run(vec![]), PolicyError::EmptyPrompt { row: 1 }));
    assert!(matches!(run(vec![1; 10]), PolicyError::RowTooLong { row: 1, max_positions: 10, .. }));
    let error = run(vec![1, 2, 9]);
    let expected = "row 1 holds token id 9 at position 2, expected an id below 9";
    assert_eq!(error.to_string(), expected);
    let nothing = sample(&policy, &[], &SampleOptions::default()).unwrap();
    assert!(nothing.is_empty());
    let zero =
        sample(&policy, &[good], &SampleOptions { max_batch: 0, ..SampleOptions::default() });
    assert!(matches!(zero, Err(PolicyError::InvalidOption { field: "max_batch", .. })));
}

#[test]
fn logits_that_are_not_finite_are_an_error() {
    #[track_caller]
    fn check(bad: f32) {
        let policy = FixedLogits::new(&[0.0, bad, 1.0]);
        for temperature in [0.0, 1.0] {
            let params = SamplingParams { temperature, ..SamplingParams::default() };
            let result = sample(&policy, &[request(params, 1, 1)], &SampleOptions::default());
            assert!(matches!(
                result,
                Err(PolicyError::NonFiniteLogits { request: 0, position: 0 })
            ));
        }
    }
    check(f32::NAN);
    check(f32::INFINITY);
}

#[test]
fn decoders_refuse_rows_that_do_not_exist() {
    let policy = CausalLm::init(&ModelConfig::small(Architecture::Llama, 9), 1, device()).unwrap();
    let options = hint_policy::policy::DecoderOptions {
        max_rows: 2,
        max_positions: 4,
        batch_invariant: false,
    };
    let mut decoder = policy.decoder(&options).unwrap();
    assert!(matches!(decoder.step(&[]), Err(PolicyError::NoRows)));
    let prefix = decoder.prefill(&[&[1, 2]]).unwrap().prefixes[0];
    decoder.fork(prefix, 3).unwrap();
    assert_eq!(decoder.rows(), 3);
    assert!(matches!(decoder.step(&[1]), Err(PolicyError::RowCount { found: 1, expected: 3, .. })));
    assert!(matches!(decoder.step(&[1, 1, 9]), Err(PolicyError::TokenOutOfRange { row: 2, .. })));
    assert!(matches!(decoder.retain(&[3]), Err(PolicyError::NoSuchIndex { name: "row", .. })));
    decoder.release(prefix);
    assert!(matches!(
        decoder.fork(prefix, 1),
        Err(PolicyError::NoSuchIndex { name: "prefix", .. })
    ));
    let _ = decoder.step(&[1, 1, 1]).unwrap();
    let _ = decoder.step(&[1, 1, 1]).unwrap();
    assert!(matches!(decoder.step(&[1, 1, 1]), Err(PolicyError::RowTooLong { len: 5, .. })));
}
