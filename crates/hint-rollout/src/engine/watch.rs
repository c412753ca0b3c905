//! A watch that looks at nothing.

use crate::engine::contract::{Completion, GenerationWatch};

/// Looks at nothing.
pub(crate) struct Unwatched;

impl GenerationWatch for Unwatched {
    fn on_completion(&self, _request: usize, _index: usize, _completion: &Completion) {}
}
