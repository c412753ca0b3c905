//! Parameters laid out in one buffer, so that an update is a few passes over it.

use std::ops::Range;

use hint_policy::Parameter;
use tch::{Device, Kind, TchError, Tensor};

use crate::error::GrpoError;
use crate::optim::shard::{
    BufferMember, FlatBuffer, Shard, StatePart, give_gradient, local, part, ranges, units,
};
use crate::optim::slot::needs_master;
use crate::optim::{GroupedParameter, SavedState, bytes};

/// Parameters of one kind, device, weight decay and learning rate: their weights in one buffer, their gradients in another.
#[derive(Debug)]
pub(super) struct Layout {
    members: Vec<Member>,
    pub(super) lr_multiplier: f64,
    pub(super) weight_decay: f64,
    /// The policy's own storage.
    weights: Tensor,
    /// That of all members. If the learner makes room for gradients, it is that of the own range, and empty except in a step.
    gradient: Tensor,
    gradients: Gradients,
}

/// Where the gradients of parameters are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gradients {
    /// In the layout, all the time. There is one layout for each combination of settings.
    Kept,
    /// In room that the learner makes. A layout has at most so many elements, unless one parameter has more.
    Lent(i64),
}

/// A parameter's place in its layout.
#[derive(Debug)]
struct Member {
    name: String,
    tensor: Tensor,
    /// Place of its gradient: a view of the flat gradient.
    gradient: Tensor,
    place: Range<i64>,
    size: Vec<i64>,
}

impl Member {
    fn parameter(&self) -> Parameter {
        Parameter { name: self.name.clone(), tensor: self.tensor.shallow_clone() }
    }

    /// The elements of `range` that belong to the member.
    fn overlap(&self, range: &Range<i64>) -> Range<i64> {
        let start = self.place.start.clamp(range.start, range.end);
        start..self.place.end.clamp(start, range.end)
    }
}

/// A [`Layout`] with the moments of the range that this process updates.
#[derive(Debug)]
pub(super) struct Bucket {
    pub(super) layout: Layout,
    state: State,
    /// The range of each process.
    ranges: Vec<Range<i64>>,
}

/// What a step changes in a range of a layout.
#[derive(Debug)]
struct State {
    range: Range<i64>,
    /// The policy's weights in the range. A learner that lends room for gradients may give it other storage.
    own: Tensor,
    /// Full-precision weights of the range: `own` itself unless its kind is too coarse.
    weights: Tensor,
    master: bool,
    first: Tensor,
    second: Tensor,
    chunks: Vec<Chunk>,
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

impl Chunk {
    /// Takes the policy's weights, beside master weights or as the ones to update.
    fn publish_to(&mut self, weights: Tensor, master: bool) {
        if master {
            self.published = Some(weights);
        } else {
            self.weights = weights;
        }
    }
}

/// Scratch between a chunk and its update.
pub(super) type Scratch = [Tensor; 3];

impl Layout {
    /// Lays parameters out, in order, in layouts for each combination of settings. The parameters keep
    /// their values and become views of the buffers, and so do their gradients.
    pub(super) fn of(
        parameters: &[&GroupedParameter],
        weight_decay: f64,
        gradients: Gradients,
    ) -> Vec<Self> {
        let key = |grouped: &&GroupedParameter| {
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
        let most = match gradients {
            Gradients::Kept => i64::MAX,
            Gradients::Lent(most) => most,
        };
        let all = keys.iter().flat_map(|wanted| {
            let members = parameters.iter().copied().filter(|grouped| key(grouped) == *wanted);
            runs(&members.collect::<Vec<_>>(), most)
        });
        all.map(|run| Self::new(&run, weight_decay, gradients)).collect()
    }

    fn new(parameters: &[&GroupedParameter], weight_decay: f64, room: Gradients) -> Self {
        let flattened = parameters
            .iter()
            .map(|grouped| grouped.parameter.tensor.detach().contiguous().view([-1]));
        let weights = Tensor::cat(&flattened.collect::<Vec<_>>(), 0);
        let gradients = match room {
            Gradients::Kept => weights.zeros_like(),
            Gradients::Lent(_) => Tensor::zeros([0], (weights.kind(), weights.device())),
        };
        let mut start = 0;
        let members = parameters.iter().map(|grouped| {
            let mut tensor = grouped.parameter.tensor.shallow_clone();
            let size = tensor.size();
            let place = start..start + size.iter().product::<i64>();
            start = place.end;
            let view = |flat: &Tensor| part(flat, &place).view(size.as_slice());
            let gradient = match room {
                Gradients::Kept => view(&gradients),
                Gradients::Lent(_) => gradients.shallow_clone(),
            };
            tensor.set_data(&view(&weights));
            give_gradient(&tensor, &gradient);
            let name = grouped.parameter.name.clone();
            Member { name, tensor, gradient, place, size }
        });
        Self {
            members: members.collect(),
            lr_multiplier: parameters[0].lr_multiplier,
            weight_decay: parameters[0].decay(weight_decay),
            weights,
            gradient: gradients,
            gradients: room,
        }
    }

    /// The members, to be laid out in another way.
    pub(super) fn grouped(&self) -> impl Iterator<Item = GroupedParameter> + '_ {
        self.members.iter().map(|member| GroupedParameter {
            parameter: member.parameter(),
            lr_multiplier: self.lr_multiplier,
            weight_decay: Some(self.weight_decay),
        })
    }

