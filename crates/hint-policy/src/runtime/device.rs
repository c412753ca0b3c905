//! Choice of the device that a program computes on, with its reason.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use tch::Device;

use crate::error::PolicyError;
use crate::ffi::{self, CudaDriver};

/// The device that a user asks for: `auto`, `cpu`, `cuda` or `cuda:N`.
///
/// # Examples
///
/// ```
/// use hint_policy::runtime::DeviceChoice;
///
/// let choice: DeviceChoice = "auto".parse()?;
/// let chosen = choice.resolve()?;
/// // Such as "the CPU (this machine has no NVIDIA driver: no libcuda.so.1)".
/// println!("computing on {chosen}");
/// # Ok::<(), hint_policy::PolicyError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DeviceChoice {
    /// The first GPU if there is one that works, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The GPU of this index.
    Cuda(usize),
}

/// The device that a [`DeviceChoice`] stands for on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChosenDevice {
    /// The device.
    pub device: Device,
    /// Why it was chosen, for a person to read.
    pub reason: String,
}

impl DeviceChoice {
    /// Finds the device. If it is a GPU, or may be one, [`load_cuda`] loads libtorch's CUDA library. So
    /// call this before the first tensor is made. With [`DeviceChoice::Cpu`] nothing is loaded.
    ///
    /// # Errors
    ///
    /// [`PolicyError::NoDevice`] for a GPU that cannot be used, with the missing part.
    pub fn resolve(self) -> Result<ChosenDevice, PolicyError> {
        let chosen = |device, reason| Ok(ChosenDevice { device, reason });
        match self {
            Self::Cpu => chosen(Device::Cpu, "as asked for".to_owned()),
            Self::Auto => match gpus() {
                Ok(1) => chosen(Device::Cuda(0), "the only GPU".to_owned()),
                Ok(count) => chosen(Device::Cuda(0), format!("the first of {count} GPUs")),
                Err(reason) => chosen(Device::Cpu, reason),
            },
            Self::Cuda(index) => match gpus() {
                Ok(count) if index < count => {
                    chosen(Device::Cuda(index), format!("of {count}, as asked for"))
                }
                Ok(count) => Err(self.missing(format!("libtorch sees {count}, counted from 0"))),
                Err(reason) => Err(self.missing(reason)),
            },
        }
    }

    fn missing(self, reason: String) -> PolicyError {
        PolicyError::NoDevice { device: self.to_string(), reason }
    }
}

impl fmt::Display for ChosenDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.device {
            Device::Cuda(index) => write!(f, "GPU {index} ({})", self.reason),
            _ => write!(f, "the CPU ({})", self.reason),
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

impl FromStr for DeviceChoice {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Self, PolicyError> {
        let choice = match text {
            "auto" => Some(Self::Auto),
            "cpu" => Some(Self::Cpu),
            "cuda" => Some(Self::Cuda(0)),
            _ => text.strip_prefix("cuda:").and_then(|index| index.parse().ok()).map(Self::Cuda),
        };
        choice.ok_or_else(|| PolicyError::option("device", text, "auto, cpu, cuda or cuda:N"))
    }
}

impl TryFrom<String> for DeviceChoice {
    type Error = PolicyError;

    fn try_from(text: String) -> Result<Self, PolicyError> {
        text.parse()
    }
}

impl From<DeviceChoice> for String {
    fn from(choice: DeviceChoice) -> Self {
        choice.to_string()
    }
}

/// Loads libtorch's CUDA library into this process. A Rust program does not do so by itself: nothing in it
/// refers to the library, so the linker leaves it out. Takes cuDNN out of the order of attention kernels.
/// It plans a kernel for every new shape, and lengths are always new here.
///
/// Call it before the first tensor is made: libtorch looks for CUDA once. [`DeviceChoice::resolve`] calls it
/// where a GPU may be used. It takes 0.3 s and 230 MB on a machine without GPU, so programs that compute on
/// the CPU do without.
///
/// # Errors
///
/// [`PolicyError::NoDevice`] if the library or one that it needs is missing, or libtorch has already found
/// that there is no CUDA.
pub fn load_cuda() -> Result<(), PolicyError> {
    load().map_err(|reason| PolicyError::NoDevice { device: "cuda".to_owned(), reason })
}

fn load() -> Result<(), String> {
    ffi::load_torch_cuda()?;
    if !tch::utils::has_cudart() {
        let reason = "libtorch's CUDA library was loaded after libtorch had looked for it; \
                      call `load_cuda` before the first tensor is made";
        return Err(reason.to_owned());
    }
    ffi::leave_cudnn_attention();
    Ok(())
}

/// The memory of a GPU, in bytes, all processes counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceMemory {
    /// Free memory, in bytes.
    pub free: u64,
    /// Total memory, in bytes.
    pub total: u64,
}

