//! Device and number format of a model.

use anyhow::{Result, ensure};
use clap::ValueEnum;
use hint_policy::runtime::{DeviceChoice, allow_tf32};
use serde::{Deserialize, Serialize};
use tch::{Device, Kind};

/// Number format of forward and backward passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Compute {
    /// 32 bit.
    F32,
    /// 32 bit, but matrices are multiplied with 10 bits behind the point on a GPU.
    Tf32,
    /// bfloat16, for GPUs and large models.
    Bf16,
}

impl Compute {
    /// The requested kind, else the one that suits a device.
    pub(crate) fn or_default(asked: Option<Self>, device: Device) -> Self {
        asked.unwrap_or(if device == Device::Cpu { Self::F32 } else { Self::Bf16 })
    }

    /// The kind of the passes; makes its settings in the whole process.
    ///
    /// # Errors
    ///
    /// TF32 with a libtorch that does not have it.
    pub(crate) fn kind(self) -> Result<Kind> {
        if self == Self::Tf32 {
            ensure!(allow_tf32(), "this libtorch has no TF32; use `--compute f32`");
        }
        Ok(if self == Self::Bf16 { Kind::BFloat16 } else { Kind::Float })
    }
}

/// The device that `choice` stands for on this machine; reports it with the reason.
///
/// # Errors
///
/// A GPU that cannot be used, with the missing part.
pub(crate) fn device(choice: DeviceChoice) -> Result<Device> {
    let chosen = choice.resolve()?;
    inform!("computing on {chosen}");
    Ok(chosen.device)
}
