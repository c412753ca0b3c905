//! Credit of your own: nothing is sampled under a hint. It only marks the tokens of a plain completion that deserve the
//! advantage.
//!
//! ```text
//! cargo run --release --example custom_credit
//! ```
//!
//! Trains the tiny model for ten steps, with prefixes of its solutions as teacher; about fifteen seconds on two CPU cores.
#![expect(clippy::print_stdout, reason = "the output of a program")]

use std::ops::ControlFlow;

use hint_grpo::objective::{Credit, CreditInput};
use hint_grpo::prelude::*;
use hint_policy::tch::Tensor;

/// Success goes to the tokens that the hint supports, failure to those that it opposes.
struct Agreement {
    /// Nats by which the hint must change a token's log-probability.
    threshold: f64,
}

impl Credit for Agreement {
    // `[batch, seq]` in and out: one advantage per token, none of it differentiated.
    fn advantages(&self, input: CreditInput<'_>) -> Result<Tensor, GrpoError> {
        let direction = input.advantages.sign() * input.delta;
        Ok(input.advantages * direction.gt(self.threshold).to_kind(input.advantages.kind()))
    }

    // A completion with an advantage of 0 stays out of the passes.
    fn ignores_zero_advantage(&self) -> bool {
        true
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
    let settings = [
        "rollout.trigger.type=always",
        "rollout.combine.type=teach",
        "rollout.source={ type = 'solution_prefix', in_prompt = true }",
        "loss.hinted_weight=[]",
    ];
    let config = GrpoConfig::from_toml_with(CONFIG, settings)?;
    let tiny = std::env::args().nth(1).unwrap_or_else(|| "examples/tiny".to_owned());
    let model = LoadedModel::load(&tiny, &LoadOptions::default())?;
    let policy = SharedPolicy::new(model.policy);
    let engine = LocalEngine::new(policy.clone(), model.stop_tokens.clone());
    // How this model was shown problems and hints. Most models have a chat template: see `ChatFormat`.
    let format = TextFormat::new(model.tokenizer.into(), model.stop_tokens)
        .with_frame("Q: ", "\nA:")
        .with_hint_template(HintTemplate { introduction: "\nHint: ".to_owned() });
    let rubric = Rubric::new(ExactMatch::new());
    let parts =
        Parts { policy, engine, format, rewards: Rewards::own(rubric), hints: Hints::configured() };
    let print = observer_from_fn(|report| {
        let value = |name| report.metrics.get(name).unwrap_or(0.0);
        let [taught, delta] = [metrics::HINT_TAUGHT_FRAC, metrics::TEACHER_DELTA].map(value);
        println!("step {:>2}: {taught:.2} taught, the hint adds {delta:.2} nats", report.step);
        ControlFlow::Continue(())
    });
    Trainer::from_config(config, parts)?
        .credit(Agreement { threshold: 0.05 })
        .observer(print)
        .build()?
        .run(&read_problems(format!("{tiny}/problems.jsonl"))?)?;
    Ok(())
}
