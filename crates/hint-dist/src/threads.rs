//! The threads of one process as a group, for tests.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tch::{Device, Kind, Tensor};

use crate::collective::{Call, Collective, Operation, len};
use crate::error::CollectiveError;

/// A member of a group of threads.
#[derive(Debug)]
pub struct Threads {
    rank: usize,
    group: Arc<Group>,
    /// Operations called so far.
    calls: AtomicU64,
    has_left: AtomicBool,
}

#[derive(Debug)]
struct Group {
    world: usize,
    deadline: Duration,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The tensors of the ranks, by the number of the operation.
    calls: BTreeMap<u64, Meeting>,
    failure: Option<CollectiveError>,
}

#[derive(Debug, Default)]
struct Meeting {
    /// By rank.
    parts: BTreeMap<usize, (Call, Tensor)>,
    /// Ranks that have taken what they need.
    done: usize,
}

impl Threads {
    /// The members of a group of `world` threads, in the order of their ranks. No operation waits longer than `deadline`.
    pub fn group(world: usize, deadline: Duration) -> Vec<Self> {
        let (state, changed) = (Mutex::default(), Condvar::new());
        let group = Arc::new(Group { world, deadline, state, changed });
        let member = |rank| Self {
            rank,
            group: Arc::clone(&group),
            calls: AtomicU64::new(0),
            has_left: AtomicBool::new(false),
        };
        (0..world).map(member).collect()
    }

    /// Brings `input` to the next operation, and returns what every rank brought.
    fn meet(&self, call: Call, input: &Tensor) -> Result<Vec<Tensor>, CollectiveError> {
        let Group { world, deadline, changed, .. } = &*self.group;
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        // The caller may change its tensor while others still read it.
        let own = input.detach().copy();
        let mut state = self.group.lock();
        if let Some(failure) = &state.failure {
            return Err(failure.clone());
        }
        state.calls.entry(number).or_default().parts.insert(self.rank, (call, own));
        changed.notify_all();
        let is_open = |state: &mut State| {
            let present = state.calls.get(&number).map_or(0, |meeting| meeting.parts.len());
            state.failure.is_none() && present < *world
        };
        let waited = changed.wait_timeout_while(state, *deadline, is_open);
        let (mut state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        if timeout.timed_out() && state.failure.is_none() {
            let present = &state.calls.entry(number).or_default().parts;
            let missing = (0..*world).filter(|rank| !present.contains_key(rank)).collect();
            state.failure = Some(CollectiveError::late(missing, *deadline));
            changed.notify_all();
        }
        if let Some(failure) = &state.failure {
            return Err(failure.clone());
        }
        let meeting = state.calls.entry(number).or_default();
        let calls = meeting.parts.values().map(|(call, _)| call.encode()).collect::<Vec<_>>();
        let parts = meeting.parts.values().map(|(_, part)| part.shallow_clone()).collect();
        meeting.done += 1;
        if meeting.done == *world {
            state.calls.remove(&number);
        }
        if let Err(mismatch) = Call::compare(&calls) {
            state.failure = Some(mismatch.clone());
            return Err(mismatch);
        }
        Ok(parts)
    }

    fn gather(
        &self,
        operation: Operation,
        output: &mut Tensor,
        input: &Tensor,
    ) -> Result<(), CollectiveError> {
        let world = self.group.world;
        let call = Call::new(operation, input, Some(output), world, 0)?;
        let parts = self.meet(call, input)?;
        let all = parts.into_iter().map(|part| {
            let flat = part.view([-1]);
            match operation {
                Operation::AllToAll => flat.view([len(world), -1]).get(len(self.rank)),
                _ => flat,
            }
        });
        let all = Tensor::cat(&all.collect::<Vec<_>>(), 0);
        tch::no_grad(|| output.copy_(&all.view(&*output.size())));
        Ok(())
    }
}

impl Group {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self, failure: CollectiveError) {
        self.lock().failure.get_or_insert(failure);
        self.changed.notify_all();
    }
}

impl Collective for Threads {
    fn rank(&self) -> usize {
        self.rank
    }

    fn world(&self) -> usize {
        self.group.world
    }

    fn all_to_all(&self, output: &mut Tensor, input: &Tensor) -> Result<(), CollectiveError> {
        self.gather(Operation::AllToAll, output, input)
    }

    fn all_gather(&self, output: &mut Tensor, input: &Tensor) -> Result<(), CollectiveError> {
        self.gather(Operation::AllGather, output, input)
    }

    fn broadcast(&self, tensor: &mut Tensor, root: usize) -> Result<(), CollectiveError> {
        let call = Call::new(Operation::Broadcast, tensor, None, self.group.world, root)?;
        let parts = self.meet(call, tensor)?;
        tch::no_grad(|| tensor.copy_(&parts[root]));
        Ok(())
    }

    fn barrier(&self) -> Result<(), CollectiveError> {
        let nothing = Tensor::zeros([0], (Kind::Uint8, Device::Cpu));
        self.meet(Call::of(Operation::Barrier), &nothing).map(|_| ())
    }

    fn failure(&self) -> Option<CollectiveError> {
        self.group.lock().failure.clone()
    }

    fn abort(&self, reason: &str) {
        self.group.fail(CollectiveError::failed(self.rank, reason));
    }

    fn leave(&self) -> Result<(), CollectiveError> {
        self.barrier()?;
        self.has_left.store(true, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if !self.has_left.load(Ordering::Relaxed) {
            self.abort("it left before the end");
        }
    }
}
