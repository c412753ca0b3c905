//! Operators for GPUs that are tried before they are trusted.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use tch::Device;

use crate::error::PolicyError;
use crate::kernels::trial;
use crate::out_of_memory::catch_out_of_memory;

/// An operator of libtorch that does on a GPU what several operations do elsewhere.
///
/// Before its first use, each is tried on a few numbers on the device, and compared with the operations that it replaces.
/// If it fails or gives other numbers, those operations are used from then on, and [`FastPath::refusal`] has the reason.
/// On a CPU none is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FastPath {
    /// A step of AdamW in one pass over weights, gradient and moments.
    AdamW,
    /// The norms of all gradients, and their clipping, in one operation each.
    GradientNorm,
    /// Normalization of rows, forward and backward, in one operation each.
    RmsNorm,
    /// Flash attention of rows of any lengths without padding, forward and backward, for training in bf16.
    PackedAttention,
    /// Flash attention of new tokens to a cache by the lengths of rows in place of a mask, for decoding in bf16.
    CachedAttention,
    /// A product of matrices in bf16, added to a sum in `Float` without rounding. For gradients in bf16 training.
    WideSum,
}

/// Which are forbidden, in the order of [`FastPath::ALL`].
static FORBIDDEN: [AtomicBool; FastPath::ALL.len()] =
    [const { AtomicBool::new(false) }; FastPath::ALL.len()];

/// The result of each trial.
static TRIALS: [OnceLock<Result<(), String>>; FastPath::ALL.len()] =
    [const { OnceLock::new() }; FastPath::ALL.len()];

impl FastPath {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::AdamW,
        Self::GradientNorm,
        Self::RmsNorm,
        Self::PackedAttention,
        Self::CachedAttention,
        Self::WideSum,
    ];

    /// The name of its switch.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AdamW => "adamw",
            Self::GradientNorm => "gradient-norm",
            Self::RmsNorm => "rms-norm",
            Self::PackedAttention => "packed-attention",
            Self::CachedAttention => "cached-attention",
            Self::WideSum => "wide-sum",
        }
    }

    /// Takes it out of use in this process. Call it before the first model is loaded.
    pub fn forbid(self) {
        FORBIDDEN[self as usize].store(true, Ordering::Relaxed);
    }

    /// Whether tensors on `device` take it. Tries it if that was not done before.
    pub fn is_taken(self, device: Device) -> bool {
        self.refusal(device).is_none()
    }

    /// Why `device` does not take it. Tries it on a GPU if that was not done before; the first one speaks for all. `None` if
    /// it is taken.
    pub fn refusal(self, device: Device) -> Option<&'static str> {
        if device == Device::Cpu {
            return Some("it is for GPUs");
        }
        if FORBIDDEN[self as usize].load(Ordering::Relaxed) {
            return Some("as asked for");
        }
        let trial = TRIALS[self as usize].get_or_init(|| tch::no_grad(|| self.trial(device)));
        trial.as_ref().err().map(String::as_str)
    }

    /// Largest difference in a trial, whose numbers are about 1. A wrong one is off by far more than by rounding.
    const fn tolerance(self) -> f64 {
        match self {
            // A product that is rounded to bf16 is off by more.
            Self::AdamW | Self::GradientNorm | Self::RmsNorm | Self::WideSum => 1e-4,
            Self::PackedAttention | Self::CachedAttention => 0.03,
        }
    }

    fn trial(self, device: Device) -> Result<(), String> {
        const ACTION: &str = "try an operator";
        // Libtorch calls with scalars panic where memory runs out, also those that return errors.
        let differences = catch_out_of_memory(ACTION, || {
            let differences = match self {
                Self::AdamW => trial::adamw(device),
                Self::GradientNorm => trial::gradient_norm(device),
                Self::RmsNorm => trial::rms_norm(device),
                Self::PackedAttention => trial::packed_attention(device),
                Self::CachedAttention => trial::cached_attention(device),
                Self::WideSum => trial::wide_sum(device),
            };
            differences.map_err(|source| PolicyError::torch(ACTION, source))
        });
        match differences {
            Ok(differences) => self.verdict(&differences),
            Err(PolicyError::Torch { source, .. }) => Err(reason(&source.to_string()).to_owned()),
            // The advice of this error is for runs.
            Err(PolicyError::OutOfMemory { action, .. }) => Err(format!("{action}: out of memory")),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Refuses numbers that are not close, among them those that are none.
    fn verdict(self, differences: &[(&str, f64)]) -> Result<(), String> {
        let is_close = |difference: f64| difference < self.tolerance();
        match differences.iter().find(|(_, difference)| !is_close(*difference)) {
            None => Ok(()),
            Some((what, difference)) => Err(format!("its {what} is off by {difference:.1e}")),
        }
    }
}

/// The first sentence of an error of libtorch. That of a method follows the lines of its code.
fn reason(error: &str) -> &str {
    let own = error.lines().find_map(|line| line.trim().strip_prefix("RuntimeError: "));
    let line = own.or_else(|| error.lines().next()).unwrap_or_default();
    line.split_once(". ").map_or(line, |(sentence, _)| sentence)
}

impl fmt::Display for FastPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two of the operators exist on a CPU as well, where no model takes them.
    #[test]
    fn trials_pass_right_numbers_and_name_what_is_missing() {
        tch::set_num_threads(1);
        for path in [FastPath::AdamW, FastPath::GradientNorm] {
            assert_eq!(tch::no_grad(|| path.trial(Device::Cpu)), Ok(()), "{path}");
            assert_eq!(path.refusal(Device::Cpu), Some("it is for GPUs"));
        }
        for path in [FastPath::PackedAttention, FastPath::CachedAttention] {
            let reason = tch::no_grad(|| path.trial(Device::Cpu)).unwrap_err();
            assert!(
                reason.contains("_flash_attention_forward") && !reason.contains('\n'),
                "{reason}"
            );
        }
        let reason = tch::no_grad(|| FastPath::WideSum.trial(Device::Cpu)).unwrap_err();
        assert!(reason.contains("addmm") && !reason.contains('\n'), "{reason}");
    }

    #[test]
    fn wrong_numbers_are_refused() {
        let found = |difference| vec![("norm", 1e-7), ("clipped gradient", difference)];
        assert_eq!(FastPath::GradientNorm.verdict(&found(1e-6)), Ok(()));
        for difference in [0.01, f64::NAN, f64::INFINITY] {
            let reason = FastPath::GradientNorm.verdict(&found(difference)).unwrap_err();
            assert!(reason.starts_with("its clipped gradient is off by"), "{reason}");
        }
    }
}