impl DeviceMemory {
    /// Used memory, in bytes. libtorch keeps memory that it has once used, so after a step this is the
    /// largest use so far.
    pub const fn used(self) -> u64 {
        self.total.saturating_sub(self.free)
    }
}

/// The memory of a GPU; `None` for a CPU, or where CUDA does not report it.
pub fn device_memory(device: Device) -> Option<DeviceMemory> {
    let Device::Cuda(index) = device else { return None };
    let (free, total) = ffi::device_memory(index)?;
    Some(DeviceMemory { free: free as u64, total: total as u64 })
}

/// Lets products of `Float` matrices on GPUs round their inputs to a mantissa of 10 bits (TF32). They are then
/// several times as fast. It is a setting of the whole process. Returns whether this libtorch has it.
pub fn allow_tf32() -> bool {
    ffi::allow_tf32(true)
}

/// Number of GPUs that libtorch can use, at least 1; or the reason why there are none.
fn gpus() -> Result<usize, String> {
    // A stand-in for the library may need no driver.
    let driver = if ffi::has_torch_cuda() { None } else { Some(working_driver()?) };
    load()?;
    let count = usize::try_from(tch::Cuda::device_count()).unwrap_or(0);
    if count > 0 {
        return Ok(count);
    }
    let needed = version(tch::utils::version_cudart());
    Err(match driver {
        Some(driver) => format!(
            "libtorch sees no GPU: it was built for CUDA {needed}, the NVIDIA driver supports {}",
            version(driver.version)
        ),
        None => format!("libtorch, built for CUDA {needed}, sees no GPU"),
    })
}

/// The driver, if it has GPUs to offer.
fn working_driver() -> Result<CudaDriver, String> {
    let driver = ffi::cuda_driver().map_err(|error| {
        // In place of the loader's sentence, which is longer than a line.
        let is_absent = error.contains("No such file");
        let reason = if is_absent { "no libcuda.so.1".to_owned() } else { error };
        format!("this machine has no NVIDIA driver: {reason}")
    })?;
    match driver.devices {
        Ok(0) => Err(format!(
            "the NVIDIA driver (CUDA {}) shows no GPU; see `CUDA_VISIBLE_DEVICES`",
            version(driver.version)
        )),
        Ok(_) => Ok(driver),
        Err(code) => Err(format!(
            "the NVIDIA driver (CUDA {}) does not start: error {code}",
            version(driver.version)
        )),
    }
}

/// CUDA's way to write a version, 1000 · major + 10 · minor.
fn version(number: i64) -> String {
    format!("{}.{}", number / 1000, number % 1000 / 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_read_as_they_are_written() {
        for (text, choice) in [
            ("auto", DeviceChoice::Auto),
            ("cpu", DeviceChoice::Cpu),
            ("cuda:0", DeviceChoice::Cuda(0)),
            ("cuda:12", DeviceChoice::Cuda(12)),
        ] {
            assert_eq!(text.parse::<DeviceChoice>().unwrap(), choice);
            assert_eq!(choice.to_string(), text);
            let json = serde_json::to_string(&choice).unwrap();
            assert_eq!(serde_json::from_str::<DeviceChoice>(&json).unwrap(), choice);
        }
        assert_eq!("cuda".parse::<DeviceChoice>().unwrap(), DeviceChoice::Cuda(0));
        for text in ["gpu", "cuda:", "cuda:-1", "CUDA", ""] {
            let error = text.parse::<DeviceChoice>().unwrap_err().to_string();
            assert!(error.contains("auto, cpu, cuda or cuda:N"), "{error}");
        }
    }

    #[test]
    fn the_cpu_is_there() {
        let chosen = DeviceChoice::Cpu.resolve().unwrap();
        assert_eq!(chosen.device, Device::Cpu);
        assert_eq!(chosen.to_string(), "the CPU (as asked for)");
    }

    #[test]
    fn versions_read_as_those_of_cuda() {
        assert_eq!([version(13_000), version(12_040)], ["13.0", "12.4"]);
    }
}
