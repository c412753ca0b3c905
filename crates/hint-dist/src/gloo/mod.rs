//! Processes on one or more machines, over the Gloo of libtorch.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tch::{Device, Kind, Tensor};

use self::meeting::{attempt, connect_all, in_thread, meet, open_store};
use self::monitor::{Monitor, Silence, Suspicion};
pub use self::rendezvous::{Limits, Rendezvous};
use crate::collective::{Call, Collective, Operation, len};
use crate::error::CollectiveError;
use crate::ffi::{Group, Work};

mod meeting;
mod monitor;
mod rendezvous;

/// Bytes of a call.
const CALL: usize = 32;
/// Bytes that travel with a call.
const NOTE: usize = 480;
/// How often a wait looks for what the monitor knows.
const SLICE: Duration = Duration::from_millis(100);

/// A member of a group of processes that are connected by TCP.
///
/// A thread of its own gives signs of life in the store and watches those of the others. So a rank that ends is noticed
/// while the others compute.
///
/// ```no_run
/// use hint_dist::{Collective, Gloo, Limits, Rendezvous};
///
/// // The second of two processes; rank 0 runs on 10.0.0.1.
/// let member = Gloo::connect(&Rendezvous::new(1, 2, "10.0.0.1", 29500), Limits::default())?;
/// member.barrier()?;
/// member.leave()?;
/// # Ok::<(), hint_dist::CollectiveError>(())
/// ```
#[derive(Debug)]
pub struct Gloo {
    rank: usize,
    world: usize,
    limits: Limits,
    /// There until this is dropped.
    group: Option<Mutex<Group>>,
    monitor: Monitor,
    has_left: AtomicBool,
}

impl Gloo {
    /// Meets the other processes, and connects to them.
    ///
    /// # Errors
    ///
    /// - [`CollectiveError::Rendezvous`] for settings that cannot be, no store, or a rank that is taken;
    /// - [`CollectiveError::Mismatch`] for another number of processes than rank 0 has;
    /// - [`CollectiveError::Peer`] for ranks that did not come.
    pub fn connect(rendezvous: &Rendezvous, limits: Limits) -> Result<Self, CollectiveError> {
        rendezvous.check()?;
        let whole = rendezvous.clone();
        let meeting = in_thread(move || Self::meet_all(&whole, limits));
        // The steps of a meeting have limits of their own, except where the process with the store stands still.
        let longest = 2 * limits.meeting + limits.lifesign;
        meeting.recv_timeout(longest).unwrap_or_else(|_| {
            let Rendezvous { address, port, .. } = rendezvous;
            let problem = format!("the store at `{address}:{port}` does not answer");
            Err(CollectiveError::Rendezvous(problem))
        })
    }

    fn meet_all(rendezvous: &Rendezvous, limits: Limits) -> Result<Self, CollectiveError> {
        let Rendezvous { rank, world, .. } = *rendezvous;
        let host = rendezvous.reached_at()?;
        let serves = rank == 0 && !rendezvous.has_store;
        let entrance = open_store(rendezvous, serves, "hint-dist", limits.meeting)?;
        let mut waited = Duration::ZERO;
        let attempt = attempt(&entrance, rendezvous, &mut waited, limits.meeting)?;
        let open = || open_store(rendezvous, false, &attempt, limits.meeting);
        let store = open()?;
        let monitor = Monitor::start((open()?, entrance), rendezvous, serves, limits.lifesign)?;
        let group = meet(&store, rendezvous, &monitor, &mut waited, limits.meeting)
            .and_then(|()| connect_all(store, (rank, world), host, &monitor, (&mut waited, limits)))
            // A failure that is known to the others is the same on every rank.
            .map_err(|error| monitor.fail(error))?;
        let group = Some(Mutex::new(group));
        Ok(Self { rank, world, limits, group, monitor, has_left: AtomicBool::new(false) })
    }

