//! Events of an engine of several servers, for its observer.

use crate::engine::contract::PolicyVersion;
use crate::error::VllmError;

/// Something that happened to the servers and that a run survives.
#[derive(Debug)]
#[non_exhaustive]
pub enum VllmEvent<'a> {
    /// A server cannot be used for now. The others take over its requests.
    ServerDown {
        /// The server.
        server: &'a str,
        /// Why.
        error: &'a VllmError,
        /// Requests that the others take over.
        requests: usize,
    },
    /// A server can be used again, with current weights.
    ServerBack {
        /// The server.
        server: &'a str,
    },
    /// New weights are in place.
    Synced {
        /// Their version.
        version: PolicyVersion,
        /// Servers that have them.
        up: usize,
        /// Servers that are down.
        down: usize,
    },
}
