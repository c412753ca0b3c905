//! Errors of this crate.

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// Other threads run already and would still receive the signals.
    #[error(
        "signals must be caught before other threads start, and {0} threads run; call \
         `StopSignals::catch` first in `main`"
    )]
    ThreadsRun(usize),

    /// The operating system refused.
    #[error("cannot {action}")]
    System {
        /// The operation.
        action: &'static str,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
}
