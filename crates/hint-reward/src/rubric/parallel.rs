//! Scoring on several threads.

use std::num::NonZeroUsize;

use crate::error::RewardError;
use crate::input::RewardInput;
use crate::parallel::map_in_parallel;
use crate::rubric::score::{Rubric, Score};

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
        let scores =
            map_in_parallel(groups, threads.get(), |group| self.score_group(group.as_ref()));
        scores.into_iter().collect()
    }
}
