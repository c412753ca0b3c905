//! Closures where a part is asked for. This must not compile, and each error must name the function that turns the
//! closure into the part.

use hint_grpo::prelude::*;
use hint_grpo::stage::PolicyGradient;
use hint_grpo::{RunBuilder, advantage::ScoredGroup};
use tch::Tensor;

fn main() {}

fn of_hints() -> Hints {
    Hints::own(|_: &HintRequest<'_>| Some(Hint::new("")))
}

fn of_rubric() -> Rubric {
    Rubric::new(|_: &RewardInput<'_>| true).with(0.1, |_: &RewardInput<'_>| 1.0)
}

fn of_collector(collector: Collector) -> Collector {
    collector.with_trigger(|correct: usize| correct == 0)
}

fn of_run(run: RunBuilder<PolicyGradient>) -> RunBuilder<PolicyGradient> {
    run.objective(|log_ratios: &Tensor, _: &Tensor| -log_ratios)
        .advantage(|group: &ScoredGroup<'_>| group.rewards.to_vec())
        .observer(|report: &StepReport| println!("{}", report.step))
}
