//! The threads of one process as a group.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tch::{Device, Kind, Tensor};

use crate::collective::{Collective, Operation, Signature, len};
use crate::error::CollectiveError;

/// A rank of a group of threads. It shows what several processes would do, without starting them.
///
/// ```
/// use std::time::Duration;
///
/// use hint_dist::{Collective, Threads};
///
/// let members = Threads::group(2, Duration::from_secs(10));
/// let ranks = members.iter().map(|member| (member.rank(), member.world_size()));
/// assert_eq!(ranks.collect::<Vec<_>>(), [(0, 2), (1, 2)]);
/// ```
#[derive(Debug)]
pub struct Threads {
    rank: usize,
    group: Arc<Group>,
    /// 0, or more for a [duplicate](Collective::duplicate).
    line: u32,
    /// The duplicate, once somebody asked for it.
    duplicate: OnceLock<Arc<Self>>,
    /// Operations called so far.
    calls: AtomicU64,
    is_shut_down: AtomicBool,
}

#[derive(Debug)]
struct Group {
    world_size: usize,
    timeout: Duration,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The tensors of the ranks, by the line and the number of the operation.
    calls: BTreeMap<(u32, u64), PendingCall>,
    failure: Option<CollectiveError>,
}

#[derive(Debug, Default)]
struct PendingCall {
    /// By rank.
    parts: BTreeMap<usize, (Signature, Tensor)>,
    /// Ranks that have taken what they need.
    done: usize,
}

impl Threads {
    /// The ranks of a group of `world_size` threads, in order. No operation waits longer than `timeout`.
    pub fn group(world_size: usize, timeout: Duration) -> Vec<Self> {
        let (state, changed) = (Mutex::default(), Condvar::new());
        let group = Arc::new(Group { world_size, timeout, state, changed });
        (0..world_size).map(|rank| Self::on_line(0, rank, &group)).collect()
    }

    fn on_line(line: u32, rank: usize, group: &Arc<Group>) -> Self {
        Self {
            rank,
            group: Arc::clone(group),
            line,
            duplicate: OnceLock::new(),
            calls: AtomicU64::new(0),
            is_shut_down: AtomicBool::new(false),
        }
    }

    /// Brings `input` to the next operation, and returns what every rank brought.
    fn gather_call(&self, call: Signature, input: &Tensor) -> Result<Vec<Tensor>, CollectiveError> {
        let Group { world_size, timeout, changed, .. } = &*self.group;
        let number = (self.line, self.calls.fetch_add(1, Ordering::Relaxed));
        // The caller may change its tensor while others still read it.
        let own = input.detach().copy();
        let mut state = self.group.lock();
        if let Some(failure) = &state.failure {
            return Err(failure.clone());
        }
        state.calls.entry(number).or_default().parts.insert(self.rank, (call, own));
        changed.notify_all();
        let is_open = |state: &mut State| {
            let present = state.calls.get(&number).map_or(0, |pending| pending.parts.len());
            state.failure.is_none() && present < *world_size
        };
        let waited = changed.wait_timeout_while(state, *timeout, is_open);
        let (mut state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() && state.failure.is_none() {
            let present = &state.calls.entry(number).or_default().parts;
            let missing = (0..*world_size).filter(|rank| !present.contains_key(rank)).collect();
            state.failure = Some(CollectiveError::late(missing, *timeout));
            changed.notify_all();
        }
        if let Some(failure) = &state.failure {
            return Err(failure.clone());
        }
        let pending = state.calls.entry(number).or_default();
        let calls = pending.parts.values().map(|(call, _)| call.encode()).collect::<Vec<_>>();
        let parts = pending.parts.values().map(|(_, part)| part.shallow_clone()).collect();
        pending.done += 1;
        if pending.done == *world_size {
            state.calls.remove(&number);
        }
        if let Err(mismatch) = Signature::compare(&calls) {
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
        let world_size = self.group.world_size;
        let call = Signature::new(operation, input, Some(output), world_size, 0)?;
        let parts = self.gather_call(call, input)?;
        let all = parts.into_iter().map(|part| {
            let flat = part.view([-1]);
            match operation {
                Operation::AllToAll => flat.view([len(world_size), -1]).get(len(self.rank)),
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

    fn world_size(&self) -> usize {
        self.group.world_size
    }

    fn all_to_all(&self, output: &mut Tensor, input: &Tensor) -> Result<(), CollectiveError> {
        self.gather(Operation::AllToAll, output, input)
    }

    fn all_gather(&self, output: &mut Tensor, input: &Tensor) -> Result<(), CollectiveError> {
        self.gather(Operation::AllGather, output, input)
    }

    fn broadcast(&self, tensor: &mut Tensor, root: usize) -> Result<(), CollectiveError> {
        let call = Signature::new(Operation::Broadcast, tensor, None, self.group.world_size, root)?;
        let parts = self.gather_call(call, tensor)?;
        tch::no_grad(|| tensor.copy_(&parts[root]));
        Ok(())
    }

    fn barrier(&self) -> Result<(), CollectiveError> {
        let nothing = Tensor::zeros([0], (Kind::Uint8, Device::Cpu));
        self.gather_call(Signature::barrier(), &nothing).map(|_| ())
    }

    fn duplicate(&self) -> Result<Arc<dyn Collective>, CollectiveError> {
        let open = || Arc::new(Self::on_line(self.line + 1, self.rank, &self.group));
        let duplicate = self.duplicate.get_or_init(open);
        Ok(Arc::clone(duplicate) as Arc<dyn Collective>)
    }

    fn failure(&self) -> Option<CollectiveError> {
        self.group.lock().failure.clone()
    }

    fn abort(&self, reason: &str) {
        self.group.fail(CollectiveError::failed(self.rank, reason));
    }

    fn shutdown(&self) -> Result<(), CollectiveError> {
        self.barrier()?;
        self.is_shut_down.store(true, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if self.line == 0 && !self.is_shut_down.load(Ordering::Relaxed) {
            self.abort("it left before the end");
        }
    }
}
