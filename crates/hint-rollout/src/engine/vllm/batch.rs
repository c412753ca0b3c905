//! The requests of one call, and the servers that share them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::engine::contract::{Completion, GenerationRequest};
use crate::engine::vllm::server::Server;
use crate::engine::vllm::weights::Weights;
use crate::error::VllmError;
use crate::run::Activity;

/// Requests by index, with their completions.
pub(super) type Finished = Vec<(usize, Vec<Completion>)>;

/// Requests that servers take from one queue. A request whose server fails returns to it at once.
#[derive(Debug)]
pub(super) struct Batch<'a> {
    pub(super) requests: &'a [GenerationRequest],
    pub(super) stop_tokens: &'a [u32],
    /// The weights to sample from, if the servers were given any.
    pub(super) weights: Option<&'a Weights>,
    pub(super) queue: Queue,
    /// Those that share the batch.
    pub(super) servers: Vec<Arc<Server>>,
    /// Whether the program ended the sampling.
    pub(super) is_aborted: &'a AtomicBool,
    pub(super) activity: &'a Activity,
}

impl Batch<'_> {
    /// Lets `server`, which is the one at index `group` of those that are up, take requests, up to `threads` at a time. It ends
    /// when none is left or the server fails. Then its other requests end as well. Returns what it finished, which is nothing
    /// if it failed, and the number of requests that it took.
    pub(super) fn share(
        &self,
        server: &Server,
        group: usize,
        threads: usize,
    ) -> (Result<Finished, VllmError>, usize) {
        let (taken, has_left) = (AtomicUsize::new(0), AtomicBool::new(false));
        let finished = self.queue.work_off(group, threads, |index| {
            taken.fetch_add(1, Ordering::Relaxed);
            let is_over = || {
                let flags = [self.is_aborted, &self.queue.is_closed, &has_left];
                flags.iter().any(|flag| flag.load(Ordering::SeqCst))
            };
            let request = &self.requests[index];
            let completions = server.complete(request, self.stop_tokens, self.weights, is_over);
            match &completions {
                Ok(completions) => self.activity.advance(completions.len()),
                Err(VllmError::Aborted) => {}
                Err(error) if error.is_outage() => {
                    if !has_left.swap(true, Ordering::SeqCst) {
                        server.interrupt();
                    }
                }
                Err(_) => self.end(),
            }
            completions
        });
        // Only completions from the right weights count.
        let confirmed = finished.and_then(|finished| {
            self.weights.map_or(Ok(()), |weights| server.confirm_weights(weights))?;
            Ok(finished)
        });
        (confirmed, taken.into_inner())
    }

    /// Ends the requests in flight: the batch cannot be completed.
    fn end(&self) {
        if self.queue.close() {
            for server in &self.servers {
                server.interrupt();
            }
        }
    }
}

/// Pieces of work that several groups of threads take in order. The first ones are dealt, so that the group whose threads
/// start first does not get all of them.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    is_closed: AtomicBool,
}

#[derive(Debug)]
struct State {
    /// Those that are dealt and not yet taken, by group.
    dealt: Vec<VecDeque<usize>>,
    /// Those of all groups.
    waiting: VecDeque<usize>,
    /// Pieces that were taken, and may return.
    at_work: usize,
    /// Pieces of all groups together, and groups that have not failed: no group takes more than its share at a time.
    count: usize,
    groups: usize,
}

impl State {
    fn share(&self) -> usize {
        self.count.div_ceil(self.groups.max(1))
    }

    /// The next piece for a group: one that was dealt to it, else one of all groups. Else it is the last one that was dealt
    /// to the group with the most left.
    fn next(&mut self, group: usize) -> Option<usize> {
        let next = self.dealt[group].pop_front().or_else(|| self.waiting.pop_front());
        next.or_else(|| self.dealt.iter_mut().max_by_key(|dealt| dealt.len())?.pop_back())
    }

    fn has_waiting(&self) -> bool {
        !self.waiting.is_empty() || self.dealt.iter().any(|dealt| !dealt.is_empty())
    }
}

/// What the threads of a group have in common.
struct Group<T> {
    index: usize,
    finished: Mutex<Vec<(usize, T)>>,
    failure: Mutex<Option<VllmError>>,
    has_failed: AtomicBool,
    /// Pieces that its threads work on. Changes with the state of the queue alone.
    at_work: AtomicUsize,
}

