//! Completions that could not be judged, and how many of them a run bears.

use std::collections::VecDeque;

use hint_reward::Score;
use serde::{Deserialize, Serialize};

use crate::data::Problem;
use crate::error::RolloutError;
use crate::sample::verdict_policy::VerdictPolicy;

/// Completions of a step that could not be judged, and the last of them for the error message.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    count: usize,
    last: Option<(String, &'static str, Option<String>)>,
}

impl Failures {
    pub(crate) fn record(&mut self, problem: &Problem, score: &Score) {
        self.count += 1;
        let reason = score.judgment.reason.clone();
        self.last = Some((problem.id.clone(), score.verdict.name(), reason));
    }
}

/// The latest steps: completions that could not be judged, and all that were to be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct FailureWindow {
    steps: VecDeque<(usize, usize)>,
}

impl FailureWindow {
    /// Adds a step, and fails when more than the policy's share of the window could not be judged.
    /// Until the window is full, the share is taken of a full window. So a small first step does
    /// not end a run for one bad row.
    pub(crate) fn check(
        &mut self,
        failures: Failures,
        judged: usize,
        policy: &VerdictPolicy,
    ) -> Result<(), RolloutError> {
        let (limit_frac, window) = (policy.max_dropped_frac, policy.window);
        self.steps.push_back((failures.count, judged));
        let total = |steps: &VecDeque<(usize, usize)>| {
            steps.iter().fold((0, 0), |(failed, all), step| (failed + step.0, all + step.1))
        };
        // The fewest latest steps that fill the window.
        while let Some((_, oldest)) = self.steps.front()
            && total(&self.steps).1 - oldest >= window
        {
            self.steps.pop_front();
        }
        let (failed, all) = total(&self.steps);
        match failures.last {
            Some((problem, verdict, reason))
                if failed as f64 > limit_frac * all.max(window) as f64 =>
            {
                let judged = all;
                Err(RolloutError::TooManyFailures {
                    failed,
                    judged,
                    limit_frac,
                    problem,
                    verdict,
                    reason,
                })
            }
            _ => Ok(()),
        }
    }
}
