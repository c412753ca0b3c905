//! Device and number format of a model.

use anyhow::{Result, ensure};
use clap::ValueEnum;
use hint_policy::runtime::{DeviceChoice, FastPath, allow_tf32};
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

/// The device that `choice` stands for on this machine; reports it with the reason. Also reports which operators for
/// GPUs it does without.
///
/// # Errors
///
/// A GPU that cannot be used, with the missing part.
pub(crate) fn device(choice: DeviceChoice) -> Result<Device> {
    let chosen = choice.resolve()?;
    inform!("computing on {chosen}");
    if chosen.device != Device::Cpu {
        for path in FastPath::ALL {
            if let Some(reason) = path.refusal(chosen.device) {
                inform!("without the fast path {path}: {reason}");
            }
        }
    }
    Ok(chosen.device)
}

/// Operators for GPUs to do without, as a command-line option.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct FastPathOptions {
    /// Do without an operator for GPUs that replaces several others. It serves to compare, and may be given several times.
    #[arg(long, value_name = "NAME", value_parser = fast_path)]
    pub(crate) without_fast_path: Vec<FastPath>,
}

impl FastPathOptions {
    /// Takes them out of use in this process.
    pub(crate) fn apply(&self) {
        for path in &self.without_fast_path {
            path.forbid();
        }
    }
}

fn fast_path(name: &str) -> Result<FastPath, String> {
    let names = FastPath::ALL.map(FastPath::name);
    let found = FastPath::ALL.into_iter().find(|path| path.name() == name);
    found.ok_or_else(|| format!("expected one of {}", names.join(", ")))
}
