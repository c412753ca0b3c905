//! Responses whose loss mask has a hole, from their source to the optimizer, against gradients worked out by hand.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use hint_grpo::advantage::{AdvantageConfig, Baseline};
use hint_grpo::objective::Aggregation;
use hint_grpo::observer::observer_from_fn;
use hint_grpo::{
    Demonstration, GrpoConfig, Hints, Parts, Rewards, SupervisedTrainer, Trainer, metrics,
};
use hint_policy::SharedPolicy;
use hint_reward::reward::Brevity;
use hint_reward::{Reward, Rubric, from_fn};
use hint_rollout::collect::hinted::HintTrigger;
use hint_rollout::evaluate::{EvaluationOptions, evaluate};
use hint_rollout::{
    Completion, GenerationRequest, Hint, PolicyVersion, Problem, PromptFormat, RolloutEngine,
    RolloutError, Sampling, StopReason, WeightSource,
};

use crate::bigram::{Bigram, Keep};
use crate::upload;

/// Prompts of token 0; tokens as digits.
struct Digits;

impl PromptFormat for Digits {
    fn encode(&self, _problem: &Problem, _hint: Option<&Hint>) -> Result<Vec<u32>, RolloutError> {
        Ok(vec![0])
    }

    fn decode(&self, completion: &[u32]) -> Result<String, RolloutError> {
        Ok(completion.iter().map(ToString::to_string).collect())
    }

    fn stop_tokens(&self) -> &[u32] {
        &[]
    }
}

/// Answers with `1 2 0`, whose middle a tool wrote, and with `0`.
struct WithTool {
    version: PolicyVersion,
}

impl RolloutEngine for WithTool {
    fn generate(
        &mut self,
        requests: &[GenerationRequest],
    ) -> Result<Vec<Vec<Completion>>, RolloutError> {
        let even = -(3.0_f64.ln());
        let completion = |tokens: &[u32], logprobs: &[f64]| {
            let (tokens, logprobs) = (tokens.to_vec(), logprobs.to_vec());
            Completion::new(tokens, logprobs, StopReason::Stop, self.version)
        };
        let group = || {
            let with_tool = completion(&[1, 2, 0], &[even, -90.0, even]);
            vec![with_tool.with_loss_mask(vec![true, false, true]), completion(&[0], &[even])]
        };
        Ok(requests.iter().map(|_| group()).collect())
    }

    fn sync(&mut self, weights: &dyn WeightSource) -> Result<(), RolloutError> {
        self.version = weights.version();
        Ok(())
    }
}

fn config() -> GrpoConfig {
    let mut config = GrpoConfig::default();
    config.run.steps = 1;
    config.run.prompts_per_step = 1;
    config.optimizer.max_grad_norm = 1e9;
    config.rollout.group_size = 2;
    config.rollout.trigger = HintTrigger::Never;
    config.rollout.sampling.temperature = 1.0;
    config.loss.hinted_weight.clear();
    config.loss.aggregation = Aggregation::TokenMean;
    config.advantage = AdvantageConfig::MeanOnly { baseline: Baseline::Group };
    config
}

/// An even table, and an optimizer that keeps its gradient.
fn table() -> (SharedPolicy, Keep, Arc<Mutex<Vec<f64>>>) {
    let logits = upload(&[0.0_f64; 9]).view([3, 3]).set_requires_grad(true);
    let policy = SharedPolicy::new(Bigram::new(logits));
    let gradient = Arc::new(Mutex::new(Vec::new()));
    let parameters = policy.lock().parameters();
    (policy, Keep { parameters, gradient: Arc::clone(&gradient) }, gradient)
}

/// `Σ c · ∇ log π(to | from)` of an even table: `c` times 1 − 1/3 at the token, −1/3 elsewhere.
#[track_caller]
fn check(found: &Mutex<Vec<f64>>, terms: &[(usize, usize, f64)]) {
    let mut expected = [0.0; 9];
    for &(from, to, coefficient) in terms {
        for token in 0..3 {
            let hit = if token == to { 1.0 } else { 0.0 };
            expected[3 * from + token] += coefficient * (hit - 1.0 / 3.0);
        }
    }
    let found = found.lock().expect("no test panics here");
    assert!(
        found.len() == 9
            && found.iter().zip(expected).all(|(one, other)| (one - other).abs() < 1e-12),
        "{found:?} is not {expected:?}"
    );
}

