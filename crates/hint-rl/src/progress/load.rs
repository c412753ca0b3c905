//! Progress of loading a large model.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use hint_policy::io::LoadProgress;
use hint_process::clock;

use crate::terminal::bar::{remaining, time, with_bar};
use crate::terminal::live::{self, Live};

/// Files from this size on take long enough to show how far loading has come: 500 MB.
const LARGE: u64 = 500_000_000;

/// Shows how far the loading of a large model has come, on a terminal.
#[derive(Debug, Default)]
pub(crate) struct LoadBar {
    done: Arc<AtomicU64>,
    live: Mutex<Option<Live>>,
}

impl LoadBar {
    /// A display that appears when there is something to show.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// So much was read.
    pub(crate) fn set(&self, progress: LoadProgress) {
        let LoadProgress { done, total } = progress;
        self.done.store(done, Ordering::Relaxed);
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        if done == total {
            *live = None;
        } else if live.is_none() && total >= LARGE && live::is_possible() {
            let (shared, clock) = (Arc::clone(&self.done), clock());
            *live = Some(Live::start(move |width| {
                vec![line(shared.load(Ordering::Relaxed), total, clock(), width)]
            }));
        }
    }
}

fn line(done: u64, total: u64, elapsed: std::time::Duration, width: usize) -> String {
    let gb = |bytes: u64| bytes as f64 / 1e9;
    let left = remaining(elapsed, done, total.saturating_sub(done));
    let left = left.map_or_else(String::new, |left| format!("  {} left", time(left)));
    let start = format!("loading {:.1}/{:.1} GB ", gb(done), gb(total));
    with_bar(&start, &left, (done, total), width.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_line_has_size_and_time_left() {
        let line = |done| line(done, 4_000_000_000, Duration::from_secs(10), 60);
        assert_eq!(
            line(1_000_000_000),
            "loading 1.0/4.0 GB ━━━━━━━───────────────────────  30s left"
        );
        assert!(line(0).starts_with("loading 0.0/4.0 GB ─"), "{}", line(0));
    }
}
