//! Completions that could not be judged, and how many of them a run bears.

use std::collections::VecDeque;

use hint_reward::Score;
use serde::{Deserialize, Serialize};

use crate::data::Problem;
use crate::error::RolloutError;
use crate::sample::verdict_policy::VerdictPolicy;

/// Completions that could not be judged, all that were to be, and the groups that these are of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tally {
    failed: usize,
    judged: usize,
    groups: usize,
}

impl Tally {
    pub(crate) const fn new(failed: usize, judged: usize, groups: usize) -> Self {
        Self { failed, judged, groups }
    }

    const fn and(self, other: Self) -> Self {
        Self {
            failed: self.failed + other.failed,
            judged: self.judged + other.judged,
            groups: self.groups + other.groups,
        }
    }

    /// Whether more than the policy's share could not be judged. Until the window is full, the share is taken of
    /// a full window. So neither a small first step nor a large group ends a run for one bad row.
    fn is_beyond(self, policy: &VerdictPolicy) -> bool {
        let failed_frac = self.failed as f64 / self.judged.max(1) as f64;
        let full = self.groups.max(policy.window) as f64;
        failed_frac * self.groups as f64 > policy.max_dropped_frac * full
    }
}

/// The completions of a step, and the last of those that could not be judged for the error message.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    tally: Tally,
    last: Option<LastFailure>,
}

#[derive(Debug)]
struct LastFailure {
    problem: String,
    verdict: &'static str,
    reason: Option<String>,
}

impl LastFailure {
    fn new(problem: &Problem, score: &Score) -> Self {
        let reason = score.judgment.reason.clone();
        Self { problem: problem.id.clone(), verdict: score.verdict.name(), reason }
    }

    fn error(self, tally: Tally, policy: &VerdictPolicy) -> RolloutError {
        let Self { problem, verdict, reason } = self;
        let Tally { failed, judged, .. } = tally;
        let limit_frac = policy.max_dropped_frac;
        RolloutError::TooManyFailures { failed, judged, limit_frac, problem, verdict, reason }
    }
}

impl Failures {
    /// Counts a group of `judged` completions.
    pub(crate) fn observe(&mut self, judged: usize) {
        self.tally = self.tally.and(Tally::new(0, judged, 1));
    }

    pub(crate) fn record(&mut self, problem: &Problem, score: &Score) {
        self.tally.failed += 1;
        self.last = Some(LastFailure::new(problem, score));
    }
}

/// The latest steps.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct FailureWindow {
    steps: VecDeque<Tally>,
}

impl FailureWindow {
    /// The fewest latest steps that fill the window, of which the last is `step`.
    fn total(&self, step: Tally, window: usize) -> Tally {
        let mut total = step;
        for earlier in self.steps.iter().rev() {
            if total.groups >= window {
                break;
            }
            total = total.and(*earlier);
        }
        total
    }

    /// Fails if the policy's share is exceeded in the middle of a step. Its `failures` so far count, and the
    /// completions in `now`. `score` is one of those without a verdict.
    pub(crate) fn check_within(
        &self,
        failures: &Failures,
        now: Tally,
        (problem, score): (&Problem, &Score),
        policy: &VerdictPolicy,
    ) -> Result<(), RolloutError> {
        let total = self.total(failures.tally.and(now), policy.window);
        if total.is_beyond(policy) {
            return Err(LastFailure::new(problem, score).error(total, policy));
        }
        Ok(())
    }

    /// Adds a step, and fails when more than the policy's share of the window could not be judged.
    pub(crate) fn check(
        &mut self,
        failures: Failures,
        policy: &VerdictPolicy,
    ) -> Result<(), RolloutError> {
        let Failures { tally, last } = failures;
        let total = self.total(tally, policy.window);
        self.steps.push_back(tally);
        let groups = |steps: &VecDeque<Tally>| steps.iter().map(|step| step.groups).sum::<usize>();
        while let Some(oldest) = self.steps.front()
            && groups(&self.steps) - oldest.groups >= policy.window
        {
            self.steps.pop_front();
        }
        match last {
            Some(last) if total.is_beyond(policy) => Err(last.error(total, policy)),
            _ => Ok(()),
        }
    }
}
