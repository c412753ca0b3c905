//! Loss masks of completions that the policy did not write alone.

use hint_reward::{ExactMatch, Rubric};
use hint_rollout::{
    Collector, CollectorConfig, Completion, GenerationRequest, PolicyVersion, Problem,
    RolloutEngine, RolloutError, RolloutGroup, Seed, StopReason, WeightSource,
};

use crate::scripted::{Bytes, text};

/// Calls a tool in every completion: the policy writes `6*7=`, the tool `42`, the policy a box.
struct Tool {
    /// Entries of the mask that are lost.
    lost: usize,
}

impl RolloutEngine for Tool {
    fn generate(
        &mut self,
        requests: &[GenerationRequest],
    ) -> Result<Vec<Vec<Completion>>, RolloutError> {
        let parts = [("6*7=", true), ("42 ", false), ("\\boxed{42}", true)];
        let completion = || {
            let tokens = parts.iter().flat_map(|(part, _)| part.bytes().map(u32::from));
            let mask = parts.iter().flat_map(|(part, ours)| part.bytes().map(|_| *ours));
            let tokens = tokens.collect::<Vec<_>>();
            let mask = mask.skip(self.lost).collect();
            let logprobs = vec![-0.5; tokens.len()];
            Completion::new(tokens, logprobs, StopReason::Stop, PolicyVersion(0))
                .with_loss_mask(mask)
        };
        let group = |request: &GenerationRequest| {
            (0..request.num_completions).map(|_| completion()).collect()
        };
        Ok(requests.iter().map(group).collect())
    }

    fn sync(&mut self, _weights: &dyn WeightSource) -> Result<(), RolloutError> {
        Ok(())
    }
}

fn collect(lost: usize) -> Result<RolloutGroup, RolloutError> {
    let rubric = Rubric::new(ExactMatch::new());
    let mut collector =
        Collector::new(Tool { lost }, Bytes::default(), rubric, CollectorConfig::default())?;
    let collected = collector.collect(&[&Problem::new("p", "6 * 7", "42")], Seed::new(1))?;
    Ok(collected.groups.into_iter().next().expect("one problem has one group"))
}

#[test]
fn holes_of_a_loss_mask_reach_the_group_and_its_serialized_form() {
    let group = collect(0).expect("the engine keeps its contract");
    let completion = &group.rollouts[0].completion;
    let ours = completion.tokens.iter().zip(&completion.loss_mask).filter(|(_, ours)| **ours);
    let ours = ours.map(|(token, _)| *token).collect::<Vec<_>>();
    assert_eq!(text(&ours), "6*7=\\boxed{42}");
    assert_eq!(group.rollouts[0].text, "6*7=42 \\boxed{42}", "the text keeps what the tool wrote");
    let json = serde_json::to_string(&group).expect("a group is plain data");
    assert_eq!(serde_json::from_str::<RolloutGroup>(&json).expect("round trip"), group);
}

#[test]
fn a_mask_of_another_length_breaks_the_contract() {
    let error = collect(1).expect_err("the mask is one short");
    assert_eq!(error.to_string(), "the engine returned 16 entries of the loss mask, expected 17");
}

#[test]
fn engines_that_say_nothing_train_on_every_token() {
    let completion =
        Completion::new(vec![1, 2], vec![-1.0, -1.0], StopReason::Stop, PolicyVersion(0));
    assert_eq!(completion.loss_mask, [true, true]);
}
