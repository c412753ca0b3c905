//! An optimizer of your own in a complete run: Lion, which keeps one moment and steps by its sign.
//!
//! ```text
//! cargo run --release --example custom_optimizer
//! ```
//!
//! Trains the tiny model for ten steps and prints reward and gradient norm of each. Takes about fifteen seconds on two
//! CPU cores.
#![expect(clippy::print_stdout, reason = "the output of a program")]

use std::ops::ControlFlow;

use hint_grpo::prelude::*;
use hint_policy::tch::Tensor;

/// Lion (Chen et al. 2023): `θ ← θ − η sign(0.9 m + 0.1 g)`, then `m ← 0.99 m + 0.01 g`.
struct Lion {
    parameters: Vec<Parameter>,
    moments: Vec<Tensor>,
}

impl Lion {
    fn new(parameters: Vec<Parameter>) -> Self {
        let moments = parameters.iter().map(|parameter| parameter.tensor.detach().zeros_like());
        Self { moments: moments.collect(), parameters }
    }
}

impl Optimizer for Lion {
    fn step(&mut self, learning_rate: f64) -> Result<(), GrpoError> {
        tch::no_grad(|| {
            for (parameter, moment) in self.parameters.iter_mut().zip(&mut self.moments) {
                let gradient = parameter.tensor.grad();
                parameter.tensor -= moment.lerp(&gradient, 0.1).sign() * learning_rate;
                let _ = moment.lerp_(&gradient, 0.01);
            }
        });
        Ok(())
    }

    fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    // The moments go into checkpoints, so that a resumed run ends with the same bytes.
    fn state(&self) -> Vec<(String, Tensor)> {
        let named = self.parameters.iter().zip(&self.moments);
        named.map(|(parameter, moment)| (parameter.name.clone(), moment.shallow_clone())).collect()
    }

    fn load_state(&mut self, state: &[(String, Tensor)]) -> Result<(), GrpoError> {
        for (parameter, moment) in self.parameters.iter().zip(&mut self.moments) {
            let saved = state.iter().find(|(name, _)| *name == parameter.name);
            let missing = || GrpoError::other("optimizer", format!("no {}", parameter.name));
            moment.copy_(&saved.ok_or_else(missing)?.1);
        }
        Ok(())
    }
}

const CONFIG: &str = "
run = { steps = 10, prompts_per_step = 12 }
rollout.sampling = { temperature = 1.0, max_completion_len = 64 }
optimizer.learning_rate = 2e-4 # every step moves every weight by this much
";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Operations of so small a model are faster on one thread.
    tch::set_num_threads(1);
    let config = GrpoConfig::from_toml(CONFIG)?;
    let tiny = std::env::args().nth(1).unwrap_or_else(|| "examples/tiny".to_owned());
    let model = LoadedModel::load(&tiny, &LoadOptions::default())?;
    let policy = SharedPolicy::new(model.policy);
    let optimizer = Lion::new(policy.lock().parameters());
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
        let [reward, norm] = [metrics::REWARD, metrics::GRAD_NORM].map(value);
        println!("step {:>2}: reward {reward:.3}, gradient norm {norm:.3}", report.step);
        ControlFlow::Continue(())
    });
    Trainer::from_config(config, parts)?
        .optimizer(optimizer)
        .observer(print)
        .build()?
        .run(&read_problems(format!("{tiny}/problems.jsonl"))?)?;
    Ok(())
}