impl<T> Group<T> {
    fn new(index: usize) -> Self {
        Self {
            index,
            finished: Mutex::new(Vec::new()),
            failure: Mutex::new(None),
            has_failed: AtomicBool::new(false),
            at_work: AtomicUsize::new(0),
        }
    }
}

/// Whether a failure says better than a `known` one why the work of a group has ended. Requests that another failure has
/// ended do not tell why. A failure that ends the batch counts for more than one that ends a server.
fn tells_more(error: &VllmError, known: Option<&VllmError>) -> bool {
    match (known, error) {
        (None | Some(VllmError::Aborted), _) => true,
        (Some(_), VllmError::Aborted) => false,
        (Some(known), error) => known.is_outage() && !error.is_outage(),
    }
}

/// Closes a queue if its thread panics: others would wait for its piece.
struct Watch<'a>(&'a Queue);

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.close();
        }
    }
}

impl Queue {
    /// Deals the first pieces to the `groups` in turn, `threads` to each.
    pub(super) fn new(
        pieces: impl IntoIterator<Item = usize>,
        groups: usize,
        threads: usize,
    ) -> Self {
        let mut waiting = pieces.into_iter().collect::<VecDeque<_>>();
        let count = waiting.len();
        let mut dealt = vec![VecDeque::new(); groups];
        let places = count.min(groups.saturating_mul(threads));
        for (rank, piece) in waiting.drain(..places).enumerate() {
            dealt[rank % groups].push_back(piece);
        }
        Self {
            state: Mutex::new(State { dealt, waiting, at_work: 0, count, groups }),
            changed: Condvar::new(),
            is_closed: AtomicBool::new(false),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::SeqCst)
    }

    /// Gives out no more pieces. Whether it was open.
    fn close(&self) -> bool {
        let _state = self.state();
        let was_open = !self.is_closed.swap(true, Ordering::SeqCst);
        self.changed.notify_all();
        was_open
    }

