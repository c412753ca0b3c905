//! Choices of the supervised stage.

use serde::{Deserialize, Serialize};

use crate::objective::Aggregation;

/// Choices of the supervised stage. Steps, batch size, optimizer and checkpoints come from the run:
/// `run.prompts_per_step` demonstrations make a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SftConfig {
    /// Tokens of a demonstration that are learned.
    pub tokens: LearnedTokens,
    /// Reduction of token losses.
    pub aggregation: Aggregation,
}

impl Default for SftConfig {
    fn default() -> Self {
        Self { tokens: LearnedTokens::Completion, aggregation: Aggregation::TokenMean }
    }
}

/// Tokens of a demonstration that are learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LearnedTokens {
    /// Tokens of the completion.
    Completion,
    /// All except the first, which nothing predicts.
    All,
}
