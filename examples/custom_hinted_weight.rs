//! A weight of hinted completions of your own: completions that the plain policy finds least likely
//! count least.
//!
//! ```text
//! cargo run --release --example custom_hinted_weight
//! ```
//!
//! Trains the tiny model for ten steps, about twenty seconds on two CPU cores.
#![expect(clippy::print_stdout, reason = "the output of a program")]

use std::ops::ControlFlow;

use hint_grpo::objective::{HintedFactors, HintedSample, HintedWeight, WeightContext, WeightNeeds};
use hint_grpo::prelude::*;

/// The factor of a completion falls with the distance between the hinted and the plain prompt, per token.
struct Nearby {
    /// Nats per token at which the factor is 1/e.
    scale: f64,
}

impl HintedWeight for Nearby {
    // log π_old(y_t | x) − log π_old(y_t | x⊕h): asking for it costs one pass over each of the two prompts.
    fn needs(&self) -> WeightNeeds {
        WeightNeeds { off_context: true, ..WeightNeeds::default() }
    }

    fn weigh(
        &self,
        samples: &[HintedSample<'_>],
        _context: WeightContext,
    ) -> Result<HintedFactors, GrpoError> {
        let factor = |sample: &HintedSample<'_>| {
            let distances: Vec<f64> = sample.trained(sample.off_context).map(f64::abs).collect();
            let mean = distances.iter().sum::<f64>() / distances.len().max(1) as f64;
            (-mean / self.scale).exp()
        };
        Ok(HintedFactors::Samples(samples.iter().map(factor).collect()))
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
    let mut config = GrpoConfig::from_toml(CONFIG)?;
    // The factor takes the place of the configured ones; the product of all of them counts.
    config.loss.hinted_weight.clear();
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
        let [reward, weight] = [metrics::REWARD, metrics::HINTED_WEIGHT].map(value);
        println!("step {:>2}: reward {reward:.3}, weight of hinted {weight:.3}", report.step);
        ControlFlow::Continue(())
    });
    Trainer::from_config(config, parts)?
        .hinted_weight(Nearby { scale: 0.5 })
        .observer(print)
        .build()?
        .run(&read_problems(format!("{tiny}/problems.jsonl"))?)?;
    Ok(())
}
