//! One all-wrong group through a preset. The engine is scripted, a real policy notes what it scores,
//! and an optimizer keeps the gradient instead of following it.

use std::sync::{Arc, Mutex};

use hint_grpo::{GrpoConfig, GrpoError, Hints, Optimizer, Parts, Rewards, Trainer};
use hint_policy::{
    CausalLm, Parameter, Policy, ScoreOptions, SharedPolicy, TokenBatch, TokenRow, TokenScores,
};
use hint_reward::{Judgment, Rubric, Verdict, verifier_from_fn};
use hint_rollout::{
    Completion, GenerationRequest, PolicyVersion, Problem, RolloutEngine, RolloutError, StopReason,
    WeightSource,
};
use hint_tests::{Digits, Scored, device, tiny_policy};
use serde_json::json;
use tch::{Kind, Tensor};

/// The plain prompt `12`, as [`Digits`] writes it.
pub(super) const PLAIN: [u32; 3] = [5, 6, 2];
/// A completion that is judged correct: `999` and the stop token.
pub(super) const RIGHT: [u32; 4] = [13, 13, 13, 1];
/// One that is not: `000`.
pub(super) const WRONG: [u32; 4] = [4, 4, 4, 1];
/// Seed of the reference policy.
pub(super) const REFERENCE: u64 = 8;
/// The solution `7 1 9 9 9`.
pub(super) const SOLUTION: [u32; 5] = [11, 5, 13, 13, 13];

/// The plain prompt with a hint of these digits.
pub(super) fn hinted(digits: &[u32]) -> Vec<u32> {
    hinted_question(&[1, 2], digits)
}

/// The prompt of a question with a hint, both as digits.
pub(super) fn hinted_question(question: &[u32], digits: &[u32]) -> Vec<u32> {
    let shifted = |digits: &[u32]| digits.iter().map(|digit| digit + 4).collect::<Vec<_>>();
    [&shifted(question)[..], &[3], &shifted(digits), &[2]].concat()
}

/// The plain prompt with the first `count` tokens of the solution after it.
pub(super) fn prefixed(count: usize) -> Vec<u32> {
    [&PLAIN[..], &SOLUTION[..count]].concat()
}

/// Record of the last step.
#[derive(Debug, Clone, Default)]
pub(super) struct Followed {
    /// The prompts that were sampled, in order.
    pub(super) prompts: Vec<Vec<u32>>,
    /// The prompts that were scored without a gradient, and with one.
    pub(super) scored: Vec<Vec<u32>>,
    pub(super) trained: Vec<Vec<u32>>,
    /// The gradient of all parameters.
    pub(super) gradient: Vec<f64>,
}

type Log = Arc<Mutex<Vec<Followed>>>;

/// Follows the group through the last of `steps` steps. A helped prompt for which `solves` holds has
/// every other completion right; a plain one has none.
pub(super) fn follow(preset: &str, steps: u64, solves: fn(&[u32]) -> bool) -> Followed {
    let mut config = GrpoConfig::from_toml(preset).expect("the preset is valid");
    config.run.steps = steps;
    run(config, solves, 1.0, false, &[])
}

/// Follows a group of which every other plain completion is right.
pub(super) fn follow_mixed(preset: &str) -> Followed {
    let mut config = GrpoConfig::from_toml(preset).expect("the preset is valid");
    config.run.steps = 1;
    run(config, |_| true, 1.0, true, &[])
}

/// As [`follow_mixed`], with the groups of `others` in the same update.
pub(super) fn follow_beside(preset: &str, others: &[Problem]) -> Followed {
    let mut config = GrpoConfig::from_toml(preset).expect("the preset is valid");
    config.run.steps = 1;
    config.run.num_minibatches = 1;
    run(config, |_| true, 1.0, true, others)
}

/// Follows the group through the second of two updates. Between them the policy becomes
/// [`moved_policy`], so that it is not the old policy any more.
pub(super) fn follow_second_update(preset: &str) -> Followed {
    let mut config = GrpoConfig::from_toml(preset).expect("the preset is valid");
    config.run.steps = 1;
    config.run.num_iterations = 2;
    run(config, |_| true, MOVE, false, &[])
}

/// Factor of all weights between the two updates of [`follow_second_update`].
const MOVE: f64 = 1.1;

/// The policy of [`follow_second_update`] after its first update.
pub(super) fn moved_policy() -> CausalLm {
    let policy = tiny_policy(7);
    scale(&policy.parameters(), MOVE);
    policy
}

fn scale(parameters: &[Parameter], factor: f64) {
    tch::no_grad(|| {
        for parameter in parameters {
            let _ = parameter.tensor.shallow_clone().g_mul_scalar_(factor);
        }
    });
}

