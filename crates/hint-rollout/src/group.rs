//! Groups of scored rollouts.

use hint_reward::Score;

use crate::{Completion, Hint};

/// A completion with its score.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Rollout {
    /// What was sampled.
    pub completion: Completion,
    /// Its text.
    pub text: String,
    /// How it was scored.
    pub score: Score,
}

impl Rollout {
    /// A scored completion.
    pub const fn new(completion: Completion, text: String, score: Score) -> Self {
        Self { completion, text, score }
    }
}

/// The hint under which a group was sampled.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AppliedHint {
    /// The hint.
    pub hint: Hint,
    /// The hinted prompt `x⊕h`, as sampled. Token ids.
    pub prompt: Vec<u32>,
}

impl AppliedHint {
    /// A hint and the prompt it made.
    pub const fn new(hint: Hint, prompt: Vec<u32>) -> Self {
        Self { hint, prompt }
    }
}

/// All rollouts of one problem that train together.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RolloutGroup {
    /// Id of the problem.
    pub problem_id: String,
    /// The plain prompt `x`. Token ids.
    pub prompt: Vec<u32>,
    /// The hint under which [`RolloutGroup::rollouts`] were sampled; `None` for a plain group.
    pub hint: Option<AppliedHint>,
    /// The rollouts.
    pub rollouts: Vec<Rollout>,
    /// The plain rollouts that a hinted group replaced. Empty for a plain group.
    pub replaced: Vec<Rollout>,
}

impl RolloutGroup {
    /// A group sampled on the plain prompt.
    pub fn plain(problem_id: impl Into<String>, prompt: Vec<u32>, rollouts: Vec<Rollout>) -> Self {
        Self { problem_id: problem_id.into(), prompt, hint: None, rollouts, replaced: Vec::new() }
    }

    /// The group that takes this one's place, sampled under `hint`.
    #[must_use]
    pub fn replaced_by(self, hint: AppliedHint, rollouts: Vec<Rollout>) -> Self {
        Self { hint: Some(hint), replaced: self.rollouts, rollouts, ..self }
    }

    /// Number of rollouts judged correct.
    pub fn num_correct(&self) -> usize {
        count_correct(&self.rollouts)
    }

    /// Whether the group was sampled with a hint.
    pub const fn is_hinted(&self) -> bool {
        self.hint.is_some()
    }

    /// The rewards, in rollout order.
    pub fn rewards(&self) -> Vec<f64> {
        self.rollouts.iter().map(|rollout| rollout.score.value).collect()
    }
}

pub(crate) fn count_correct(rollouts: &[Rollout]) -> usize {
    rollouts.iter().filter(|rollout| rollout.score.verdict.is_correct()).count()
}
