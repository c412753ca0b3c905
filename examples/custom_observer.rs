//! An observer of your own. It stops the run once it has learned enough, prints the most surprising success, and adds a
//! metric.
//!
//! ```text
//! cargo run --release --example custom_observer
//! ```
//!
//! Trains the tiny model with HINT until four of five plain completions are right, about ten seconds on two CPU cores.
#![expect(clippy::print_stdout, reason = "the output of a program")]

use std::ops::ControlFlow;

use hint_grpo::prelude::*;
use hint_grpo::rollout_table::RolloutRecord;

/// Watches for success.
struct UntilSolved {
    /// The pass rate that ends the run.
    target: f64,
    /// Tokens of the right completions of the step, and how many there are.
    right: (usize, usize),
}

impl Observer for UntilSolved {
    // Called after each step with every completion: text, verdict, hint, log-probabilities.
    fn on_rollouts(&mut self, step: u64, rollouts: &[RolloutRecord]) {
        let logprob = |record: &&RolloutRecord| record.behavior_logprobs.iter().sum::<f32>();
        let right = rollouts.iter().filter(|record| record.verdict == Verdict::Correct);
        self.right = (right.clone().map(|record| record.tokens.len()).sum(), right.clone().count());
        if let Some(record) = right.min_by(|a, b| logprob(a).total_cmp(&logprob(b))) {
            println!("step {step}: {} {}", record.source.name(), record.text.trim());
        }
    }

    // Called before the metrics are written: `metrics.jsonl` and TensorBoard get this one too.
    fn add_metrics(&mut self, _step: u64, metrics: &mut Metrics) {
        // Taken, so that a step without completions does not write those of the last one.
        let (tokens, count) = std::mem::take(&mut self.right);
        metrics.add("own/right_length", tokens as f64, count as f64);
    }

    // `Break` ends the run after a checkpoint, as Ctrl-C does in the program.
    fn on_step(&mut self, report: &StepReport) -> ControlFlow<()> {
        let pass_rate = report.metrics.get(metrics::ROLLOUT_PASS_RATE).unwrap_or(0.0);
        for warning in &report.warnings {
            println!("step {}: {warning}", report.step);
        }
        if pass_rate < self.target {
            return ControlFlow::Continue(());
        }
        println!("step {}: pass rate {pass_rate:.2}, that is enough", report.step);
        ControlFlow::Break(())
    }
}

const CONFIG: &str = "
run = { steps = 30, prompts_per_step = 12 }
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
    Trainer::from_config(config, parts)?
        .observer(UntilSolved { target: 0.8, right: (0, 0) })
        .build()?
        .run(&read_problems(format!("{tiny}/problems.jsonl"))?)?;
    Ok(())
}
