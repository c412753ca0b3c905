//! Groups that are judged while the local engine samples others.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use hint_policy::{Parameter, Policy, PolicyError, SharedPolicy, TokenBatch};
use hint_reward::{Judgment, Rubric, Verdict, verifier_from_fn};
use hint_rollout::{Collector, CollectorConfig, LocalEngine, Sampling, Seed};
use hint_tests::{Digits, problems};
use tch::{Device, Kind, Tensor};

/// Finds all tokens equally likely. Its fifth forward pass waits for the verdict on a completion.
struct Waiting {
    passes: AtomicUsize,
    judged: Receiver<()>,
}

impl Policy for Waiting {
    fn logits(&self, tokens: &TokenBatch) -> Result<Tensor, PolicyError> {
        if self.passes.fetch_add(1, Ordering::Relaxed) == 4 {
            let judged = self.judged.recv_timeout(Duration::from_mins(1));
            assert!(judged.is_ok(), "the first group is not judged while the second is sampled");
        }
        let [batch, seq] = tokens.tokens().size()[..] else { unreachable!("two dimensions") };
        Ok(Tensor::zeros([batch, seq, 16], (Kind::Float, Device::Cpu)))
    }
    fn parameters(&self) -> Vec<Parameter> {
        Vec::new()
    }
    fn vocab_size(&self) -> usize {
        16
    }
    fn max_positions(&self) -> usize {
        64
    }
    fn save(&self, _dir: &Path) -> Result<(), PolicyError> {
        Ok(())
    }
}

#[test]
fn the_local_engine_samples_on_while_a_group_is_judged() {
    let (sender, judged) = channel();
    let policy = SharedPolicy::new(Waiting { passes: AtomicUsize::new(0), judged });
    // Three passes for each group, one group after the other.
    let engine = LocalEngine::new(policy, Vec::new()).with_max_batch(2);
    let rubric = Rubric::new(verifier_from_fn("telling", move |_| {
        let _ = sender.send(());
        Judgment::new(Verdict::Incorrect)
    }));
    let sampling = Sampling { max_completion_len: 3, ..Sampling::default() };
    let config = CollectorConfig { group_size: 2, sampling, ..CollectorConfig::default() };
    let mut collector = Collector::new(engine, Digits, rubric, config).expect("it is valid");
    let problems = problems();
    let found = collector.collect(&problems[..3].iter().collect::<Vec<_>>(), Seed::new(1));
    let groups = found.expect("the policy works").groups;
    assert!(groups.len() == 3 && groups.iter().all(|group| group.rollouts.len() == 2));
}
