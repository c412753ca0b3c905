//! An optimizer whose state and gradients several processes share: each holds a part (ZeRO-2).

use std::collections::BTreeMap;
use std::ops::Range;

use hint_policy::Parameter;
use tch::{Device, Kind, Tensor};

use crate::optim::norm::{fused_squares, squares};

/// Elements of a unit on a CPU, see [`FlatBuffer::units`]. Weights, gradient, moments and scratch of a unit stay in the
/// cache from the first operation to the last. Also, libtorch does not split an operation on so few elements among its
/// threads. They would wait for each other after every one. The kernel of AdamW takes all units at once.
pub(super) const CPU_UNIT: i64 = 3 << 13;
/// Elements of a unit on an accelerator, where launches cost more than memory traffic.
const DEVICE_UNIT: i64 = 1 << 25;
/// Elements of a slice: what is in flight at a time, over all processes.
const SLICE: i64 = 1 << 24;
/// Most elements of a buffer that processes share, unless one parameter has more. A backward pass has room for the gradients of
/// a few.
const BUFFER: i64 = 1 << 24;
/// Buffers of a small model, as far as a unit goes.
const BUFFERS: i64 = 16;

/// The process among those that share the state of an optimizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// Its number, from 0.
    pub rank: usize,
    /// How many processes there are. At least 1.
    pub world_size: usize,
}

impl Shard {
    /// The only process, which holds everything.
    pub const WHOLE: Self = Self { rank: 0, world_size: 1 };
}

/// A buffer of weights that several processes update, each its range.
///
/// Every process has all weights, except in an update with `run.shard = "parameters"`. The gradients of the parameters are
/// there only while they are computed. The learner makes room for them, sums them over all workers and takes the room back. Before
/// [`Optimizer::step`](super::Optimizer::step), it puts the sum in the own range into `gradient`. After that, the processes
/// give each other the weights of their ranges, and `gradient` is empty again.
///
/// ```
/// use hint_grpo::optim::{BufferMember, FlatBuffer};
/// use hint_policy::Parameter;
/// use tch::{Device, Kind, Tensor};
///
/// // One parameter in a buffer of its own, of which the second of two processes updates the end.
/// let weights = Tensor::zeros([3], (Kind::Float, Device::Cpu));
/// let tensor = weights.shallow_clone().set_requires_grad(true);
/// let parameter = Parameter { name: "weight".to_owned(), tensor };
/// let buffer = FlatBuffer {
///     gradient: Tensor::zeros([0], (Kind::Float, Device::Cpu)),
///     members: vec![BufferMember { parameter, place: 0..3 }],
///     ranges: vec![0..2, 2..3],
///     units: vec![0..1],
///     own: Some(weights.narrow(0, 2, 1)),
///     weights,
/// };
/// assert_eq!(buffer.weights.size(), [3]);
/// ```
#[derive(Debug)]
pub struct FlatBuffer {
    /// The policy's weights, `[elements]`, contiguous.
    pub weights: Tensor,
    /// The weights in the own range, `[elements of the range]`: the handle through which the optimizer updates them. The
    /// learner gives it other storage while it takes the rest of the buffer away. `None` if the optimizer updates
    /// [`weights`](Self::weights) itself. These are then in every process at all times.
    pub own: Option<Tensor>,
    /// The gradient of the own range, `[elements of the range]`, in the kind of the weights. The learner gives this handle its
    /// storage; it is empty except in a step. Parameters that lie in the own range as a whole then have their part as
    /// [`grad`](Tensor::grad).
    pub gradient: Tensor,
    /// The parameters whose weights are parts of the buffer: together all elements, in order.
    pub members: Vec<BufferMember>,
    /// The range of each process, by rank: together all elements. A range may be empty.
    pub ranges: Vec<Range<i64>>,
    /// Stretches of the own range, in order, counted from its start. Their squares are summed on their own for the norm of the
    /// gradient. On a CPU they must not depend on the number of processes, except by who has them.
    pub units: Vec<Range<i64>>,
}

/// A parameter in a [`FlatBuffer`].
#[derive(Debug)]
pub struct BufferMember {
    /// The parameter, whose tensor is a view of the buffer.
    pub parameter: Parameter,
    /// Its elements in the buffer.
    pub place: Range<i64>,
}

/// The ranges of a buffer in slices, which travel one after the other.
#[derive(Debug, Clone)]
pub(crate) struct Slices {
    pub(crate) ranges: Vec<Range<i64>>,
}

