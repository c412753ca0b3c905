//! Parameters laid out in one buffer, so that an update is a few passes over it.

use tch::{Device, Kind, TchError, Tensor};

use crate::error::GrpoError;
use crate::optim::slot::needs_master;
use crate::optim::state::find;
use crate::optim::{GroupedParameter, bytes};

/// Elements of a chunk on a CPU. Weights, gradient, moments and scratch of a chunk stay in the cache
/// from the first operation to the last. Also, libtorch does not split an operation on so few elements
/// among its threads. They would wait for each other after every one.
const CPU_CHUNK: i64 = 3 << 13;
/// Elements of a chunk on an accelerator, where launches cost more than memory traffic.
const DEVICE_CHUNK: i64 = 1 << 25;

/// Parameters of one kind, device, weight decay and learning rate, with their moments.
#[derive(Debug)]
pub(super) struct Bucket {
    members: Vec<Member>,
    pub(super) lr_multiplier: f64,
    pub(super) weight_decay: f64,
    /// Full-precision weights; the policy's own storage unless its kind is too coarse.
    weights: Tensor,
    master: bool,
    first: Tensor,
    second: Tensor,
    chunks: Vec<Chunk>,
}

/// A parameter's place in its bucket.
#[derive(Debug)]
struct Member {
    name: String,
    tensor: Tensor,
    /// Place of its gradient: a view of the flat gradient.
    gradient: Tensor,
    start: i64,
    len: i64,
    size: Vec<i64>,
}

impl Member {
    /// The member's part of a buffer, in its shape.
    fn view(&self, flat: &Tensor) -> Tensor {
        flat.narrow(0, self.start, self.len).view(self.size.as_slice())
    }
}

/// Views of the same stretch of every buffer.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) weights: Tensor,
    /// The policy's weights, when they are not `weights` themselves.
    pub(super) published: Option<Tensor>,
    pub(super) gradient: Tensor,
    pub(super) first: Tensor,
    pub(super) second: Tensor,
}

/// Scratch between a chunk and its update.
pub(super) type Scratch = [Tensor; 3];

impl Bucket {
    /// Lays parameters out, in order, one bucket for each combination of settings. The parameters keep
    /// their values and become views of the buffers, and so do their gradients.
    pub(super) fn lay_out(parameters: &[GroupedParameter], weight_decay: f64) -> Vec<Self> {
        let key = |grouped: &GroupedParameter| {
            let tensor = &grouped.parameter.tensor;
            let decay = grouped.decay(weight_decay);
            (tensor.kind(), tensor.device(), grouped.lr_multiplier.to_bits(), decay.to_bits())
        };
        let mut keys = Vec::new();
        for grouped in parameters {
            if !keys.contains(&key(grouped)) {
                keys.push(key(grouped));
            }
        }
        keys.iter()
            .map(|wanted| {
                let members = parameters.iter().filter(|grouped| key(grouped) == *wanted);
                Self::new(&members.collect::<Vec<_>>(), weight_decay)
            })
            .collect()
    }

    fn new(parameters: &[&GroupedParameter], weight_decay: f64) -> Self {
        let like = &parameters[0].parameter.tensor;
        let (kind, device) = (like.kind(), like.device());
        let flattened = parameters
            .iter()
            .map(|grouped| grouped.parameter.tensor.detach().contiguous().view([-1]));
        let own = Tensor::cat(&flattened.collect::<Vec<_>>(), 0);
        let gradients = own.zeros_like();
        let master = needs_master(kind);
        let weights = if master { own.to_kind(Kind::Float) } else { own.shallow_clone() };
        let (first, second) = (weights.zeros_like(), weights.zeros_like());
        let mut start = 0;
        let members = parameters.iter().map(|grouped| {
            let mut tensor = grouped.parameter.tensor.shallow_clone();
            let size = tensor.size();
            let len = size.iter().product::<i64>();
            let view = |flat: &Tensor| flat.narrow(0, start, len).view(size.as_slice());
            let gradient = view(&gradients);
            tensor.set_data(&view(&own));
            adopt_gradient(&tensor, &gradient);
            let name = grouped.parameter.name.clone();
            let member = Member { name, tensor, gradient, start, len, size };
            start += len;
            member
        });
        let members = members.collect();
        let chunk_len = if device == Device::Cpu { CPU_CHUNK } else { DEVICE_CHUNK };
        let total = own.size()[0];
        let chunks = (0..total).step_by(usize::try_from(chunk_len).expect("a constant"));
        let chunks = chunks
            .map(|start| {
                let len = chunk_len.min(total - start);
                let part = |flat: &Tensor| flat.narrow(0, start, len);
                Chunk {
                    weights: part(&weights),
                    published: master.then(|| part(&own)),
                    gradient: part(&gradients),
                    first: part(&first),
                    second: part(&second),
                }
            })
            .collect();
        Self {
            members,
            lr_multiplier: parameters[0].lr_multiplier,
            weight_decay: parameters[0].decay(weight_decay),
            weights,
            master,
            first,
            second,
            chunks,
        }
    }

