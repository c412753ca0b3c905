//! An optimizer whose state several processes share: each holds a part (ZeRO-1).

use std::ops::Range;

use tch::{Device, Tensor};

use crate::optim::norm::{fused_squares, squares};

/// Elements of a unit on a CPU, see [`FlatBuffer::units`]. Weights, gradient, moments and scratch of a unit stay in the
/// cache from the first operation to the last. Also, libtorch does not split an operation on so few elements among its
/// threads. They would wait for each other after every one.
pub(super) const CPU_UNIT: i64 = 3 << 13;
/// Elements of a unit on an accelerator, where launches cost more than memory traffic.
const DEVICE_UNIT: i64 = 1 << 25;
/// Elements of a slice: what is in flight at a time, over all processes.
const SLICE: i64 = 1 << 24;

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
/// Every process has all weights and the whole gradient, whose parameters are views of the buffers. After
/// [`Optimizer::step`](super::Optimizer::step) the processes give each other the weights of their ranges.
#[derive(Debug)]
pub struct FlatBuffer {
    /// The policy's weights, `[elements]`, contiguous.
    pub weights: Tensor,
    /// Their gradient, `[elements]`, contiguous.
    pub gradient: Tensor,
    /// The range of each process, by rank: together all elements, in order. A range may be empty.
    pub ranges: Vec<Range<i64>>,
    /// Stretches of the own range, in order, whose squares are summed on their own for the norm of the gradient. On a CPU
    /// they must not depend on the number of processes, except by who has them.
    pub units: Vec<Range<i64>>,
}

impl FlatBuffer {
    /// Offsets from the start of each range at which the slices begin. All processes have as many.
    pub(crate) fn slices(&self) -> impl Iterator<Item = i64> + use<> {
        let step = usize::try_from(self.slice_len()).unwrap_or(usize::MAX).max(1);
        (0..self.longest()).step_by(step)
    }

    /// Room for one slice of one range, in elements.
    pub(crate) fn slice_len(&self) -> i64 {
        let ranges = i64::try_from(self.ranges.len()).unwrap_or(i64::MAX).max(1);
        (SLICE / ranges).max(1).min(self.longest())
    }

    /// The slice of a process that begins at `offset` of its range; empty beyond the end.
    pub(crate) fn slice(&self, rank: usize, offset: i64) -> Range<i64> {
        let Range { start, end } = self.ranges[rank];
        let start = (start + offset).min(end);
        start..(start + self.slice_len()).min(end)
    }

    fn longest(&self) -> i64 {
        self.ranges.iter().map(len).max().unwrap_or(0)
    }

    /// The sum of squares of the gradient of each unit, in f64. Each is the same on any number of threads if units have no
    /// more than [`CPU_UNIT`] elements.
    pub(crate) fn squares(&self) -> Vec<f64> {
        let mut units =
            self.units.iter().map(|unit| part(&self.gradient, unit)).collect::<Vec<_>>();
        let Some(first) = units.first() else { return Vec::new() };
        let device = first.device();
        if let Some(squares) = fused_squares(&units) {
            return squares;
        }
        let threads = usize::try_from(tch::get_num_threads()).unwrap_or(1).max(1);
        let is_small = self.units.iter().all(|unit| len(unit) <= CPU_UNIT);
        if device != Device::Cpu || threads == 1 || !is_small {
            return squares(&units);
        }
        let share = units.len().div_ceil(threads);
        std::thread::scope(|scope| {
            let start = |units: &'_ mut [Tensor]| {
                // Tensors go from thread to thread, and are not shared by them.
                let units = units.iter().map(Tensor::shallow_clone).collect::<Vec<_>>();
                scope.spawn(move || tch::no_grad(|| squares(&units)))
            };
            let workers = units.chunks_mut(share).map(start).collect::<Vec<_>>();
            let join = |worker: std::thread::ScopedJoinHandle<'_, Vec<f64>>| {
                worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            workers.into_iter().flat_map(join).collect()
        })
    }
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

/// The range of each process in a buffer of `elements`, by rank. It holds whole units of a CPU. So an operation on a unit
/// has the same operands in any number of processes. The first rank has a largest range.
pub(super) fn ranges(elements: i64, world_size: usize) -> Vec<Range<i64>> {
    let world_size = i64::try_from(world_size).expect("a number of processes").max(1);
    let units = (elements + CPU_UNIT - 1) / CPU_UNIT;
    let start = |rank: i64| {
        let unit = (units * rank + world_size - 1) / world_size;
        (unit * CPU_UNIT).min(elements)
    };
    (0..world_size).map(|rank| start(rank)..start(rank + 1)).collect()
}

/// The stretches of a range that an update takes one after the other.
pub(super) fn units(range: &Range<i64>, device: Device) -> Vec<Range<i64>> {
    let unit = if device == Device::Cpu { CPU_UNIT } else { DEVICE_UNIT };
    let step = usize::try_from(unit).expect("a constant");
    range.clone().step_by(step).map(|start| start..(start + unit).min(range.end)).collect()
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
    use tch::Kind;

    use super::*;

    #[test]
    fn ranges_hold_whole_units_and_everything_once() {
        for elements in [0, 1, CPU_UNIT, 3 * CPU_UNIT - 1, 7 * CPU_UNIT + 5] {
            for world_size in 1..=5 {
                let ranges = ranges(elements, world_size);
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
    fn the_slices_of_all_processes_are_as_many_and_cover_their_ranges() {
        for elements in [CPU_UNIT, 3 * CPU_UNIT - 7, SLICE + CPU_UNIT + 1] {
            let nothing = Tensor::zeros([0], (Kind::Float, Device::Cpu));
            let buffer = FlatBuffer {
                weights: nothing.shallow_clone(),
                gradient: nothing,
                ranges: ranges(elements, 3),
                units: Vec::new(),
            };
            for (rank, range) in buffer.ranges.iter().enumerate() {
                let slices = buffer.slices().map(|offset| buffer.slice(rank, offset));
                let all = slices.flatten().collect::<Vec<_>>();
                assert_eq!(all, range.clone().collect::<Vec<_>>(), "{elements}");
            }
            assert!(3 * buffer.slice_len() <= SLICE);
        }
    }

    #[test]
    fn squares_do_not_depend_on_threads_or_on_the_owner() {
        let elements = 5 * CPU_UNIT - 3;
        let gradient = Tensor::arange(elements, (Kind::Float, Device::Cpu)).sin();
        let squares_in = |world_size: usize| {
            let ranges = ranges(elements, world_size);
            let of = |range: &Range<i64>| FlatBuffer {
                weights: gradient.shallow_clone(),
                gradient: gradient.shallow_clone(),
                ranges: ranges.clone(),
                units: units(range, Device::Cpu),
            };
            ranges.iter().flat_map(|range| of(range).squares()).collect::<Vec<_>>()
        };
        tch::set_num_threads(1);
        let alone = squares_in(1);
        tch::set_num_threads(3);
        assert!(squares_in(1) == alone && squares_in(3) == alone && squares_in(8) == alone);
        let exact = gradient.to_kind(Kind::Double).square().sum(Kind::Double).double_value(&[]);
        assert!((alone.iter().sum::<f64>() / exact - 1.0).abs() < 1e-12);
    }
}