    /// Takes pieces for a group by index on up to `threads` threads, until all are finished or one of these fails. Then the
    /// pieces of this group return to the queue, for other groups. Returns the finished results, by index and ascending, or
    /// the first failure.
    fn work_off<T: Send>(
        &self,
        group: usize,
        threads: usize,
        piece: impl Fn(usize) -> Result<T, VllmError> + Sync,
    ) -> Result<Vec<(usize, T)>, VllmError> {
        let group = Group::new(group);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    let _watch = Watch(self);
                    while let Some(index) = self.take(&group) {
                        self.settle(&group, index, piece(index));
                    }
                });
            }
        });
        if let Some(failure) = group.failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(failure);
        }
        let mut finished = group.finished.into_inner().unwrap_or_else(PoisonError::into_inner);
        finished.sort_unstable_by_key(|(index, _)| *index);
        Ok(finished)
    }

    /// The next piece. Waits while the group has its share, and while others are at work whose pieces may return.
    fn take<T>(&self, group: &Group<T>) -> Option<usize> {
        let mut state = self.state();
        loop {
            if self.is_closed() || group.has_failed.load(Ordering::Relaxed) {
                return None;
            }
            let has_share = group.at_work.load(Ordering::Relaxed) >= state.share();
            if !has_share && let Some(index) = state.next(group.index) {
                state.at_work += 1;
                group.at_work.fetch_add(1, Ordering::Relaxed);
                return Some(index);
            }
            if !state.has_waiting() && state.at_work == 0 {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn settle<T>(&self, group: &Group<T>, index: usize, result: Result<T, VllmError>) {
        let mut state = self.state();
        state.at_work -= 1;
        group.at_work.fetch_sub(1, Ordering::Relaxed);
        let mut finished = group.finished.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(result) if !group.has_failed.load(Ordering::Relaxed) => {
                finished.push((index, result));
            }
            Ok(_) => state.waiting.push_back(index),
            Err(error) => {
                if !group.has_failed.swap(true, Ordering::Relaxed) {
                    state.groups -= 1;
                    let dealt = std::mem::take(&mut state.dealt[group.index]);
                    state.waiting.extend(dealt);
                }
                let own = finished.drain(..).map(|(index, _)| index).chain([index]);
                state.waiting.extend(own);
                let mut failure = group.failure.lock().unwrap_or_else(PoisonError::into_inner);
                if tells_more(&error, failure.as_ref()) {
                    *failure = Some(error);
                }
            }
        }
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    fn failure() -> VllmError {
        VllmError::Paused { server: "a".to_owned() }
    }

    fn indices(finished: &[(usize, usize)]) -> Vec<usize> {
        finished.iter().map(|(index, _)| *index).collect()
    }

    #[test]
    fn pieces_of_a_group_that_fails_are_done_by_a_group_that_waits_for_them() {
        let queue = Queue::new(0..4, 2, 2);
        let (begin, has_begun) = channel();
        let (fail, fails) = channel::<()>();
        let (has_begun, fails) = (Mutex::new(has_begun), Mutex::new(fails));
        let (first, second) = std::thread::scope(|scope| {
            let first = scope.spawn(|| {
                queue.work_off(0, 1, |index| {
                    if index == 0 {
                        return Ok(index);
                    }
                    begin.send(()).expect("the other group waits");
                    fails.lock().expect("one thread").recv().expect("it is told to fail");
                    Err(failure())
                })
            });
            has_begun.lock().expect("one thread").recv().expect("the first group has begun");
            let second = queue.work_off(1, 2, |index| {
                if index == 3 {
                    // All that is left is with the first group.
                    fail.send(()).expect("the first group waits");
                }
                Ok(index)
            });
            (first.join().expect("it does not panic"), second)
        });
        assert!(matches!(first, Err(VllmError::Paused { .. })), "{first:?}");
        // The piece that failed, and the one that it finished before.
        assert_eq!(indices(&second.expect("no failure")), [0, 1, 2, 3]);
    }

    #[test]
    fn a_group_that_fails_leaves_its_share_to_the_others() {
        let queue = Queue::new(0..10, 3, 2);
        assert_eq!(queue.state().share(), 4);
        for (group, left) in [(0, 2), (1, 1)] {
            queue.work_off(group, 2, |_| Err::<(), _>(failure())).expect_err("it fails");
            assert_eq!(queue.state().share(), 10_usize.div_ceil(left));
        }
        let finished = queue.work_off(2, 20, Ok).expect("no failure");
        assert_eq!(indices(&finished), (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn the_first_pieces_are_dealt_and_the_others_go_to_who_asks() {
        let take = |queue: &Queue, group: &Group<()>, count: usize| {
            (0..count).map(|_| queue.take(group).expect("one is left")).collect::<Vec<_>>()
        };
        // The threads of the first group start before those of the second one.
        let (queue, first, second) = (Queue::new(0..10, 2, 3), Group::new(0), Group::new(1));
        assert_eq!(take(&queue, &first, 4), [0, 2, 4, 6]);
        assert_eq!(take(&queue, &second, 5), [1, 3, 5, 7, 8]);
        assert_eq!(take(&queue, &first, 1), [9]);
        // Of a group that does not start, the others take the last ones first.
        let (queue, first) = (Queue::new(0..6, 2, 3), Group::new(0));
        assert_eq!(take(&queue, &first, 3), [0, 2, 4]);
        for index in [0, 2, 4] {
            queue.settle(&first, index, Ok(()));
        }
        assert_eq!(take(&queue, &first, 3), [5, 3, 1]);
    }

    #[test]
    fn the_failure_that_says_most_is_kept() {
        let (outage, fatal) = (failure(), VllmError::NoAdapter);
        for (known, error) in [(None, &outage), (Some(&VllmError::Aborted), &outage)] {
            assert!(tells_more(error, known));
        }
        assert!(tells_more(&fatal, Some(&outage)));
        assert!(!tells_more(&outage, Some(&fatal)) && !tells_more(&fatal, Some(&fatal)));
        assert!(!tells_more(&VllmError::Aborted, Some(&outage)));
    }

    #[test]
    fn a_closed_queue_gives_nothing_out_and_the_reason_is_kept() {
        let queue = Queue::new(0..100, 1, 3);
        let found = queue.work_off(0, 3, |index| {
            if index == 5 {
                assert!(queue.close());
                return Err(failure());
            }
            if queue.is_closed() { Err(VllmError::Aborted) } else { Ok(index) }
        });
        assert!(matches!(found, Err(VllmError::Paused { .. })), "{found:?}");
        assert!(!queue.close());
        assert!(queue.work_off(0, 2, Ok).expect("no failure").is_empty());
    }
}
