//! Public behavior of hint-rollout.

mod batch;
mod collector;
mod custom_parts;
mod damaged_data;
mod data_shapes;
mod early;
mod early_stop;
mod evaluate;
mod hinted;
mod hints;
mod leaks;
mod loss_mask;
mod problems;
mod reward_failures;
mod scripted;
mod stop_texts;
mod streaming;
#[cfg(feature = "teacher")]
mod teacher;
mod teaching;
mod too_long;
mod trigger;
#[cfg(feature = "vllm")]
mod vllm;

/// Every open trait can be boxed.
#[test]
fn traits_are_dyn_compatible() {
    use hint_rollout::collect::hinted::{Combine, Levels, Trigger};
    use hint_rollout::data::Problems;
    use hint_rollout::hint::HintWriter;
    use hint_rollout::{HintProvider, PromptFormat, RolloutEngine, WeightSource};
    let _: Option<Box<dyn RolloutEngine>> = None;
    let _: Option<Box<dyn HintProvider>> = None;
    let _: Option<Box<dyn PromptFormat>> = None;
    let _: Option<Box<dyn WeightSource>> = None;
    let _: Option<Box<dyn Problems>> = None;
    let _: Option<Box<dyn Trigger>> = None;
    let _: Option<Box<dyn Levels>> = None;
    let _: Option<Box<dyn Combine>> = None;
    let _: Option<Box<dyn HintWriter>> = None;
    #[cfg(feature = "vllm")]
    {
        use hint_rollout::engine::vllm::{WeightLink, WeightTransfer};
        let _: Option<Box<dyn WeightTransfer>> = None;
        let _: Option<Box<dyn WeightLink>> = None;
    }
}
