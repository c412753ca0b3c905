//! Collectives between the processes of a training run.
//!
//! A [`Collective`] is one rank of a group of processes, or of threads, that call the same operations in the same
//! order. Sums are in the order of the ranks, so they have the same bits with every group below.
//!
//! | rank | of |
//! |---|---|
//! | [`Single`] | one process; every operation is a copy |
//! | [`Threads`] | the threads of one process |
//! | `Gloo`, feature `gloo` | processes on one or more machines, over the Gloo of libtorch 2.11 |
//! | `Nccl`, feature `nccl` | such processes with a GPU each, whose tensors travel from GPU to GPU |
//!
//! An `NcclChannel` (feature `nccl`) is no rank of a run. It carries weights to the GPUs of another program, such as a
//! server that samples.
//!
//! Every wait is bounded. A process that ends, is late, gives up or calls another operation is the same
//! [`CollectiveError`] on every rank. It names the rank where that can be known. A group that has failed once stays failed.
//!
//! ```
//! use std::time::Duration;
//!
//! use hint_dist::{Collective, Threads};
//! use tch::Tensor;
//!
//! let members = Threads::group(2, Duration::from_secs(10));
//! std::thread::scope(|scope| {
//!     for member in members {
//!         scope.spawn(move || {
//!             let mut tensor = Tensor::from_slice(&[1.0_f32, member.rank() as f32]);
//!             member.all_reduce(&mut tensor).expect("both ranks are there");
//!             assert_eq!(Vec::<f32>::try_from(tensor).unwrap(), [2.0, 1.0]);
//!             member.shutdown().expect("both ranks leave");
//!         });
//!     }
//! });
//! ```
//!
//! Two threads of a process may exchange at the same time: the second one over the [duplicate](Collective::duplicate) of the
//! group. With `Gloo`, tensors of a GPU are carried through host memory.

#[cfg(feature = "nccl")]
mod channel;
mod collective;
mod error;
#[cfg(feature = "gloo")]
mod ffi;
#[cfg(feature = "gloo")]
mod gloo;
#[cfg(feature = "nccl")]
mod nccl;
mod single;
mod threads;
mod values;

#[cfg(feature = "nccl")]
pub use channel::{NcclBroadcast, NcclChannel};
pub use collective::Collective;
pub use error::{CollectiveError, PeerState};
#[cfg(feature = "gloo")]
pub use gloo::{Gloo, Rendezvous, Timeouts};
#[cfg(feature = "nccl")]
pub use nccl::Nccl;
pub use single::Single;
pub use threads::Threads;
pub use values::broadcast_value;
