//! Pieces of work on several threads.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Does pieces `0..count` of work on up to `threads` threads, in order, until one of them fails.
/// Returns the finished results, by index and ascending, and the first failure.
pub(crate) fn in_parallel<T: Send, E: Send>(
    count: usize,
    threads: usize,
    piece: impl Fn(usize) -> Result<T, E> + Sync,
) -> (Vec<(usize, T)>, Option<E>) {
    let threads = threads.min(count);
    let next = AtomicUsize::new(0);
    let finished = Mutex::new(Vec::new());
    let failure = Mutex::new(None);
    let has_failed = AtomicBool::new(false);
    let work = || {
        while !has_failed.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                return;
            }
            match piece(index) {
                Ok(result) => {
                    let mut finished = finished.lock().unwrap_or_else(PoisonError::into_inner);
                    finished.push((index, result));
                }
                Err(error) => {
                    has_failed.store(true, Ordering::Relaxed);
                    let mut failure = failure.lock().unwrap_or_else(PoisonError::into_inner);
                    failure.get_or_insert(error);
                }
            }
        }
    };
    if threads <= 1 {
        work();
    } else {
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(work);
            }
        });
    }
    let mut finished = finished.into_inner().unwrap_or_else(PoisonError::into_inner);
    finished.sort_unstable_by_key(|(index, _)| *index);
    (finished, failure.into_inner().unwrap_or_else(PoisonError::into_inner))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_on_any_number_of_threads() {
        for threads in [0, 1, 3, 64] {
            let (finished, failure) = in_parallel(20, threads, |index| Ok::<_, ()>(index * index));
            let expected = (0..20).map(|index| (index, index * index)).collect::<Vec<_>>();
            assert_eq!((finished, failure), (expected, None));
        }
    }

    #[test]
    fn nothing_is_started_after_a_failure() {
        let (finished, failure) =
            in_parallel(100, 1, |index| if index == 3 { Err("three") } else { Ok(index) });
        assert_eq!((finished.len(), failure), (3, Some("three")));
    }
}
