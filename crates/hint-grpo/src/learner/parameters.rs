//! Weights of which each process holds its part alone while it learns (ZeRO-3).
//!
//! An update begins with whole weights, as all other work of a run. It copies the own range of each buffer and frees the
//! buffer. Then the passes gather the buffers of each block before they read them, and free them afterwards. The optimizer
//! updates the own ranges. In the end, every process gets the whole buffers again.

use std::error::Error;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hint_dist::{Collective, CollectiveError};
use hint_policy::Policy;
use hint_policy::policy::StageWeights;
use tch::Tensor;

use super::Learner;
use super::shards::{Shards, gather_buffer};
use crate::data_parallel::{DataParallel, Lend, Turns};
use crate::error::{ConfigError, GrpoError};
use crate::objective::CreditTeacher;
use crate::optim::{FlatBuffer, part};

/// The key that asks for it.
const KEY: &str = "run.shard";

/// The weights that the processes share, and the way to those of the others.
#[derive(Debug, Clone)]
pub(super) struct SharedWeights {
    parts: Arc<Mutex<Parts>>,
    turns: Arc<Turns>,
}

/// The buffers of the weights.
#[derive(Debug)]
struct Parts(Vec<Part>);

/// A buffer of the weights.
#[derive(Debug)]
struct Part {
    buffer: FlatBuffer,
    /// The weights of the own range, in the storage that the optimizer updates.
    own: Tensor,
    range: Range<i64>,
    /// The stages of a pass that read it.
    stages: Range<usize>,
    /// Whether the whole buffer is there.
    is_here: bool,
}

impl Part {
    /// Room for all weights of the buffer.
    fn room(&self) -> Tensor {
        Tensor::empty(self.buffer.weights.size().as_slice(), self.buffer.options())
    }

    /// Moves the own weights to storage of their own, and frees the buffer.
    fn keep_own(&mut self) {
        let own = self.own.copy();
        self.own.set_data(&own);
        self.free();
    }

    fn free(&mut self) {
        self.buffer.take_weights();
        self.is_here = false;
    }

    /// Exchanges the buffer. It is there afterwards if it is wanted.
    fn exchange(
        &mut self,
        is_wanted: bool,
        collective: &dyn Collective,
    ) -> Result<(), CollectiveError> {
        let whole = is_wanted.then(|| self.room());
        gather_buffer(&self.buffer, &self.own, whole.as_ref(), collective)?;
        if let Some(whole) = whole {
            self.buffer.place_weights(&whole);
            self.is_here = true;
        }
        Ok(())
    }

    /// Gathers the buffer for good. The own weights are a part of it again.
    fn make_whole(&mut self, collective: &dyn Collective) -> Result<(), CollectiveError> {
        self.exchange(true, collective)?;
        self.own.set_data(&part(&self.buffer.weights, &self.range));
        Ok(())
    }
}

impl Parts {
    /// Frees the buffers that no stage in `stages` reads. Returns those that are read and not there.
    fn keep(&mut self, stages: &Range<usize>) -> Vec<usize> {
        let mut missing = Vec::new();
        for (index, part) in self.0.iter_mut().enumerate() {
            let is_read = part.stages.start < stages.end && stages.start < part.stages.end;
            match (is_read, part.is_here) {
                (true, false) => missing.push(index),
                (false, true) => part.free(),
                _ => {}
            }
        }
        missing
    }
}

/// The parts as processes lend them to each other.
#[derive(Debug)]
struct Lender(Arc<Mutex<Parts>>);

impl Lend for Lender {
    fn lend(
        &mut self,
        index: usize,
        is_wanted: bool,
        collective: &dyn Collective,
    ) -> Result<(), CollectiveError> {
        tch::no_grad(|| lock(&self.0).0[index].exchange(is_wanted, collective))
    }
}

impl StageWeights for SharedWeights {
    fn gather(&mut self, stages: Range<usize>) -> Result<(), Box<dyn Error + Send + Sync>> {
        let missing = tch::no_grad(|| lock(&self.parts).keep(&stages));
        for index in missing {
            self.turns.want(index)?;
        }
        Ok(())
    }

    fn release(&mut self) {
        self.drop_gathered();
    }
}