impl Slices {
    /// Offsets from the start of each range at which the slices begin. All processes have as many.
    pub(crate) fn offsets(&self) -> impl Iterator<Item = i64> + use<> {
        let step = usize::try_from(self.room()).unwrap_or(usize::MAX).max(1);
        (0..self.longest()).step_by(step)
    }

    /// Room for one slice of one range, in elements. As much travels for every slice.
    pub(crate) fn room(&self) -> i64 {
        let ranges = i64::try_from(self.ranges.len()).unwrap_or(i64::MAX).max(1);
        let (most, longest) = ((SLICE / ranges).max(1), self.longest());
        let count = ((longest + most - 1) / most).max(1);
        (longest + count - 1) / count
    }

    /// The slice of a process that begins at `offset` of its range; empty beyond the end.
    pub(crate) fn of(&self, rank: usize, offset: i64) -> Range<i64> {
        let Range { start, end } = self.ranges[rank];
        let start = (start + offset).min(end);
        start..(start + self.room()).min(end)
    }

    fn longest(&self) -> i64 {
        self.ranges.iter().map(len).max().unwrap_or(0)
    }
}

impl FlatBuffer {
    /// Its ranges in slices.
    pub(crate) fn slices(&self) -> Slices {
        Slices { ranges: self.ranges.clone() }
    }

    /// The stages of the backward pass in which the gradients of the members change, given those of parameters by name.
    pub(crate) fn stages(&self, of: &BTreeMap<String, Range<usize>>) -> Range<usize> {
        let stages_of = |member: &BufferMember| {
            of.get(&member.parameter.name).cloned().unwrap_or(0..usize::MAX)
        };
        let all = self.members.iter().map(stages_of).collect::<Vec<_>>();
        let first = all.iter().map(|stages| stages.start).min().unwrap_or(0);
        first..all.iter().map(|stages| stages.end).max().unwrap_or(usize::MAX)
    }

    /// Handles on the same tensors.
    pub(crate) fn shallow_clone(&self) -> Self {
        let member = |BufferMember { parameter, place }: &BufferMember| {
            let (name, tensor) = (parameter.name.clone(), parameter.tensor.shallow_clone());
            BufferMember { parameter: Parameter { name, tensor }, place: place.clone() }
        };
        Self {
            weights: self.weights.shallow_clone(),
            own: self.own.as_ref().map(Tensor::shallow_clone),
            gradient: self.gradient.shallow_clone(),
            members: self.members.iter().map(member).collect(),
            ranges: self.ranges.clone(),
            units: self.units.clone(),
        }
    }

    /// Kind and device of the weights.
    pub(crate) fn options(&self) -> (Kind, Device) {
        (self.weights.kind(), self.weights.device())
    }

    /// Gives the buffer and its members these weights, `[elements]`.
    pub(crate) fn place_weights(&self, weights: &Tensor) {
        self.weights.shallow_clone().set_data(weights);
        for BufferMember { parameter, place } in &self.members {
            let size = parameter.tensor.size();
            let own = part(weights, place).view(size.as_slice());
            parameter.tensor.shallow_clone().set_data(&own);
        }
    }

    /// Takes the weights away. Their sizes stay, and every value is NaN, so that a pass that reads them fails.
    pub(crate) fn take_weights(&self) {
        let nothing = Tensor::full([0_i64; 0], f64::NAN, self.options());
        let stretched = |tensor: &Tensor| nothing.expand(tensor.size().as_slice(), false);
        self.weights.shallow_clone().set_data(&stretched(&self.weights));
        for BufferMember { parameter, .. } in &self.members {
            parameter.tensor.shallow_clone().set_data(&stretched(&parameter.tensor));
        }
    }

    /// Makes room for the gradients of the members: zeros, `[elements]`.
    pub(crate) fn make_room(&self) -> Tensor {
        let gradient = Tensor::zeros(self.weights.size().as_slice(), self.options());
        for BufferMember { parameter, place } in &self.members {
            let size = parameter.tensor.size();
            give_gradient(&parameter.tensor, &part(&gradient, place).view(size.as_slice()));
        }
        gradient
    }

    /// Takes the gradients of the members away.
    pub(crate) fn take_room(&self) {
        for BufferMember { parameter, .. } in &self.members {
            take_gradient(&parameter.tensor);
        }
    }

