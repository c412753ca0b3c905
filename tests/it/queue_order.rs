//! Order of the completions that wait for a place in the batch of the local engine.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hint_policy::{Parameter, Policy, PolicyError, SharedPolicy, TokenBatch};
use hint_rollout::{Completion, GenerationRequest, LocalEngine, RolloutEngine, Sampling};
use tch::{Device, Kind, Tensor};

const VOCAB: i64 = 5;

/// Finds all tokens equally likely, and counts its forward passes.
struct Even(Arc<AtomicUsize>);

impl Policy for Even {
    fn logits(&self, tokens: &TokenBatch) -> Result<Tensor, PolicyError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        let [batch, seq] = tokens.tokens().size()[..] else { unreachable!("two dimensions") };
        Ok(Tensor::zeros([batch, seq, VOCAB], (Kind::Float, Device::Cpu)))
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