fn lock(parts: &Mutex<Parts>) -> MutexGuard<'_, Parts> {
    parts.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SharedWeights {
    /// The weights of `shards`, if the processes share them. Refuses parts that cannot, by the key that asks for it.
    pub(super) fn new(
        shards: Option<&Shards>,
        policy: &dyn Policy,
        teacher: &CreditTeacher,
        processes: &DataParallel,
    ) -> Result<Option<Self>, GrpoError> {
        let Some(turns) = processes.turns() else { return Ok(None) };
        let refuse = |lacks: &str| {
            let expected = format!("must be gradients {lacks}");
            Err(ConfigError::one(KEY, expected, "parameters").into())
        };
        if matches!(teacher, CreditTeacher::Average { .. }) {
            return refuse("where an average of the weights teaches");
        }
        if !policy.set_stage_weights(None) {
            return refuse("with a policy that cannot gather weights by block");
        }
        let rank = processes.collective().rank();
        let of_buffer = |(buffer, stages): (&FlatBuffer, &Range<usize>)| {
            let own = buffer.own.as_ref()?.shallow_clone();
            Some(Part {
                buffer: buffer.shallow_clone(),
                own,
                range: buffer.ranges[rank].clone(),
                stages: stages.clone(),
                is_here: true,
            })
        };
        let parts = shards.and_then(|shards| {
            let pairs = shards.buffers.iter().zip(&shards.stages);
            pairs.map(of_buffer).collect::<Option<Vec<_>>>()
        });
        match parts {
            Some(parts) => {
                let parts = Arc::new(Mutex::new(Parts(parts)));
                Ok(Some(Self { parts, turns: Arc::clone(turns) }))
            }
            None => refuse("with an optimizer other than AdamW"),
        }
    }

    /// Keeps the own weights alone. From now on passes of `policy` gather those that they read.
    fn begin(&self, policy: &dyn Policy) {
        // Copies for decoding may share the memory.
        policy.parameters_changed();
        // Before a weight is away, so that after an error here the policy asks for it.
        policy.set_stage_weights(Some(Box::new(self.clone())));
        self.turns.begin(Box::new(Lender(Arc::clone(&self.parts))));
        tch::no_grad(|| lock(&self.parts).0.iter_mut().for_each(Part::keep_own));
    }

    /// Frees what passes have gathered. The own weights stay.
    pub(super) fn drop_gathered(&self) {
        tch::no_grad(|| lock(&self.parts).keep(&(0..0)));
    }

    /// Gives every process all weights. After an error, passes of `policy` that need a missing one fail.
    fn end(&self, policy: &dyn Policy) -> Result<(), GrpoError> {
        self.turns.end()?;
        tch::no_grad(|| {
            let mut parts = lock(&self.parts);
            parts.0.iter_mut().try_for_each(|part| part.make_whole(&*self.turns))
        })?;
        policy.set_stage_weights(None);
        policy.parameters_changed();
        Ok(())
    }
}

impl Learner {
    /// Begins an update: keeps the own part of the weights alone, if processes share them. After an error in the update they
    /// stay in parts, and the policy is of no use. What reads a missing one is an error.
    pub(super) fn share_weights(&self) {
        if let Some(weights) = &self.shared_weights {
            weights.begin(&**self.policy.lock());
        }
    }

