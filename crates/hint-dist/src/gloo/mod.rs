//! Processes on one or more machines, over the Gloo of libtorch.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tch::{Device, Kind, Tensor};

pub(crate) use self::connect::in_thread;
use self::connect::{attempt, connect_all, open_store, wait_for_ranks};
use self::monitor::{Cause, Line, Monitor};
pub use self::rendezvous::{Rendezvous, Timeouts};
use crate::collective::{Collective, Encoded, Operation, Signature, bytes, len};
use crate::error::CollectiveError;
use crate::ffi::{Group, Work};

mod connect;
mod monitor;
mod rendezvous;

/// How often a wait looks for what the monitor knows.
pub(crate) const SLICE: Duration = Duration::from_millis(100);

/// A rank of a group of processes that are connected by TCP.
///
/// A thread of its own sends heartbeats to the store and watches those of the other ranks. A second one watches the store. So a
/// rank that ends, and a store that stands still, are noticed while the others compute.
///
/// ```no_run
/// use hint_dist::{Collective, Gloo, Rendezvous, Timeouts};
///
/// // The second of two processes; rank 0 runs on 10.0.0.1.
/// let member = Gloo::connect(&Rendezvous::new(1, 2, "10.0.0.1", 29500), Timeouts::default())?;
/// member.barrier()?;
/// member.shutdown()?;
/// # Ok::<(), hint_dist::CollectiveError>(())
/// ```
#[derive(Debug)]
pub struct Gloo {
    rank: usize,
    world_size: usize,
    timeouts: Timeouts,
    /// There until this is dropped.
    group: Option<Mutex<Group>>,
    /// That of the duplicate as well.
    monitor: Arc<Monitor>,
    line: Line,
    /// The second line, once somebody asked for it.
    duplicate: Mutex<Option<Arc<Self>>>,
    is_shut_down: AtomicBool,
    /// Where the ranks meet, and the prefix of the keys of this attempt.
    meeting: (Rendezvous, String),
}

impl Gloo {
    /// Meets the other processes, and connects to them.
    ///
    /// # Errors
    ///
    /// - [`CollectiveError::Rendezvous`] for settings that cannot be, no store, or a rank that is taken;
    /// - [`CollectiveError::Mismatch`] for another number of processes than rank 0 has;
    /// - [`CollectiveError::Peer`] for ranks that did not come, or that cannot connect to the others. The reason is in its text,
    ///   such as a `bind_address` that its machine does not have.
    pub fn connect(rendezvous: &Rendezvous, timeouts: Timeouts) -> Result<Self, CollectiveError> {
        rendezvous.check()?;
        let whole = rendezvous.clone();
        let joined = in_thread(move || Self::join(&whole, timeouts));
        // The steps have timeouts of their own, except where the process with the store stands still.
        let longest = 2 * timeouts.rendezvous + timeouts.heartbeat;
        joined.recv_timeout(longest).unwrap_or_else(|_| {
            let Rendezvous { address, port, .. } = rendezvous;
            let problem = format!("the store at `{address}:{port}` does not answer");
            Err(CollectiveError::Rendezvous(problem))
        })
    }

    fn join(rendezvous: &Rendezvous, timeouts: Timeouts) -> Result<Self, CollectiveError> {
        let Rendezvous { rank, world_size, .. } = *rendezvous;
        let host = rendezvous.reached_at()?;
        let serves = rank == 0 && !rendezvous.external_store;
        let server = open_store(rendezvous, serves, "hint-dist", timeouts.rendezvous)?;
        let mut waited = Duration::ZERO;
        let attempt = attempt(&server, rendezvous, &mut waited, timeouts.rendezvous)?;
        let open = || open_store(rendezvous, false, &attempt, timeouts.rendezvous);
        let store = open()?;
        let monitor = Monitor::start((open()?, server), rendezvous, serves, timeouts.heartbeat)?;
        let group = wait_for_ranks(&store, rendezvous, &monitor, &mut waited, timeouts.rendezvous)
            .and_then(|()| {
                // All ranks have met, so the others get this error as well.
                rendezvous.check_bind_address()?;
                let ranks = (rank, world_size);
                connect_all(move || Ok((store, host)), ranks, &monitor, (&mut waited, timeouts))
            })
            // A failure that is known to the others is the same on every rank.
            .map_err(|error| monitor.fail(error))?;
        let meeting = (rendezvous.clone(), attempt);
        Ok(Self::of(group, Line::First, Arc::new(monitor), timeouts, meeting))
    }