    /// Carries out an operation on tensors of the CPU, once every rank is there and calls the same.
    fn run(
        &self,
        call: Call,
        operation: Operation,
        (output, input): (&Tensor, &Tensor),
        root: usize,
    ) -> Result<(), CollectiveError> {
        let (group, _) = self.meet(call, &[])?;
        self.wait(group.start(operation, output, input, root))
    }

    /// Waits until every rank is there and calls the same. Each brings up to [`NOTE`] bytes.
    fn meet(
        &self,
        call: Call,
        note: &[u8],
    ) -> Result<(MutexGuard<'_, Group>, Vec<Vec<u8>>), CollectiveError> {
        if let Some(failure) = self.monitor.failure() {
            return Err(failure);
        }
        let closed = || CollectiveError::backend("call an operation", "the group is closed");
        let group = self.group.as_ref().ok_or_else(closed)?;
        let group = group.lock().unwrap_or_else(PoisonError::into_inner);
        self.monitor.count_call();
        let mut own = call.encode().map(i64::to_le_bytes).concat();
        own.extend(note);
        own.resize(CALL + NOTE, 0);
        let all = Tensor::zeros([len(own.len() * self.world)], (Kind::Uint8, Device::Cpu));
        self.wait(group.start(Operation::AllGather, &all, &Tensor::from_slice(&own), 0))?;
        let mut brought = vec![0; all.numel()];
        all.copy_data(&mut brought, all.numel());
        let (mut calls, mut notes) = (Vec::new(), Vec::new());
        for one in brought.chunks(CALL + NOTE) {
            let (call, note) = one.split_at(CALL);
            let number = |at: usize| {
                let bytes = call[8 * at..8 * at + 8].try_into();
                bytes.map_or(-1, i64::from_le_bytes)
            };
            calls.push([number(0), number(1), number(2), number(3)]);
            notes.push(note.to_vec());
        }
        Call::compare(&calls).map_err(|mismatch| self.monitor.fail(mismatch))?;
        Ok((group, notes))
    }

    fn wait(&self, work: Result<Work, CollectiveError>) -> Result<(), CollectiveError> {
        let lost = |error| self.monitor.suspect(Suspicion::Lost, error);
        let work = work.map_err(lost)?;
        let (mut waited, mut silence) = (Duration::ZERO, Silence::default());
        while !work.wait(SLICE).map_err(lost)? {
            let silent = || self.monitor.silent_store(&mut silence, SLICE);
            if let Some(failure) = self.monitor.failure().or_else(silent) {
                return Err(failure);
            }
            waited += SLICE;
            if waited >= self.limits.deadline {
                let late = CollectiveError::late(Vec::new(), self.limits.deadline);
                return Err(self.monitor.suspect(Suspicion::Late(self.limits.deadline), late));
            }
        }
        Ok(())
    }

    fn gather(
        &self,
        operation: Operation,
        output: &mut Tensor,
        input: &Tensor,
    ) -> Result<(), CollectiveError> {
        let call = Call::new(operation, input, Some(output), self.world, 0)?;
        let on_host = Tensor::zeros([len(output.numel())], (output.kind(), Device::Cpu));
        let is_staged = output.device() != Device::Cpu;
        let target = if is_staged { &on_host } else { &output.view([-1]) };
        let source = input.detach().to_device(Device::Cpu).view([-1]);
        self.run(call, operation, (target, &source), 0)?;
        if is_staged {
            tch::no_grad(|| output.copy_(&on_host.view(&*output.size())));
        }
        Ok(())
    }
}

impl Collective for Gloo {
    fn rank(&self) -> usize {
        self.rank
    }

    fn world(&self) -> usize {
        self.world
    }

    fn all_to_all(&self, output: &mut Tensor, input: &Tensor) -> Result<(), CollectiveError> {
        self.gather(Operation::AllToAll, output, input)
    }

    fn all_gather(&self, output: &mut Tensor, input: &Tensor) -> Result<(), CollectiveError> {
        self.gather(Operation::AllGather, output, input)
    }

