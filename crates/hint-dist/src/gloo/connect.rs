//! Connections between the processes of a group.

use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use super::SLICE;
use super::monitor::{Cause, Monitor};
use super::rendezvous::{Rendezvous, Timeouts};
use crate::error::CollectiveError;
use crate::ffi::{Group, Store};

/// A client of the store, whose keys begin with `prefix`. This process serves it if `serves` says so.
pub(super) fn open_store(
    rendezvous: &Rendezvous,
    serves: bool,
    prefix: &str,
    timeout: Duration,
) -> Result<Store, CollectiveError> {
    let Rendezvous { address, port, .. } = rendezvous;
    Store::open(address, *port, serves, prefix, timeout).map_err(|error| {
        let whose = match (serves, rendezvous.external_store) {
            (true, _) => "this process, rank 0, cannot serve the store",
            (false, true) => "there is no store of the launcher",
            (false, false) => "there is no store of rank 0",
        };
        CollectiveError::Rendezvous(format!("{whose} at `{address}:{port}` ({error})"))
    })
}

/// Starts a thread, which may be left behind, and returns where its result comes.
pub(crate) fn in_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Receiver<T> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        // Nobody listens where it took too long.
        let _ = sender.send(work());
    });
    receiver
}

/// The prefix of the keys of this attempt. Rank 0 begins one, and the others take the newest that nobody of their rank has
/// joined. A launcher may count attempts differently on each machine, so its count is of no use.
pub(super) fn attempt(
    store: &Store,
    rendezvous: &Rendezvous,
    waited: &mut Duration,
    timeout: Duration,
) -> Result<String, CollectiveError> {
    let Rendezvous { rank, external_store, .. } = *rendezvous;
    let first = i64::from(rank == 0);
    loop {
        let newest = store.add("attempt", first)?;
        let prefix = format!("hint-dist/{newest}");
        if newest > 0 && store.add(&format!("{newest}/{rank}"), 1)? == 1 {
            return Ok(prefix);
        }
        if newest > 0 && !external_store || *waited >= timeout {
            let problem = match newest {
                0 => "rank 0 has not come".to_owned(),
                _ => format!("rank {rank} is taken by another process"),
            };
            return Err(CollectiveError::Rendezvous(problem));
        }
        thread::sleep(SLICE);
        *waited += SLICE;
    }
}

/// Waits until every rank has said with how many it expects to be.
pub(super) fn wait_for_ranks(
    store: &Store,
    rendezvous: &Rendezvous,
    monitor: &Monitor,
    waited: &mut Duration,
    timeout: Duration,
) -> Result<(), CollectiveError> {
    let Rendezvous { rank, world_size, .. } = *rendezvous;
    let key = |rank: usize| format!("world_size/{rank}");
    store.set(&key(rank), &world_size.to_string())?;
    let mut missing = (0..world_size).collect::<Vec<_>>();
    let mut world_sizes = vec![String::new(); world_size];
    loop {
        let mut still = Vec::new();
        for rank in missing {
            match store.get(&key(rank))? {
                Some(found) => world_sizes[rank] = found,
                None => still.push(rank),
            }
        }
        if let Some(rank) =
            world_sizes.iter().position(|found| !found.is_empty() && *found != world_sizes[0])
            && !world_sizes[0].is_empty()
        {
            let text = |world_size: &str| format!("a group of {world_size} processes");
            let (expected, found) = (text(&world_sizes[0]), text(&world_sizes[rank]));
            return Err(CollectiveError::Mismatch { rank, expected, found });
        }
        if still.is_empty() {
            return Ok(());
        }
        if let Some(failure) = monitor.failure() {
            return Err(failure);
        }
        if *waited >= timeout {
            return Err(CollectiveError::late(still, timeout));
        }
        missing = still;
        thread::sleep(SLICE);
        *waited += SLICE;
    }
}

/// Connects to the other ranks, in a thread that is left behind if it takes too long. There `place` gives the store in which they
/// meet, and the address of this machine.
pub(super) fn connect_all(
    place: impl FnOnce() -> Result<(Store, String), CollectiveError> + Send + 'static,
    (rank, world_size): (usize, usize),
    monitor: &Monitor,
    (waited, timeouts): (&mut Duration, Timeouts),
) -> Result<Group, CollectiveError> {
    // Gloo has a limit of its own; ours come first.
    let timeout = timeouts.operation.max(timeouts.rendezvous) + Duration::from_mins(1);
    let group = in_thread(move || {
        let (store, host) = place()?;
        Group::open(&store, rank, world_size, &host, timeout)
    });
    loop {
        match group.recv_timeout(SLICE) {
            // A rank may end while the others connect.
            Ok(group) => {
                return group
                    .map_err(|error| monitor.suspect(Cause::Here(error.to_string()), error));
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err(CollectiveError::backend("connect to the other ranks", "it ended"));
            }
            Err(RecvTimeoutError::Timeout) => *waited += SLICE,
        }
        if let Some(failure) = monitor.failure() {
            return Err(failure);
        }
        if *waited >= timeouts.rendezvous {
            return Err(CollectiveError::late(Vec::new(), timeouts.rendezvous));
        }
    }
}
