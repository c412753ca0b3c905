//! Fixtures of the cross-crate tests: a policy small enough to train in a test, and a task for it.

#![expect(clippy::missing_panics_doc, reason = "fixtures panic when a test cannot continue")]

use std::ops::ControlFlow;
use std::path::Path;

use hint_grpo::{GrpoConfig, Hints, Observer, Parts, Rewards, RunDir, StepReport, Trainer};
use hint_policy::config::Architecture;
use hint_policy::policy::DecoderOptions;
use hint_policy::{
    CausalLm, Decoder, DeviceChoice, LoraConfig, ModelConfig, Parameter, Policy, PolicyError,
    ScoreOptions, SharedPolicy, TokenBatch, TokenScores,
};
use hint_reward::{Judgment, Rubric, Verdict, verifier_from_fn};
use hint_rollout::{
    Completion, GenerationRequest, Hint, LocalEngine, Problem, PromptFormat, RolloutEngine,
    RolloutError, Sampling, WeightSource,
};
use serde_json::Value;
use tch::{Device, Tensor};

/// Token that ends a completion.
pub const STOP: u32 = 1;
/// Token that separates prompt and completion.
const ASK: u32 = 2;
/// Token that stands for a hint.
const HINT: u32 = 3;
/// First of the ten digits.
const DIGIT: u32 = 4;

/// A Llama of 2 layers and 16 dimensions over 16 tokens, with seeded weights.
///
/// Sets the process to one thread. The operations are too small for more, and idle threads of one
/// test would spin on cores that another one needs.
pub fn tiny_policy(seed: u64) -> CausalLm {
    llama(16, 0.3, seed)
}

/// As [`tiny_policy`] in 64 dimensions: about 75 000 weights, which are four units of 24 576 at most. So several processes
/// hold a part of the optimizer's state.
pub fn wide_policy(seed: u64) -> CausalLm {
    llama(64, 0.2, seed)
}

/// A Llama of 2 layers over 16 tokens, with seeded weights.
fn llama(hidden_size: usize, initializer_range: f64, seed: u64) -> CausalLm {
    tch::set_num_threads(1);
    let config = ModelConfig {
        hidden_size,
        intermediate_size: 2 * hidden_size,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        num_key_value_heads: 1,
        head_dim: hidden_size / 2,
        max_position_embeddings: 64,
        initializer_range,
        ..ModelConfig::small(Architecture::Llama, 16)
    };
    CausalLm::init(&config, seed, device()).expect("the configuration is valid")
}

/// A [`tiny_policy`] whose scores pass through a closure, which notes them or fails.
#[derive(Debug)]
pub struct Scored<F> {
    inner: CausalLm,
    drops_inputs: bool,
    score: F,
}

impl<F> Scored<F>
where
    F: Fn(&CausalLm, &TokenBatch, &ScoreOptions) -> Result<TokenScores, PolicyError> + Send,
{
    /// The policy [drops inputs](Policy::drops_inputs), or does not, as far as the trainer knows.
    pub const fn new(inner: CausalLm, drops_inputs: bool, score: F) -> Self {
        Self { inner, drops_inputs, score }
    }
}

impl<F> Policy for Scored<F>
where
    F: Fn(&CausalLm, &TokenBatch, &ScoreOptions) -> Result<TokenScores, PolicyError> + Send,
{
    fn logits(&self, tokens: &TokenBatch) -> Result<Tensor, PolicyError> {
        self.inner.logits(tokens)
    }

    fn score(
        &self,
        tokens: &TokenBatch,
        options: &ScoreOptions,
    ) -> Result<TokenScores, PolicyError> {
        (self.score)(&self.inner, tokens, options)
    }

    fn drops_inputs(&self) -> bool {
        self.drops_inputs
    }

    fn lora(&self) -> Option<&LoraConfig> {
        self.inner.lora()
    }

    fn parameters(&self) -> Vec<Parameter> {
        self.inner.parameters()
    }

    fn vocab_size(&self) -> usize {
        self.inner.vocab_size()
    }

    fn max_positions(&self) -> usize {
        self.inner.max_positions()
    }

    fn decoder(&self, options: &DecoderOptions) -> Result<Box<dyn Decoder + '_>, PolicyError> {
        self.inner.decoder(options)
    }

    fn parameters_changed(&self) {
        self.inner.parameters_changed();
    }

    fn save(&self, dir: &Path) -> Result<(), PolicyError> {
        self.inner.save(dir)
    }
}

/// A [`LocalEngine`] whose requests pass through a closure, which counts them or fails.
#[derive(Debug)]
pub struct Sampled<F> {
    inner: LocalEngine,
    sample: F,
}

impl<F> Sampled<F>
where
    F: FnMut(&mut LocalEngine, &[GenerationRequest]) -> Result<Vec<Vec<Completion>>, RolloutError>
        + Send,
{
    /// The engine that samples by `sample`.
    pub const fn new(inner: LocalEngine, sample: F) -> Self {
        Self { inner, sample }
    }
}

impl<F> RolloutEngine for Sampled<F>
where
    F: FnMut(&mut LocalEngine, &[GenerationRequest]) -> Result<Vec<Vec<Completion>>, RolloutError>
        + Send,
{
    fn name(&self) -> Option<String> {
        None
    }

    fn generate(
        &mut self,
        requests: &[GenerationRequest],
    ) -> Result<Vec<Vec<Completion>>, RolloutError> {
        (self.sample)(&mut self.inner, requests)
    }

    fn sync(&mut self, weights: &dyn WeightSource) -> Result<(), RolloutError> {
        self.inner.sync(weights)
    }

    fn policy_id(&self) -> Option<usize> {
        self.inner.policy_id()
    }
}

