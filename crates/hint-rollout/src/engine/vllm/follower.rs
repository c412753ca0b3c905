//! The engine of a process that asks no servers itself.

use std::io;

use super::engine::max_prompt_len;
use crate::engine::contract::{
    Completion, GenerationRequest, RolloutEngine, Sampling, WeightSource,
};
use crate::error::RolloutError;

/// Stands for the [`VllmEngine`](super::VllmEngine) of the first process in the others, which get its completions.
///
/// ```
/// use hint_rollout::engine::vllm::VllmFollower;
/// use hint_rollout::RolloutEngine;
///
/// // As `VllmEngine::max_positions` was in the first process.
/// let engine = VllmFollower::new(Some(4096));
/// assert!(engine.samples_for_all());
/// assert_eq!(engine.max_positions(), Some(4096));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VllmFollower {
    max_positions: Option<usize>,
}

impl VllmFollower {
    /// Follows servers that hold so many tokens.
    pub const fn new(max_positions: Option<usize>) -> Self {
        Self { max_positions }
    }
}

impl RolloutEngine for VllmFollower {
    fn name(&self) -> Option<String> {
        None
    }

    fn generate(
        &mut self,
        _requests: &[GenerationRequest],
    ) -> Result<Vec<Vec<Completion>>, RolloutError> {
        let problem =
            "the first process alone asks servers; share the run by `RunBuilder::collective`";
        Err(RolloutError::other("the sampler of another process", io::Error::other(problem)))
    }

    fn sync(&mut self, _weights: &dyn WeightSource) -> Result<(), RolloutError> {
        Ok(())
    }

    fn max_positions(&self) -> Option<usize> {
        self.max_positions
    }

    fn max_prompt_len(&self, sampling: &Sampling) -> Option<usize> {
        max_prompt_len(self.max_positions, sampling)
    }

    fn samples_for_all(&self) -> bool {
        true
    }

    fn follow(&mut self, max_positions: Option<usize>) {
        self.max_positions = max_positions;
    }
}
