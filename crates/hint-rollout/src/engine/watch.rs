//! Completions as they end.

use crate::engine::contract::Completion;

/// What a caller of [`RolloutEngine::generate_watched`](crate::RolloutEngine::generate_watched) does with completions as
/// they end.
///
/// ```
/// use std::sync::atomic::{AtomicUsize, Ordering};
///
/// use hint_rollout::Completion;
/// use hint_rollout::engine::GenerationWatch;
///
/// /// Counts tokens while others are sampled.
/// struct Tokens(AtomicUsize);
///
/// impl GenerationWatch for Tokens {
///     fn on_completion(&self, _request: usize, _index: usize, completion: &Completion) {
///         self.0.fetch_add(completion.tokens.len(), Ordering::Relaxed);
///     }
/// }
/// ```
pub trait GenerationWatch: Sync {
    /// A completion has ended: the one with the number `index`, from 0, of the request at the place `request` in the call.
    /// The engine goes on when this returns.
    fn on_completion(&self, request: usize, index: usize, completion: &Completion);

    /// Whether the other completions of a request end where they are, asked after one of it has ended. They are returned with
    /// the tokens that were sampled so far, perhaps none, and as if the limit was reached. An engine that
    /// [`ends_requests`](crate::RolloutEngine::ends_requests) asks it.
    fn is_decided(&self, request: usize) -> bool {
        let _ = request;
        false
    }
}

/// Looks at nothing.
pub(crate) struct Unwatched;

impl GenerationWatch for Unwatched {
    fn on_completion(&self, _request: usize, _index: usize, _completion: &Completion) {}
}