    pub(super) fn device(&self) -> Device {
        self.weights.device()
    }

    fn elements(&self) -> i64 {
        self.weights.size()[0]
    }

    /// The layout as processes share it, each its range. `units` are those of the own one, by their places in the layout.
    fn buffer(
        &self,
        ranges: Vec<Range<i64>>,
        own: &Range<i64>,
        units: &[Range<i64>],
    ) -> FlatBuffer {
        let (weights, gradient) = (self.weights.shallow_clone(), self.gradient.shallow_clone());
        let member = |member: &Member| BufferMember {
            parameter: member.parameter(),
            place: member.place.clone(),
        };
        let members = self.members.iter().map(member).collect();
        FlatBuffer { weights, own: None, gradient, members, ranges, units: local(units, own) }
    }

    /// The layout as processes share it, each with whole members. `owner` is the process of a member, by its name. It does
    /// not fall from one member to the next.
    pub(super) fn split(&self, owner: impl Fn(&str) -> usize, shard: Shard) -> FlatBuffer {
        let owned = self.members.iter().map(|member| (owner(&member.name), &member.place));
        let owned = owned.collect::<Vec<_>>();
        let end = |rank: usize| {
            let until = owned.iter().take_while(|(owner, _)| *owner <= rank);
            until.last().map_or(0, |(_, place)| place.end)
        };
        let range = |rank: usize| rank.checked_sub(1).map_or(0, end)..end(rank);
        let units = owned.iter().filter(|(owner, _)| *owner == shard.rank);
        let units = units.map(|(_, place)| (*place).clone()).collect::<Vec<_>>();
        let ranges = (0..shard.world_size).map(range).collect::<Vec<_>>();
        let own = ranges[shard.rank].clone();
        self.buffer(ranges, &own, &units)
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
}

impl State {
    /// Moments of zero, and the weights that the policy has.
    fn new(layout: &Layout, range: &Range<i64>) -> Self {
        // A tensor of its own, whose storage a learner may replace.
        let mut own = Tensor::zeros([0], (layout.weights.kind(), layout.weights.device()));
        own.set_data(&part(&layout.weights, range));
        let master = needs_master(own.kind());
        let weights = if master { own.to_kind(Kind::Float) } else { own.shallow_clone() };
        let (first, second) = (weights.zeros_like(), weights.zeros_like());
        let is_kept = layout.gradients == Gradients::Kept;
        // What the learner may move is taken up for each update.
        let of_own =
            |local: &Range<i64>| if is_kept { part(&own, local) } else { own.shallow_clone() };
        let chunk = |unit: Range<i64>| {
            let local = unit.start - range.start..unit.end - range.start;
            Chunk {
                weights: if master { part(&weights, &local) } else { of_own(&local) },
                published: master.then(|| of_own(&local)),
                gradient: match layout.gradients {
                    Gradients::Kept => part(&layout.gradient, &unit),
                    Gradients::Lent(_) => layout.gradient.shallow_clone(),
                },
                first: part(&first, &local),
                second: part(&second, &local),
            }
        };
        let chunks = units(range, layout.device()).into_iter().map(chunk).collect();
        Self { range: range.clone(), own, weights, master, first, second, chunks }
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
}

impl Bucket {
    /// Lays parameters out as [`Layout::of`] does, with the state of one process. If gradients are kept, that is all of it.
    pub(super) fn lay_out(
        parameters: &[GroupedParameter],
        weight_decay: f64,
        gradients: Gradients,
        shard: Shard,
    ) -> Vec<Self> {
        let parameters = parameters.iter().collect::<Vec<_>>();
        let mut held = vec![0; shard.world_size];
        let layouts = Layout::of(&parameters, weight_decay, gradients).into_iter();
        let bucket = |layout: Layout| {
            let ranges = ranges(layout.elements(), &mut held);
            let state = State::new(&layout, &ranges[shard.rank]);
            Self { layout, state, ranges }
        };
        layouts.map(bucket).collect()
    }

    /// The buffer as processes share it.
    pub(super) fn buffer(&self) -> FlatBuffer {
        let State { range, own, .. } = &self.state;
        let units = units(range, self.layout.device());
        let buffer = self.layout.buffer(self.ranges.clone(), range, &units);
        FlatBuffer { own: Some(own.shallow_clone()), ..buffer }
    }

