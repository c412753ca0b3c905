//! The sum of the gradients of all virtual workers, in the order of the workers.

use hint_policy::Parameter;
use tch::Tensor;

use super::column::dim;
use crate::data_parallel::{DataParallel, Round};
use crate::error::GrpoError;

/// Elements of a bucket, unless one parameter has more: what is in flight besides the sum.
const BUCKET: i64 = 1 << 24;

/// Sums the gradients of all virtual workers. Each process keeps its part of the sum alone until the end.
///
/// Every element is the sum over the workers in their order. So neither the number of processes nor the cut into buckets
/// changes a bit.
pub(super) struct GradientSum<'p> {
    processes: &'p DataParallel,
    buckets: Vec<Bucket>,
}

/// Parameters of one kind, whose gradients travel together.
struct Bucket {
    tensors: Vec<Tensor>,
    elements: i64,
    /// This process's part of the sum.
    sum: Option<Tensor>,
}

impl<'p> GradientSum<'p> {
    /// The sum of no gradient yet; `None` where one worker has them all.
    pub(super) fn new(parameters: &[Parameter], processes: &'p DataParallel) -> Option<Self> {
        if processes.num_virtual_workers() == 1 {
            return None;
        }
        let mut buckets = Vec::<Bucket>::new();
        let tensors = parameters.iter().map(|parameter| &parameter.tensor);
        for tensor in tensors.filter(|tensor| tensor.grad().defined()) {
            let elements = dim(tensor.numel());
            let fits = |bucket: &&mut Bucket| {
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
                buckets.push(Bucket { tensors, elements, sum: None });
            }
        }
        Some(Self { processes, buckets })
    }

    /// Adds the gradients of a round's workers, and clears them.
    pub(super) fn add(&mut self, round: Round) -> Result<(), GrpoError> {
        let collective = self.processes.collective();
        let world_size = dim(collective.world_size());
        for Bucket { tensors, elements, sum } in &mut self.buckets {
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
        }
        Ok(())
    }

    /// Gives the parameters the sum as their gradient.
    pub(super) fn finish(self) -> Result<(), GrpoError> {
        let collective = self.processes.collective();
        for Bucket { tensors, sum, .. } in self.buckets {
            let Some(sum) = sum else { continue };
            let len = sum.size()[0] * dim(collective.world_size());
            let mut all = Tensor::empty([len], (sum.kind(), sum.device()));
            collective.all_gather(&mut all, &sum)?;
            let mut start = 0;
            for tensor in tensors {
                let len = dim(tensor.numel());
                let part = all.narrow(0, start, len).view(&*tensor.size());
                tensor.grad().copy_(&part);
                start += len;
            }
        }
        Ok(())
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
        let mut sum = GradientSum::new(&parameters, &processes).expect("several workers");
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
