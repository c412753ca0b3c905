//! Setup of libtorch, once per program: the device, memory, and the end of memory.
//!
//! - [`DeviceChoice`] is the device that a user asks for; resolving it returns the device that was
//!   taken, with the reason.
//! - [`load_cuda`] makes GPUs reachable, which a Rust program does not do by itself.
//! - [`keep_freed_memory`] keeps freed memory for the next tensor, which makes training on a CPU faster.
//! - [`device_memory`] is the total and free memory of a GPU, [`allow_tf32`] a faster and coarser `f32`
//!   there.
//! - [`FastPath`] is an operator for GPUs that replaces several, [`fused`] has those for optimizers.
//! - [`catch_out_of_memory`] turns a failed allocation inside libtorch, which panics, into an error
//!   that names the settings to lower. [`silence_caught_out_of_memory`] keeps such a panic off
//!   standard error.
//!
//! A program that may compute on a GPU starts with
//!
//! ```
//! use hint_policy::runtime::DeviceChoice;
//!
//! let chosen = DeviceChoice::Auto.resolve()?; // before the first tensor
//! println!("computing on {chosen}");
//! let options = hint_policy::LoadOptions::on(chosen.device); // bf16 on a GPU
//! # Ok::<(), hint_policy::PolicyError>(())
//! ```

mod device;

pub use crate::ffi::keep_freed_memory;
pub use crate::kernels::fast_path::FastPath;
pub use crate::out_of_memory::{catch_out_of_memory, silence_caught_out_of_memory};
pub use device::{ChosenDevice, DeviceChoice, DeviceMemory, allow_tf32, device_memory, load_cuda};

/// Operators that optimizers use. Those for GPUs have a [`FastPath`], which is asked first.
pub mod fused {
    pub use crate::kernels::adamw::{adamw_on_cpu, has_adamw_on_cpu};
    pub use crate::kernels::fused::{AdamWStep, adamw, norms, scale};
}
