//! Where and in which number format a model computes.

use anyhow::{Result, bail, ensure};
use clap::ValueEnum;
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

/// The device named `name`: `cpu`, `cuda`, `cuda:N`, or `auto` for the first GPU if there is one.
///
/// # Errors
///
/// An unknown name, or a GPU that is not there.
pub fn device(name: &str) -> Result<Device> {
    let gpus = tch::Cuda::device_count();
    let device = match name {
        "auto" if gpus > 0 => Device::Cuda(0),
        "cpu" | "auto" => Device::Cpu,
        "cuda" => Device::Cuda(0),
        other => match other.strip_prefix("cuda:").map(str::parse) {
            Some(Ok(index)) => Device::Cuda(index),
            _ => bail!("unknown device `{other}`; use cpu, cuda, cuda:N or auto"),
        },
    };
    if let Device::Cuda(index) = device {
        let count = usize::try_from(gpus).unwrap_or(0);
        ensure!(index < count, "`{name}` asked for, but libtorch sees {count} GPUs");
    }
    Ok(device)
}
