//! The gradients of workers, buffer by buffer: their room, and their way into the sum while a backward pass runs.

use std::ops::Range;
use std::sync::mpsc::sync_channel;

use hint_dist::Collective;
use hint_policy::catch_out_of_memory;
use tch::{Device, Kind, Tensor};

use super::column::dim;
use super::shards::Shards;
use crate::data_parallel::{DataParallel, Round};
use crate::error::GrpoError;
use crate::optim::{FlatBuffer, Slices, len};

/// Takes the gradient of a worker in the buffer with this index. `None` stands for zeros.
type Sink<'s> = dyn FnMut(usize, Option<Tensor>) -> Result<(), GrpoError> + 's;

/// The gradient of a worker while its micro-batches run.
///
/// There is room for a buffer from the first stage of the backward pass that changes it. The last micro-batch of the worker
/// completes the buffers one after the other. Each is sent at once, and its room is taken back.
pub(super) struct WorkerGradient<'s> {
    staged: Option<Staged<'s>>,
}

/// The buffers of a worker's gradient.
struct Staged<'s> {
    shards: &'s Shards,
    rooms: Vec<Room>,
    /// Buffers that were sent, in the order of [`Shards::order`].
    sent: usize,
    is_last: bool,
    send: &'s mut Sink<'s>,
    failure: Option<GrpoError>,
}

/// The place of the gradient of one buffer.
enum Room {
    None,
    Made(Tensor),
    Sent,
}

impl WorkerGradient<'_> {
    /// Of an optimizer that keeps the gradients of its parameters.
    pub(super) const fn kept() -> Self {
        Self { staged: None }
    }

    /// Begins a micro-batch of the worker.
    pub(super) fn begin(&mut self, is_last: bool) {
        if let Some(staged) = &mut self.staged {
            staged.is_last = is_last;
        }
    }

    /// Before these stages of the backward pass: sends what is complete, and makes room.
    pub(super) fn before(&mut self, stages: &Range<usize>) {
        if let Some(staged) = &mut self.staged {
            if staged.is_last {
                staged.send_until(stages.start);
            }
            staged.make_room_until(stages.end);
        }
    }
}

impl Staged<'_> {
    /// Sends the buffers that no stage from `stage` on changes. Those of an earlier failure stay.
    fn send_until(&mut self, stage: usize) {
        while let Some(&index) = self.shards.order.get(self.sent) {
            if self.failure.is_some() || self.shards.stages[index].end > stage {
                return;
            }
            self.send_next(index);
        }
    }

    fn send_next(&mut self, index: usize) {
        let room = std::mem::replace(&mut self.rooms[index], Room::Sent);
        let gradient = match room {
            Room::Made(gradient) => Some(gradient),
            Room::None | Room::Sent => None,
        };
        if gradient.is_some() {
            tch::no_grad(|| self.shards.buffers[index].take_room());
        }
        self.sent += 1;
        self.failure = (self.send)(index, gradient).err();
    }

    fn make_room_until(&mut self, stage: usize) {
        for (index, room) in self.rooms.iter_mut().enumerate() {
            if matches!(room, Room::None) && self.shards.stages[index].start < stage {
                *room = Room::Made(tch::no_grad(|| self.shards.buffers[index].make_room()));
            }
        }
    }

    /// Sends what is left, after the last micro-batch.
    fn finish(mut self) -> Result<(), GrpoError> {
        while let Some(&index) = self.shards.order.get(self.sent) {
            if self.failure.is_some() {
                break;
            }
            self.send_next(index);
        }
        self.failure.map_or(Ok(()), Err)
    }
}

/// The sum in this process's range of a buffer.
struct RangeSum {
    slices: Slices,
    options: (Kind, Device),
    /// `[elements of the range]`.
    sum: Option<Tensor>,
}

impl RangeSum {
    fn new(buffer: &FlatBuffer) -> Self {
        let options = (buffer.weights.kind(), buffer.weights.device());
        Self { slices: buffer.slices(), options, sum: None }
    }

