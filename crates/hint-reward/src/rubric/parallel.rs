//! Scoring on several threads.

use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::RewardError;
use crate::input::RewardInput;
use crate::rubric::score::{Rubric, Score};

/// What one worker found, by the index of its group.
type Found = Vec<(usize, Result<Vec<Score>, RewardError>)>;

impl Rubric {
    /// Scores of many groups on up to `threads` threads, in input order.
    ///
    /// The result does not depend on the number of threads: groups are scored independently, and if several fail the
    /// error of the first is returned.
    ///
    /// # Errors
    ///
    /// As [`Rubric::score_group`].
    ///
    /// # Panics
    ///
    /// If a reward panics.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::num::NonZeroUsize;
    ///
    /// use hint_reward::{ExactMatch, RewardInput, Rubric};
    ///
    /// let groups = [vec![RewardInput::new(r"\boxed{4}", "4")], vec![RewardInput::new(r"\boxed{4}", "5")]];
    /// let threads = NonZeroUsize::new(2).expect("2 is not 0");
    /// let scores = Rubric::new(ExactMatch::new()).score_groups(&groups, threads)?;
    /// assert!(scores[0][0].verdict.is_correct() && scores[1][0].verdict.is_wrong());
    /// # Ok::<(), hint_reward::RewardError>(())
    /// ```
    pub fn score_groups<'a, G>(
        &self,
        groups: &[G],
        threads: NonZeroUsize,
    ) -> Result<Vec<Vec<Score>>, RewardError>
    where
        G: AsRef<[RewardInput<'a>]> + Sync,
    {
        let workers = threads.get().min(groups.len());
        if workers <= 1 {
            return groups.iter().map(|group| self.score_group(group.as_ref())).collect();
        }
        let next = AtomicUsize::new(0);
        let found: Mutex<Found> = Mutex::new(Vec::with_capacity(groups.len()));
        std::thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| {
                    let mut own: Found = Vec::new();
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        let Some(group) = groups.get(index) else { break };
                        own.push((index, self.score_group(group.as_ref())));
                    }
                    // A poisoned lock means a panic that the scope passes on.
                    if let Ok(mut found) = found.lock() {
                        found.extend(own);
                    }
                });
            }
        });
        let mut found = found.into_inner().unwrap_or_default();
        found.sort_unstable_by_key(|(index, _)| *index);
        found.into_iter().map(|(_, scores)| scores).collect()
    }
}