fn run(
    mut config: GrpoConfig,
    solves: fn(&[u32]) -> bool,
    moves: f64,
    solves_plain: bool,
    others: &[Problem],
) -> Followed {
    let needs_reference = config.loss.needs_reference();
    let needs_teacher = config.loss.further_teacher().is_some();
    config.run.prompts_per_step = 1 + others.len();
    config.rollout.group_size = 4;
    config.optimizer.max_grad_norm = 1e9;
    let log = Log::new(Mutex::new(vec![Followed::default()]));
    let inner = tiny_policy(7);
    let optimizer = Keeper { parameters: inner.parameters(), log: Arc::clone(&log), moves };
    let noted = Arc::clone(&log);
    let policy = Scored::new(inner, true, move |inner, tokens, options| {
        let scores = inner.score(tokens, options)?;
        note(&noted, tokens, &scores);
        Ok(scores)
    });
    let engine = Scripted { log: Arc::clone(&log), solves, solves_plain };
    let rubric = Rubric::new(verifier_from_fn("test", |input| {
        let solved = input.completion.contains("999");
        let verdict = if solved { Verdict::Correct } else { Verdict::Incorrect };
        Judgment::new(verdict).with_extracted(input.completion.trim_matches('?'))
    }));
    let mut problem =
        Problem::new("p", "12", "nines").with_hint("nine 9").with_solution("7 1 9 9 9");
    for tier in ["knowledge", "planning", "solution"] {
        for level in 1..=4 {
            problem.columns.insert(format!("{tier}_{level}"), json!(level.to_string()));
        }
    }
    let parts = Parts {
        policy: SharedPolicy::new(policy),
        format: Digits,
        rewards: Rewards::own(rubric),
        engine,
        hints: Hints::configured(),
    };
    let mut builder = Trainer::from_config(config, parts)
        .expect("the configuration is valid")
        .optimizer(optimizer);
    if needs_reference {
        builder = builder.reference(SharedPolicy::new(tiny_policy(REFERENCE)));
    }
    if needs_teacher {
        builder = builder.teacher(SharedPolicy::new(tiny_policy(7)));
    }
    let mut trainer = builder.build().expect("the configuration is valid");
    trainer.run(&[&[problem][..], others].concat()).expect("the run works");
    let steps = log.lock().expect("no test panics here");
    // The optimizer opens an entry for the step after it; without a group it takes none.
    steps[steps.len().saturating_sub(2)].clone()
}

/// A row of the hand-derived gradient: `Σ_t coefficient_t · ∇ log π(y_t | prompt, y_<t)`.
pub(super) struct Term<'a> {
    pub(super) prompt: &'a [u32],
    pub(super) completion: &'a [u32],
    pub(super) coefficients: Vec<f64>,
}

/// A row with the same coefficient for each token.
pub(super) fn term<'a>(prompt: &'a [u32], completion: &'a [u32], coefficient: f64) -> Term<'a> {
    Term { prompt, completion, coefficients: vec![coefficient; completion.len()] }
}

/// Log-probabilities of a completion under the policy of [`follow`], at `temperature`.
pub(super) fn logprobs(prompt: &[u32], completion: &[u32], temperature: f64) -> Vec<f64> {
    logprobs_of(&tiny_policy(7), prompt, completion, temperature)
}

/// Log-probabilities of a completion under `policy`, at `temperature`.
pub(super) fn logprobs_of(
    policy: &CausalLm,
    prompt: &[u32],
    completion: &[u32],
    temperature: f64,
) -> Vec<f64> {
    let scores = score(policy, prompt, completion, temperature);
    Vec::try_from(scores.detach().to_kind(Kind::Double)).expect("a dense row")
}

fn score(policy: &CausalLm, prompt: &[u32], completion: &[u32], temperature: f64) -> Tensor {
    let batch = TokenBatch::new(&[TokenRow { prompt, completion }], device()).expect("one row");
    let options = ScoreOptions { temperature, ..ScoreOptions::default() };
    let scores = policy.score(&batch, &options).expect("the row fits");
    let (start, len) = (prompt.len(), completion.len());
    let at = |len: usize| i64::try_from(len).expect("short");
    scores.logprobs.narrow(1, at(start), at(len)).squeeze_dim(0)
}