    fn of(
        group: Group,
        line: Line,
        monitor: Arc<Monitor>,
        timeouts: Timeouts,
        meeting: (Rendezvous, String),
    ) -> Self {
        let Rendezvous { rank, world_size, .. } = meeting.0;
        Self {
            rank,
            world_size,
            timeouts,
            group: Some(Mutex::new(group)),
            monitor,
            line,
            duplicate: Mutex::default(),
            is_shut_down: AtomicBool::new(false),
            meeting,
        }
    }

    /// Connects to the other ranks once more.
    fn connect_again(&self) -> Result<Self, CollectiveError> {
        if self.line == Line::Second {
            return Err(CollectiveError::backend("open a second group", "this one is the second"));
        }
        let (open, rendezvous) = (self.second_store("second"), self.meeting.0.clone());
        let (ranks, mut waited) = ((self.rank, self.world_size), Duration::ZERO);
        let group = connect_all(
            // The store may stand still.
            move || Ok((open()?, rendezvous.reached_at()?)),
            ranks,
            &self.monitor,
            (&mut waited, self.timeouts),
        )
        .map_err(|error| self.monitor.fail(error))?;
        let (monitor, meeting) = (Arc::clone(&self.monitor), self.meeting.clone());
        Ok(Self::of(group, Line::Second, monitor, self.timeouts, meeting))
    }

    /// Carries out an operation on tensors of the CPU, once every rank is there and calls the same.
    fn run(
        &self,
        call: Signature,
        operation: Operation,
        (output, input): (&Tensor, &Tensor),
        root: usize,
    ) -> Result<(), CollectiveError> {
        let group = self.match_call(call)?;
        self.wait(group.start(operation, output, input, root))
    }