    /// Ends an update: all weights are there again.
    pub(super) fn gather_weights(&self) -> Result<(), GrpoError> {
        match &self.shared_weights {
            Some(weights) => weights.end(&**self.policy.lock()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::path::Path;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use hint_dist::Threads;
    use hint_policy::{CausalLm, Parameter, PolicyError, ScoreOptions, TokenBatch, TokenRow};
    use tch::{Device, Kind};

    use super::super::shards::tests::{adamw, plain};
    use super::super::shards::{build_optimizer, stages_of};
    use super::*;

    /// A model of eight blocks, which has about as many buffers.
    fn model(recomputes: bool) -> CausalLm {
        super::super::staged::tests::model(false).with_gradient_checkpointing(recomputes)
    }

    /// Elements of the weights that are there. Those that are not have no stride.
    fn held(policy: &CausalLm) -> usize {
        let is_here = |one: &Parameter| one.tensor.stride().iter().any(|stride| *stride != 0);
        let parameters = policy.parameters().into_iter().filter(is_here);
        parameters.map(|parameter| parameter.tensor.numel()).sum()
    }

    fn bits(tensors: impl Iterator<Item = Tensor>) -> Vec<u32> {
        let values = |tensor: Tensor| {
            let flat = tensor.detach().contiguous().view([-1]);
            Vec::<f32>::try_from(flat).expect("numbers")
        };
        tensors.flat_map(values).map(f32::to_bits).collect()
    }

    /// Scores and gradients of a forward and a backward pass, and the most weights that were there when a stage began.
    fn pass(policy: &CausalLm, shards: &Shards) -> (Vec<u32>, usize) {
        let rows = [TokenRow { prompt: &[1, 2], completion: &[3, 9, 14, 4] }];
        let batch = TokenBatch::new(&rows, Device::Cpu).unwrap();
        tch::no_grad(|| {
            for buffer in &shards.buffers {
                drop(buffer.make_room());
            }
        });
        let mut most = 0;
        let forward = policy.forward(&batch, &ScoreOptions::default()).unwrap();
        let scores = forward.scores().logprobs.detach();
        let loss = forward.scores().logprobs.sum(Kind::Float);
        forward.backward_in_stages(&loss, &mut |_| most = held(policy).max(most)).unwrap();
        let gradients = policy.parameters().into_iter().map(|one| one.tensor.grad());
        (bits(std::iter::once(scores).chain(gradients)), most)
    }

    /// A policy, and the weights of it that processes share.
    fn sharing(processes: &DataParallel, recomputes: bool) -> (CausalLm, Shards, SharedWeights) {
        let policy = model(recomputes);
        let parameters = policy.parameters();
        let mut optimizer = build_optimizer(&plain(adamw()), parameters, processes).unwrap();
        let shards = Shards::new(&mut *optimizer, &stages_of(&policy), processes).unwrap();
        let teacher = CreditTeacher::Live;
        let shared = SharedWeights::new(Some(&shards), &policy, &teacher, processes);
        (policy, shards, shared.unwrap().expect("they take turns"))
    }

    fn check(member: Threads, recomputes: bool) {
        let member = Arc::new(member);
        let collective = Arc::clone(&member) as Arc<dyn Collective>;
        let processes = DataParallel::in_turns(collective, 3);
        let weights = |policy: &CausalLm| {
            bits(policy.parameters().into_iter().map(|parameter| parameter.tensor))
        };
        let (policy, shards, shared) = sharing(&processes, recomputes);
        let (all, before) = (held(&policy), weights(&policy));
        let (expected, _) = pass(&policy, &shards);
        shared.begin(&policy);
        assert_eq!(held(&policy), 0, "before a pass");
        let own = lock(&shared.parts).0.iter().map(|part| part.own.numel()).sum::<usize>();
        assert!(own < all / 2, "{own} of {all}");
        // The processes have one pass, three and five.
        for _ in 0..=2 * member.rank() {
            let (found, most) = pass(&policy, &shards);
            assert!(found == expected, "rank {}", member.rank());
            assert!(0 < most && most < all / 2, "{most} of {all}");
            assert_eq!(held(&policy), 0, "after a pass");
        }
        // All of them are there until the next pass, or until they change.
        drop(policy.checkpoint_tensors(false).expect("the others help"));
        assert_eq!(held(&policy), all);
        assert!(weights(&policy) == before);
        shared.drop_gathered();
        assert_eq!(held(&policy), 0, "before a step of the optimizer");
        shared.end(&policy).unwrap();
        assert_eq!(held(&policy), all);
        assert!(weights(&policy) == before);
        member.shutdown().expect("all leave");
    }

    #[test]
    fn passes_gather_some_blocks_at_a_time_and_have_the_bits_of_whole_weights() {
        for recomputes in [false, true] {
            let members = Threads::group(3, Duration::from_mins(1));
            std::thread::scope(|scope| {
                let members = members.into_iter();
                let threads = members.map(|member| scope.spawn(move || check(member, recomputes)));
                for thread in threads.collect::<Vec<_>>() {
                    thread.join().expect("no panic");
                }
            });
        }
    }

    /// A member of a group that fails after some exchanges.
    #[derive(Debug)]
    struct Cut {
        inner: Threads,
        /// Gathers that work.
        left: AtomicUsize,
    }

    impl Collective for Cut {
        fn rank(&self) -> usize {
            self.inner.rank()
        }

        fn world_size(&self) -> usize {
            self.inner.world_size()
        }

        fn all_to_all(&self, output: &mut Tensor, input: &Tensor) -> Result<(), CollectiveError> {
            self.inner.all_to_all(output, input)
        }

        fn all_gather(&self, output: &mut Tensor, input: &Tensor) -> Result<(), CollectiveError> {
            let left = self.left.load(Ordering::Relaxed);
            let Some(left) = left.checked_sub(1) else {
                let (action, problem) = ("gather".to_owned(), "the cable was cut".to_owned());
                return Err(CollectiveError::Backend { action, problem });
            };
            self.left.store(left, Ordering::Relaxed);
            self.inner.all_gather(output, input)
        }

        fn broadcast(&self, tensor: &mut Tensor, root: usize) -> Result<(), CollectiveError> {
            self.inner.broadcast(tensor, root)
        }

        fn barrier(&self) -> Result<(), CollectiveError> {
            self.inner.barrier()
        }
    }

    /// Notes how many weights are there when the policy gets the way to those that are not.
    struct Told {
        inner: CausalLm,
        held: Cell<usize>,
    }

    impl Policy for Told {
        fn logits(&self, tokens: &TokenBatch) -> Result<Tensor, PolicyError> {
            self.inner.logits(tokens)
        }

        fn parameters(&self) -> Vec<Parameter> {
            self.inner.parameters()
        }

        fn device(&self) -> Device {
            self.inner.device()
        }

        fn vocab_size(&self) -> usize {
            self.inner.vocab_size()
        }

        fn max_positions(&self) -> usize {
            self.inner.max_positions()
        }

        fn set_stage_weights(&self, weights: Option<Box<dyn StageWeights>>) -> bool {
            self.held.set(held(&self.inner));
            self.inner.set_stage_weights(weights)
        }

        fn save(&self, dir: &Path) -> Result<(), PolicyError> {
            self.inner.save(dir)
        }
    }

    /// Ends an update of a group that fails after `left` exchanges, and reads the weights.
    fn read_after_failure(member: Threads, left: usize) {
        let member = Arc::new(Cut { inner: member, left: AtomicUsize::new(usize::MAX) });
        let collective = Arc::clone(&member) as Arc<dyn Collective>;
        let processes = DataParallel::in_turns(collective, 3);
        let (policy, _shards, shared) = sharing(&processes, false);
        let all = held(&policy);
        let told = Told { inner: policy, held: Cell::new(0) };
        shared.begin(&told);
        let policy = &told.inner;
        // Had the copies of the own weights failed, the policy would ask for those that are away.
        assert_eq!((told.held.get(), held(policy)), (all, 0), "after {left}: the way comes first");
        member.left.store(left, Ordering::Relaxed);
        shared.end(policy).expect_err("the group fails");
        let rows = [TokenRow { prompt: &[1, 2], completion: &[3] }];
        let batch = TokenBatch::new(&rows, Device::Cpu).unwrap();
        let scores = tch::no_grad(|| policy.score(&batch, &ScoreOptions::default()));
        assert!(matches!(scores, Err(PolicyError::Gather { .. })), "after {left}: scores");
        let logits = policy.logits(&batch);
        assert!(matches!(logits, Err(PolicyError::Gather { .. })), "after {left}: logits");
        let dir = tempfile::tempdir().unwrap();
        let saved = policy.save(dir.path());
        assert!(matches!(saved, Err(PolicyError::Gather { .. })), "after {left}: files");
        assert!(policy.checkpoint_tensors(false).is_none(), "after {left}: tensors");
        member.inner.shutdown().expect("all leave");
    }

    #[test]
    fn weights_that_did_not_come_back_are_an_error_of_whatever_reads_them() {
        // No exchange: they still take turns. One: all have ended, and no buffer is there. Then some are.
        for left in [0, 1, 3] {
            let members = Threads::group(2, Duration::from_mins(1));
            std::thread::scope(|scope| {
                let members = members.into_iter();
                let threads =
                    members.map(|member| scope.spawn(move || read_after_failure(member, left)));
                for thread in threads.collect::<Vec<_>>() {
                    thread.join().expect("no panic");
                }
            });
        }
    }
}
