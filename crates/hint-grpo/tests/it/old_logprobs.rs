//! Log-probabilities of the old policy, taken from the forward passes of the first optimizer step.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hint_grpo::learner::{
    Contexts, Learner, LearnerParts, RatioLogprobs, Sample, SampleBatch, SftLoss,
};
use hint_policy::SharedPolicy;
use hint_rollout::run::RunProgress;
use tch::Tensor;

use crate::bigram::Bigram;
use crate::learner::{config, demonstration, hinted, sampled};
use crate::upload;

/// Weights, metrics and log-probabilities after an update.
type Found = (Vec<f64>, String, BTreeMap<usize, RatioLogprobs>);

/// An update of three passes over the samples. The forward pass with gradient of the index `fails` has no finite numbers.
/// Returns also the number of passes without gradient, and that of optimizer steps. A policy that drops inputs is scored
/// before the first step, so it shows what must come out.
fn three_passes(
    samples: Vec<Sample>,
    (groups, num_minibatches): (usize, usize),
    max_tokens: usize,
    fails: Option<usize>,
    drops: bool,
) -> (Found, usize, u64) {
    let logits = [0.3, -0.2, 0.9, 0.1, 0.4, -1.0, 0.0, 0.7, -0.3];
    let table = upload(&logits).view([3, 3]).set_requires_grad(true);
    let without = Arc::new(AtomicUsize::new(0));
    let (counted, with_gradient) = (Arc::clone(&without), Cell::new(0));
    // Fails one forward pass with gradient, and counts those without.
    let change = move |logits: Tensor| {
        if !logits.requires_grad() {
            counted.fetch_add(1, Ordering::Relaxed);
            return logits;
        }
        let passes = with_gradient.replace(with_gradient.get() + 1);
        if Some(passes) == fails { logits * f64::NAN } else { logits }
    };
    let policy = SharedPolicy::new(Bigram::new(table).with_change(drops, change));
    let mut config = config();
    config.run.num_iterations = 3;
    config.run.num_minibatches = num_minibatches;
    config.run.max_tokens_per_micro_batch = max_tokens;
    config.optimizer.learning_rate = 0.1;
    let parts = LearnerParts::default();
    let mut learner =
        Learner::new(policy.clone(), &config, SftLoss::default(), parts).expect("valid");
    let batch = SampleBatch::new(groups, samples);
    let report = learner.update(&batch, RunProgress::new(0, 1)).expect("one step fails");
    let weights = policy.lock().parameters().remove(0).tensor.detach();
    let weights = Vec::<f64>::try_from(weights.contiguous().view([-1])).expect("f64");
    let numbers = serde_json::to_string(&report.metrics).expect("numbers");
    let passes = without.load(Ordering::Relaxed);
    ((weights, numbers, report.logprobs), passes, learner.updates())
}

#[test]
fn forward_passes_of_the_old_policy_give_the_denominators_of_later_steps() {
    let samples = || {
        let [plain, hint] = [[0].as_slice(), &[0, 1]].map(Arc::<[u32]>::from);
        let off_context = Contexts::plain(Arc::clone(&plain))
            .with_sampled(Arc::clone(&hint))
            .with_ratio(Arc::clone(&plain), Some(Arc::clone(&hint)));
        let demonstrated = Contexts::plain(Arc::clone(&plain)).with_ratio(plain, None);
        vec![
            sampled(0, &[0], &[1, 2], 1.0),
            sampled(0, &[0], &[0, 0], -1.0),
            hinted(1, &[1, 2, 0], &[true, false, true], 0.5),
            hinted(1, &[2, 0], &[true; 2], -0.7).with_contexts(off_context),
            demonstration(2, &[0], &[2, 1], 1.0).with_advantage(1.0).with_contexts(demonstrated),
        ]
    };
    // A step has a forward pass for each of the five samples. It fails in none, at the first, and between them.
    for fails in [None, Some(0), Some(2), Some(7)] {
        let (found, passes, updates) = three_passes(samples(), (3, 1), 1, fails, false);
        let (expected, more, _) = three_passes(samples(), (3, 1), 1, fails, true);
        assert_eq!(found, expected, "{fails:?}");
        // Three samples have one context for both sides of their ratio.
        assert_eq!(more - passes, 3, "{fails:?}");
        assert_eq!(updates, if fails.is_some() { 2 } else { 3 });
    }
}

/// Four groups of two rows, whose lengths are 2, 3, 4 and 5.
#[test]
fn the_first_of_two_minibatches_gives_the_denominators_of_micro_batches_that_it_has_as_well() {
    let samples = || {
        let responses = [[1, 2, 0, 2], [0, 0, 1, 1]];
        let rows = (0..4).flat_map(|group| responses.map(|response| (group, response)));
        let sample = |(group, response): (usize, [u32; 4])| {
            let advantage = if response[0] == 1 { 1.0 } else { -0.5 };
            sampled(group, &[0], &response[..=group], advantage)
        };
        rows.map(sample).collect::<Vec<_>>()
    };
    // A row alone, the rows of a group, and all rows of a step are a micro-batch.
    for (max_tokens, all, saved) in [(1, 8, 4), (10, 4, 2), (1000, 1, 0)] {
        let (found, passes, updates) = three_passes(samples(), (4, 2), max_tokens, None, false);
        let (expected, more, _) = three_passes(samples(), (4, 2), max_tokens, None, true);
        assert_eq!(found, expected, "{max_tokens}");
        assert_eq!((more, more - passes, updates), (all, saved, 6), "{max_tokens}");
    }
    // The first or the last pass of the first step fails, or one of a later step. The other steps need all denominators.
    for (fails, scored) in [(Some(0), 12), (Some(3), 12), (Some(4), 4), (Some(9), 4)] {
        let (found, passes, updates) = three_passes(samples(), (4, 2), 1, fails, false);
        let (expected, more, _) = three_passes(samples(), (4, 2), 1, fails, true);
        assert_eq!(found, expected, "{fails:?}");
        assert_eq!((more, passes, updates), (8, scored, 5), "{fails:?}");
    }
}
