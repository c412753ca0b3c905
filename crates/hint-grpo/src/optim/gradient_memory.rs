//! Memory of the gradients of a process among several.

use std::collections::BTreeMap;

use hint_policy::Policy;

use crate::optim::{FlatBuffer, Shard, bytes, len};

/// Memory of gradients that several processes or virtual workers share, of one process in bytes. It counts the gradient of a
/// virtual worker, the sum, and what is sent and received for that. Shared weights are counted beside them.
///
/// ```
/// use hint_grpo::Optimizer as _;
/// use hint_grpo::optim::{GradientMemory, OptimizerConfig, Shard};
/// use hint_policy::config::Architecture;
/// use hint_policy::{CausalLm, ModelConfig, Policy as _};
/// use tch::Device;
///
/// let model = ModelConfig { num_hidden_layers: 4, ..ModelConfig::small(Architecture::Llama, 60) };
/// let policy = CausalLm::init(&model, 1, Device::Cpu)?;
/// let shard = Shard { rank: 0, world_size: 2 };
/// let mut optimizer = OptimizerConfig::default().build_shard(policy.parameters(), shard)?;
/// let buffers = optimizer.shard(shard).expect("AdamW can share its state");
/// let memory = GradientMemory::new(&buffers, &policy, shard, 2);
/// assert!(memory.one_micro_batch <= memory.many_micro_batches);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GradientMemory {
    /// At most in an optimizer step in which every virtual worker has one micro-batch. The backward pass then gives away the
    /// gradients of its blocks one after the other.
    pub one_micro_batch: u64,
    /// At most with several micro-batches. Their sum is complete in the last backward pass alone, so a process has the gradient
    /// of all parameters until then.
    pub many_micro_batches: u64,
    /// The weights that are there at most while learning with `run.shard = "parameters"`. They are its part, those that a stage
    /// of a pass reads, and what is sent and received for these.
    pub weights: u64,
}

impl GradientMemory {
    /// That of a process, for the buffers that [`Optimizer::shard`](super::Optimizer::shard) returned to it, and a number of
    /// virtual workers.
    pub fn new(
        buffers: &[FlatBuffer],
        policy: &dyn Policy,
        shard: Shard,
        virtual_workers: usize,
    ) -> Self {
        let names = policy.parameters().into_iter().map(|parameter| parameter.name);
        let of = names.zip(policy.gradient_stages()).collect::<BTreeMap<_, _>>();
        let stages = buffers.iter().map(|buffer| buffer.stages(&of)).collect::<Vec<_>>();
        let sizes = buffers.iter().map(|buffer| bytes(&buffer.weights)).collect::<Vec<_>>();
        let all = sizes.iter().sum::<u64>();
        let width = |buffer: &FlatBuffer| buffer.weights.kind().elt_size_in_bytes() as u64;
        let own_of =
            |buffer: &FlatBuffer| len(&buffer.ranges[shard.rank]).unsigned_abs() * width(buffer);
        let sent_of = |buffer: &FlatBuffer| {
            let room = buffer.slices().room().unsigned_abs();
            2 * shard.world_size as u64 * room * width(buffer)
        };
        let own = buffers.iter().map(own_of).sum::<u64>();
        let largest_own = buffers.iter().map(own_of).max().unwrap_or(0);
        let sent = buffers.iter().map(sent_of).max().unwrap_or(0);
        // Room is made at the beginnings of stages alone.
        let alive = |stage: usize| {
            let pairs = stages.iter().zip(&sizes);
            pairs.filter(|(stages, _)| stages.contains(&stage)).map(|(_, size)| size).sum::<u64>()
        };
        let most = stages.iter().map(|stages| alive(stages.start)).max().unwrap_or(0);
        // A buffer may be on its way besides.
        let on_the_way = sizes.iter().copied().max().unwrap_or(0);
        let earlier = if virtual_workers > shard.world_size { own } else { largest_own };
        let many_micro_batches = all + earlier + sent;
        let one_micro_batch = own + (most + on_the_way).min(all) + sent;
        let one_micro_batch = one_micro_batch.min(many_micro_batches);
        // A pass reads the buffers whose gradients a stage changes. Less travels for them: each process sends one range.
        let weights = own + most + sent;
        Self { one_micro_batch, many_micro_batches, weights }
    }
}
