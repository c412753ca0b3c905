//! Integration tests of `hint-policy`.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::unwrap_used,
    reason = "test sizes are small, and helper functions of tests may fail loudly"
)]

use hint_policy::{DeviceChoice, LoadOptions};
use tch::Device;

mod checkpoint;
mod config;
mod corrupt;
mod families;
mod folders;
mod forward_pass;
mod fuzz_seeds;
mod gemma3_270m;
mod gguf_file;
mod gguf_writer;
mod golden;
mod load_report;
mod lora;
mod lora_written;
mod model;
mod out_of_memory;
mod parity;
mod reload;
mod sampling;
mod smollm2;
mod stage_weights;
mod templates;
mod tokenizers;

/// Where the models and tensors of these tests are: `HINT_TEST_DEVICE`, such as `cuda:0`, else the CPU.
#[expect(clippy::disallowed_methods, reason = "`cargo xtask device` runs the tests elsewhere")]
pub(crate) fn device() -> Device {
    std::env::var("HINT_TEST_DEVICE").map_or(Device::Cpu, |name| {
        let choice: DeviceChoice = name.parse().expect("HINT_TEST_DEVICE is cpu, cuda or cuda:N");
        choice.resolve().expect("the device is there").device
    })
}

/// Whether tests write what they would compare with.
#[expect(clippy::disallowed_methods, reason = "asked for from outside")]
pub(crate) fn blesses() -> bool {
    std::env::var_os("HINT_BLESS").is_some()
}

/// How these tests load a model.
pub(crate) fn options() -> LoadOptions {
    LoadOptions { device: device(), ..LoadOptions::default() }
}
