//! Public behavior of hint-grpo. The trainer as a whole is tested in the package `hint-tests`.
//!
//! All tensors are on [`device()`]. One test is about the CPU alone, and proves nothing elsewhere: the number of threads
//! changes no bit of an update (`optimizers.rs`). `gradients.rs` checks one composition of 23 elsewhere, since each takes
//! thousands of operations on twelve numbers. Advantages, configuration and verdicts have no tensors.

use std::sync::OnceLock;

use hint_policy::DeviceChoice;
use tch::kind::Element;
use tch::{Device, Tensor};

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
mod old_logprobs;
mod optimizers;
mod verdicts;

/// Where the tensors of these tests are: `HINT_TEST_DEVICE`, such as `cuda:0`, else the CPU.
#[expect(clippy::disallowed_methods, reason = "`cargo xtask device` runs the tests elsewhere")]
pub(crate) fn device() -> Device {
    static DEVICE: OnceLock<Device> = OnceLock::new();
    let read = || {
        std::env::var("HINT_TEST_DEVICE").map_or(Device::Cpu, |name| {
            let choice: DeviceChoice =
                name.parse().expect("HINT_TEST_DEVICE is cpu, cuda or cuda:N");
            choice.resolve().expect("the device is there").device
        })
    };
    *DEVICE.get_or_init(read)
}

/// A tensor `[values]` on that device.
pub(crate) fn upload<T: Element>(values: &[T]) -> Tensor {
    // Before the first tensor is made.
    let device = device();
    Tensor::from_slice(values).to_device(device)
}

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