    /// Takes up weights and gradient of the own range, for one update.
    pub(super) fn borrow_range(&mut self) -> Result<(), TchError> {
        let State { range, own, master, chunks, .. } = &mut self.state;
        let stretches = units(range, self.layout.device());
        for (chunk, unit) in chunks.iter_mut().zip(local(&stretches, range)) {
            let len = unit.end - unit.start;
            chunk.gradient = self.layout.gradient.f_narrow(0, unit.start, len)?;
            chunk.publish_to(own.f_narrow(0, unit.start, len)?, *master);
        }
        Ok(())
    }

    /// Drops what [`Bucket::borrow_range`] took up. The learner can then free the memory.
    pub(super) fn return_range(&mut self) {
        let State { own, master, chunks, .. } = &mut self.state;
        for chunk in chunks {
            chunk.gradient = self.layout.gradient.shallow_clone();
            chunk.publish_to(own.shallow_clone(), *master);
        }
    }

    /// The own range of all buffers as one stretch.
    pub(super) fn whole(&self) -> Result<Chunk, TchError> {
        let State { range, own, weights, master, first, second, .. } = &self.state;
        Ok(Chunk {
            weights: if *master { weights } else { own }.shallow_clone(),
            published: master.then(|| own.shallow_clone()),
            gradient: self.layout.gradient.f_narrow(0, 0, range.end - range.start)?,
            first: first.shallow_clone(),
            second: second.shallow_clone(),
        })
    }

    /// Stretches of all buffers, in order.
    pub(super) fn chunks_mut(&mut self) -> &mut [Chunk] {
        &mut self.state.chunks
    }

    /// Updates every chunk. On a CPU each of libtorch's threads has its own part of them; which one takes
    /// a chunk changes no number.
    pub(super) fn for_each_chunk(
        &mut self,
        update: impl Fn(&mut Chunk, &mut Scratch) -> Result<(), TchError> + Sync,
    ) -> Result<(), TchError> {
        let chunks = self.chunks_mut();
        let Some(largest) = chunks.first() else { return Ok(()) };
        let (len, device) = (largest.weights.size()[0], largest.weights.device());
        let options = (largest.weights.kind(), device);
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
            return update_all(chunks);
        }
        let share = chunks.len().div_ceil(threads);
        std::thread::scope(|scope| {
            let start = |chunks| scope.spawn(|| tch::no_grad(|| update_all(chunks)));
            let workers = chunks.chunks_mut(share).map(start).collect::<Vec<_>>();
            let join = |worker: std::thread::ScopedJoinHandle<'_, Result<(), TchError>>| {
                worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            // Every worker is waited for before the first error is returned.
            workers.into_iter().map(join).collect::<Vec<_>>().into_iter().collect()
        })
    }

    /// The parts of the saved state, one for each member and buffer.
    pub(super) fn save(&self, parts: &mut Vec<StatePart>, moments: bool) {
        for member in &self.layout.members {
            for (prefix, flat) in self.state.buffers(moments) {
                let own = member.overlap(&self.state.range);
                parts.push(StatePart {
                    name: format!("{prefix}.{}", member.name),
                    size: member.size.clone(),
                    start: (own.start - member.place.start).max(0),
                    values: self.local(flat, &own),
                });
            }
        }
    }

    /// Elements of a buffer of the state, by their place in the layout.
    fn local(&self, flat: &Tensor, own: &Range<i64>) -> Tensor {
        let first = self.state.range.start;
        part(flat, &(own.start - first..own.end - first))
    }

    /// Memory of moments and master weights.
    pub(super) fn state_bytes(&self) -> u64 {
        self.state.buffers(true).into_iter().map(|(_, flat)| bytes(flat)).sum()
    }

    /// Takes its parts of the tensors.
    pub(super) fn load(&mut self, saved: &SavedState<'_>, moments: bool) -> Result<(), GrpoError> {
        if !moments {
            let (_, _) = (self.state.first.zero_(), self.state.second.zero_());
        }
        let mut parts = Vec::new();
        // Views of the buffers.
        self.save(&mut parts, moments);
        parts.iter().try_for_each(|part| saved.restore(part))
    }
}

/// Cuts parameters into runs of at most `most` elements, unless one parameter has more.
fn runs<'p>(parameters: &[&'p GroupedParameter], most: i64) -> Vec<Vec<&'p GroupedParameter>> {
    let mut runs = Vec::<Vec<_>>::new();
    let mut elements = 0;
    for &grouped in parameters {
        let own = grouped.parameter.tensor.size().iter().product::<i64>();
        match runs.last_mut() {
            Some(run) if elements + own <= most => {
                run.push(grouped);
                elements += own;
            }
            _ => {
                runs.push(vec![grouped]);
                elements = own;
            }
        }
    }
    runs
}
