//! Sampling mode of one row.

use crate::sampling::params::SamplingParams;

/// Sampling mode of one row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Draw<'a> {
    pub(super) params: &'a SamplingParams,
    /// In `[0, 1)`. Greedy rows have one too: it belongs to the position, not to the draw.
    pub(super) uniform: f64,
}

/// Parts of a row that a draw takes into account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SamplingMode {
    /// The most probable token.
    Greedy,
    /// Tokens that top-k, top-p or min-p leave.
    Truncated,
    /// Every token.
    Whole,
}

impl Draw<'_> {
    pub(super) fn mode(&self) -> SamplingMode {
        if self.params.temperature == 0.0 {
            SamplingMode::Greedy
        } else if self.params.truncates() {
            SamplingMode::Truncated
        } else {
            SamplingMode::Whole
        }
    }
}