    /// Adds the gradients of a round's workers in the own range, slice by slice.
    fn add(
        &mut self,
        collective: &dyn Collective,
        gradient: Option<&Tensor>,
        present: usize,
    ) -> Result<(), GrpoError> {
        let Self { slices, options, sum } = self;
        let (world_size, own) = (collective.world_size(), collective.rank());
        let is_first = sum.is_none();
        let own_range = slices.ranges[own].clone();
        let sum = sum.get_or_insert_with(|| Tensor::zeros([len(&own_range)], *options));
        let sent = Tensor::zeros([dim(world_size), slices.room()], *options);
        let mut received = sent.zeros_like();
        for offset in slices.offsets() {
            for rank in 0..world_size {
                let slice = slices.of(rank, offset);
                if let Some(gradient) = gradient {
                    let values = gradient.narrow(0, slice.start, len(&slice));
                    sent.get(dim(rank)).narrow(0, 0, len(&slice)).copy_(&values);
                }
            }
            collective.all_to_all(&mut received, &sent)?;
            let slice = slices.of(own, offset);
            let mut sum = sum.narrow(0, slice.start - own_range.start, len(&slice));
            for rank in 0..present {
                let found = received.get(dim(rank)).narrow(0, 0, len(&slice));
                if is_first && rank == 0 {
                    sum.copy_(&found);
                } else {
                    sum += found;
                }
            }
        }
        Ok(())
    }
}

/// The sum of the gradients of all workers, of which each process keeps its range of every buffer.
pub(super) struct ShardedSum<'p> {
    processes: &'p DataParallel,
    shards: &'p Shards,
    sums: Vec<RangeSum>,
}

impl<'p> ShardedSum<'p> {
    /// The sum of no gradient yet. Gradients of an earlier step are dropped.
    pub(super) fn new(shards: &'p Shards, processes: &'p DataParallel) -> Self {
        shards.clear();
        Self { processes, shards, sums: shards.buffers.iter().map(RangeSum::new).collect() }
    }

