//! Contexts of the three log-probabilities under each scheme.

use std::ops::ControlFlow;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use hint_grpo::advantage::{AdvantageConfig, Baseline};
use hint_grpo::objective::{
    HintedWeightConfig, ImportanceCorrection, ImportanceLevel, RatioScheme,
};
use hint_grpo::{GrpoConfig, Hints, Parts, Rewards, Trainer, metrics, observer_from_fn};
use hint_policy::{Policy, SharedPolicy};
use hint_rollout::collect::hinted::HintTrigger;
use hint_rollout::{
    Completion, DatasetHints, GenerationRequest, PolicyVersion, RolloutEngine, RolloutError,
    StopReason, WeightSource,
};
use hint_tests::{Digits, Scored, config, lenient_rubric, parts, problems, rubric, tiny_policy};

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
    let noted = Arc::clone(&calls);
    let policy = Scored::new(tiny_policy(7), false, move |inner, tokens, options| {
        let scores = inner.score(tokens, options)?;
        let hinted = tokens.tokens().eq(HINT).any().int64_value(&[]) != 0;
        let gradient = scores.logprobs.requires_grad();
        noted.lock().expect("no test panics here").push(Call { gradient, hinted });
        Ok(scores)
    });
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
    // Two: the first pass gives the old log-probabilities. Affinity weights come before the second update.
    assert_eq!(
        calls(RatioScheme::Plain, 2),
        [call(true, false), call(false, false), call(true, false)]
    );
}

#[test]
fn hinted_conditions_both_sides_on_the_hint() {
    // The first call measures the policy on the plain prompt, for the behavior Affinity.
    assert_eq!(calls(RatioScheme::Hinted, 1), [call(false, false), call(true, true)]);
    assert_eq!(
        calls(RatioScheme::Hinted, 2),
        [call(false, false), call(true, true), call(false, true), call(true, true)]
    );
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
fn minibatches_need_a_pass_for_the_old_policy() {
    let minibatches = |config: &mut GrpoConfig| config.run.num_minibatches = 2;
    let first = calls_with(RatioScheme::Plain, 1, minibatches)[0];
    assert_eq!(first, call(false, false));
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

/// The least and the largest importance weight of a step whose samples are on-policy, half of them hinted.
fn importance_weights(scheme: RatioScheme, num_iterations: usize) -> [f64; 2] {
    let mut config = config(1);
    config.loss.ratio_scheme = scheme;
    config.loss.importance_correction =
        ImportanceCorrection::Truncate { max_weight: 2.0, level: ImportanceLevel::Token };
    config.run.num_iterations = num_iterations;
    config.rollout.trigger = HintTrigger::Always;
    config.optimizer.learning_rate = 1e-9;
    let policy = SharedPolicy::new(tiny_policy(7));
    let (sender, reports) = channel();
    let keep = observer_from_fn(move |report| {
        let _ = sender.send(report.metrics.clone());
        ControlFlow::Continue(())
    });
    let mut trainer = Trainer::from_config(config, parts(&policy, lenient_rubric(), true))
        .expect("the configuration is valid")
        .observer(keep)
        .build()
        .expect("the configuration is valid");
    trainer.run(&problems()).expect("the run works");
    let metrics = reports.recv().expect("one step");
    assert!(metrics.get(metrics::HINT_RESCUED_FRAC).is_some_and(|share| share > 0.0));
    [metrics::IMPORTANCE_WEIGHT_MIN, metrics::IMPORTANCE_WEIGHT_MAX]
        .map(|name| metrics.get(name).expect("there is a correction"))
}

#[test]
fn on_policy_samples_have_an_importance_weight_of_one_under_every_scheme() {
    for scheme in [
        RatioScheme::Plain,
        RatioScheme::Hinted,
        RatioScheme::OffContext,
        RatioScheme::Demonstration,
    ] {
        for num_iterations in [1, 2] {
            let [least, most] = importance_weights(scheme, num_iterations);
            let is_one = (least - 1.0).abs() < 1e-3 && (most - 1.0).abs() < 1e-3;
            assert!(is_one, "{scheme:?}, {num_iterations} passes: from {least} to {most}");
        }
    }
}

#[test]
fn the_correction_scores_hinted_samples_once_more_where_the_denominator_lacks_the_hint() {
    let corrected = |scheme| {
        calls_with(scheme, 1, |config| {
            config.loss.importance_correction =
                ImportanceCorrection::Truncate { max_weight: 2.0, level: ImportanceLevel::Token };
        })
    };
    assert_eq!(corrected(RatioScheme::Plain), [call(false, true), call(true, false)]);
    for scheme in [RatioScheme::Hinted, RatioScheme::OffContext, RatioScheme::Demonstration] {
        assert_eq!(corrected(scheme), calls(scheme, 1), "{scheme:?}");
    }
}
