//! The longest sequences of a run.

use std::fmt;

use anyhow::Result;
use hint_grpo::{Demonstration, GrpoConfig};

use crate::workload::{Model, Workload};

/// The longest sequences, in tokens.
pub(super) struct Lengths {
    /// Of a plain prompt.
    pub(super) prompt: usize,
    /// Of a row in training.
    pub(super) row: usize,
    /// Longest completion.
    limit: usize,
    /// Number of positions of the model.
    room: usize,
    /// Whether rows are demonstrations.
    demonstrated: bool,
}

impl Lengths {
    pub(super) fn new(
        workload: &Workload,
        model: &Model,
        config: &GrpoConfig,
        demonstrations: &[Demonstration],
    ) -> Result<Self> {
        let mut prompt = 0;
        for problem in workload.train.iter().chain(workload.held_out.iter()) {
            prompt = prompt.max(model.format.encode(&*problem?, None)?.len());
        }
        let limit = config.rollout.sampling.max_completion_len;
        let room = model.config.max_positions();
        let rows = demonstrations.iter().map(|one| one.prompt.len() + one.completion.len());
        let demonstrated = !demonstrations.is_empty();
        let row = rows.max().unwrap_or_else(|| room.min(prompt + limit));
        Ok(Self { prompt, row, limit, room, demonstrated })
    }
}

impl fmt::Display for Lengths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { prompt, row, limit, room, demonstrated } = self;
        let most = if *demonstrated {
            write!(f, "demonstrations of up to {row} tokens, prompts included,")?;
            *row
        } else {
            write!(f, "plain prompts of up to {prompt} tokens and completions of up to {limit}")?;
            prompt + limit
        };
        let fit = if most <= *room { "fit" } else { "do not all fit" };
        write!(f, " {fit} into the model's {room}")
    }
}