/// Device for the models and tensors of these tests: `HINT_TEST_DEVICE`, such as `cuda:0`, else the
/// CPU.
#[expect(clippy::disallowed_methods, reason = "`cargo xtask device` runs the tests elsewhere")]
pub fn device() -> Device {
    std::env::var("HINT_TEST_DEVICE").map_or(Device::Cpu, |name| {
        let choice: DeviceChoice = name.parse().expect("HINT_TEST_DEVICE is cpu, cuda or cuda:N");
        choice.resolve().expect("the device is there").device
    })
}

/// Digits as tokens.
#[derive(Debug, Clone, Copy)]
pub struct Digits;

impl PromptFormat for Digits {
    fn encode(&self, problem: &Problem, hint: Option<&Hint>) -> Result<Vec<u32>, RolloutError> {
        let digits = problem.question.bytes().filter(u8::is_ascii_digit);
        let hint =
            hint.map(|hint| [vec![HINT], digits_of(&hint.text)].concat()).unwrap_or_default();
        Ok(digits.map(|digit| DIGIT + u32::from(digit - b'0')).chain(hint).chain([ASK]).collect())
    }

    fn encode_completion(&self, text: &str) -> Result<Vec<u32>, RolloutError> {
        Ok(digits_of(text))
    }

    fn decode(&self, completion: &[u32]) -> Result<String, RolloutError> {
        let digit = |token: &u32| token.checked_sub(DIGIT).filter(|digit| *digit < 10);
        Ok(completion
            .iter()
            .map(|t| digit(t).map_or('?', |d| char::from_digit(d, 10).unwrap_or('?')))
            .collect())
    }

    fn stop_tokens(&self) -> &[u32] {
        &[STOP]
    }
}

/// The digits of a text as tokens; the rest of it is left out.
fn digits_of(text: &str) -> Vec<u32> {
    let digits = text.bytes().filter(u8::is_ascii_digit);
    digits.map(|digit| DIGIT + u32::from(digit - b'0')).collect()
}

/// Sixteen problems. Those of even number ask for a digit of 5 or more in the completion. The
/// others ask for three 9s, which an untrained policy does not write.
pub fn problems() -> Vec<Problem> {
    (0..16)
        .map(|number| {
            let answer = if number % 2 == 0 { "large" } else { "nines" };
            Problem::new(number.to_string(), format!("{number:02}"), answer).with_hint("nine")
        })
        .collect()
}

/// Judges completions of [`problems`].
pub fn rubric() -> Rubric {
    Rubric::new(verifier_from_fn("test", |input| {
        let solved = match input.reference {
            "large" => input.completion.contains(['5', '6', '7', '8', '9']),
            _ => input.completion.contains("999"),
        };
        Judgment::new(if solved { Verdict::Correct } else { Verdict::Incorrect })
    }))
}

/// A rubric that judges every hinted and plain completion by a coin that depends on its tokens. So
/// hinted groups have successes and failures from the first step on.
pub fn lenient_rubric() -> Rubric {
    Rubric::new(verifier_from_fn("lenient", |input| {
        let solved = match input.reference {
            "large" => input.completion.contains(['5', '6', '7', '8', '9']),
            // Never solved in a short completion, often in a long one.
            _ => input.completion.len() % 3 == 0,
        };
        Judgment::new(if solved { Verdict::Correct } else { Verdict::Incorrect })
    }))
}

/// A configuration of short steps.
pub fn config(steps: u64) -> GrpoConfig {
    let mut config = GrpoConfig::default();
    config.run.steps = steps;
    config.run.prompts_per_step = 4;
    config.run.checkpoint_every = 2;
    config.rollout.group_size = 4;
    config.rollout.sampling =
        Sampling { max_completion_len: 8, temperature: 1.0, ..Sampling::default() };
    config.optimizer.learning_rate = 3e-3;
    config
}

/// The parts of a run on [`problems`], with the hints of the configuration if asked for.
pub fn parts(policy: &SharedPolicy, rubric: Rubric, hints: bool) -> Parts<LocalEngine, Digits> {
    let engine = LocalEngine::new(policy.clone(), vec![STOP]);
    let hints = if hints { Hints::configured() } else { Hints::none() };
    Parts { policy: policy.clone(), engine, format: Digits, rewards: Rewards::own(rubric), hints }
}

/// A trainer of a fresh tiny policy, and the policy.
pub fn trainer(config: &GrpoConfig, hints: bool, dir: Option<RunDir>) -> (Trainer, SharedPolicy) {
    let policy = SharedPolicy::new(tiny_policy(7));
    let parts = parts(&policy, lenient_rubric(), hints);
    let mut builder =
        Trainer::from_config(config.clone(), parts).expect("the configuration is valid");
    if let Some(dir) = dir {
        builder = builder.run_dir(dir);
    }
    (builder.build().expect("the configuration is valid"), policy)
}

/// Stops a run after a step.
#[derive(Debug, Clone, Copy)]
pub struct StopAfter(pub u64);

impl Observer for StopAfter {
    fn on_step(&mut self, report: &StepReport) -> ControlFlow<()> {
        if report.step == self.0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// All weights of a policy, in order.
pub fn weights(policy: &SharedPolicy) -> Vec<f32> {
    let parameters = policy.lock().parameters();
    parameters
        .iter()
        .flat_map(|parameter| {
            Vec::<f32>::try_from(parameter.tensor.detach().contiguous().view([-1]))
                .expect("parameters are dense f32")
        })
        .collect()
}

/// The lines of a run's `metrics.jsonl`.
pub fn metric_lines(dir: &Path) -> Vec<Value> {
    let text = String::from_utf8(bytes(&dir.join("metrics.jsonl"))).expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// A file's bytes.
pub fn bytes(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("`{}`: {error}", path.display()))
}
