//! A hint strategy of one's own: look at what went wrong, and nudge accordingly.
//!
//! ```text
//! cargo run --release --example custom_hints
//! ```
//!
//! Trains the tiny model for ten steps with its own `HintProvider` and prints how many groups were
//! hinted and rescued in each. Takes about fifteen seconds on two CPU cores.
#![expect(clippy::print_stdout, reason = "the output of a program")]

use std::ops::ControlFlow;

use anyhow::Result;
use hint_grpo::{GrpoConfig, Observer, StepReport, Trainer, metrics};
use hint_policy::{LoadOptions, LoadedModel, SharedPolicy};
use hint_reward::{ExactMatch, Rubric};
use hint_rl::tiny::{swaps, tiny_format, tiny_model};
use hint_rollout::{Collector, Hint, HintProvider, HintRequest, LocalEngine, RolloutError};

/// Tells a policy that answers in a hurry to slow down, and leaves one that works in peace.
struct SlowDown;

impl HintProvider for SlowDown {
    fn hint(&self, request: &HintRequest<'_>) -> Result<Option<Hint>, RolloutError> {
        let hasty = request.failed.iter().all(|rollout| rollout.completion.tokens.len() < 12);
        Ok(hasty.then(|| Hint::new("Go one swap at a time.")))
    }
}

/// Prints one line a step.
struct Print;

impl Observer for Print {
    fn on_step(&mut self, report: &StepReport) -> ControlFlow<()> {
        let share = |name| report.metrics.get(name).unwrap_or(0.0);
        let [hinted, rescued] = [metrics::HINT_HINTED_FRAC, metrics::HINT_RESCUED_FRAC].map(share);
        println!("step {:>2}: {hinted:.2} hinted, {rescued:.2} of those rescued", report.step);
        ControlFlow::Continue(())
    }
}

fn main() -> Result<()> {
    tch::set_num_threads(1);
    let mut config = GrpoConfig::from_toml(include_str!("configs/tiny.toml"))?;
    config.run.steps = 10;
    let model = LoadedModel::load(tiny_model(), &LoadOptions::default())?;
    let policy = SharedPolicy::new(model.policy);
    let engine = LocalEngine::new(policy.clone(), model.stop_tokens.clone());
    let format = tiny_format(model.tokenizer, model.stop_tokens);
    let rubric = Rubric::new(ExactMatch::new());
    let collector =
        Collector::new(engine, format, rubric, config.rollout.clone())?.with_hints(SlowDown);
    Trainer::builder(policy, collector, config)
        .observer(Print)
        .build()?
        .run(&swaps::problems(0).0)?;
    Ok(())
}
