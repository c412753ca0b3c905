//! Device and number format of a model.

use anyhow::{Result, ensure};
use clap::ValueEnum;
use hint_policy::LoadOptions;
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
        let suits_bf16 = LoadOptions::on(device).compute == Kind::BFloat16;
        asked.unwrap_or(if suits_bf16 { Self::Bf16 } else { Self::F32 })
    }

    /// The name that `--compute` takes.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Tf32 => "tf32",
            Self::Bf16 => "bf16",
        }
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

/// Reports the operators for GPUs that a model on `device` does without for a reason of its own. [`device`] reported the
/// others.
pub(crate) fn report_refusals(refusals: &[(FastPath, &'static str)], device: Device) {
    for (path, reason) in refusals.iter().filter(|(path, _)| path.is_taken(device)) {
        inform!("without the fast path {path}: {reason}");
    }
}

/// Operators for GPUs to do without, as a command-line option.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct FastPathOptions {
    /// Do without an operator for GPUs that replaces several others, or without all of them. It serves to compare, and may
    /// be given several times.
    #[arg(long, value_name = "NAME", value_parser = fast_paths)]
    pub(crate) without_fast_path: Vec<FastPaths>,
}

/// The fast paths that a name stands for.
#[derive(Debug, Clone)]
pub(crate) struct FastPaths(Vec<FastPath>);

impl FastPathOptions {
    /// Takes them out of use in this process.
    pub(crate) fn apply(&self) {
        for FastPaths(paths) in &self.without_fast_path {
            paths.iter().copied().for_each(FastPath::forbid);
        }
    }
}

fn fast_paths(name: &str) -> Result<FastPaths, String> {
    let is_named = |path: &FastPath| name == "all" || path.name() == name;
    let found = FastPath::ALL.into_iter().filter(is_named).collect::<Vec<_>>();
    if found.is_empty() {
        let names = FastPath::ALL.map(FastPath::name);
        return Err(format!("expected one of {}, all", names.join(", ")));
    }
    Ok(FastPaths(found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_computes_in_bf16_unless_another_kind_is_asked_for() {
        assert_eq!(Compute::or_default(None, Device::Cpu), Compute::F32);
        assert_eq!(Compute::or_default(None, Device::Cuda(1)), Compute::Bf16);
        assert_eq!(Compute::or_default(Some(Compute::Tf32), Device::Cuda(0)), Compute::Tf32);
    }

    #[test]
    fn a_name_stands_for_one_fast_path_or_for_all() {
        let found = |name| fast_paths(name).map(|FastPaths(paths)| paths);
        assert_eq!(found("wide-sum"), Ok(vec![FastPath::WideSum]));
        assert_eq!(found("all"), Ok(FastPath::ALL.to_vec()));
        let error = found("addmm").unwrap_err();
        assert!(error.starts_with("expected one of adamw, ") && error.ends_with(", all"));
    }
}