    pub(super) fn device(&self) -> Device {
        self.weights.device()
    }

    /// Stretches of all buffers, in order.
    pub(super) fn chunks_mut(&mut self) -> &mut [Chunk] {
        &mut self.chunks
    }

    /// Puts gradients that are not views of the flat one into place, such as the new gradient after
    /// one was dropped.
    pub(super) fn gather_gradients(&mut self) {
        for member in &mut self.members {
            let gradient = member.tensor.grad();
            if !gradient.defined() {
                let _ = member.gradient.zero_();
            } else if gradient.data_ptr() != member.gradient.data_ptr() {
                member.gradient.copy_(&gradient);
            }
        }
    }

    /// Updates every chunk. On a CPU each of libtorch's threads has its own part of them; which one takes
    /// a chunk changes no number.
    pub(super) fn for_each_chunk(
        &mut self,
        update: impl Fn(&mut Chunk, &mut Scratch) -> Result<(), TchError> + Sync,
    ) -> Result<(), TchError> {
        let Some(largest) = self.chunks.first() else { return Ok(()) };
        let (len, device) = (largest.weights.size()[0], largest.weights.device());
        let options = (self.weights.kind(), device);
        let update_all = |chunks: &mut [Chunk]| {
            let room = [(); 3].map(|()| Tensor::empty([len], options));
            chunks.iter_mut().try_for_each(|chunk| {
                let len = chunk.weights.size()[0];
                let mut scratch = [0, 1, 2].map(|index: usize| room[index].narrow(0, 0, len));
                update(chunk, &mut scratch)
            })
        };
        let threads = usize::try_from(tch::get_num_threads()).unwrap_or(1).max(1);
        if device != Device::Cpu || threads == 1 {
            return update_all(&mut self.chunks);
        }
        let share = self.chunks.len().div_ceil(threads);
        std::thread::scope(|scope| {
            let start = |chunks| scope.spawn(|| tch::no_grad(|| update_all(chunks)));
            let workers = self.chunks.chunks_mut(share).map(start).collect::<Vec<_>>();
            let join = |worker: std::thread::ScopedJoinHandle<'_, Result<(), TchError>>| {
                worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            // Every worker is waited for before the first error is returned.
            workers.into_iter().map(join).collect::<Vec<_>>().into_iter().collect()
        })
    }

    /// The buffers that belong to a saved state, with the prefixes of their names. Before the first step the moments are
    /// zero, and belong to none.
    fn buffers(&self, moments: bool) -> Vec<(&'static str, &Tensor)> {
        let mut buffers = Vec::new();
        if moments {
            buffers.extend([("first", &self.first), ("second", &self.second)]);
        }
        if self.master {
            buffers.push(("master", &self.weights));
        }
        buffers
    }

    pub(super) fn save(&self, state: &mut Vec<(String, Tensor)>, moments: bool) {
        for member in &self.members {
            for (prefix, flat) in self.buffers(moments) {
                state.push((format!("{prefix}.{}", member.name), member.view(flat)));
            }
        }
    }

    /// Memory of moments and master weights.
    pub(super) fn state_bytes(&self) -> u64 {
        self.buffers(true).into_iter().map(|(_, flat)| bytes(flat)).sum()
    }

    pub(super) fn load(
        &mut self,
        state: &[(String, Tensor)],
        moments: bool,
    ) -> Result<(), GrpoError> {
        if !moments {
            let (_, _) = (self.first.zero_(), self.second.zero_());
        }
        for member in &self.members {
            for (prefix, flat) in self.buffers(moments) {
                let mut view = member.view(flat);
                view.copy_(find(state, &format!("{prefix}.{}", member.name), Some(&view))?);
            }
        }
        Ok(())
    }
}

/// Makes `view` the gradient of a leaf; backward passes then add to it in place. A tensor that needs no
/// gradient has none to adopt.
fn adopt_gradient(tensor: &Tensor, view: &Tensor) {
    if tensor.requires_grad() {
        // The one way to give a leaf a gradient from here: differentiate something.
        tch::with_grad(|| (tensor.sum(tensor.kind()) * 0.0).backward());
        tensor.grad().set_data(view);
        tensor.shallow_clone().zero_grad();
    }
}