    /// Gives the own range its gradient, and members that lie in it as a whole theirs.
    pub(crate) fn fill(&self, rank: usize, gradient: &Tensor) {
        self.gradient.shallow_clone().set_data(gradient);
        let own = &self.ranges[rank];
        for BufferMember { parameter, place } in &self.members {
            if own.start <= place.start && place.end <= own.end {
                let local = place.start - own.start..place.end - own.start;
                let size = parameter.tensor.size();
                give_gradient(&parameter.tensor, &part(gradient, &local).view(size.as_slice()));
            }
        }
    }

    /// Drops every gradient.
    pub(crate) fn clear(&self) {
        self.gradient.shallow_clone().set_data(&nothing_like(&self.weights));
        self.take_room();
    }

    /// The gradient of each unit.
    fn unit_gradients(&self) -> impl Iterator<Item = Tensor> + '_ {
        self.units.iter().map(|unit| part(&self.gradient, unit))
    }

    /// Whether each unit fits the cache of a CPU, so that libtorch does not split an operation on it.
    fn is_in_small_units(&self) -> bool {
        self.weights.device() == Device::Cpu && self.units.iter().all(|unit| len(unit) <= CPU_UNIT)
    }
}

/// The sum of squares of the gradient of each unit, in f64, by buffer. A device is waited for once, or once for each kind of
/// numbers. On a CPU the number of threads changes no sum of a buffer in units of at most [`CPU_UNIT`] elements.
pub(crate) fn squares_of_units(buffers: &[FlatBuffer]) -> Vec<Vec<f64>> {
    let key = |buffer: &FlatBuffer| {
        (buffer.weights.device(), buffer.weights.kind(), buffer.is_in_small_units())
    };
    let mut keys = Vec::new();
    for key in buffers.iter().map(key) {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    let mut found = vec![Vec::new(); buffers.len()];
    for wanted in keys {
        let is_alike = |index: &usize| key(&buffers[*index]) == wanted;
        let alike = (0..buffers.len()).filter(is_alike).collect::<Vec<_>>();
        let units = alike.iter().flat_map(|&index| buffers[index].unit_gradients());
        let (_, _, is_in_small_units) = wanted;
        let squares = squares_by_threads(&units.collect::<Vec<_>>(), is_in_small_units);
        let mut squares = squares.into_iter();
        for index in alike {
            found[index] = squares.by_ref().take(buffers[index].units.len()).collect();
        }
    }
    found
}

/// The sum of squares of each tensor. With `by_threads`, each of libtorch's threads has some of them.
fn squares_by_threads(units: &[Tensor], by_threads: bool) -> Vec<f64> {
    if let Some(squares) = fused_squares(units) {
        return squares;
    }
    let threads = usize::try_from(tch::get_num_threads()).unwrap_or(1).max(1);
    if threads == 1 || !by_threads || units.is_empty() {
        return squares(units);
    }
    let share = units.len().div_ceil(threads);
    std::thread::scope(|scope| {
        let start = |units: &[Tensor]| {
            // Tensors go from thread to thread, and are not shared by them.
            let units = units.iter().map(Tensor::shallow_clone).collect::<Vec<_>>();
            scope.spawn(move || tch::no_grad(|| squares(&units)))
        };
        let workers = units.chunks(share).map(start).collect::<Vec<_>>();
        let join = |worker: std::thread::ScopedJoinHandle<'_, Vec<f64>>| {
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        workers.into_iter().flat_map(join).collect()
    })
}

/// A part of a tensor of an optimizer's state, for a checkpoint.
///
/// ```
/// use hint_grpo::optim::StatePart;
/// use tch::Tensor;
///
/// // The first half of a momentum of size `[2, 2]`, as the first of two processes holds it.
/// let values = Tensor::from_slice(&[0.1f32, 0.2]);
/// let part = StatePart { name: "momentum.head".to_owned(), size: vec![2, 2], start: 0, values };
/// assert_eq!(part.values.size(), [2]);
/// ```
#[derive(Debug)]
pub struct StatePart {
    /// The name of the tensor.
    pub name: String,
    /// The size of the whole tensor.
    pub size: Vec<i64>,
    /// Where the part begins among the elements of the tensor.
    pub start: i64,
    /// The part, `[elements]`; it may be empty. Its kind is that of the tensor.
    pub values: Tensor,
}

impl StatePart {
    /// All of a tensor.
    pub fn whole(name: String, tensor: &Tensor) -> Self {
        let values = tensor.detach().contiguous().view([-1]);
        Self { name, size: tensor.size(), start: 0, values }
    }

    /// The tensor, if this is all of it.
    pub(crate) fn into_whole(self) -> Option<(String, Tensor)> {
        let elements = self.size.iter().product::<i64>();
        (elements == len(&(0..self.values.size()[0])))
            .then(|| (self.name, self.values.view(self.size.as_slice())))
    }
}

/// Most elements of each of the buffers that processes share, unless a parameter has more. `elements` are those of all
/// parameters.
pub(super) fn buffer_len(elements: i64) -> i64 {
    (elements / BUFFERS).clamp(CPU_UNIT, BUFFER)
}

/// The range of each process in a buffer of `elements`, by rank. It holds whole units of a CPU. So an operation on a unit
/// has the same operands in any number of processes. `held` are the elements of each process in other buffers. Those that
/// hold least get most.
pub(super) fn ranges(elements: i64, held: &mut [i64]) -> Vec<Range<i64>> {
    let world_size = i64::try_from(held.len()).expect("a number of processes").max(1);
    let units = (elements + CPU_UNIT - 1) / CPU_UNIT;
    let mut order = (0..held.len()).collect::<Vec<_>>();
    order.sort_by_key(|&rank| held[rank]);
    let mut ranges = vec![0..0; held.len()];
    let mut start = 0;
    for (place, rank) in (0..).zip(order) {
        let own = units / world_size + i64::from(place < units % world_size);
        let end = (start + own * CPU_UNIT).min(elements);
        ranges[rank] = start..end;
        held[rank] += end - start;
        start = end;
    }
    ranges
}

/// Makes `gradient` that of a leaf; backward passes then add to it in place. A tensor that needs no gradient has none to
/// adopt.
pub(super) fn give_gradient(tensor: &Tensor, gradient: &Tensor) {
    if !tensor.requires_grad() {
        return;
    }
    if !tensor.grad().defined() {
        // The one way to give a leaf a gradient from here: differentiate something.
        tch::with_grad(|| (tensor.sum(tensor.kind()) * 0.0).backward());
    }
    tensor.grad().set_data(gradient);
}

/// Takes the room of the gradient of a leaf away.
pub(super) fn take_gradient(tensor: &Tensor) {
    give_gradient(tensor, &nothing_like(tensor));
}

/// No elements, of the same kind and device.
fn nothing_like(tensor: &Tensor) -> Tensor {
    Tensor::zeros([0], (tensor.kind(), tensor.device()))
}

/// The stretches of a range that an update takes one after the other.
pub(super) fn units(range: &Range<i64>, device: Device) -> Vec<Range<i64>> {
    let unit = if device == Device::Cpu { CPU_UNIT } else { DEVICE_UNIT };
    let step = usize::try_from(unit).expect("a constant");
    range.clone().step_by(step).map(|start| start..(start + unit).min(range.end)).collect()
}

/// Stretches of `range`, counted from its start.
pub(super) fn local(stretches: &[Range<i64>], range: &Range<i64>) -> Vec<Range<i64>> {
    let shifted = |one: &Range<i64>| one.start - range.start..one.end - range.start;
    stretches.iter().map(shifted).collect()
}

/// The elements of `flat` in `range`.
pub(crate) fn part(flat: &Tensor, range: &Range<i64>) -> Tensor {
    flat.narrow(0, range.start, len(range))
}

/// The number of elements in `range`.
pub(crate) const fn len(range: &Range<i64>) -> i64 {
    range.end - range.start
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_whole_units_and_everything_once() {
        for elements in [0, 1, CPU_UNIT, 3 * CPU_UNIT - 1, 7 * CPU_UNIT + 5] {
            for world_size in 1..=5 {
                let mut held = vec![0; world_size];
                let ranges = ranges(elements, &mut held);
                assert_eq!(held, ranges.iter().map(len).collect::<Vec<_>>());
                assert_eq!(ranges.len(), world_size);
                assert_eq!((ranges[0].start, ranges[world_size - 1].end), (0, elements));
                assert!(ranges.windows(2).all(|pair| pair[0].end == pair[1].start));
                let mid = ranges.iter().map(|range| range.start);
                assert!(mid.filter(|start| *start < elements).all(|start| start % CPU_UNIT == 0));
                let longest = ranges.iter().map(len).max();
                assert_eq!(longest, ranges.first().map(len), "{elements} in {world_size}");
                // The units of all processes are those of one.
                let all = ranges.iter().flat_map(|range| units(range, Device::Cpu));
                assert_eq!(all.collect::<Vec<_>>(), units(&(0..elements), Device::Cpu));
            }
        }
    }

    #[test]
    fn many_small_buffers_are_dealt_evenly() {
        let sizes = [CPU_UNIT + 9, CPU_UNIT, 5, 3 * CPU_UNIT, CPU_UNIT - 1, 2 * CPU_UNIT + 7];
        let all = sizes.iter().sum::<i64>();
        for world_size in 1..=4_i64 {
            let mut held = vec![0; usize::try_from(world_size).expect("a few")];
            for elements in sizes {
                let mut ranges = ranges(elements, &mut held);
                ranges.sort_by_key(|range| range.start);
                assert!(ranges.windows(2).all(|pair| pair[0].end == pair[1].start), "{ranges:?}");
            }
            assert_eq!(held.iter().sum::<i64>(), all);
            let most = held.iter().copied().max().expect("a process");
            assert!(most <= all / world_size + 2 * CPU_UNIT, "{held:?}");
        }
    }

    #[test]
    fn the_slices_of_all_processes_are_as_many_and_cover_their_ranges() {
        for elements in [CPU_UNIT, 3 * CPU_UNIT - 7, SLICE + CPU_UNIT + 1] {
            let slices = Slices { ranges: ranges(elements, &mut [0; 3]) };
            for (rank, range) in slices.ranges.iter().enumerate() {
                let all = slices.offsets().flat_map(|offset| slices.of(rank, offset));
                let all = all.collect::<Vec<_>>();
                assert_eq!(all, range.clone().collect::<Vec<_>>(), "{elements}");
            }
            assert!(3 * slices.room() <= SLICE);
        }
    }

    #[test]
    fn squares_do_not_depend_on_threads_or_on_the_owner() {
        let sizes = [5 * CPU_UNIT - 3, 7, 2 * CPU_UNIT];
        let gradients =
            sizes.map(|elements| Tensor::arange(elements, (Kind::Float, Device::Cpu)).sin());
        // The squares of each buffer, in the order of its elements.
        let squares_in = |world_size: usize| {
            let ranges = sizes.map(|elements| ranges(elements, &mut vec![0; world_size]));
            let of = |rank: usize| {
                let of_buffer = |(gradient, ranges): (&Tensor, &Vec<Range<i64>>)| FlatBuffer {
                    weights: gradient.shallow_clone(),
                    own: None,
                    gradient: part(gradient, &ranges[rank]),
                    members: Vec::new(),
                    ranges: ranges.clone(),
                    units: local(&units(&ranges[rank], Device::Cpu), &ranges[rank]),
                };
                let buffers = gradients.iter().zip(&ranges).map(of_buffer).collect::<Vec<_>>();
                squares_of_units(&buffers)
            };
            let all = (0..world_size).map(of).collect::<Vec<_>>();
            let joined = |buffer: usize| {
                all.iter().flat_map(|of_rank| of_rank[buffer].clone()).collect::<Vec<_>>()
            };
            [0, 1, 2].map(joined)
        };
        tch::set_num_threads(1);
        let alone = squares_in(1);
        tch::set_num_threads(3);
        assert!(squares_in(1) == alone && squares_in(3) == alone && squares_in(8) == alone);
        for (gradient, alone) in gradients.iter().zip(alone) {
            let exact = gradient.to_kind(Kind::Double).square().sum(Kind::Double).double_value(&[]);
            assert!((alone.iter().sum::<f64>() / exact - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn buffers_of_several_kinds_keep_their_own_squares() {
        // Units between neighbors of `cuts`.
        let buffer = |kind: Kind, cuts: &[i64]| {
            let units = cuts.windows(2).map(|pair| pair[0]..pair[1]).collect();
            let gradient = Tensor::full([cuts[cuts.len() - 1]], 2.0, (kind, Device::Cpu));
            let weights = gradient.shallow_clone();
            FlatBuffer {
                weights,
                own: None,
                gradient,
                members: Vec::new(),
                ranges: Vec::new(),
                units,
            }
        };
        let large = CPU_UNIT + 1;
        let buffers = [
            buffer(Kind::BFloat16, &[0, 1, 3]),
            buffer(Kind::Float, &[0, large]),
            buffer(Kind::BFloat16, &[0, 5]),
            buffer(Kind::Float, &[0]),
            buffer(Kind::Float, &[0, 4]),
        ];
        let found = squares_of_units(&buffers);
        let large = 4.0 * large as f64;
        assert_eq!(found, [vec![4.0, 8.0], vec![large], vec![20.0], vec![], vec![16.0]]);
    }
}
