//! A program outside the workspace with every part of its own, which trains the embedded model.
//!
//! `cargo xtask test` copies it into a project made by `hint-libtorch init`, builds and runs it. Its
//! argument is the model's folder.

use std::cell::Cell;
use std::ops::ControlFlow;
use std::process::ExitCode;

use hint_grpo::prelude::*;
use hint_process::StopSignals;
use hint_rollout::engine::GenerationWatch;
use tch::{Kind, Tensor};

/// A hint for a policy that answers in a hurry.
struct SlowDown;

impl HintProvider for SlowDown {
    fn hint(&self, request: &HintRequest<'_>) -> Result<Option<Hint>, RolloutError> {
        let hasty = request.failed.iter().all(|rollout| rollout.completion.tokens.len() < 12);
        Ok(hasty.then(|| Hint::new("Go one swap at a time.")))
    }
}

/// The letters in the box, in their order.
struct SameRow;

impl Verifier for SameRow {
    fn verify(&self, input: &RewardInput<'_>) -> Judgment {
        let boxed = input.completion.rsplit_once("\\boxed{").and_then(|(_, rest)| rest.split_once('}'));
        Judgment::new(match boxed {
            Some((row, _)) if row == input.reference => Verdict::Correct,
            Some(_) => Verdict::Incorrect,
            None => Verdict::NoAnswer,
        })
    }
}

/// Rewards completions that show their steps.
struct ShowsSteps;

impl Reward for ShowsSteps {
    fn name(&self) -> &str {
        "shows_steps"
    }

    fn score(&self, input: &RewardInput<'_>) -> Result<f64, RewardError> {
        Ok(f64::from(u8::from(input.completion.contains("1:"))))
    }
}

/// Plain REINFORCE.
struct Reinforced;

impl PolicyLoss for Reinforced {
    fn token_loss(&self, input: &LossInput<'_>) -> Result<TokenLoss, GrpoError> {
        Ok(TokenLoss { values: -(input.advantages * input.logprobs), metrics: LossMetrics::new() })
    }
}

/// Steps by the sign of the gradient.
struct SignDescent(Vec<Parameter>);

impl Optimizer for SignDescent {
    fn step(&mut self, learning_rate: f64) -> Result<(), GrpoError> {
        tch::no_grad(|| {
            for parameter in &mut self.0 {
                let gradient: Tensor = parameter.tensor.grad();
                parameter.tensor -= gradient.sign() * learning_rate;
            }
        });
        Ok(())
    }

    fn parameters(&self) -> &[Parameter] {
        &self.0
    }
}

/// Counts the samples of the engine inside.
struct Counting<E> {
    engine: E,
    sampled: Cell<usize>,
}

impl<E> Counting<E> {
    fn count(&self, groups: &[Vec<Completion>]) {
        self.sampled.set(self.sampled.get() + groups.iter().map(Vec::len).sum::<usize>());
    }
}

impl<E: RolloutEngine> RolloutEngine for Counting<E> {
    fn generate(
        &mut self,
        requests: &[GenerationRequest],
    ) -> Result<Vec<Vec<Completion>>, RolloutError> {
        let groups = self.engine.generate(requests)?;
        self.count(&groups);
        Ok(groups)
    }

    fn generate_watched(
        &mut self,
        requests: &[GenerationRequest],
        watch: &dyn GenerationWatch,
    ) -> Result<Vec<Vec<Completion>>, RolloutError> {
        let groups = self.engine.generate_watched(requests, watch)?;
        self.count(&groups);
        Ok(groups)
    }

    fn sync(&mut self, weights: &dyn WeightSource) -> Result<(), RolloutError> {
        println!("version {}: {} completions so far", weights.version().0, self.sampled.get());
        self.engine.sync(weights)
    }
}

/// Prints one line per step, and stops when asked.
struct Lines(StopSignals);

impl Observer for Lines {
    fn on_step(&mut self, report: &StepReport) -> ControlFlow<()> {
        let reward = report.metrics.get(metrics::REWARD).unwrap_or(0.0);
        println!("step {} of {}: reward {reward:.3}", report.step, report.total_steps);
        if self.0.requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let stop = StopSignals::catch(|signal| eprintln!("{signal}: finishing the step"))?;
    let folder = std::env::args().nth(1).ok_or("name the model's folder")?;
    let problems = read_problems(format!("{folder}/problems.jsonl"))?;
    let model = LoadedModel::load(&folder, &LoadOptions::default())?;
    let policy = SharedPolicy::new(model.policy);
    let engine = LocalEngine::new(policy.clone(), model.stop_tokens.clone());
    let engine = Counting { engine, sampled: Cell::new(0) };
    let format = TextFormat::new(model.tokenizer.into(), model.stop_tokens).with_frame("Q: ", "\nA:");
    let rubric = Rubric::new(SameRow).with(0.1, ShowsSteps);

    let mut config = GrpoConfig::default();
    config.run.steps = 3;
    config.rollout.group_size = 4;
    config.rollout.sampling.max_completion_len = 48;
    config.optimizer.learning_rate = 1e-4;
    let optimizer = SignDescent(policy.lock().parameters());
    let before = optimizer.0[0].tensor.detach().copy();
    let parts = Parts { policy: policy.clone(), engine, format, rewards: Rewards::own(rubric), hints: Hints::own(SlowDown) };
    Trainer::from_config(config, parts)?
        .objective(Reinforced)
        .optimizer(optimizer)
        .observer(Lines(stop.clone()))
        .build()?
        .run(&problems)?;
    let moved = (&policy.lock().parameters()[0].tensor - before).abs().sum(Kind::Double);
    if !stop.requested() && moved.double_value(&[]) == 0.0 {
        return Err("the weights did not move".into());
    }
    Ok(stop.exit_code())
}
