//! Errors between processes.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Errors of this crate. Those of a group are the same on every rank.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum CollectiveError {
    /// Other processes of the group are not there any more, or are late.
    #[error("{} {state}", name(.ranks))]
    Peer {
        /// Which ones; empty where that is not known.
        ranks: Vec<usize>,
        /// Their state.
        state: PeerState,
    },

    /// A rank calls another operation than the others, or was started with other settings.
    #[error("rank {rank} has {found}, and rank 0 has {expected}; all ranks must do the same")]
    Mismatch {
        /// The first rank that differs from rank 0.
        rank: usize,
        /// That of rank 0.
        expected: String,
        /// That of the other rank.
        found: String,
    },

    /// The processes did not find each other.
    #[error("the processes cannot meet: {0}")]
    Rendezvous(String),

    /// The store that somebody else serves is lost, such as that of the agent of `torchrun`, most often with its machine.
    /// Nobody can say which ranks are lost with it.
    #[error(
        "the store of the launcher at `{address}` has ended, or cannot be reached; start the launcher again"
    )]
    Store {
        /// Its address and port.
        address: String,
    },

    /// Processes that NCCL cannot connect. They may exchange tensors over Gloo.
    #[error("{} cannot use NCCL: {reason}", name(.ranks))]
    NoNccl {
        /// Which ones.
        ranks: Vec<usize>,
        /// What they lack.
        reason: String,
    },

    /// A tensor that does not fit the operation.
    #[error("`{operation}` needs {expected}, found {found}")]
    Shape {
        /// The operation.
        operation: String,
        /// Its need.
        expected: String,
        /// The tensor that it got.
        found: String,
    },

    /// libtorch refused, or a value cannot be written or read.
    #[error("cannot {action}: {problem}")]
    Backend {
        /// The action that failed.
        action: String,
        /// Why it failed.
        problem: String,
    },
}

/// The state of a process that others miss.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum PeerState {
    /// It has ended, or its machine cannot be reached.
    Ended,
    /// It did not come to the operation in time.
    Late {
        /// How long the others waited.
        seconds: u64,
    },
    /// It gave up.
    Failed {
        /// Why.
        reason: String,
    },
}

impl fmt::Display for PeerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended => f.write_str("has ended, or cannot be reached"),
            Self::Late { seconds } => write!(f, "did not arrive within {seconds} s"),
            Self::Failed { reason } => write!(f, "failed: {reason}"),
        }
    }
}

fn name(ranks: &[usize]) -> String {
    match ranks {
        [] => "a rank".to_owned(),
        [one] => format!("rank {one}"),
        many => {
            let names = many.iter().map(usize::to_string).collect::<Vec<_>>();
            format!("each of the ranks {}", names.join(", "))
        }
    }
}

impl CollectiveError {
    /// An error of libtorch, or of a format.
    pub(crate) fn backend(action: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Backend { action: action.into(), problem: problem.into() }
    }

    /// Ranks that ended.
    #[cfg(feature = "gloo")]
    pub(crate) const fn ended(ranks: Vec<usize>) -> Self {
        Self::Peer { ranks, state: PeerState::Ended }
    }

    /// The store of a launcher that ended.
    #[cfg(feature = "gloo")]
    pub(crate) fn no_store(address: &str, port: u16) -> Self {
        Self::Store { address: format!("{address}:{port}") }
    }

    /// A rank that gave up.
    pub(crate) fn failed(rank: usize, reason: &str) -> Self {
        // It travels through a store of small values.
        let reason = reason.chars().take(1000).collect();
        Self::Peer { ranks: vec![rank], state: PeerState::Failed { reason } }
    }

    /// Ranks that are late.
    pub(crate) fn late(ranks: Vec<usize>, deadline: std::time::Duration) -> Self {
        Self::Peer { ranks, state: PeerState::Late { seconds: deadline.as_secs() } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_the_rank() {
        let ended = |ranks: &[usize]| {
            CollectiveError::Peer { ranks: ranks.to_vec(), state: PeerState::Ended }.to_string()
        };
        assert_eq!(ended(&[2]), "rank 2 has ended, or cannot be reached");
        assert_eq!(ended(&[1, 2]), "each of the ranks 1, 2 has ended, or cannot be reached");
        assert_eq!(ended(&[]), "a rank has ended, or cannot be reached");
        let failed = CollectiveError::failed(1, "no memory").to_string();
        assert_eq!(failed, "rank 1 failed: no memory");
        let reason = "they share a GPU".to_owned();
        let shared = CollectiveError::NoNccl { ranks: vec![0, 1], reason }.to_string();
        assert_eq!(shared, "each of the ranks 0, 1 cannot use NCCL: they share a GPU");
        let lost = CollectiveError::Store { address: "10.0.0.1:29500".to_owned() }.to_string();
        let expected =
            "the store of the launcher at `10.0.0.1:29500` has ended, or cannot be reached; ";
        assert!(lost.starts_with(expected), "{lost}");
    }
}
