//! Operations on a CPU that libtorch has only in many passes over memory.
//!
//! Each works on rows, in `f32` for any kind of the tensor, rounds once, and splits rows among
//! libtorch's threads. Every row is computed by itself, so neither the number of threads nor the
//! instructions of the processor change a number. [`adamw`] is a step of an optimizer, number by
//! number. For other kinds and devices the callers have the same in libtorch's operations. [`fused`]
//! has its operators for GPUs, which [`fast_path`] tries first.
#![expect(clippy::inline_always, reason = "what `vectorized` runs must be compiled within it")]

pub(crate) mod adamw;
pub(crate) mod attention;
pub(crate) mod block;
pub(crate) mod decode;
pub(crate) mod fast_path;
pub(crate) mod fused;
pub(crate) mod head;
mod number;
pub(crate) mod onednn;
mod script;
mod trial;

use std::sync::{Mutex, PoisonError};

use tch::{Device, Kind, Tensor};

use crate::ffi::{Job, on_threads, vectorized};
use crate::tensor::len;

/// Elements that are worth the attention of a thread.
const WORTH_A_THREAD: usize = 1 << 14;

/// Whether there are kernels for tensors like this one.
pub(crate) fn work_for(tensor: &Tensor) -> bool {
    tensor.device() == Device::Cpu && matches!(tensor.kind(), Kind::Float | Kind::BFloat16)
}

/// Calls a function that is generic in the type of the elements of a tensor.
macro_rules! by_kind {
    ($tensor:expr, $function:ident($($argument:expr),* $(,)?)) => {
        match $tensor.kind() {
            tch::Kind::BFloat16 => $function::<half::bf16>($($argument),*),
            _ => $function::<f32>($($argument),*),
        }
    };
}
use by_kind;

/// Rows that make up a job. Depends on their width alone.
fn rows_of_a_job(width: usize) -> usize {
    WORTH_A_THREAD.div_ceil(width.max(1))
}

/// Runs every job; which thread runs which is left to chance.
fn run_all<J: Job + Send>(jobs: impl ExactSizeIterator<Item = J> + Send) {
    run_on(usize::MAX, jobs);
}

/// As [`run_all`], on no more threads than `most`, and on one if that is 0.
fn run_on<J: Job + Send>(most: usize, jobs: impl ExactSizeIterator<Item = J> + Send) {
    let threads = usize::try_from(tch::get_num_threads()).unwrap_or(1).min(jobs.len()).min(most);
    let jobs = Mutex::new(jobs);
    let next = || jobs.lock().unwrap_or_else(PoisonError::into_inner).next();
    on_threads(threads, &|| {
        while let Some(job) = next() {
            vectorized(job);
        }
    });
}

/// The last dimension of a tensor.
fn width(tensor: &Tensor) -> usize {
    tensor.size().last().map_or(1, |&width| len(width))
}