    /// Waits until every rank is there and calls the same. No other operation starts as long as the result lives.
    pub(crate) fn match_call(
        &self,
        call: Signature,
    ) -> Result<MutexGuard<'_, Group>, CollectiveError> {
        if let Some(failure) = self.monitor.failure() {
            return Err(failure);
        }
        let closed = || CollectiveError::backend("call an operation", "the group is closed");
        let group = self.group.as_ref().ok_or_else(closed)?;
        let group = group.lock().unwrap_or_else(PoisonError::into_inner);
        self.monitor.count_call(self.line);
        let own = Tensor::from_slice(&call.encode());
        let elements = len(own.numel() * self.world_size);
        let all = Tensor::zeros([elements], (Kind::Int64, Device::Cpu));
        self.wait(group.start(Operation::AllGather, &all, &own, 0))?;
        let mut numbers = vec![0_i64; all.numel()];
        all.copy_data(&mut numbers, all.numel());
        let (calls, _): (&[Encoded], _) = numbers.as_chunks();
        Signature::compare(calls).map_err(|mismatch| self.monitor.fail(mismatch))?;
        Ok(group)
    }

    fn wait(&self, work: Result<Work, CollectiveError>) -> Result<(), CollectiveError> {
        let lost = |error| self.monitor.suspect(Cause::Lost, error);
        let work = work.map_err(lost)?;
        self.wait_until(|| work.wait(SLICE).map_err(lost))
    }

    /// Waits until `is_done`, which itself waits for a [`SLICE`] of time. Ends when the group has failed, or the timeout of
    /// operations is over.
    pub(crate) fn wait_until(
        &self,
        mut is_done: impl FnMut() -> Result<bool, CollectiveError>,
    ) -> Result<(), CollectiveError> {
        let mut waited = Duration::ZERO;
        while !is_done()? {
            if let Some(failure) = self.monitor.failure() {
                return Err(failure);
            }
            waited += SLICE;
            if waited >= self.timeouts.operation {
                let late = CollectiveError::late(Vec::new(), self.timeouts.operation);
                let cause = Cause::Late(self.timeouts.operation, self.line);
                return Err(self.monitor.suspect(cause, late));
            }
        }
        Ok(())
    }

    /// The failure of the group, after NCCL has failed in this rank: the rank that has ended, else this one.
    #[cfg(feature = "nccl")]
    pub(crate) fn gpu_failed(&self, error: CollectiveError) -> CollectiveError {
        self.monitor.suspect(Cause::Here(error.to_string()), error)
    }

    /// Connects to the store once more, for keys that begin with `name`. May be called from any thread.
    pub(crate) fn second_store(
        &self,
        name: &'static str,
    ) -> impl FnOnce() -> Result<crate::ffi::Store, CollectiveError> + Send + 'static + use<> {
        let ((rendezvous, attempt), timeout) = (self.meeting.clone(), self.timeouts.rendezvous);
        move || open_store(&rendezvous, false, &format!("{attempt}/{name}"), timeout)
    }

    fn lock_duplicate(&self) -> MutexGuard<'_, Option<Arc<Self>>> {
        self.duplicate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long a rank that is alive may take.
    #[cfg(feature = "nccl")]
    pub(crate) const fn timeout(&self) -> Duration {
        self.timeouts.operation
    }

    fn gather(
        &self,
        operation: Operation,
        output: &mut Tensor,
        input: &Tensor,
    ) -> Result<(), CollectiveError> {
        let call = Signature::new(operation, input, Some(output), self.world_size, 0)?;
        let is_staged = output.device() != Device::Cpu;
        let target = if is_staged {
            Tensor::zeros([len(output.numel())], (output.kind(), Device::Cpu))
        } else {
            output.view([-1])
        };
        let source = input.detach().to_device(Device::Cpu).view([-1]);
        self.run(call, operation, (&bytes(&target), &bytes(&source)), 0)?;
        if is_staged {
            tch::no_grad(|| output.copy_(&target.view(&*output.size())));
        }
        Ok(())
    }
}

impl Collective for Gloo {
    fn rank(&self) -> usize {
        self.rank
    }

    fn world_size(&self) -> usize {
        self.world_size
    }

    fn all_to_all(&self, output: &mut Tensor, input: &Tensor) -> Result<(), CollectiveError> {
        self.gather(Operation::AllToAll, output, input)
    }

    fn all_gather(&self, output: &mut Tensor, input: &Tensor) -> Result<(), CollectiveError> {
        self.gather(Operation::AllGather, output, input)
    }

    fn broadcast(&self, tensor: &mut Tensor, root: usize) -> Result<(), CollectiveError> {
        let call = Signature::new(Operation::Broadcast, tensor, None, self.world_size, root)?;
        // On a CPU these are views of the tensor itself.
        let data = tensor.detach().to_device(Device::Cpu).view([-1]);
        let shared = bytes(&data);
        self.run(call, Operation::Broadcast, (&shared, &shared), root)?;
        if tensor.device() != Device::Cpu {
            tch::no_grad(|| tensor.copy_(&data.view(&*tensor.size())));
        }
        Ok(())
    }

    fn barrier(&self) -> Result<(), CollectiveError> {
        self.match_call(Signature::barrier()).map(|_| ())
    }

    fn duplicate(&self) -> Result<Arc<dyn Collective>, CollectiveError> {
        let mut duplicate = self.lock_duplicate();
        let second = match &*duplicate {
            Some(second) => Arc::clone(second),
            None => Arc::clone(duplicate.insert(Arc::new(self.connect_again()?))),
        };
        Ok(second)
    }