    /// Lets `work` compute the gradient of this process's worker of a round, and adds those of all processes. With other
    /// processes, a thread exchanges them while `work` goes on, unless they share weights. It alone calls the collective, buffer
    /// by buffer in the order of [`Shards::order`], which is that of every process.
    pub(super) fn round<T>(
        &mut self,
        round: Round,
        work: impl FnOnce(&mut WorkerGradient<'_>) -> Result<T, GrpoError>,
    ) -> Result<T, GrpoError> {
        let (shards, present) = (self.shards, round.present);
        let collective = self.processes.collective();
        // A process that exchanges helps the others to weights, and so one thread does both.
        if self.processes.is_alone() || self.processes.turns().is_some() {
            let sums = &mut self.sums;
            let mut send = |index: usize, gradient: Option<Tensor>| {
                tch::no_grad(|| sums[index].add(collective, gradient.as_ref(), present))
            };
            return run(shards, &mut send, work);
        }
        let sums = std::mem::take(&mut self.sums);
        let (made, sums) = std::thread::scope(|scope| {
            // The backward pass waits for the buffer before, so that one is on its way at a time.
            let (sender, receiver) = sync_channel::<(usize, Option<Tensor>)>(0);
            let exchange = move || {
                let mut sums = sums;
                let _no_grad = tch::no_grad_guard();
                catch_out_of_memory("exchange gradients", || {
                    for (index, gradient) in receiver {
                        sums[index].add(collective, gradient.as_ref(), present)?;
                    }
                    Ok::<_, GrpoError>(sums)
                })
            };
            let exchange = scope.spawn(exchange);
            let mut send = |index: usize, gradient: Option<Tensor>| {
                let ended = |_| GrpoError::other("exchange of gradients", "its thread has ended");
                sender.send((index, gradient)).map_err(ended)
            };
            let made = run(shards, &mut send, work);
            drop(sender);
            let exchanged =
                exchange.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            (made, exchanged)
        });
        // Its error is the reason why nothing can be sent.
        self.sums = sums?;
        made
    }

    /// Gives the own ranges the sum as their gradient.
    pub(super) fn finish(self) {
        let rank = self.processes.collective().rank();
        for (buffer, RangeSum { sum, .. }) in self.shards.buffers.iter().zip(self.sums) {
            if let Some(sum) = sum {
                buffer.fill(rank, &sum);
            }
        }
    }
}

/// Lets `work` compute the gradient of a worker, and sends all of it.
fn run<T>(
    shards: &Shards,
    send: &mut Sink<'_>,
    work: impl FnOnce(&mut WorkerGradient<'_>) -> Result<T, GrpoError>,
) -> Result<T, GrpoError> {
    let rooms = shards.buffers.iter().map(|_| Room::None).collect();
    let staged = Staged { shards, rooms, sent: 0, is_last: false, send, failure: None };
    let mut gradient = WorkerGradient { staged: Some(staged) };
    let made = work(&mut gradient)?;
    gradient.staged.map_or(Ok(()), Staged::finish)?;
    Ok(made)
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use hint_dist::{CollectiveError, Threads};
    use hint_policy::config::Architecture;
    use hint_policy::{
        CausalLm, LoraConfig, ModelConfig, Policy, ScoreOptions, TokenBatch, TokenRow,
    };

    use super::super::gradients::GradientSum;
    use super::super::shards::tests::{WORKERS, adamw, each, plain};
    use super::super::shards::{build_optimizer, stages_of};
    use super::*;

    /// A model of eight blocks, which has as many buffers. With adapters, these alone are trained.
    pub(in super::super) fn model(adapts: bool) -> CausalLm {
        tch::set_num_threads(1);
        let config = ModelConfig {
            hidden_size: 64,
            intermediate_size: 128,
            num_hidden_layers: 8,
            num_attention_heads: 2,
            num_key_value_heads: 1,
            head_dim: 32,
            max_position_embeddings: 64,
            initializer_range: 0.2,
            ..ModelConfig::small(Architecture::Llama, 16)
        };
        let model = CausalLm::init(&config, 7, Device::Cpu).expect("a valid configuration");
        if !adapts {
            return model;
        }
        let lora = LoraConfig { rank: 32, dropout: 0.1, ..LoraConfig::default() };
        model.with_lora(&lora, 7).expect("a valid configuration")
    }

    /// Bytes of the gradients that parameters have.
    fn held(policy: &CausalLm) -> usize {
        let parameters = policy.parameters().into_iter();
        parameters.map(|parameter| 4 * parameter.tensor.grad().numel()).sum()
    }

    /// Adds the gradient of a worker's micro-batch, by the model's own backward pass. `watch` is called when each stage begins.
    fn differentiate(
        policy: &CausalLm,
        seed: u32,
        gradient: &mut WorkerGradient<'_>,
        watch: &mut dyn FnMut(),
    ) -> Result<(), GrpoError> {
        let completion = (0..6).map(|place| (3 * seed + 5 * place) % 16).collect::<Vec<_>>();
        let rows = [TokenRow { prompt: &[1, seed % 16], completion: &completion }];
        let batch = TokenBatch::new(&rows, Device::Cpu)?;
        let dropout_seed = Some(u64::from(seed));
        let pass =
            policy.forward(&batch, &ScoreOptions { dropout_seed, ..ScoreOptions::default() })?;
        let loss = pass.scores().logprobs.sum(Kind::Float);
        pass.backward_in_stages(&loss, &mut |stages| {
            gradient.before(&stages);
            watch();
        })?;
        Ok(())
    }

    /// What a process ends with.
    #[derive(Debug)]
    struct Found {
        /// The largest [`held`].
        most: usize,
        /// Bytes of the sum in the own ranges.
        own: usize,
        /// Bits of the sum in the own range of each buffer, with the place of the first.
        sum: Vec<((usize, i64), Vec<u32>)>,
    }

    impl Found {
        /// The bits of the sum in all ranges.
        fn join(all: impl IntoIterator<Item = Self>) -> Vec<u32> {
            let mut ranges = all.into_iter().flat_map(|found| found.sum).collect::<Vec<_>>();
            ranges.sort_by_key(|(place, _)| *place);
            ranges.into_iter().flat_map(|(_, bits)| bits).collect()
        }
    }

    fn find(adapts: bool, micro_batches: usize, processes: &DataParallel) -> Found {
        let policy = model(adapts);
        let parameters = policy.parameters();
        let mut optimizer = build_optimizer(&plain(adamw()), parameters, processes).unwrap();
        let shards = Shards::new(&mut *optimizer, &stages_of(&policy), processes).unwrap();
        assert_eq!(held(&policy), 0, "before a step");
        let mut sum = GradientSum::new(optimizer.parameters(), Some(&shards), processes);
        let mut most = 0;
        for round in processes.rounds() {
            let made = sum.round(round, |gradient| {
                let Some(worker) = round.worker else { return Ok(()) };
                for micro_batch in 0..micro_batches {
                    gradient.begin(micro_batch + 1 == micro_batches);
                    let seed = u32::try_from(10 * worker + micro_batch).expect("a small number");
                    differentiate(&policy, seed, gradient, &mut || most = held(&policy).max(most))?;
                }
                Ok(())
            });
            made.unwrap();
            assert_eq!(held(&policy), 0, "all is sent");
        }
        sum.finish().unwrap();
        let rank = processes.collective().rank();
        let mut found = Found { most, own: 0, sum: Vec::new() };
        for (index, buffer) in shards.buffers.iter().enumerate() {
            found.own += 4 * buffer.gradient.numel();
            let values = Vec::<f32>::try_from(&buffer.gradient).expect("numbers");
            let bits = values.into_iter().map(f32::to_bits).collect();
            found.sum.push(((index, buffer.ranges[rank].start), bits));
        }
        shards.clear();
        let left = shards.buffers.iter().map(|buffer| buffer.gradient.numel()).sum::<usize>();
        assert_eq!((held(&policy), left), (0, 0), "after a step");
        found
    }

    #[test]
    fn a_backward_pass_holds_some_blocks_and_a_process_its_part_of_the_sum() {
        for adapts in [false, true] {
            let parameters = model(adapts).parameters();
            let all = parameters.iter().map(|one| 4 * one.tensor.numel()).sum::<usize>();
            for micro_batches in [1, 2] {
                let find = |processes: DataParallel| find(adapts, micro_batches, &processes);
                let alone = each(1, find);
                assert_eq!(alone[0].own, all);
                let expected = Found::join(alone);
                assert_eq!(4 * expected.len(), all);
                for world_size in [2, 3, 4, WORKERS] {
                    let found = each(world_size, find);
                    for Found { most, own, .. } in &found {
                        if micro_batches == 1 {
                            assert!(*most > 0 && *most <= all / 2, "{most} of {all}");
                        } else {
                            assert_eq!(*most, all, "a sum is complete in the end alone");
                        }
                        // A unit has 98 304 bytes.
                        let share = all / world_size + 2 * 98_304;
                        assert!(*own <= share, "{own} of {all} in {world_size}");
                    }
                    let is_same = Found::join(found) == expected;
                    assert!(is_same, "adapters: {adapts}, {world_size} processes");
                }
            }
        }
    }

    /// Counts finished exchanges, or has no memory for them.
    #[derive(Debug)]
    struct Counting {
        inner: Threads,
        exchanges: AtomicUsize,
        is_full: bool,
    }

    impl Counting {
        fn new(inner: Threads, is_full: bool) -> Arc<Self> {
            Arc::new(Self { inner, exchanges: AtomicUsize::new(0), is_full })
        }
    }

    impl Collective for Counting {
        fn rank(&self) -> usize {
            self.inner.rank()
        }

        fn world_size(&self) -> usize {
            self.inner.world_size()
        }

        fn all_to_all(&self, output: &mut Tensor, input: &Tensor) -> Result<(), CollectiveError> {
            assert!(!self.is_full, "CUDA out of memory");
            self.inner.all_to_all(output, input)?;
            self.exchanges.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }

        fn all_gather(&self, output: &mut Tensor, input: &Tensor) -> Result<(), CollectiveError> {
            self.inner.all_gather(output, input)
        }

        fn broadcast(&self, tensor: &mut Tensor, root: usize) -> Result<(), CollectiveError> {
            self.inner.broadcast(tensor, root)
        }

        fn barrier(&self) -> Result<(), CollectiveError> {
            self.inner.barrier()
        }
    }

    #[test]
    fn buffers_are_exchanged_while_the_backward_pass_goes_on() {
        let one_of = |inner: Threads| {
            let counting = Counting::new(inner, false);
            let processes = DataParallel::new(Arc::clone(&counting) as Arc<dyn Collective>, 2);
            let policy = model(false);
            let parameters = policy.parameters();
            let mut optimizer = build_optimizer(&plain(adamw()), parameters, &processes).unwrap();
            let shards = Shards::new(&mut *optimizer, &stages_of(&policy), &processes).unwrap();
            let mut sum = ShardedSum::new(&shards, &processes);
            let exchanges = || counting.exchanges.load(Ordering::Relaxed);
            let mut seen = Vec::new();
            for round in processes.rounds() {
                let made = sum.round(round, |gradient| {
                    gradient.begin(true);
                    differentiate(&policy, 3, gradient, &mut || seen.push(exchanges()))
                });
                made.unwrap();
            }
            // Each is one slice.
            assert_eq!(exchanges(), shards.buffers.len());
            // The head, eight blocks and the embedding.
            assert_eq!(seen.len(), 10);
            let complete = shards.stages.iter().filter(|stages| stages.end < 10).count();
            // The last one of them may be on its way.
            assert!(complete > 4 && seen[9] + 1 >= complete, "{complete}: {seen:?}");
            counting.inner.shutdown().expect("all leave");
        };
        in_two(one_of);
    }

    /// The results of two processes.
    fn in_two<T: Send>(one_of: impl Fn(Threads) -> T + Sync) -> Vec<T> {
        let one_of = &one_of;
        std::thread::scope(|scope| {
            let members = Threads::group(2, Duration::from_mins(1)).into_iter();
            let threads = members.map(|member| scope.spawn(move || one_of(member)));
            let threads = threads.collect::<Vec<_>>();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        })
    }

    #[test]
    fn memory_that_runs_out_in_an_exchange_is_an_error_of_both() {
        let errors = in_two(|inner| {
            let is_full = inner.rank() == 0;
            let member = Counting::new(inner, is_full);
            let processes = DataParallel::new(Arc::clone(&member) as Arc<dyn Collective>, 2);
            let policy = model(false);
            let parameters = policy.parameters();
            let mut optimizer = build_optimizer(&plain(adamw()), parameters, &processes).unwrap();
            let shards = Shards::new(&mut *optimizer, &stages_of(&policy), &processes).unwrap();
            let round = processes.rounds().next().expect("a worker each");
            let made = ShardedSum::new(&shards, &processes).round(round, |gradient| {
                gradient.begin(true);
                differentiate(&policy, 3, gradient, &mut || ())
            });
            // As a run does that fails.
            member.inner.abort("no memory");
            made.expect_err("memory runs out").to_string()
        });
        assert!(errors[0].contains("exchange gradients"), "{errors:?}");
        assert!(errors[1].contains("no memory"), "{errors:?}");
    }
}
