//! Contexts of the three log-probabilities under each scheme.

use std::path::Path;
use std::sync::{Arc, Mutex};

use hint_grpo::advantage::{AdvantageConfig, Baseline};
use hint_grpo::objective::{HintedWeightConfig, RatioScheme};
use hint_grpo::{GrpoConfig, Hints, Parts, Rewards, Trainer};
use hint_policy::{
    Parameter, Policy, PolicyError, ScoreOptions, SharedPolicy, TokenBatch, TokenScores,
};
use hint_rollout::{
    Completion, DatasetHints, GenerationRequest, PolicyVersion, RolloutEngine, RolloutError,
    StopReason, WeightSource,
};
use hint_tests::{Digits, config, problems, rubric, tiny_policy};
use tch::{Device, Tensor};

/// The token of [`Digits`] that stands for a hint.
const HINT: i64 = 3;

/// Solves nothing without a hint, and every other completion with one.
struct Scripted;

impl RolloutEngine for Scripted {
    fn generate(
        &mut self,
        requests: &[GenerationRequest],
    ) -> Result<Vec<Vec<Completion>>, RolloutError> {
        let complete = |request: &GenerationRequest, index: usize| {
            let hinted = request.prompt.contains(&3);
            let digit = if hinted && index.is_multiple_of(2) { 13 } else { 4 };
            let tokens = vec![digit, digit, digit, 1];
            Completion::new(tokens, vec![-0.7; 4], StopReason::Stop, PolicyVersion(0))
        };
        let group = |request: &GenerationRequest| {
            (0..request.num_completions).map(|index| complete(request, index)).collect()
        };
        Ok(requests.iter().map(group).collect())
    }

    fn sync(&mut self, _weights: &dyn WeightSource) -> Result<(), RolloutError> {
        Ok(())
    }
}

/// One call of `score`: whether it had gradients, and whether its prompts held a hint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Call {
    gradient: bool,
    hinted: bool,
}

/// Notes its requests.
struct Recorder {
    inner: hint_policy::CausalLm,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Policy for Recorder {
    fn logits(&self, tokens: &TokenBatch) -> Result<Tensor, PolicyError> {
        self.inner.logits(tokens)
    }

    fn score(
        &self,
        tokens: &TokenBatch,
        options: &ScoreOptions,
    ) -> Result<TokenScores, PolicyError> {
        let scores = self.inner.score(tokens, options)?;
        let hinted = tokens.tokens().eq(HINT).any().int64_value(&[]) != 0;
        let gradient = scores.logprobs.requires_grad();
        self.calls.lock().expect("no test panics here").push(Call { gradient, hinted });
        Ok(scores)
    }

    fn parameters(&self) -> Vec<Parameter> {
        self.inner.parameters()
    }

    fn device(&self) -> Device {
        self.inner.device()
    }

    fn vocab_size(&self) -> usize {
        self.inner.vocab_size()
    }

    fn max_positions(&self) -> usize {
        self.inner.max_positions()
    }

    fn save(&self, dir: &Path) -> Result<(), PolicyError> {
        self.inner.save(dir)
    }
}

/// The calls of one step in which every group is hinted.
fn calls(scheme: RatioScheme, num_iterations: usize) -> Vec<Call> {
    calls_with(scheme, num_iterations, |_| ())
}

fn calls_with(
    scheme: RatioScheme,
    num_iterations: usize,
    change: impl FnOnce(&mut GrpoConfig),
) -> Vec<Call> {
    let mut config = config(1);
    change(&mut config);
    config.loss.ratio_scheme = scheme;
    config.run.num_iterations = num_iterations;
    config.advantage = AdvantageConfig::GroupNormalized { baseline: Baseline::Union };
    let calls = Arc::new(Mutex::new(Vec::new()));
    let policy = Recorder { inner: tiny_policy(7), calls: Arc::clone(&calls) };
    let parts = Parts {
        policy: SharedPolicy::new(policy),
        format: Digits,
        rewards: Rewards::own(rubric()),
        engine: Scripted,
        hints: Hints::own(DatasetHints::new()),
    };
    let mut trainer = Trainer::from_config(config, parts)
        .expect("the configuration is valid")
        .build()
        .expect("the configuration is valid");
    trainer.run(&problems()).expect("the run works");
    drop(trainer);
    Arc::into_inner(calls).expect("the trainer is gone").into_inner().expect("no test panics here")
}

const fn call(gradient: bool, hinted: bool) -> Call {
    Call { gradient, hinted }
}

#[test]
fn plain_never_shows_the_hint_to_the_trained_policy() {
    // One update: the old policy is the current one, so a single pass does.
    assert_eq!(calls(RatioScheme::Plain, 1), [call(true, false)]);
    // Two: old log-probabilities first, and Affinity weights before the second update.
    assert_eq!(
        calls(RatioScheme::Plain, 2),
        [call(false, false), call(true, false), call(false, false), call(true, false)]
    );
}

#[test]
fn hinted_conditions_both_sides_on_the_hint() {
    // The first call measures the policy on the plain prompt, for the behavior Affinity.
    assert_eq!(calls(RatioScheme::Hinted, 1), [call(false, false), call(true, true)]);
}

#[test]
fn off_context_conditions_only_the_denominator_on_the_hint() {
    assert_eq!(
        calls(RatioScheme::OffContext, 1),
        // Old log-probabilities with the hint, Affinity weights and the gradient without.
        [call(false, true), call(false, false), call(true, false)]
    );
}

#[test]
fn demonstration_has_no_denominator() {
    assert_eq!(
        calls(RatioScheme::Demonstration, 1),
        // Affinity weights and the gradient; nothing is scored with the hint.
        [call(false, false), call(true, false)]
    );
}

#[test]
fn off_context_weights_cost_one_pass_for_each_prompt_and_no_gradient() {
    let off_context = |config: &mut GrpoConfig| {
        config.loss.hinted_weight =
            vec![HintedWeightConfig::OffContext { exponent: 1.0, min: 0.01, max: 1.0 }];
    };
    assert_eq!(
        calls_with(RatioScheme::Plain, 1, off_context),
        [call(false, false), call(false, true), call(true, false)]
    );
    // The denominator is one of the two: it is not scored a second time.
    let without_gradient = |scheme| {
        let calls = calls_with(scheme, 2, off_context);
        calls.into_iter().take_while(|call| !call.gradient).collect::<Vec<_>>()
    };
    assert_eq!(without_gradient(RatioScheme::Plain), [call(false, false), call(false, true)]);
    assert_eq!(without_gradient(RatioScheme::Hinted), [call(false, true), call(false, false)]);
    assert_eq!(without_gradient(RatioScheme::OffContext), [call(false, true), call(false, false)]);
}
