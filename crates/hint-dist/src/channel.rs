//! Tensors for the GPUs of another program, which NCCL connects by an id alone.

use std::time::Duration;

use tch::{Device, Kind, Tensor};

use crate::collective::Operation;
use crate::error::CollectiveError;
use crate::ffi::{Group, ID_LEN, Work, new_nccl_id};

/// A part of a wait.
const SLICE: Duration = Duration::from_millis(20);

/// A GPU of this process, and those of another program, over NCCL.
///
/// Its ranks share no store, so nobody watches them. Each wait is bounded, and what failed once is of no use any more.
/// Dropping a channel aborts what is under way. All ranks need the same version of NCCL, and a GPU of their own.
///
/// ```no_run
/// use std::time::Duration;
///
/// use hint_dist::NcclChannel;
/// use tch::{Device, Kind, Tensor};
///
/// let (device, limit) = (Device::Cuda(0), Duration::from_secs(60));
/// let id = NcclChannel::new_id()?;
/// // The other program joins as rank 1 at the same time, with this id.
/// let channel = NcclChannel::join(&id, 0, 2, device, limit)?;
/// let weights = Tensor::ones([4], (Kind::Float, device));
/// channel.broadcast(&weights, 0, limit)?;
/// # Ok::<(), hint_dist::CollectiveError>(())
/// ```
#[derive(Debug)]
pub struct NcclChannel {
    group: Group,
    device: Device,
}

impl NcclChannel {
    /// The 128 bytes by which the ranks of a new channel find each other. This process stays reachable for them.
    ///
    /// # Errors
    ///
    /// [`CollectiveError::Backend`] where libtorch has no NCCL.
    pub fn new_id() -> Result<Vec<u8>, CollectiveError> {
        Ok(new_nccl_id()?.to_vec())
    }

    /// Connects the GPU `device` as `rank` of `world_size`. Takes part in the sum of one number, with which the workers of
    /// vLLM begin. All ranks call it at the same time.
    ///
    /// # Errors
    ///
    /// [`CollectiveError::Backend`] for an `id` of another length, a CPU, another version of NCCL, and two ranks with one GPU.
    /// Also when the ranks are not all there within `timeout`.
    pub fn join(
        id: &[u8],
        rank: usize,
        world_size: usize,
        device: Device,
        timeout: Duration,
    ) -> Result<Self, CollectiveError> {
        let refused = |problem: String| CollectiveError::backend("join a channel", problem);
        let id = <&[u8; ID_LEN]>::try_from(id)
            .map_err(|_| refused(format!("an id has {ID_LEN} bytes, this one {}", id.len())))?;
        let Device::Cuda(index) = device else {
            return Err(refused("this rank has no GPU".to_owned()));
        };
        Ok(Self { group: Group::join_nccl(id, rank, world_size, index, timeout)?, device })
    }

    /// Gives `tensor` of rank `root` to all. It is contiguous, [`Kind::Float`], on the GPU of this rank, of any shape, and
    /// the same number of elements everywhere. Returns when it has arrived.
    ///
    /// # Errors
    ///
    /// [`CollectiveError::Backend`] for another tensor, an error of NCCL, and after `timeout`. Drop the channel then.
    pub fn broadcast(
        &self,
        tensor: &Tensor,
        root: usize,
        timeout: Duration,
    ) -> Result<(), CollectiveError> {
        let under_way = self.start(tensor, root)?;
        let mut waited = Duration::ZERO;
        while !under_way.poll(SLICE)? {
            waited += SLICE;
            if waited >= timeout {
                let problem = format!("not done within {} s", timeout.as_secs_f64());
                return Err(CollectiveError::backend("broadcast", problem));
            }
        }
        Ok(())
    }

    /// Starts what [`Self::broadcast`] does, and waits for nobody. Start the next one when this one has arrived.
    ///
    /// # Errors
    ///
    /// [`CollectiveError::Backend`] for another tensor, and an error of NCCL. Drop the channel then.
    pub fn start(&self, tensor: &Tensor, root: usize) -> Result<NcclBroadcast, CollectiveError> {
        let fits = tensor.device() == self.device && tensor.kind() == Kind::Float;
        if !fits || !tensor.is_contiguous() {
            let problem = "it takes contiguous Float tensors of the GPU that has joined";
            return Err(CollectiveError::backend("broadcast", problem));
        }
        Ok(NcclBroadcast(self.group.start(Operation::Broadcast, tensor, tensor, root)?))
    }
}

/// A tensor under way in an [`NcclChannel`], which it keeps. Made by [`NcclChannel::start`].
#[derive(Debug)]
pub struct NcclBroadcast(Work);

impl NcclBroadcast {
    /// Whether the tensor has arrived within `wait`.
    ///
    /// # Errors
    ///
    /// [`CollectiveError::Backend`] for an error of NCCL. Drop the channel then.
    pub fn poll(&self, wait: Duration) -> Result<bool, CollectiveError> {
        self.0.poll(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_another_length_and_a_cpu_are_refused() {
        let join = |id: &[u8]| {
            let joined = NcclChannel::join(id, 0, 2, Device::Cpu, Duration::from_secs(1));
            joined.expect_err("no GPU").to_string()
        };
        assert_eq!(join(&[0; 12]), "cannot join a channel: an id has 128 bytes, this one 12");
        assert_eq!(join(&[0; ID_LEN]), "cannot join a channel: this rank has no GPU");
    }

    /// What NCCL or libtorch says. So `native/nccl.cpp` finds the functions of NCCL, and its calls arrive.
    #[test]
    fn without_gpus_the_id_or_the_connection_is_an_error() {
        if tch::Cuda::device_count() > 0 {
            return;
        }
        let id = match NcclChannel::new_id().map_err(|error| error.to_string()) {
            Ok(id) => id,
            // A machine without a network.
            Err(error) => return assert!(error.contains("NCCL error: "), "{error}"),
        };
        let device = Device::Cuda(0);
        let joined = NcclChannel::join(&id, 0, 1, device, Duration::from_secs(5));
        let error = joined.expect_err("no GPU").to_string();
        assert!(error.starts_with("cannot connect to the GPUs of another program: "), "{error}");
    }
}