    fn broadcast(&self, tensor: &mut Tensor, root: usize) -> Result<(), CollectiveError> {
        let call = Call::new(Operation::Broadcast, tensor, None, self.world, root)?;
        // On a CPU these are views of the tensor itself.
        let data = tensor.detach().to_device(Device::Cpu).view([-1]);
        self.run(call, Operation::Broadcast, (&data, &data), root)?;
        if tensor.device() != Device::Cpu {
            tch::no_grad(|| tensor.copy_(&data.view(&*tensor.size())));
        }
        Ok(())
    }

    fn barrier(&self) -> Result<(), CollectiveError> {
        self.meet(Call::of(Operation::Barrier), &[]).map(|_| ())
    }

    /// Few bytes travel with the call itself.
    fn exchange(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, CollectiveError> {
        let small = bytes.len().min(NOTE - 8);
        let note = [&(bytes.len() as u64).to_le_bytes()[..], &bytes[..small]].concat();
        let (group, notes) = self.meet(Call::of(Operation::Exchange), &note)?;
        let length = |note: &Vec<u8>| {
            let bytes = note[..8].try_into().map_or(0, u64::from_le_bytes);
            usize::try_from(bytes).unwrap_or(usize::MAX)
        };
        let lengths = notes.iter().map(length).collect::<Vec<_>>();
        let longest = lengths.iter().copied().max().unwrap_or(0);
        let both = lengths.iter().zip(notes);
        if longest <= NOTE - 8 {
            return Ok(both.map(|(length, note)| note[8..8 + length].to_vec()).collect());
        }
        let mut own = bytes.to_vec();
        own.resize(longest, 0);
        let all = Tensor::zeros([len(longest * self.world)], (Kind::Uint8, Device::Cpu));
        self.wait(group.start(Operation::AllGather, &all, &Tensor::from_slice(&own), 0))?;
        let mut brought = vec![0; all.numel()];
        all.copy_data(&mut brought, all.numel());
        let parts = brought.chunks(longest).zip(&lengths);
        Ok(parts.map(|(part, length)| part[..*length].to_vec()).collect())
    }

    fn failure(&self) -> Option<CollectiveError> {
        self.monitor.failure()
    }

    fn abort(&self, reason: &str) {
        if self.has_left.load(Ordering::Relaxed) {
            return;
        }
        self.monitor.fail(CollectiveError::failed(self.rank, reason));
        self.monitor.join();
    }

    fn leave(&self) -> Result<(), CollectiveError> {
        self.barrier()?;
        self.has_left.store(true, Ordering::Relaxed);
        self.monitor.stop();
        Ok(())
    }
}

impl Drop for Gloo {
    fn drop(&mut self) {
        if !self.has_left.load(Ordering::Relaxed) {
            self.abort("it left before the end");
            // Closing it would wait for operations that never end.
            std::mem::forget(self.group.take());
        }
        self.monitor.join();
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;
    use crate::ffi::Store;

    /// The results of two threads that meet at the store of a launcher.
    fn both<T: Send>(port: u16, work: impl Fn(Gloo) -> T + Sync) -> Vec<T> {
        let connect = |rank: usize| {
            let rendezvous = Rendezvous::new(rank, 2, "127.0.0.1", port).at_store();
            work(Gloo::connect(&rendezvous, Limits::default()).expect("both meet"))
        };
        thread::scope(|scope| {
            let ranks = [0, 1].map(|rank| scope.spawn(move || connect(rank)));
            ranks.into_iter().map(|rank| rank.join().expect("no panic")).collect()
        })
    }

    #[test]
    fn processes_meet_again_at_the_store_of_a_launcher() {
        let free = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = free.local_addr().expect("an address").port();
        drop(free);
        let _launcher = Store::open("127.0.0.1", port, true, "", Duration::from_secs(20));
        let failed = CollectiveError::failed(1, "no memory");
        let found = both(port, |member| {
            if member.rank() == 1 {
                member.abort("no memory");
            }
            member.barrier()
        });
        assert_eq!(found, [Err(failed.clone()), Err(failed)]);
        assert_eq!(both(port, |member| member.leave()), [Ok(()), Ok(())]);
    }
}
