//! Weights from the GPU of this process to those of vLLM servers.

use std::sync::Arc;

use clap::ValueEnum;
use hint_rollout::engine::vllm::{WeightPath, WeightTransfer};
use serde::{Deserialize, Serialize};
use tch::Device;

/// Way of whole weights to servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
pub(crate) enum VllmWeights {
    /// From GPU to GPU where this program and the server can, else through a folder.
    #[default]
    Auto,
    /// From GPU to GPU, over NCCL; an error at the start where that does not work.
    Nccl,
    /// Through a folder.
    Folder,
}

impl VllmWeights {
    pub(super) const fn path(self) -> WeightPath {
        match self {
            Self::Auto => WeightPath::Auto,
            Self::Nccl => WeightPath::Nccl,
            Self::Folder => WeightPath::Folder,
        }
    }
}

const ON_CPU: &str = "the policy is on the CPU";

/// The connection of `device` to GPUs of servers, or why there is none.
#[cfg(not(feature = "nccl"))]
pub(super) fn over_gpus(device: Device) -> Result<Arc<dyn WeightTransfer>, String> {
    let reason = "this program was built without its feature `nccl`";
    Err(if device.is_cuda() { reason } else { ON_CPU }.to_owned())
}

/// The connection of `device` to GPUs of servers, or why there is none.
#[cfg(feature = "nccl")]
pub(super) fn over_gpus(device: Device) -> Result<Arc<dyn WeightTransfer>, String> {
    if device.is_cuda() { Ok(Arc::new(nccl::Gpu(device))) } else { Err(ON_CPU.to_owned()) }
}

#[cfg(feature = "nccl")]
mod nccl {
    use std::time::Duration;

    use hint_dist::{NcclBroadcast, NcclChannel};
    use hint_rollout::RolloutError;
    use hint_rollout::engine::WeightTensor;
    use hint_rollout::engine::vllm::{WeightLink, WeightTransfer};
    use tch::{Device, Kind, Tensor};

    /// The GPU of this process.
    #[derive(Debug)]
    pub(super) struct Gpu(pub(super) Device);

    /// A channel to the GPUs of one server.
    #[derive(Debug)]
    struct Link {
        channel: NcclChannel,
        device: Device,
        under_way: Option<NcclBroadcast>,
    }

    impl WeightTransfer for Gpu {
        fn new_id(&self) -> Result<Vec<u8>, RolloutError> {
            NcclChannel::new_id().map_err(|error| RolloutError::other("NCCL", error))
        }

        fn join(
            &self,
            id: &[u8],
            world_size: usize,
            timeout: Duration,
        ) -> Result<Box<dyn WeightLink>, RolloutError> {
            let device = self.0;
            let channel = NcclChannel::join(id, 0, world_size, device, timeout)
                .map_err(|error| RolloutError::other("NCCL", error))?;
            Ok(Box::new(Link { channel, device, under_way: None }))
        }
    }

    impl WeightLink for Link {
        fn start(&mut self, tensor: &WeightTensor) -> Result<(), RolloutError> {
            let failed = |problem: String| RolloutError::other("copy of the weights", problem);
            let values = tensor.values.downcast_ref::<Tensor>();
            let values = values.ok_or_else(|| failed("no tensor of libtorch".to_owned()))?;
            let values = values
                .f_to_device(self.device)
                .and_then(|values| values.f_to_kind(Kind::Float))
                .and_then(|values| values.f_contiguous())
                .map_err(|error| failed(error.to_string()))?;
            let started = self.channel.start(&values, 0);
            self.under_way = Some(started.map_err(|error| RolloutError::other("NCCL", error))?);
            Ok(())
        }

        fn poll(&mut self, wait: Duration) -> Result<bool, RolloutError> {
            let Some(under_way) = &self.under_way else { return Ok(true) };
            let has_arrived = under_way.poll(wait);
            let has_arrived = has_arrived.map_err(|error| RolloutError::other("NCCL", error))?;
            if has_arrived {
                self.under_way = None;
            }
            Ok(has_arrived)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_on_the_cpu_goes_through_a_folder() {
        assert_eq!(over_gpus(Device::Cpu).err().as_deref(), Some(ON_CPU));
        let on_gpu = over_gpus(Device::Cuda(0)).err();
        let expected = "this program was built without its feature `nccl`";
        assert_eq!(on_gpu.as_deref(), (!cfg!(feature = "nccl")).then_some(expected));
    }
}
