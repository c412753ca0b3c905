//! An engine of one's own: a plain loop over the policy's logits, without a cache.
//!
//! ```text
//! cargo run --release --example custom_engine
//! ```
//!
//! Trains the tiny model for three steps with its own `RolloutEngine` and prints how well its
//! log-probabilities agree with the trainer's in each. Takes about a minute on two CPU cores: every token
//! computes the whole prompt again.
#![expect(clippy::print_stdout, reason = "the output of a program")]

use std::ops::ControlFlow;

use anyhow::{Result, ensure};
use hint_grpo::{GrpoConfig, Observer, StepReport, Trainer, metrics};
use hint_policy::{LoadOptions, LoadedModel, SharedPolicy, TokenBatch, TokenRow};
use hint_reward::{ExactMatch, Rubric};
use hint_rl::tiny::{swaps, tiny_format, tiny_model};
use hint_rollout::{
    Collector, Completion, DatasetHints, GenerationRequest, PolicyVersion, RolloutEngine,
    RolloutError, Sampling, Seed, StopReason, WeightSource,
};
use tch::Kind;

/// Samples the completions of a prompt side by side, token by token.
struct PlainLoop {
    policy: SharedPolicy,
    stop_tokens: Vec<u32>,
    version: PolicyVersion,
}

impl PlainLoop {
    /// One completion; the random numbers depend on its seed and on the position alone.
    fn complete(&self, prompt: &[u32], sampling: &Sampling, seed: Seed) -> Result<Completion> {
        let policy = self.policy.lock();
        let (mut tokens, mut logprobs) = (Vec::new(), Vec::new());
        while tokens.len() < sampling.max_completion_len {
            let row = TokenRow { prompt, completion: &tokens };
            let batch = TokenBatch::new(&[row], policy.device())?;
            let logits = tch::no_grad(|| policy.logits(&batch))?.get(0).get(-1);
            let tempered = logits.to_kind(Kind::Double) / sampling.temperature;
            let next = Vec::<f64>::try_from(tempered.log_softmax(-1, Kind::Double))?;
            let mut left = seed.child(tokens.len() as u64).unit();
            let drawn = next.iter().position(|logprob| {
                left -= logprob.exp();
                left < 0.0
            });
            let index = drawn.unwrap_or(next.len() - 1);
            tokens.push(u32::try_from(index)?);
            logprobs.push(next[index]);
            if self.stop_tokens.contains(&tokens[tokens.len() - 1]) {
                return Ok(Completion::new(tokens, logprobs, StopReason::Stop, self.version));
            }
        }
        Ok(Completion::new(tokens, logprobs, StopReason::Length, self.version))
    }
}

impl RolloutEngine for PlainLoop {
    fn generate(
        &mut self,
        requests: &[GenerationRequest],
    ) -> Result<Vec<Vec<Completion>>, RolloutError> {
        let group = |request: &GenerationRequest| {
            let seeds =
                (0..request.num_completions as u64).map(|i| Seed::new(request.seed).child(i));
            let complete = |seed| self.complete(&request.prompt, &request.sampling, seed);
            seeds.map(complete).collect::<Result<Vec<_>>>()
        };
        let groups = requests.iter().map(group).collect::<Result<Vec<_>>>();
        groups.map_err(|error| RolloutError::other("engine", error))
    }

    fn sync(&mut self, weights: &dyn WeightSource) -> Result<(), RolloutError> {
        // The policy is shared; an engine elsewhere calls `weights.write_checkpoint`.
        self.version = weights.version();
        Ok(())
    }
}

/// Prints one line a step.
struct Print;

impl Observer for Print {
    fn on_step(&mut self, report: &StepReport) -> ControlFlow<()> {
        let value = |name| report.metrics.get(name).unwrap_or(f64::NAN);
        let (solved, hinted) = (value(metrics::ROLLOUT_PASS_RATE), value(metrics::HINT_PASS_RATE));
        let difference = value(metrics::SAMPLING_LOGP_DIFFERENCE_MAX);
        println!(
            "step {}: {solved:.2} solved, {hinted:.2} with a hint; largest difference {difference:.1e} nats",
            report.step
        );
        ControlFlow::Continue(())
    }
}

fn main() -> Result<()> {
    tch::set_num_threads(1);
    let mut config = GrpoConfig::from_toml(include_str!("configs/tiny.toml"))?;
    config.run.steps = 3;
    config.run.problems_per_step = 4;
    let plain = &config.rollout.sampling;
    ensure!(plain.top_k.is_none() && plain.top_p == 1.0 && plain.min_p == 0.0, "not supported");
    let model = LoadedModel::load(tiny_model(), &LoadOptions::default())?;
    let policy = SharedPolicy::new(model.policy);
    let engine = PlainLoop {
        policy: policy.clone(),
        stop_tokens: model.stop_tokens.clone(),
        version: PolicyVersion::default(),
    };
    let format = tiny_format(model.tokenizer, model.stop_tokens);
    let rubric = Rubric::new(ExactMatch::new());
    let collector = Collector::new(engine, format, rubric, config.rollout.clone())?
        .with_hints(DatasetHints::new());
    Trainer::builder(policy, collector, config)
        .observer(Print)
        .build()?
        .run(&swaps::problems(0).0)?;
    Ok(())
}
