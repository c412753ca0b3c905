//! Current activity of a run, for displays.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// Work that has a count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Work {
    /// Nothing that counts.
    #[default]
    Other,
    /// Plain completions are sampled.
    Sampling,
    /// Hinted completions are sampled.
    SamplingHinted,
    /// The completions of problems are judged.
    Judging,
    /// Micro-batches have their forward and backward passes.
    Training,
    /// Held-out problems are evaluated.
    Evaluating,
}

impl Work {
    const ALL: [Self; 6] = [
        Self::Other,
        Self::Sampling,
        Self::SamplingHinted,
        Self::Judging,
        Self::Training,
        Self::Evaluating,
    ];
}

/// Current activity of a run, and its progress. Clones share one state, which another thread may read at any
/// time. Updating it takes an atomic operation per completion or micro-batch.
///
/// ```
/// use hint_rollout::run::{Activity, Work};
///
/// let activity = Activity::default();
/// let seen_by_display = activity.clone();
/// activity.begin(Work::Sampling, 96);
/// activity.advance(40);
/// assert_eq!(seen_by_display.now(), (Work::Sampling, 40, 96));
/// ```
#[derive(Debug, Clone, Default)]
pub struct Activity(Arc<State>);

#[derive(Debug, Default)]
struct State {
    work: AtomicU8,
    done: AtomicU64,
    total: AtomicU64,
}

impl Activity {
    /// Work of `total` pieces begins.
    pub fn begin(&self, work: Work, total: usize) {
        self.0.done.store(0, Ordering::Relaxed);
        self.0.total.store(total as u64, Ordering::Relaxed);
        self.0.work.store(work as u8, Ordering::Relaxed);
    }

    /// So many more pieces are done.
    pub fn advance(&self, pieces: usize) {
        self.0.done.fetch_add(pieces as u64, Ordering::Relaxed);
    }

    /// So many pieces are done.
    pub fn set(&self, done: usize) {
        self.0.done.store(done as u64, Ordering::Relaxed);
    }

    /// The work, the pieces that are done, and all pieces.
    pub fn now(&self) -> (Work, u64, u64) {
        let work = usize::from(self.0.work.load(Ordering::Relaxed));
        let total = self.0.total.load(Ordering::Relaxed);
        let done = self.0.done.load(Ordering::Relaxed).min(total);
        (Work::ALL.get(work).copied().unwrap_or_default(), done, total)
    }
}
