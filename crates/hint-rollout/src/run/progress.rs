//! Position of a run between its first and last step.

use crate::run::seed::Seed;

/// Progress of a run at the time of a decision: the argument of schedules.
///
/// ```
/// use hint_rollout::run::RunProgress;
///
/// assert_eq!(RunProgress::new(30, 40).fraction(), 0.75);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RunProgress {
    /// Steps finished.
    pub step: u64,
    /// Steps of the whole run; 0 where there is no run, such as in a program that writes hints to a
    /// file.
    pub total_steps: u64,
}

impl RunProgress {
    /// After `step` of `total_steps` steps.
    pub const fn new(step: u64, total_steps: u64) -> Self {
        Self { step, total_steps }
    }

    /// Share of the run that is done, in `[0, 1]`; 0 where there is no run.
    pub fn fraction(self) -> f64 {
        if self.total_steps == 0 {
            return 0.0;
        }
        (self.step as f64 / self.total_steps as f64).min(1.0)
    }
}

/// When something is collected: where the run is, and the seed of everything random about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepContext {
    /// The seed.
    pub seed: Seed,
    /// Progress of the run.
    pub progress: RunProgress,
}

impl From<Seed> for StepContext {
    /// Outside a run.
    fn from(seed: Seed) -> Self {
        Self { seed, progress: RunProgress::default() }
    }
}
