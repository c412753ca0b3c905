//! Heartbeats, and what is wrong with a group: found by one rank, told to all.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::{Rendezvous, SLICE};
use crate::error::{CollectiveError, PeerState};
use crate::ffi::Store;

/// Time between two heartbeats.
const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(250);
/// Intervals without a heartbeat after which a rank has ended if an operation failed.
const SILENT: u32 = 10;
/// Intervals after which such an operation is not explained any more.
const UNEXPLAINED: u32 = 20;
/// Ranks that a rank watches, those after its own, so that the store is not asked for every pair of ranks. All of them
/// once an operation has failed.
const WATCHED: usize = 4;
/// Time between two looks at who else is ready to end.
const POLL: Duration = Duration::from_millis(50);
/// Looks after which a rank ends by itself.
const POLLS: u32 = 60;
/// The failure of the group; empty while there is none.
const FAILURE: &str = "failure";
/// How many ranks know it.
const KNOWN: &str = "known";
/// How many ranks have left at the end of the work.
const LEFT: &str = "left";
/// How many of them need the store no more.
const GONE: &str = "gone";

/// Why an operation did not end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cause {
    /// A connection broke.
    Lost,
    /// Somebody did not come to an operation of this line in this time.
    Late(Duration, Line),
    /// Gloo could not connect here, or NCCL gave up here, for this reason. Both say the same of a rank that ended and of a
    /// fault of this one.
    Here(String),
}

/// The group of the connections, or its duplicate for another thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    First,
    Second,
}

