//! The sum of the gradients of all virtual workers, in the order of the workers.

use hint_dist::Collective;
use hint_policy::Parameter;
use tch::Tensor;

use super::column::dim;
use super::shards::Shards;
use crate::data_parallel::{DataParallel, Round};
use crate::error::GrpoError;
use crate::optim::{FlatBuffer, len, part};

/// Elements of a bucket, unless one parameter has more: what is in flight besides the sum.
const BUCKET: i64 = 1 << 24;

/// Sums the gradients of all virtual workers. Each process keeps its part of the sum alone until the end. Where the processes
/// share the state of the optimizer, it keeps no more afterwards.
///
/// Every element is the sum over the workers in their order. So neither the number of processes nor the cut into buckets
/// changes a bit.
pub(super) struct GradientSum<'p> {
    processes: &'p DataParallel,
    sums: Sums<'p>,
}

enum Sums<'p> {
    /// Every process gets the whole sum in the end.
    Whole(Vec<Bucket>),
    /// Each process gets its range of every buffer.
    Sharded(Vec<RangeSum<'p>>),
}

/// The sum in this process's range of a buffer, `[elements]`.
struct RangeSum<'p> {
    buffer: &'p FlatBuffer,
    sum: Option<Tensor>,
    /// Whether one round has all workers. Then no gradient follows, and the sum takes the place of the own range.
    in_place: bool,
}

/// Parameters of one kind, whose gradients travel together.
struct Bucket {
    tensors: Vec<Tensor>,
    elements: i64,
    /// This process's part of the sum.
    sum: Option<Tensor>,
}

impl Bucket {
    /// The buckets of parameters, in their order.
    fn of(parameters: &[Parameter]) -> Vec<Self> {
        let mut buckets = Vec::<Self>::new();
        let tensors = parameters.iter().map(|parameter| &parameter.tensor);
        for tensor in tensors.filter(|tensor| tensor.grad().defined()) {
            let elements = dim(tensor.numel());
            let fits = |bucket: &&mut Self| {
                let same = bucket.tensors.first().is_some_and(|first| {
                    (first.kind(), first.device()) == (tensor.kind(), tensor.device())
                });
                same && bucket.elements + elements <= BUCKET
            };
            if let Some(bucket) = buckets.iter_mut().rev().find(fits) {
                bucket.tensors.push(tensor.shallow_clone());
                bucket.elements += elements;
            } else {
                let tensors = vec![tensor.shallow_clone()];
                buckets.push(Self { tensors, elements, sum: None });
            }
        }
        buckets
    }

    /// Adds the gradients of a round's workers, and clears them.
    fn add(&mut self, collective: &dyn Collective, round: Round) -> Result<(), GrpoError> {
        let Self { tensors, elements, sum } = self;
        let world_size = dim(collective.world_size());
        let padding = (world_size - *elements % world_size) % world_size;
        let flat = tensors.iter().map(|tensor| tensor.grad().contiguous().view([-1]));
        let flat = Tensor::cat(&flat.collect::<Vec<_>>(), 0).constant_pad_nd([0, padding]);
        let mut parts = flat.empty_like();
        collective.all_to_all(&mut parts, &flat)?;
        let parts = parts.view([world_size, -1]);
        for rank in 0..dim(round.present) {
            match sum {
                None => *sum = Some(parts.get(rank).copy()),
                Some(sum) => *sum += parts.get(rank),
            }
        }
        for tensor in tensors {
            let _ = tensor.grad().zero_();
        }
        Ok(())
    }

    /// Gives the parameters the sum as their gradient.
    fn finish(self, collective: &dyn Collective) -> Result<(), GrpoError> {
        let Some(sum) = self.sum else { return Ok(()) };
        let len = sum.size()[0] * dim(collective.world_size());
        let mut all = Tensor::empty([len], (sum.kind(), sum.device()));
        collective.all_gather(&mut all, &sum)?;
        let mut start = 0;
        for tensor in self.tensors {
            let len = dim(tensor.numel());
            let part = all.narrow(0, start, len).view(&*tensor.size());
            tensor.grad().copy_(&part);
            start += len;
        }
        Ok(())
    }
}

