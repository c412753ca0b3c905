//! The hinted stage in your own hands: when a group gets hints, how much of them, and how they combine.
//!
//! ```text
//! cargo run --release --example custom_search
//! ```
//!
//! Trains the tiny model for ten steps on prefixes of its solutions, about twenty seconds on two CPU cores.
#![expect(clippy::print_stdout, reason = "the output of a program")]

use std::ops::ControlFlow;

use hint_grpo::prelude::*;
use hint_rollout::collect::hinted::{LevelInput, Levels, Trigger, TriggerInput, from_fn};
use hint_rollout::data::HintLevel;
use hint_rollout::sample::{Rollout, RolloutGroup};

/// Hints for failures, and for fewer of them as the run continues: the last quarter is trained
/// without.
struct WeanOff;

impl Trigger for WeanOff {
    fn fires(&self, input: &TriggerInput) -> bool {
        let probability = 1.0 - input.progress.fraction() / 0.75;
        input.correct == 0 && input.seed.unit() < probability
    }
}

/// Doubles the share of the solution until something is right.
struct Doubling {
    first: f64,
}

impl Levels for Doubling {
    // A run that is resumed with another share is refused. The trigger, without settings, has the name of its type.
    fn name(&self) -> String {
        format!("doubling from {}", self.first)
    }

    fn next(&self, input: &LevelInput<'_>) -> Option<HintLevel> {
        match input.tried.last() {
            None => Some(HintLevel::new(self.first)),
            Some((level, rate)) if *rate == 0.0 && level.share() < 1.0 => {
                Some(HintLevel::new((2.0 * level.share()).min(1.0)))
            }
            Some(_) => None,
        }
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
    let settings = ["rollout.source.type=solution_prefix", "loss.ratio_scheme.type=hinted"];
    let config = GrpoConfig::from_toml_with(CONFIG, settings)?;
    let tiny = std::env::args().nth(1).unwrap_or_else(|| "examples/tiny".to_owned());
    let model = LoadedModel::load(&tiny, &LoadOptions::default())?;
    let policy = SharedPolicy::new(model.policy);
    let engine = LocalEngine::new(policy.clone(), model.stop_tokens.clone());
    let format =
        TextFormat::new(model.tokenizer.into(), model.stop_tokens).with_frame("Q: ", "\nA:");
    let rubric = Rubric::new(ExactMatch::new());
    let parts =
        Parts { policy, engine, format, rewards: Rewards::own(rubric), hints: Hints::configured() };
    // A closure does, too: the right hinted completions replace plain ones, from the end of the group.
    let swap = from_fn("swap_in_successes", |group: &mut RolloutGroup, hinted: Vec<Rollout>| {
        let right = hinted.into_iter().filter(Rollout::is_correct);
        for (place, rollout) in group.rollouts.iter_mut().rev().zip(right) {
            group.replaced.push(std::mem::replace(place, rollout));
        }
    });
    let print = observer_from_fn(|report| {
        let value = |name| report.metrics.get(name).unwrap_or(0.0);
        let [hinted, share] = [metrics::HINT_HINTED_FRAC, metrics::HINT_SHARE].map(value);
        println!("step {:>2}: {hinted:.2} hinted, with {share:.2} of the solution", report.step);
        ControlFlow::Continue(())
    });
    Trainer::from_config(config, parts)?
        .collector(|collector| {
            let collector = collector.with_trigger(WeanOff);
            collector.with_levels(Doubling { first: 0.25 }).with_combine(swap)
        })
        .observer(print)
        .build()?
        .run(&read_problems(format!("{tiny}/problems.jsonl"))?)?;
    Ok(())
}
