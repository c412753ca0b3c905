//! An objective of your own in a complete run: tapered off-policy REINFORCE.
//!
//! ```text
//! cargo run --release --example custom_loss
//! ```
//!
//! Trains the tiny model for ten steps, each with three passes over its rollouts in minibatches. Prints the reward and
//! a metric of the objective's own. Takes about half a minute on two CPU cores.
#![expect(clippy::print_stdout, reason = "the output of a program")]

use std::ops::ControlFlow;

use hint_grpo::prelude::*;
use hint_policy::tch::Kind;

/// Tapered off-policy REINFORCE (arXiv 2503.14286). Successes are learned unchanged. Failures are pushed down
/// with `min(r, 1)`, so that the push fades where the policy has already turned away.
struct Tapered;

impl PolicyLoss for Tapered {
    fn token_loss(&self, input: &LossInput<'_>) -> Result<TokenLoss, GrpoError> {
        let failed = input.advantages.lt(0.0);
        let ratio = input.log_ratio().detach().exp().clamp_max(1.0);
        let taper = ratio.where_self(&failed, &ratio.ones_like());
        let mut metrics = LossMetrics::new();
        let failed = failed.logical_and(input.mask).to_kind(Kind::Float);
        metrics.add("taper", &(&taper * &failed).sum(Kind::Double), &failed.sum(Kind::Double));
        // Unreduced: the denominator is the configuration's choice.
        Ok(TokenLoss { values: -(taper * input.advantages * input.logprobs), metrics })
    }

    // Rows that teach nothing are then left out of the forward pass.
    fn ignores_zero_advantage(&self) -> bool {
        true
    }
}

const CONFIG: &str = "
run = { steps = 10, prompts_per_step = 12, num_iterations = 3, num_minibatches = 2 }
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
    let parts =
        Parts { policy, engine, format, rewards: Rewards::own(rubric), hints: Hints::configured() };
    let print = observer_from_fn(|report| {
        let value = |name| report.metrics.get(name).unwrap_or(0.0);
        let [reward, taper] = [metrics::REWARD, "taper"].map(value);
        println!("step {:>2}: reward {reward:.3}, taper of failures {taper:.3}", report.step);
        ControlFlow::Continue(())
    });
    Trainer::from_config(config, parts)?
        .objective(Tapered)
        .observer(print)
        .build()?
        .run(&read_problems(format!("{tiny}/problems.jsonl"))?)?;
    Ok(())
}
