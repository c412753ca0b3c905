//! The sum of the gradients of all virtual workers, in the order of the workers.

use hint_dist::Collective;
use hint_policy::Parameter;
use hint_rollout::run::Work;
use tch::Tensor;

use super::Learner;
use super::column::dim;
use super::measured::{MeasuredStep, OwnMeasured};
use super::micro_batch::PolicyStep;
use super::packing::Packing;
use super::sample::SampleBatch;
use super::sft::SftPart;
use super::shards::Shards;
use super::staged::{ShardedSum, WorkerGradient};
use crate::data_parallel::{DataParallel, Round};
use crate::error::GrpoError;

/// Elements of a bucket, unless one parameter has more: what is in flight besides the sum.
const BUCKET: i64 = 1 << 24;

/// Sums the gradients of all virtual workers. Each process keeps its part of the sum alone until the end. Where the processes
/// share the state of the optimizer, it keeps no more afterwards.
///
/// Every element is the sum over the workers in their order. So neither the number of processes nor the cut into buckets
/// changes a bit.
pub(super) enum GradientSum<'p> {
    /// One worker has them all.
    Alone,
    /// Every process gets the whole sum in the end.
    Whole(&'p DataParallel, Vec<Bucket>),
    /// Each process gets its range of every buffer.
    Sharded(ShardedSum<'p>),
}

/// Parameters of one kind, whose gradients travel together.
pub(super) struct Bucket {
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

impl<'p> GradientSum<'p> {
    /// The sum of no gradient yet.
    pub(super) fn new(
        parameters: &[Parameter],
        shards: Option<&'p Shards>,
        processes: &'p DataParallel,
    ) -> Self {
        match shards {
            _ if processes.num_virtual_workers() == 1 => Self::Alone,
            Some(shards) => Self::Sharded(ShardedSum::new(shards, processes)),
            None => Self::Whole(processes, Bucket::of(parameters)),
        }
    }

    /// Lets `work` compute the gradient of this process's worker of a round, if there is one. Adds the gradients of all
    /// processes, and clears them.
    pub(super) fn round<T>(
        &mut self,
        round: Round,
        work: impl FnOnce(&mut WorkerGradient<'_>) -> Result<T, GrpoError>,
    ) -> Result<T, GrpoError> {
        match self {
            Self::Alone => work(&mut WorkerGradient::kept()),
            Self::Whole(processes, buckets) => {
                let made = work(&mut WorkerGradient::kept())?;
                let collective = processes.collective();
                let add = |bucket: &mut Bucket| bucket.add(collective, round);
                tch::no_grad(|| buckets.iter_mut().try_for_each(add))?;
                Ok(made)
            }
            Self::Sharded(sum) => sum.round(round, work),
        }
    }

    /// Gives the parameters the sum as their gradient, in the own ranges or everywhere.
    pub(super) fn finish(self) -> Result<(), GrpoError> {
        match self {
            Self::Alone => Ok(()),
            Self::Whole(processes, buckets) => {
                let collective = processes.collective();
                tch::no_grad(|| buckets.into_iter().try_for_each(|one| one.finish(collective)))
            }
            Self::Sharded(sum) => {
                tch::no_grad(|| sum.finish());
                Ok(())
            }
        }
    }
}

impl Learner {
    /// Gives the parameters the gradient of an optimizer step. This process has the micro-batches of its virtual workers.
    /// Returns the measurements of all of them, in order.
    pub(super) fn differentiate(
        &self,
        step: PolicyStep<'_>,
        packing: &Packing,
        batch: &SampleBatch,
        sft: &[SftPart],
    ) -> Result<MeasuredStep, GrpoError> {
        let processes = &self.processes;
        let owns = |worker| processes.owns(worker);
        let batches = std::iter::once(packing).chain(sft.iter().map(|part| &part.packing));
        let count = batches.map(|packing| packing.of(owns).count()).sum();
        self.activity.begin(Work::Training, count);
        let parameters = self.optimizer.parameters();
        let mut gradients = GradientSum::new(parameters, self.shards.as_ref(), processes);
        let mut own = OwnMeasured::default();
        for round in processes.rounds() {
            gradients.round(round, |gradient| {
                let is_its = |worker| round.worker == Some(worker);
                let policy = packing.of(is_its).collect::<Vec<_>>();
                let of_part = |(part, sft): (usize, &SftPart)| {
                    let batches = sft.packing.of(is_its).map(move |(index, _)| (part, index));
                    batches.collect::<Vec<_>>()
                };
                let learned = sft.iter().enumerate().flat_map(of_part).collect::<Vec<_>>();
                let mut left = policy.len() + learned.len();
                for (index, positions) in policy {
                    left -= 1;
                    gradient.begin(left == 0);
                    let measured = self.accumulate(step, positions, own.loss, gradient)?;
                    own.loss += measured.loss;
                    own.policy.push((index, measured));
                    self.activity.advance(1);
                }
                for (part, index) in learned {
                    left -= 1;
                    gradient.begin(left == 0);
                    let positions = &sft[part].packing.batches[index];
                    let measured = self.accumulate_sft(batch, &sft[part], positions, gradient)?;
                    own.sft.push((part, index, measured));
                    self.activity.advance(1);
                }
                Ok(())
            })?;
        }
        gradients.finish()?;
        Ok(MeasuredStep::of(processes.all_gather_values(own)?, sft.len()))
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
        let mut sum = GradientSum::new(&parameters, None, &processes);
        for round in processes.rounds() {
            let made = sum.round(round, |_| {
                if let Some(worker) = round.worker {
                    let value = [1e8_f64, 1.0, -1e8, 3.0][worker];
                    for tensor in &tensors {
                        let _ = tensor.grad().fill_(value);
                    }
                }
                Ok(())
            });
            made.expect("the others add as well");
        }
        sum.finish().expect("the others finish as well");
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
