//! A hint strategy of your own: look at the wrong completions, and nudge accordingly.
//!
//! ```text
//! cargo run --release --example custom_hints
//! ```
//!
//! Trains the tiny model for ten steps with its own `HintProvider` and prints how many groups were
//! hinted and rescued in each. Takes about fifteen seconds on two CPU cores.
#![expect(clippy::print_stdout, reason = "the output of a program")]

use std::ops::ControlFlow;

use hint_grpo::prelude::*;

/// Asks a policy that answers in a hurry to slow down, and does not disturb one that works.
struct SlowDown;

impl HintProvider for SlowDown {
    fn hint(&self, request: &HintRequest<'_>) -> Result<Option<Hint>, RolloutError> {
        let hasty = request.failed.iter().all(|rollout| rollout.completion.tokens.len() < 12);
        Ok(hasty.then(|| Hint::new("Go one swap at a time.")))
    }
}

const CONFIG: &str = "
run = { steps = 10, prompts_per_step = 12 }
rollout.sampling = { temperature = 1.0, max_completion_len = 64 }
optimizer.learning_rate = 3e-4
";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Operations of so small a model are faster on one thread.
    tch::set_num_threads(1);
    let config = GrpoConfig::from_toml(CONFIG)?;
    let tiny = std::env::args().nth(1).unwrap_or_else(|| "examples/tiny".to_owned());
    let model = LoadedModel::load(&tiny, &LoadOptions::default())?;
    let policy = SharedPolicy::new(model.policy);
    let engine = LocalEngine::new(policy.clone(), model.stop_tokens.clone());
    // How this model was shown problems and hints. Most models have a chat template: see `ChatFormat`.
    let format = TextFormat::new(model.tokenizer.into(), model.stop_tokens)
        .with_frame("Q: ", "\nA:")
        .with_hint_template(HintTemplate { introduction: "\nHint: ".to_owned() });
    let rubric = Rubric::new(ExactMatch::new());
    let parts = Parts {
        policy,
        engine,
        format,
        rewards: Rewards::own(rubric),
        hints: Hints::own(SlowDown),
    };
    let print = observer_from_fn(|report| {
        let share = |name| report.metrics.get(name).unwrap_or(0.0);
        let [hinted, rescued] = [metrics::HINT_HINTED_FRAC, metrics::HINT_RESCUED_FRAC].map(share);
        println!("step {:>2}: {hinted:.2} hinted, {rescued:.2} of those rescued", report.step);
        ControlFlow::Continue(())
    });
    Trainer::from_config(config, parts)?
        .observer(print)
        .build()?
        .run(&read_problems(format!("{tiny}/problems.jsonl"))?)?;
    Ok(())
}
