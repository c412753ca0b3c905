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
    /// The way of whole weights to a server: at the first change of weights, and when it is another one than before. There
    /// is none for an engine without [`VllmBuilder::transfer`](super::VllmBuilder::transfer).
    Path {
        /// The server.
        server: &'a str,
        /// Why they go through the folder; `None` where they go from GPU to GPU.
        refusal: Option<&'a str>,
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
