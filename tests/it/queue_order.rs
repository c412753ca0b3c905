//! Order of the completions that wait for a place in the batch of the local engine.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use hint_policy::{Parameter, Policy, PolicyError, SharedPolicy, TokenBatch};
use hint_rollout::engine::GenerationWatch;
use hint_rollout::{
    Completion, GenerationRequest, LocalEngine, RolloutEngine, RolloutError, Sampling,
};
use tch::{Device, Kind, Tensor};

const VOCAB: i64 = 5;

/// Finds all tokens equally likely, and none where a prompt begins with 4. Counts its forward passes.
struct Even(Arc<AtomicUsize>);

impl Policy for Even {
    fn logits(&self, tokens: &TokenBatch) -> Result<Tensor, PolicyError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        let [batch, seq] = tokens.tokens().size()[..] else { unreachable!("two dimensions") };
        let is_bad = tokens.tokens().select(1, 0).eq(4).view([batch, 1, 1]);
        let logits = Tensor::zeros([batch, seq, VOCAB], (Kind::Float, Device::Cpu));
        Ok(logits.masked_fill(&is_bad, f64::NAN))
    }
    fn parameters(&self) -> Vec<Parameter> {
        Vec::new()
    }
    fn vocab_size(&self) -> usize {
        5
    }
    fn max_positions(&self) -> usize {
        512
    }
    fn save(&self, _dir: &Path) -> Result<(), PolicyError> {
        Ok(())
    }
}

/// Forward passes and completions of fifteen requests for 10 tokens and a last one for 200, which have no stop token.
fn sample(
    max_batch: usize,
    expected: impl Fn(usize) -> Option<f64>,
) -> (usize, Vec<Vec<Completion>>) {
    let passes = Arc::new(AtomicUsize::new(0));
    let policy = SharedPolicy::new(Even(Arc::clone(&passes)));
    let mut engine = LocalEngine::new(policy, Vec::new()).with_max_batch(max_batch);
    let request = |index: usize| {
        let max_completion_len = if index == 15 { 200 } else { 10 };
        let sampling = Sampling { max_completion_len, ..Sampling::default() };
        let mut request = GenerationRequest::new(vec![1, 2], 1, index as u64, sampling);
        request.expected_tokens = expected(index);
        request
    };
    let requests = (0..16).map(request).collect::<Vec<_>>();
    let completions = engine.generate(&requests).expect("the requests are valid");
    (passes.load(Ordering::Relaxed), completions)
}

#[test]
fn the_longest_completions_start_first_where_not_all_fit() {
    let (in_turn, unordered) = sample(4, |_| None);
    let (ordered, same) = sample(4, |index| Some(if index == 15 { 180.0 } else { 11.0 }));
    assert_eq!(unordered, same);
    assert_eq!(same[15][0].tokens.len(), 200);
    // One after the other, the long one starts after three rounds of the short ones.
    assert!(in_turn > ordered + 25, "{in_turn} {ordered}");
    assert!(ordered < 200 + 20, "{ordered}");
    // What is not known counts as the mean, and is not the last.
    let (unknown, _) = sample(4, |index| (index < 8).then_some(index as f64));
    assert!(unknown < in_turn, "{unknown} {in_turn}");
    // Nothing waits.
    assert_eq!(sample(16, |_| None).0, sample(16, |index| Some(index as f64)).0);
}

/// The error of 300 requests of three expected lengths. The one at index 7 has this prompt, and is expected to be this
/// long.
fn failure(prompt: &[u32], expected: f64) -> PolicyError {
    let policy = SharedPolicy::new(Even(Arc::default()));
    let mut engine = LocalEngine::new(policy, Vec::new());
    let sampling = Sampling { max_completion_len: 1, ..Sampling::default() };
    let request = |index: u64| {
        let prompt = if index == 7 { prompt.to_vec() } else { vec![1, 2] };
        let mut request = GenerationRequest::new(prompt, 1, index, sampling.clone());
        request.expected_tokens = Some(match index {
            7 => expected,
            _ if index.is_multiple_of(2) => 20.0,
            _ => 10.0,
        });
        request
    };
    match engine.generate(&(0..300).map(request).collect::<Vec<_>>()) {
        Err(RolloutError::Policy(error)) => error,
        other => panic!("{other:?}"),
    }
}

/// Completions in the order in which they end, each with its request and its number there.
#[derive(Default)]
struct Ends(Mutex<Vec<(usize, usize, Completion)>>);

impl GenerationWatch for Ends {
    fn on_completion(&self, request: usize, index: usize, completion: &Completion) {
        self.0.lock().expect("no panic").push((request, index, completion.clone()));
    }
}

#[test]
fn errors_name_the_request_by_its_place_before_the_sort() {
    // The first one of the sorted call, one in its middle, and the last one.
    for expected in [90.0, 15.0, 1.0] {
        let found = failure(&[], expected);
        assert!(matches!(found, PolicyError::EmptyPrompt { row: 7 }), "{found}");
        let found = failure(&[1, 9], expected);
        assert!(matches!(found, PolicyError::TokenOutOfRange { row: 7, token: 9, .. }), "{found}");
        let found = failure(&[1; 512], expected);
        assert!(matches!(found, PolicyError::RowTooLong { row: 7, len: 513, .. }), "{found}");
        let found = failure(&[4, 1], expected);
        assert!(
            matches!(found, PolicyError::NonFiniteLogits { request: 7, position: 0 }),
            "{found}"
        );
    }
}

#[test]
fn a_watch_hears_of_every_completion_once_and_as_it_is_returned() {
    let policy = SharedPolicy::new(Even(Arc::default()));
    for max_batch in [1, 4, 64] {
        let mut engine = LocalEngine::new(policy.clone(), vec![0]).with_max_batch(max_batch);
        let request = |index: usize| {
            let max_completion_len = if index == 2 { 60 } else { 1 + index };
            let sampling =
                Sampling { max_completion_len, min_completion_len: 1, ..Sampling::default() };
            let mut request = GenerationRequest::new(vec![1, 2], 3, index as u64, sampling);
            request.expected_tokens = Some(index as f64);
            request
        };
        let requests = (0..6).map(request).collect::<Vec<_>>();
        let ends = Ends::default();
        let sampled = engine.generate_watched(&requests, &ends).expect("the requests are valid");
        let mut told = ends.0.into_inner().expect("no panic");
        told.sort_by_key(|(request, index, _)| (*request, *index));
        let expected = sampled.iter().enumerate().flat_map(|(request, group)| {
            group.iter().enumerate().map(move |(index, one)| (request, index, one.clone()))
        });
        assert_eq!(told, expected.collect::<Vec<_>>());
        assert_eq!(sampled, engine.generate(&requests).expect("the requests are valid"));
    }
}
