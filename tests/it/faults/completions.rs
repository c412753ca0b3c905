//! Completions and settings at the edge: empty, cut off, of one token that also pads, one a group.

use hint_grpo::{GrpoConfig, GrpoError, Metrics, metrics};
use hint_rollout::{
    Collector, Completion, Hint, LocalEngine, Problem, PromptFormat, RolloutError, StopReason,
};
use hint_tests::{Digits, lenient_rubric, problems, weights};

use super::{Faulty, altered, run_config, sound, trainer};

/// Choice of the completions that come back empty.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Empty {
    Some,
    All,
}

fn assert_finite(steps: &[Metrics]) {
    assert!(!steps.is_empty());
    for step in steps {
        assert!(step.iter().all(|(_, value)| value.is_finite()), "{step:?}");
    }
}

#[test]
fn empty_completions_count_in_denominators_and_divide_nothing_by_zero() {
    for which in [Empty::Some, Empty::All] {
        let config = run_config();
        let skipped = if which == Empty::All { 0 } else { 2 };
        let empty = move |groups: &mut Vec<Vec<Completion>>| {
            for completion in groups.iter_mut().flat_map(|group| group.iter_mut().skip(skipped)) {
                completion.tokens.clear();
                completion.behavior_logprobs.clear();
                completion.loss_mask.clear();
                completion.stop = StopReason::Stop;
            }
            Ok(())
        };
        let (mut trainer, policy, measured) = trainer(&config, None, |inner| altered(inner, empty));
        let before = weights(&policy);
        trainer.run(&problems()).expect("an empty completion is a completion");
        let steps = measured.try_iter().collect::<Vec<_>>();
        assert_finite(&steps);
        let after = weights(&policy);
        assert!(after.iter().all(|weight| weight.is_finite()));
        assert_eq!(after == before, which == Empty::All, "{which:?}: others train");
        let length = steps[0].get(metrics::COMPLETIONS_MEAN_LENGTH).expect("a length");
        assert_eq!(length == 0.0, which == Empty::All);
    }
}

#[test]
fn completions_that_are_all_cut_off_train_like_others_and_are_counted() {
    let mut config = run_config();
    // No first token of the policy ends a completion often enough to matter at this length.
    config.rollout.sampling.max_completion_len = 1;
    let cut_off = |groups: &mut Vec<Vec<Completion>>| {
        groups.iter_mut().flatten().for_each(|completion| completion.stop = StopReason::Length);
        Ok(())
    };
    let (mut trainer, policy, measured) = trainer(&config, None, |inner| altered(inner, cut_off));
    let before = weights(&policy);
    trainer.run(&problems()).expect("a completion that is cut off is a completion");
    let steps = measured.try_iter().collect::<Vec<_>>();
    assert_finite(&steps);
    assert!(steps.iter().all(|step| step.get(metrics::COMPLETIONS_CLIPPED_RATIO) == Some(1.0)));
    assert!(weights(&policy) != before);
}

/// [`Digits`] whose stop token is 0, with which batches are padded.
struct PadIsStop;

impl PromptFormat for PadIsStop {
    fn encode(&self, problem: &Problem, hint: Option<&Hint>) -> Result<Vec<u32>, RolloutError> {
        Digits.encode(problem, hint)
    }

    fn encode_completion(&self, text: &str) -> Result<Vec<u32>, RolloutError> {
        Digits.encode_completion(text)
    }

    fn decode(&self, completion: &[u32]) -> Result<String, RolloutError> {
        Digits.decode(completion)
    }

    fn stop_tokens(&self) -> &[u32] {
        &[0]
    }
}

/// Metrics of a step whose every completion ends with the token that pads.
fn with_pad_as_stop(max_tokens: usize) -> Metrics {
    let mut config = run_config();
    config.run.steps = 1;
    config.run.num_iterations = 1;
    config.run.max_tokens_per_micro_batch = max_tokens;
    // Every completion ends with token 0 in the place of its last.
    let stop = |groups: &mut Vec<Vec<Completion>>| {
        for completion in groups.iter_mut().flatten() {
            if let Some(last) = completion.tokens.last_mut() {
                *last = 0;
            }
            completion.stop = StopReason::Stop;
        }
        Ok(())
    };
    let (mut trainer, _, measured) = trainer(&config, None, |inner| {
        let Faulty { engine, rubric, .. } = altered(inner, stop);
        Faulty { engine, format: PadIsStop, rubric }
    });
    trainer.run(&problems()).expect("a stop token may be any token");
    measured.try_recv().expect("one step")
}

#[test]
fn a_stop_token_that_also_pads_is_trained_and_padding_is_not() {
    // All rows in one micro-batch, padded with zeros; and each alone, without any padding.
    let (padded, alone) = (with_pad_as_stop(1 << 20), with_pad_as_stop(1));
    assert!(padded.get(metrics::MICRO_BATCH_PADDING) > Some(0.05));
    assert_eq!(alone.get(metrics::MICRO_BATCH_PADDING), Some(0.0));
    // If a stop token were taken for padding, or padding for a stop token, means over tokens would move.
    for name in [metrics::ENTROPY_TRAINED, metrics::GRAD_NORM, metrics::SAMPLING_LOGP_DIFFERENCE] {
        let (padded, alone) =
            (padded.get(name).expect("measured"), alone.get(name).expect("measured"));
        assert!((padded - alone).abs() < 1e-4 * padded.abs().max(0.1), "{name}: {padded} {alone}");
    }
    // The stop tokens are in the batch: they were not drawn, so their log-probability is another one.
    assert!(padded.get(metrics::SAMPLING_LOGP_DIFFERENCE_MAX) > Some(0.1));
}

/// The error that a configuration is refused with.
fn refusal(change: impl FnOnce(&mut GrpoConfig)) -> String {
    let mut config = run_config();
    change(&mut config);
    config.validate().expect_err("out of range").to_string()
}

#[test]
fn a_group_of_one_and_a_run_of_no_steps_are_refused_by_name() {
    let text = refusal(|config| config.rollout.group_size = 1);
    assert!(text.contains("rollout.group_size: must be at least 2, found 1"), "{text}");
    let text = refusal(|config| config.run.steps = 0);
    assert!(text.contains("run.steps: must be at least 1, found 0"), "{text}");
    let text = refusal(|config| config.run.num_minibatches = 5);
    assert!(
        text.contains("run.num_minibatches: must not exceed prompts_per_step, found 5"),
        "{text}"
    );
    let text = refusal(|config| config.rollout.sampling.max_completion_len = 0);
    assert!(text.contains("rollout.sampling.max_completion_len"), "{text}");

    let mut config = run_config().rollout;
    config.group_size = 1;
    let policy = hint_policy::SharedPolicy::new(hint_tests::tiny_policy(7));
    let engine = LocalEngine::new(policy, vec![hint_tests::STOP]);
    let error =
        Collector::new(engine, Digits, lenient_rubric(), config).expect_err("one is too few");
    assert_eq!(error.to_string(), "group_size: must be at least 2, found 1");
}

#[test]
fn a_run_without_problems_is_an_error_and_a_finished_run_has_nothing_to_do() {
    let config = run_config();
    let (mut trainer, policy, measured) = trainer(&config, None, sound);
    assert!(matches!(trainer.run(&Vec::new()), Err(GrpoError::NoProblems)));
    trainer.run(&problems()).expect("the run works");
    let after = weights(&policy);
    assert_eq!(measured.try_iter().count() as u64, config.run.steps);
    trainer.run(&problems()).expect("all steps are done");
    assert_eq!(measured.try_iter().count(), 0);
    assert!(weights(&policy) == after);
}