    fn failure(&self) -> Option<CollectiveError> {
        self.monitor.failure()
    }

    fn abort(&self, reason: &str) {
        if self.is_shut_down.load(Ordering::Relaxed) {
            return;
        }
        self.monitor.fail(CollectiveError::failed(self.rank, reason));
        self.monitor.join();
    }

    fn shutdown(&self) -> Result<(), CollectiveError> {
        self.barrier()?;
        self.is_shut_down.store(true, Ordering::Relaxed);
        if let Some(second) = &*self.lock_duplicate() {
            second.is_shut_down.store(true, Ordering::Relaxed);
        }
        self.monitor.stop();
        Ok(())
    }
}

impl Drop for Gloo {
    fn drop(&mut self) {
        let is_left = !self.is_shut_down.load(Ordering::Relaxed);
        if is_left {
            // Closing it would wait for operations that never end.
            std::mem::forget(self.group.take());
        }
        if self.line == Line::Second {
            // The first line watches, and tells the others.
            return;
        }
        if is_left {
            self.abort("it left before the end");
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

    /// The results of two threads that meet at the store of a launcher, which listens at `port`.
    fn both<T: Send>(port: u16, work: impl Fn(Gloo) -> T + Sync) -> Vec<T> {
        let connect = |rank: usize| {
            let rendezvous = Rendezvous::new(rank, 2, "127.0.0.1", port).with_external_store();
            work(Gloo::connect(&rendezvous, Timeouts::default()).expect("both meet"))
        };
        thread::scope(|scope| {
            let ranks = [0, 1].map(|rank| scope.spawn(move || connect(rank)));
            ranks.into_iter().map(|rank| rank.join().expect("no panic")).collect()
        })
    }

    /// The store of a launcher, and its port.
    fn launcher() -> (Store, u16) {
        let free = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = free.local_addr().expect("an address").port();
        drop(free);
        let timeout = Duration::from_secs(20);
        (Store::open("127.0.0.1", port, true, "", timeout).expect("a store"), port)
    }

    #[test]
    fn a_connection_that_fails_here_names_this_rank_and_the_reason() {
        let (_launcher, port) = launcher();
        let found = both(port, |member| {
            if member.rank() == 1 {
                let error = CollectiveError::backend("connect to the other ranks", "no route");
                return Err(member.monitor.suspect(Cause::Here(error.to_string()), error));
            }
            member.barrier()
        });
        let reason = "cannot connect to the other ranks: no route";
        let failed = CollectiveError::failed(1, reason);
        assert_eq!(found, [Err(failed.clone()), Err(failed)]);
    }

    #[test]
    fn the_store_of_a_launcher_that_ended_is_named_by_all() {
        let (store, port) = launcher();
        let launcher = Mutex::new(Some(store));
        let found = both(port, |member| {
            member.barrier()?;
            // As its machine takes it along.
            drop(launcher.lock().expect("no panic").take());
            for _ in 0..1500 {
                if member.failure().is_some() {
                    break;
                }
                thread::sleep(Duration::from_millis(20));
            }
            member.barrier()
        });
        let lost = CollectiveError::Store { address: format!("127.0.0.1:{port}") };
        assert_eq!(found, [Err(lost.clone()), Err(lost)]);
    }

    #[test]
    fn processes_meet_again_at_the_store_of_a_launcher() {
        let (_launcher, port) = launcher();
        let failed = CollectiveError::failed(1, "no memory");
        let found = both(port, |member| {
            if member.rank() == 1 {
                member.abort("no memory");
            }
            member.barrier()
        });
        assert_eq!(found, [Err(failed.clone()), Err(failed)]);
        assert_eq!(both(port, |member| member.shutdown()), [Ok(()), Ok(())]);
    }
}
