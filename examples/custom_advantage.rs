//! Advantages of your own: each problem's rewards are compared with those of earlier steps, not only with each other.
//!
//! ```text
//! cargo run --release --example custom_advantage
//! ```
//!
//! Trains the tiny model for ten steps, about fifteen seconds on two CPU cores.
#![expect(clippy::print_stdout, reason = "the output of a program")]

use std::ops::ControlFlow;

use hint_grpo::advantage::ScoredGroup;
use hint_grpo::prelude::*;

/// Rewards minus a running mean over the run. An all-wrong group then has a negative advantage, not zero.
struct RunningMean {
    mean: f64,
    decay: f64,
}

impl AdvantageEstimator for RunningMean {
    fn estimate(&mut self, group: &ScoredGroup<'_>) -> Result<Vec<f64>, GrpoError> {
        let advantages = group.rewards.iter().map(|reward| reward - self.mean).collect();
        let mean = group.rewards.iter().sum::<f64>() / group.rewards.len() as f64;
        self.mean = self.decay * self.mean + (1.0 - self.decay) * mean;
        Ok(advantages)
    }

    // The mean goes into checkpoints, so that a resumed run ends with the same bytes.
    fn state(&self) -> Vec<f64> {
        vec![self.mean]
    }

    fn load_state(&mut self, state: &[f64]) -> Result<(), GrpoError> {
        let [mean] = state else {
            let found = state.len();
            return Err(GrpoError::other("advantage", format!("{found} numbers, expected 1")));
        };
        self.mean = *mean;
        Ok(())
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
    let parts =
        Parts { policy, engine, format, rewards: Rewards::own(rubric), hints: Hints::configured() };
    let print = observer_from_fn(|report| {
        let value = |name| report.metrics.get(name).unwrap_or(0.0);
        let [reward, idle] = [metrics::REWARD, metrics::TOKENS_NO_GRADIENT_FRAC].map(value);
        println!("step {:>2}: reward {reward:.3}, tokens without gradient {idle:.2}", report.step);
        ControlFlow::Continue(())
    });
    Trainer::from_config(config, parts)?
        .advantage(RunningMean { mean: 0.0, decay: 0.9 })
        .observer(print)
        .build()?
        .run(&read_problems(format!("{tiny}/problems.jsonl"))?)?;
    Ok(())
}
