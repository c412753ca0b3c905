//! Running out of memory inside libtorch, as an error that names the settings to lower.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind, set_hook, take_hook};

use tch::TchError;

use crate::error::PolicyError;
use crate::tensor::grad_is_enabled;

/// Beginnings of the messages of libtorch's allocators, for GPUs and for the host, and of C++'s.
const COMPLAINTS: [&str; 6] = [
    "CUDA out of memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "std::bad_alloc",
];

/// Runs `work`, whose libtorch calls panic where memory runs out, and turns such a panic into
/// [`PolicyError::OutOfMemory`]. Other panics continue. Whether operations are recorded for
/// gradients is as before afterwards.
///
/// [`sample`](crate::sample) and [`CausalLm`](crate::CausalLm) use it themselves. Use it around
/// libtorch calls of your own whose size depends on data, such as a backward pass. For calls that
/// return a [`TchError`] there is [`PolicyError::torch`]. Changes that `work` made in place before
/// it ran out of memory remain. The panic is still reported where the program reports panics, on
/// standard error by default, unless it called [`silence_caught_out_of_memory`].
///
/// # Errors
///
/// [`PolicyError::OutOfMemory`], and errors of `work`.
///
/// # Examples
///
/// ```
/// use hint_policy::{PolicyError, catch_out_of_memory};
/// use tch::{Device, Kind, Tensor};
///
/// let result = catch_out_of_memory("make a tensor", || {
///     Ok::<_, PolicyError>(Tensor::zeros([1 << 50], (Kind::Float, Device::Cpu)))
/// });
/// assert!(matches!(result, Err(PolicyError::OutOfMemory { .. })));
/// ```
pub fn catch_out_of_memory<T, E: From<PolicyError>>(
    action: &'static str,
    work: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    let recording = grad_is_enabled();
    CATCHING.set(CATCHING.get() + 1);
    let result = catch_unwind(AssertUnwindSafe(work));
    CATCHING.set(CATCHING.get() - 1);
    match result {
        Ok(result) => result,
        Err(panic) => {
            // `tch::no_grad` does not end when it unwinds. Guards give back the mode they began in.
            drop(if recording {
                tch::with_grad(tch::no_grad_guard)
            } else {
                tch::no_grad(tch::no_grad_guard)
            });
            match complaint_of(&*panic) {
                Some(message) => Err(PolicyError::OutOfMemory { action, message }.into()),
                None => resume_unwind(panic),
            }
        }
    }
}

/// Lets the process report no panic that [`catch_out_of_memory`] turns into an error. Others are reported as
/// before. It sets the panic hook, which is the program's to decide: call it once, at the start.
pub fn silence_caught_out_of_memory() {
    let report = take_hook();
    set_hook(Box::new(move |panic| {
        if CATCHING.get() == 0 || complaint_of(panic.payload()).is_none() {
            report(panic);
        }
    }));
}

thread_local! {
    /// Depth of nested calls of [`catch_out_of_memory`] in this thread.
    static CATCHING: Cell<usize> = const { Cell::new(0) };
}

/// Message of an allocator, if that was the cause of a panic.
fn complaint_of(panic: &(dyn Any + Send)) -> Option<String> {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    complaint(text.or_else(|| panic.downcast_ref::<&str>().copied())?)
}

fn complaint(text: &str) -> Option<String> {
    let start = COMPLAINTS.iter().filter_map(|words| text.find(words)).min()?;
    // A backtrace follows, behind a line break or a quoted one.
    let line = text[start..].lines().next().unwrap_or_default();
    let line = line.split("\\n").next().unwrap_or_default();
    Some(line.trim_end_matches(['"', ')', ' ']).to_owned())
}

impl PolicyError {
    /// The error of a libtorch call that failed in `action`: [`PolicyError::OutOfMemory`] if an
    /// allocator did, else [`PolicyError::Torch`].
    pub fn torch(action: &'static str, source: TchError) -> Self {
        match complaint(&source.to_string()) {
            Some(message) => Self::OutOfMemory { action, message },
            None => Self::Torch { action, source },
        }
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::*;

    /// 4 PiB, more than any process can address.
    fn too_large() -> Tensor {
        Tensor::zeros([1 << 50], (Kind::Float, Device::Cpu))
    }

    fn run_out(work: impl FnOnce() -> Tensor) -> PolicyError {
        catch_out_of_memory("score tokens", || Ok(work())).unwrap_err()
    }

    #[test]
    fn what_the_allocator_says_becomes_an_error_that_says_what_to_lower() {
        let error = run_out(too_large).to_string();
        for words in ["score tokens", "4503599627370496 bytes", "max_tokens_per_micro_batch"] {
            assert!(error.contains(words), "{error}");
        }
        assert!(!error.contains("frame #"), "{error}");
        let source = Tensor::f_zeros([1 << 50], (Kind::Float, Device::Cpu)).unwrap_err();
        let error = PolicyError::torch("score tokens", source);
        assert!(matches!(error, PolicyError::OutOfMemory { .. }), "{error}");
        let source = Tensor::f_zeros([-1], (Kind::Float, Device::Cpu)).unwrap_err();
        let error = PolicyError::torch("score tokens", source);
        assert!(matches!(error, PolicyError::Torch { .. }), "{error}");
    }

    #[test]
    fn every_allocator_is_recognized_and_other_panics_go_on() {
        for words in COMPLAINTS {
            let text = format!("called `unwrap` on Torch(\"{words}. Tried 2 GiB\\nframe #1\")");
            let result: Result<(), PolicyError> =
                catch_out_of_memory("sample", || panic!("{text}"));
            let Err(PolicyError::OutOfMemory { action: "sample", message }) = result else {
                panic!("{words}: {result:?}")
            };
            assert_eq!(message, format!("{words}. Tried 2 GiB"));
        }
        let other = catch_unwind(|| {
            catch_out_of_memory::<(), PolicyError>("sample", || panic!("a mistake"))
        });
        assert!(other.is_err());
    }

    #[test]
    fn gradients_are_recorded_as_before_when_memory_ran_out() {
        run_out(|| tch::no_grad(too_large));
        assert!(grad_is_enabled());
        tch::no_grad(|| {
            run_out(|| tch::with_grad(too_large));
            assert!(!grad_is_enabled());
        });
        assert!(grad_is_enabled());
    }
}