impl RangeSum<'_> {
    /// Adds the gradients of a round's workers in the own range, slice by slice, and clears them everywhere.
    fn add(&mut self, collective: &dyn Collective, round: Round) -> Result<(), GrpoError> {
        let FlatBuffer { gradient, ranges, .. } = self.buffer;
        let (world_size, own) = (collective.world_size(), collective.rank());
        let options = (gradient.kind(), gradient.device());
        let is_first = self.sum.is_none();
        let own_range = &ranges[own];
        let sum = self.sum.get_or_insert_with(|| {
            if self.in_place {
                part(gradient, own_range)
            } else {
                Tensor::zeros([len(own_range)], options)
            }
        });
        let room = self.buffer.slice_len();
        let sent = Tensor::zeros([dim(world_size), room], options);
        let mut received = sent.zeros_like();
        for offset in self.buffer.slices() {
            for rank in 0..world_size {
                let slice = self.buffer.slice(rank, offset);
                let place = sent.get(dim(rank)).narrow(0, 0, len(&slice));
                place.shallow_clone().copy_(&part(gradient, &slice));
            }
            collective.all_to_all(&mut received, &sent)?;
            // Its own gradient there is sent: the sum may take its place.
            let slice = self.buffer.slice(own, offset);
            let start = slice.start - own_range.start;
            let mut sum = sum.narrow(0, start, len(&slice));
            for rank in 0..round.present {
                let found = received.get(dim(rank)).narrow(0, 0, len(&slice));
                if is_first && rank == 0 {
                    sum.copy_(&found);
                } else {
                    sum += found;
                }
            }
        }
        let kept = if self.in_place { own_range.clone() } else { 0..0 };
        for others in [0..kept.start, kept.end..gradient.size()[0]] {
            let _ = part(gradient, &others).zero_();
        }
        Ok(())
    }

    /// Gives the own range the sum as its gradient.
    fn finish(self, own: usize) {
        if let Some(sum) = self.sum.filter(|_| !self.in_place) {
            part(&self.buffer.gradient, &self.buffer.ranges[own]).copy_(&sum);
        }
    }
}

impl<'p> GradientSum<'p> {
    /// The sum of no gradient yet; `None` where one worker has them all.
    pub(super) fn new(
        parameters: &[Parameter],
        shards: Option<&'p Shards>,
        processes: &'p DataParallel,
    ) -> Option<Self> {
        if processes.num_virtual_workers() == 1 {
            return None;
        }
        let sums = match shards {
            Some(shards) => {
                let in_place = processes.rounds().count() == 1;
                let of = |buffer| RangeSum { buffer, sum: None, in_place };
                Sums::Sharded(shards.buffers.iter().map(of).collect())
            }
            None => Sums::Whole(Bucket::of(parameters)),
        };
        Some(Self { processes, sums })
    }

    /// Adds the gradients of a round's workers, and clears them.
    pub(super) fn add(&mut self, round: Round) -> Result<(), GrpoError> {
        let collective = self.processes.collective();
        match &mut self.sums {
            Sums::Whole(buckets) => {
                buckets.iter_mut().try_for_each(|bucket| bucket.add(collective, round))
            }
            Sums::Sharded(sums) => sums.iter_mut().try_for_each(|sum| sum.add(collective, round)),
        }
    }

    /// Gives the parameters the sum as their gradient, in the own ranges or everywhere.
    pub(super) fn finish(self) -> Result<(), GrpoError> {
        let collective = self.processes.collective();
        match self.sums {
            Sums::Whole(buckets) => {
                buckets.into_iter().try_for_each(|bucket| bucket.finish(collective))
            }
            Sums::Sharded(sums) => {
                for sum in sums {
                    sum.finish(collective.rank());
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use hint_dist::{Collective, Single, Threads};
    use tch::{Device, Kind};

    use super::*;

    /// The sum over `workers` of gradients that no order but one adds up to, as one of `world_size` processes sees it.
    fn sum(collective: Arc<dyn Collective>, workers: usize) -> Vec<f32> {
        let processes = DataParallel::new(collective, workers);
        let sizes = [3_i64, 5];
        let tensors = sizes.map(|size| {
            let tensor = Tensor::zeros([size], (Kind::Float, Device::Cpu)).set_requires_grad(true);
            tensor.sum(Kind::Float).backward();
            let _ = tensor.grad().zero_();
            tensor
        });
        let parameters = tensors
            .each_ref()
            .map(|tensor| Parameter { name: "one".to_owned(), tensor: tensor.shallow_clone() });
        let mut sum = GradientSum::new(&parameters, None, &processes).expect("several workers");
        tch::no_grad(|| {
            for round in processes.rounds() {
                if let Some(worker) = round.worker {
                    let value = [1e8_f64, 1.0, -1e8, 3.0][worker];
                    for tensor in &tensors {
                        let _ = tensor.grad().fill_(value);
                    }
                }
                sum.add(round).expect("the others add as well");
            }
            sum.finish().expect("the others finish as well");
        });
        let all = tensors.map(|tensor| tensor.grad());
        Vec::try_from(Tensor::cat(&all, 0)).expect("numbers")
    }

    #[test]
    fn the_order_is_that_of_the_workers_whoever_has_them() {
        // In f32, 1e8 + 1 is 1e8.
        let alone = sum(Arc::new(Single), 4);
        assert_eq!(alone, [3.0; 8]);
        for world_size in 2..=4 {
            let members = Threads::group(world_size, Duration::from_secs(20));
            std::thread::scope(|scope| {
                let threads = members.into_iter().map(|member| {
                    scope.spawn(|| {
                        let member = Arc::new(member);
                        let found = sum(Arc::clone(&member) as Arc<dyn Collective>, 4);
                        member.shutdown().expect("all leave");
                        found
                    })
                });
                for thread in threads.collect::<Vec<_>>() {
                    assert_eq!(thread.join().expect("no panic"), alone, "{world_size}");
                }
            });
        }
    }
}
