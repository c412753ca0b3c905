//! A model of your own: a table of bigrams that learns to count, with the engine and the trainer of the library.
//!
//! ```text
//! cargo run --release --example custom_policy
//! ```
//!
//! Rewards completions in which every digit follows its predecessor; sixty steps take a few seconds.
#![expect(clippy::print_stdout, reason = "the output of a program")]

use std::ops::ControlFlow;
use std::path::Path;

use hint_grpo::prelude::*;
use hint_policy::tch::{Device, Kind, Tensor};
use hint_reward::verifier_from_fn;

/// Predicts each token from the previous one. Token 10 ends a completion.
struct Bigram(Tensor);

const STOP: u32 = 10;

impl Policy for Bigram {
    // `[batch, seq, vocab]`, differentiable. Scoring, decoding and the backward pass follow from it.
    fn logits(&self, tokens: &TokenBatch) -> Result<Tensor, PolicyError> {
        tokens.check(self.vocab_size(), self.max_positions())?;
        Ok(Tensor::embedding(&self.0, tokens.tokens(), -1, false, false))
    }

    fn parameters(&self) -> Vec<Parameter> {
        vec![Parameter { name: "table".into(), tensor: self.0.shallow_clone() }]
    }

    fn vocab_size(&self) -> usize {
        11
    }

    fn max_positions(&self) -> usize {
        64
    }

    fn save(&self, dir: &Path) -> Result<(), PolicyError> {
        let file = dir.join("table.ot");
        let failed = |source| PolicyError::Other { part: "policy", source: Box::new(source) };
        self.0.save(&file).map_err(failed)
    }
}

/// Digits to tokens and back.
struct Digits;

impl PromptFormat for Digits {
    fn encode(&self, problem: &Problem, _hint: Option<&Hint>) -> Result<Vec<u32>, RolloutError> {
        Ok(problem.question.chars().filter_map(|digit| digit.to_digit(10)).collect())
    }

    fn decode(&self, completion: &[u32]) -> Result<String, RolloutError> {
        Ok(completion.iter().filter_map(|&token| char::from_digit(token, 10)).collect())
    }

    fn stop_tokens(&self) -> &[u32] {
        &[STOP]
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let table = Tensor::zeros([11, 11], (Kind::Float, Device::Cpu)).set_requires_grad(true);
    let policy = SharedPolicy::new(Bigram(table));
    let engine = LocalEngine::new(policy.clone(), vec![STOP]);
    let mut config = GrpoConfig::from_toml("run = { steps = 60, prompts_per_step = 8 }")?;
    config.rollout.sampling.max_completion_len = 4;
    config.optimizer.learning_rate = 0.1;
    let counts = verifier_from_fn("counts", |input: &RewardInput<'_>| {
        let first = input.reference.parse().unwrap_or(0);
        let digits = input.completion.chars().filter_map(|digit| digit.to_digit(10));
        let counts = digits.zip(first..).all(|(digit, next)| digit == next % 10);
        let right = counts && !input.completion.is_empty();
        Judgment::new(if right { Verdict::Correct } else { Verdict::Incorrect })
    });
    let rewards = Rewards::own(Rubric::new(counts));
    let parts = Parts { policy, engine, format: Digits, rewards, hints: Hints::none() };
    let problem =
        |digit: u32| Problem::new(digit.to_string(), digit.to_string(), (digit + 1).to_string());
    let print = observer_from_fn(|report| {
        if report.step % 10 == 0 {
            let reward = report.metrics.get(metrics::REWARD).unwrap_or(0.0);
            println!("step {}: {reward:.2} right", report.step);
        }
        ControlFlow::Continue(())
    });
    let problems: Vec<Problem> = (0..10).map(problem).collect();
    Trainer::from_config(config, parts)?.observer(print).build()?.run(&problems)?;
    Ok(())
}