/// Compares a followed gradient with the hand-derived one.
#[track_caller]
pub(super) fn assert_gradient(followed: &Followed, terms: &[Term<'_>], temperature: f64) {
    assert_gradient_of(&tiny_policy(7), followed, terms, temperature);
}

/// As [`assert_gradient`], where the terms are those of `policy`.
#[track_caller]
pub(super) fn assert_gradient_of(
    policy: &CausalLm,
    followed: &Followed,
    terms: &[Term<'_>],
    temperature: f64,
) {
    let mut loss = Tensor::zeros([], (Kind::Float, device()));
    for Term { prompt, completion, coefficients } in terms {
        let coefficients =
            Tensor::from_slice(coefficients).to_kind(Kind::Float).to_device(device());
        loss += (score(policy, prompt, completion, temperature) * coefficients).sum(Kind::Float);
    }
    if !terms.is_empty() {
        loss.backward();
    }
    assert_followed(followed, policy, terms.is_empty());
}

/// The whole distributions before the tokens of a completion, as log-probabilities `[tokens, vocabulary]`.
pub(super) fn distributions(policy: &CausalLm, prompt: &[u32], completion: &[u32]) -> Tensor {
    let batch = TokenBatch::new(&[TokenRow { prompt, completion }], device()).expect("one row");
    let at = |len: usize| i64::try_from(len).expect("short");
    let logits = policy.logits(&batch).expect("the row fits") / 0.9;
    logits.log_softmax(-1, None::<Kind>).get(0).narrow(
        0,
        at(prompt.len() - 1),
        at(completion.len()),
    )
}

/// Compares a followed gradient with the gradient of `loss`, a function of the parameters of `policy`.
#[track_caller]
pub(super) fn assert_gradient_of_loss(followed: &Followed, policy: &CausalLm, loss: &Tensor) {
    loss.backward();
    assert_followed(followed, policy, false);
}

/// Compares a followed gradient with the one that the parameters of `policy` have.
#[track_caller]
fn assert_followed(followed: &Followed, policy: &CausalLm, is_zero: bool) {
    let expected = gradient(&policy.parameters());
    let largest = expected.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
    assert_eq!(is_zero, largest == 0.0, "the hand-derived gradient is no trivial one");
    for (got, expected) in followed.gradient.iter().zip(&expected) {
        let close = (got - expected).abs() <= 1e-5 * largest + 1e-9;
        assert!(close, "got {got:e}, expected {expected:e} (largest {largest:e})");
    }
    assert_eq!(followed.gradient.len(), expected.len());
}

/// All gradients in order; zeros where there is none.
fn gradient(parameters: &[Parameter]) -> Vec<f64> {
    let flat = parameters.iter().flat_map(|parameter| {
        let gradient = parameter.tensor.grad();
        let gradient = if gradient.defined() { gradient } else { parameter.tensor.zeros_like() };
        let gradient = gradient.detach().to_kind(Kind::Double).contiguous().view([-1]);
        Vec::<f64>::try_from(gradient).expect("parameters are dense")
    });
    flat.collect()
}

struct Scripted {
    log: Log,
    solves: fn(&[u32]) -> bool,
    solves_plain: bool,
}

impl RolloutEngine for Scripted {
    fn generate(
        &mut self,
        requests: &[GenerationRequest],
    ) -> Result<Vec<Vec<Completion>>, RolloutError> {
        let group = |request: &GenerationRequest| {
            let mut log = self.log.lock().expect("no test panics here");
            log.last_mut().expect("a step").prompts.push(request.prompt.clone());
            let is_open = self.solves_plain || request.prompt != PLAIN;
            let solves = is_open && (self.solves)(&request.prompt);
            let complete = |index: usize| {
                let tokens = if solves && index.is_multiple_of(2) { RIGHT } else { WRONG };
                let logprobs = vec![-0.7; tokens.len()];
                Completion::new(tokens.to_vec(), logprobs, StopReason::Stop, PolicyVersion(0))
            };
            (0..request.num_completions).map(complete).collect()
        };
        Ok(requests.iter().map(group).collect())
    }

    fn sync(&mut self, _weights: &dyn WeightSource) -> Result<(), RolloutError> {
        Ok(())
    }
}

/// Notes the prompts of a batch that was scored.
fn note(log: &Log, tokens: &TokenBatch, scores: &TokenScores) {
    let mut log = log.lock().expect("no test panics here");
    let step = log.last_mut().expect("a step");
    let prompts =
        if scores.logprobs.requires_grad() { &mut step.trained } else { &mut step.scored };
    for (row, &len) in (0..).zip(tokens.prompt_lens()) {
        let ids = Vec::<i64>::try_from(tokens.tokens().get(row)).expect("a dense row");
        let ids = ids[..len].iter().map(|&id| u32::try_from(id).expect("a token"));
        prompts.push(ids.collect());
    }
}

/// Keeps the gradient, and scales the weights by a factor instead of following it.
struct Keeper {
    parameters: Vec<Parameter>,
    log: Log,
    moves: f64,
}

impl Optimizer for Keeper {
    fn step(&mut self, _learning_rate: f64) -> Result<(), GrpoError> {
        let mut log = self.log.lock().expect("no test panics here");
        log.last_mut().expect("a step").gradient = gradient(&self.parameters);
        log.push(Followed::default());
        if self.moves != 1.0 {
            scale(&self.parameters, self.moves);
        }
        Ok(())
    }

    fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }
}