/// Watches the other ranks from a thread, and the store from a second one.
#[derive(Debug)]
pub(super) struct Monitor {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
    heartbeat: Duration,
    /// Serves the others, if this rank does, as long as this lives.
    _server: Mutex<Store>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// Operations that this rank has come to, by line.
    calls: [AtomicU64; 2],
    /// Calls of the store that the thread of heartbeats has come back from. It does not where the store's process stands still.
    answers: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    failure: Option<CollectiveError>,
    /// A failure that this rank has found, until the others can read it.
    finding: Option<CollectiveError>,
    cause: Option<Cause>,
    stops: bool,
    /// The thread waits for a store that stands still.
    is_stuck: bool,
    /// The thread has nothing left to do.
    is_over: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `is_there`, or for `timeout`.
    fn wait<'s>(
        &'s self,
        state: MutexGuard<'s, State>,
        timeout: Duration,
        is_there: impl Fn(&State) -> bool,
    ) -> MutexGuard<'s, State> {
        let waited = self.changed.wait_timeout_while(state, timeout, |state| !is_there(state));
        waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl Monitor {
    /// Sends the first heartbeat, and continues in a thread.
    pub(super) fn start(
        (store, server): (Store, Store),
        rendezvous: &Rendezvous,
        serves: bool,
        heartbeat: Duration,
    ) -> Result<Self, CollectiveError> {
        let Rendezvous { rank, world_size, external_store, .. } = *rendezvous;
        store.put_first(FAILURE, "")?;
        store.set(&beat(rank), "0 0 0")?;
        let shared = Arc::<Shared>::default();
        let lost = if external_store {
            CollectiveError::no_store(&rendezvous.address, rendezvous.port)
        } else {
            CollectiveError::ended(vec![0])
        };
        let watchdog = StoreWatchdog {
            longest: heartbeat + 4 * HEARTBEAT_INTERVAL,
            lost: lost.clone(),
            shared: Arc::clone(&shared),
        };
        spawn("store", move || watchdog.run())?;
        let thread = HeartbeatThread {
            store,
            rank,
            serves,
            lost,
            heartbeat,
            ticks: 0,
            suspected: 0,
            beats: vec![Beat::default(); world_size],
            shared: Arc::clone(&shared),
        };
        let thread = Mutex::new(Some(spawn("heartbeats", move || thread.run())?));
        Ok(Self { shared, thread, heartbeat, _server: Mutex::new(server) })
    }

    pub(super) fn failure(&self) -> Option<CollectiveError> {
        self.shared.lock().failure.clone()
    }

    /// This rank has come to its next operation of a line.
    pub(super) fn count_call(&self, line: Line) {
        self.shared.calls[line as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Tells the others what is wrong. Returns what they all hold to be wrong: what was found first.
    pub(super) fn fail(&self, found: CollectiveError) -> CollectiveError {
        self.agree(|state| state.finding = Some(found.clone())).unwrap_or(found)
    }

    /// Finds out why an operation did not end; `otherwise` if nothing explains it.
    pub(super) fn suspect(&self, cause: Cause, otherwise: CollectiveError) -> CollectiveError {
        self.agree(|state| state.cause = Some(cause)).unwrap_or(otherwise)
    }

    /// The failure of the group, once the thread has taken up what `ask` says.
    fn agree(&self, ask: impl FnOnce(&mut State)) -> Option<CollectiveError> {
        let mut state = self.shared.lock();
        if state.failure.is_none() {
            ask(&mut state);
            self.shared.changed.notify_all();
            // The second thread needs this long to find that the store stands still.
            let silent = self.heartbeat + 8 * HEARTBEAT_INTERVAL;
            let longest = silent.max(HEARTBEAT_INTERVAL * (2 * UNEXPLAINED));
            let is_settled = |state: &State| state.failure.is_some() || state.is_over;
            state = self.shared.wait(state, longest, is_settled);
        }
        state.failure.clone()
    }

    /// Sends no more heartbeats: the group has done its work.
    pub(super) fn stop(&self) {
        self.shared.lock().stops = true;
        self.shared.changed.notify_all();
        self.join();
    }

    /// Waits for the thread, which ends after a failure or when it is stopped. A thread that waits for a store that
    /// stands still is left behind.
    pub(super) fn join(&self) {
        let longest = self.heartbeat + POLL * POLLS;
        let is_left = |state: &State| state.is_over || state.is_stuck;
        let state = self.shared.wait(self.shared.lock(), longest, is_left);
        if !state.is_over {
            return;
        }
        drop(state);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A panic there has been printed, and nothing depends on it any more.
        let _ = thread.map(JoinHandle::join);
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Starts a thread with a name.
fn spawn(
    name: &str,
    work: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, CollectiveError> {
    thread::Builder::new().name(name.to_owned()).spawn(work).map_err(|error| {
        CollectiveError::backend(format!("start the thread `{name}`"), error.to_string())
    })
}

/// Watches the thread of heartbeats, which itself does not return from a store whose machine answers no more. The connection to
/// it does not break then, so this takes a second thread.
struct StoreWatchdog {
    /// How long the store may be silent.
    longest: Duration,
    /// What is wrong then.
    lost: CollectiveError,
    shared: Arc<Shared>,
}

impl StoreWatchdog {
    /// Waits until the other thread is over, or the store has been silent for too long.
    fn run(self) {
        let (mut answers, mut lasts) = (0, Duration::ZERO);
        loop {
            let state = self.shared.lock();
            let mut state = self.shared.wait(state, SLICE, |state| state.is_over);
            if state.is_over {
                return;
            }
            let newest = self.shared.answers.load(Ordering::Relaxed);
            // A process that was stopped itself has not counted that time.
            lasts = if newest == answers { lasts + SLICE } else { Duration::ZERO };
            answers = newest;
            if lasts <= self.longest {
                continue;
            }
            state.is_stuck = true;
            if !state.stops {
                state.failure.get_or_insert(self.lost);
            }
            drop(state);
            self.shared.changed.notify_all();
            return;
        }
    }
}

fn beat(rank: usize) -> String {
    format!("beat/{rank}")
}

/// The last heartbeat of a rank.
#[derive(Debug, Clone, Default)]
struct Beat {
    text: String,
    /// Ticks since it changed.
    silent: u32,
}

impl Beat {
    /// Operations of a line that the rank had come to.
    fn calls(&self, line: Line) -> u64 {
        self.text
            .split(' ')
            .nth(1 + line as usize)
            .and_then(|calls| calls.parse().ok())
            .unwrap_or(0)
    }
}

/// The state of the thread.
struct HeartbeatThread {
    store: Store,
    rank: usize,
    serves: bool,
    /// What is wrong if the store is gone.
    lost: CollectiveError,
    heartbeat: Duration,
    ticks: u32,
    /// Ticks since an operation of this rank failed.
    suspected: u32,
    beats: Vec<Beat>,
    shared: Arc<Shared>,
}

impl HeartbeatThread {
    fn run(mut self) {
        let failure = self.watch();
        // Without the store, the others find the same by themselves.
        let _ = self.linger(failure.as_ref());
        self.shared.lock().is_over = true;
        self.shared.changed.notify_all();
    }

    /// Watches until something is wrong, which it returns, or this rank has done its work.
    fn watch(&mut self) -> Option<CollectiveError> {
        loop {
            let failure = self.tick().unwrap_or_else(|_| {
                // Without the store nobody can be told; the others find the same.
                Some(self.lost.clone())
            });
            let mut state = self.shared.lock();
            if let Some(failure) = failure {
                let failure = state.failure.get_or_insert(failure).clone();
                drop(state);
                self.shared.changed.notify_all();
                return Some(failure);
            }
            let is_urgent = |state: &State| state.stops || state.finding.is_some();
            state = self.shared.wait(state, HEARTBEAT_INTERVAL, is_urgent);
            if state.stops && state.finding.is_none() {
                return None;
            }
        }
    }

    /// Sends a heartbeat and reads those of the others. Returns what is wrong.
    fn tick(&mut self) -> Result<Option<CollectiveError>, CollectiveError> {
        // Connecting may take long, and this must not.
        if self.ticks == 0 {
            self.store.set_timeout(Duration::from_secs(5))?;
        }
        self.ticks += 1;
        let [first, second] = &self.shared.calls;
        let (first, second) = (first.load(Ordering::Relaxed), second.load(Ordering::Relaxed));
        self.store.set(&beat(self.rank), &format!("{} {first} {second}", self.ticks))?;
        self.shared.answers.fetch_add(1, Ordering::Relaxed);
        let known = self.store.get(FAILURE)?.filter(|text| !text.is_empty());
        if let Some(text) = known {
            return Ok(Some(read(&text)));
        }
        let found = self.shared.lock().finding.take();
        let found = match found {
            Some(found) => Some(found),
            None => self.look()?,
        };
        let Some(found) = found else { return Ok(None) };
        let text = serde_json::to_string(&found)
            .map_err(|error| CollectiveError::backend("write an error down", error.to_string()))?;
        Ok(Some(read(&self.store.put_first(FAILURE, &text)?)))
    }

    /// Looks at the others' heartbeats.
    fn look(&mut self) -> Result<Option<CollectiveError>, CollectiveError> {
        let (world_size, cause) = (self.beats.len(), self.shared.lock().cause.clone());
        let watched = if cause.is_some() { world_size - 1 } else { WATCHED.min(world_size - 1) };
        for distance in 1..=watched {
            let rank = (self.rank + distance) % world_size;
            // A rank that never came is missed by those that meet.
            let Some(text) = self.store.get(&beat(rank))? else { continue };
            let last = &mut self.beats[rank];
            last.silent = if text == last.text { last.silent + 1 } else { 0 };
            last.text = text;
        }
        let silent = |ticks: u32| {
            let is_silent = |rank: &usize| self.beats[*rank].silent >= ticks;
            (0..world_size).filter(is_silent).collect::<Vec<_>>()
        };
        let heartbeat = self.heartbeat.as_millis().div_ceil(HEARTBEAT_INTERVAL.as_millis()).max(1);
        let dead = silent(u32::try_from(heartbeat).unwrap_or(u32::MAX));
        if !dead.is_empty() {
            return Ok(Some(CollectiveError::ended(dead)));
        }
        let Some(cause) = cause else { return Ok(None) };
        self.suspected += 1;
        let dead = silent(SILENT);
        let late = |line: Line| {
            let own = self.shared.calls[line as usize].load(Ordering::Relaxed);
            let others = (0..world_size).filter(|rank| *rank != self.rank);
            others.filter(|rank| self.beats[*rank].calls(line) < own).collect()
        };
        let is_unexplained = self.suspected > UNEXPLAINED;
        Ok(match cause {
            _ if !dead.is_empty() => Some(CollectiveError::ended(dead)),
            Cause::Late(timeout, line) => Some(CollectiveError::late(late(line), timeout)),
            Cause::Lost => is_unexplained.then(|| CollectiveError::ended(Vec::new())),
            Cause::Here(reason) => {
                is_unexplained.then(|| CollectiveError::failed(self.rank, &reason))
            }
        })
    }

    /// Counts this rank among those that know of the failure, or have left. Waits until all others are, where they need
    /// this one: the store of this rank, or its connections until they have left.
    fn linger(&self, failure: Option<&CollectiveError>) -> Result<(), CollectiveError> {
        let (key, ended) = match failure {
            None => (LEFT, 0),
            Some(CollectiveError::Peer { ranks, state: PeerState::Ended }) => (KNOWN, ranks.len()),
            Some(_) => (KNOWN, 0),
        };
        let all = i64::try_from(self.beats.len() - ended).unwrap_or(i64::MAX);
        self.store.add(key, 1)?;
        if failure.is_none() {
            self.poll(key, all)?;
            self.store.add(GONE, 1)?;
        }
        if self.serves {
            self.poll(if failure.is_none() { GONE } else { key }, all)?;
        }
        Ok(())
    }

    /// Waits until as many ranks as `all` are counted under a key, or for too long.
    fn poll(&self, key: &str, all: i64) -> Result<(), CollectiveError> {
        for _ in 0..POLLS {
            if self.store.add(key, 0)? >= all {
                break;
            }
            self.shared.answers.fetch_add(1, Ordering::Relaxed);
            thread::sleep(POLL);
        }
        Ok(())
    }
}

fn read(text: &str) -> CollectiveError {
    serde_json::from_str(text).unwrap_or_else(|_| {
        CollectiveError::backend("read what another rank found", text.to_owned())
    })
}
