//! Public behavior of hint-grpo. The trainer as a whole is tested in the package `hint-tests`.

mod advantages;
mod aggregation;
mod bigram;
mod config;
mod divergence;
mod examples;
mod golden;
mod gradients;
mod learner;
mod losses;
mod masked_runs;
mod optimizers;
mod verdicts;

/// Every open trait can be boxed.
#[test]
fn traits_are_dyn_compatible() {
    use hint_grpo::objective::{Credit, HintedWeight};
    use hint_grpo::{AdvantageEstimator, Observer, Optimizer, PolicyLoss};
    let _: Option<Box<dyn AdvantageEstimator>> = None;
    let _: Option<Box<dyn PolicyLoss>> = None;
    let _: Option<Box<dyn Optimizer>> = None;
    let _: Option<Box<dyn Observer>> = None;
    let _: Option<Box<dyn HintedWeight>> = None;
    let _: Option<Box<dyn Credit>> = None;
}
