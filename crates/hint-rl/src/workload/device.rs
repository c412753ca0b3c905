//! Where and in which number format a model computes.

use anyhow::Result;
use clap::ValueEnum;
use hint_policy::runtime::DeviceChoice;
use serde::{Deserialize, Serialize};
use tch::Device;

/// Number format of forward and backward passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compute {
    /// 32 bit.
    F32,
    /// bfloat16, for GPUs and large models.
    Bf16,
}

/// The device that `choice` stands for on this machine; says which one it is and why.
///
/// # Errors
///
/// A GPU that cannot be used, with what is missing.
pub fn device(choice: DeviceChoice) -> Result<Device> {
    let chosen = choice.resolve()?;
    note!("computing on {chosen}");
    Ok(chosen.device)
}