#[test]
fn a_hole_in_a_sampled_completion_does_not_train() {
    let (policy, optimizer, gradient) = table();
    let first = from_fn("first", |input| f64::from(input.completion.starts_with('1')));
    let parts = Parts {
        policy,
        engine: WithTool { version: PolicyVersion::default() },
        format: Digits,
        rewards: Rewards::own(Rubric::from_reward(first, 0.5)),
        hints: Hints::none(),
    };
    let mut trainer = Trainer::from_config(config(), parts)
        .and_then(|builder| builder.optimizer(optimizer).build())
        .expect("the configuration is valid");
    trainer.run(&vec![Problem::new("a", "?", "1")]).expect("the run works");
    // Advantages 1/2 and −1/2, divided by the three tokens that train.
    let sixth = 1.0 / 6.0;
    check(&gradient, &[(0, 1, -sixth), (2, 0, -sixth), (0, 0, sixth)]);
}

#[test]
fn tokens_of_a_tool_count_neither_for_rewards_by_length_nor_for_mean_lengths() {
    let (policy, optimizer, _) = table();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (scores, means) = (Arc::clone(&seen), Arc::new(Mutex::new(None)));
    let brevity = Brevity::new(10).expect("a limit");
    let judged = from_fn("judged", move |input| {
        let score = brevity.score(input).expect("the length is known");
        scores.lock().expect("no panic").push(score);
        score
    });
    let parts = Parts {
        policy,
        engine: WithTool { version: PolicyVersion::default() },
        format: Digits,
        rewards: Rewards::own(Rubric::from_reward(judged, 0.5)),
        hints: Hints::none(),
    };
    let mean = Arc::clone(&means);
    let watch = observer_from_fn(move |report| {
        *mean.lock().expect("no panic") = report.metrics.get(metrics::COMPLETIONS_MEAN_LENGTH);
        ControlFlow::Continue(())
    });
    let mut trainer = Trainer::from_config(config(), parts)
        .and_then(|builder| builder.optimizer(optimizer).observer(watch).build())
        .expect("the configuration is valid");
    trainer.run(&vec![Problem::new("a", "?", "1")]).expect("the run works");
    // Of `1 2 0` the policy wrote two tokens, of `0` one.
    assert_eq!(*seen.lock().expect("no panic"), [0.8, 0.9]);
    assert_eq!(*means.lock().expect("no panic"), Some(1.5));

    let options = EvaluationOptions {
        completions_per_problem: 2,
        sampling: Sampling::default(),
        ..EvaluationOptions::default()
    };
    let rubric = Arc::new(Rubric::from_reward(from_fn("none", |_| 0.0), 0.5));
    let mut engine = WithTool { version: PolicyVersion::default() };
    let problems = vec![Problem::new("a", "?", "1")];
    let evaluation = evaluate(&mut engine, &Digits, &rubric, &problems, &options, &mut |_| {})
        .expect("the evaluation works");
    assert_eq!(evaluation.overall.lengths.mean, 1.5);
}

#[test]
fn a_hole_in_a_demonstration_does_not_train() {
    let demonstration = |mask: &[bool]| {
        Demonstration::new("a", vec![0], vec![1, 2, 0]).with_loss_mask(mask.to_vec())
    };
    let run = |mask: &[bool]| {
        let (policy, optimizer, gradient) = table();
        let mut trainer = SupervisedTrainer::builder(policy, config())
            .optimizer(optimizer)
            .build()
            .expect("the configuration is valid");
        trainer.run(&[demonstration(mask)][..]).map(|_| gradient)
    };
    let gradient = run(&[true, false, true]).expect("the run works");
    check(&gradient, &[(0, 1, -0.5), (2, 0, -0.5)]);
    let error = run(&[true]).expect_err("a mask of another length").to_string();
    assert_eq!(error, "sample 0 has 1 values of `loss_mask`, expected 3");
}

#[test]
fn parts_that_supervised_training_does_not_use_are_refused() {
    let (policy, ..) = table();
    let error = SupervisedTrainer::builder(policy.clone(), config())
        .reference(policy)
        .build()
        .expect_err("there is no KL term")
        .to_string();
    assert!(error.contains("reference: must not be given"), "{error}");
}
