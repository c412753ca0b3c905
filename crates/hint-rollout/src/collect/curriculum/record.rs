//! Record of how often each problem was solved, over the whole run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::sample::Rollout;
use crate::sample::SuccessCount;

/// Success of one problem over a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProblemSuccess {
    /// Plain completions, over all visits.
    pub plain: SuccessCount,
    /// Plain completions of the last visit.
    pub last: SuccessCount,
    /// Plain completions of the visits after the first hint.
    pub plain_after_hint: SuccessCount,
    /// Hinted completions.
    pub hinted: SuccessCount,
    /// Mean tokens of a plain completion at the last visit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_tokens: Option<f64>,
    /// The memory of the level search, see [`Levels::remember`](crate::collect::hinted::Levels::remember).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<f64>,
}

/// Success of every problem that was asked, by problem id.
///
/// A group was hinted because it was all wrong. So a comparison of the two halves of one visit is
/// no measure of internalization. The plain success on *later* visits is one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SuccessRecord {
    problems: BTreeMap<String, ProblemSuccess>,
}

impl SuccessRecord {
    /// Success of a problem; `None` if it was never asked.
    pub fn get(&self, problem_id: &str) -> Option<&ProblemSuccess> {
        self.problems.get(problem_id)
    }

    /// Tokens that a completion of a problem is expected to have.
    pub(crate) fn expected_tokens(&self, problem_id: &str) -> Option<f64> {
        self.get(problem_id)?.mean_tokens
    }

    /// The level search's memory of a problem.
    pub(crate) fn level(&self, problem_id: &str) -> Option<f64> {
        self.get(problem_id)?.level
    }

    /// Sets the level search's memory of a problem.
    pub(crate) fn set_level(&mut self, problem_id: &str, level: f64) {
        self.problems.entry(problem_id.to_owned()).or_default().level = Some(level);
    }

    /// The ids of the problems asked so far.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &str> {
        self.problems.keys().map(String::as_str)
    }

    /// Number of problems asked so far.
    pub fn len(&self) -> usize {
        self.problems.len()
    }

    /// Whether no problem was asked so far.
    pub fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// Hinted minus plain success rate: the part that is still to be internalized. It is averaged
    /// over the problems that were asked again without a hint after they had been hinted. `None` if
    /// there is none.
    pub fn internalization_gap(&self) -> Option<f64> {
        let gaps = self
            .problems
            .values()
            .filter_map(|problem| Some(problem.hinted.rate()? - problem.plain_after_hint.rate()?));
        let (sum, count) = gaps.fold((0.0, 0_usize), |(sum, count), gap| (sum + gap, count + 1));
        (count > 0).then(|| sum / count as f64)
    }

    pub(crate) fn observe_plain(&mut self, problem_id: &str, rollouts: &[Rollout]) {
        if rollouts.is_empty() {
            return;
        }
        let problem = self.problems.entry(problem_id.to_owned()).or_default();
        problem.plain.observe(rollouts);
        let tokens = rollouts.iter().map(|rollout| rollout.completion.tokens.len()).sum::<usize>();
        problem.mean_tokens = Some(tokens as f64 / rollouts.len() as f64);
        problem.last = SuccessCount::default();
        problem.last.observe(rollouts);
        if problem.hinted.total > 0 {
            problem.plain_after_hint.observe(rollouts);
        }
    }

    pub(crate) fn observe_hinted(&mut self, problem_id: &str, rollouts: &[Rollout]) {
        self.problems.entry(problem_id.to_owned()).or_default().hinted.observe(rollouts);
    }
}
