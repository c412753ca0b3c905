//! Several processes that collect the same batch: each samples and judges a part of it, and all of them see everything.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::RolloutError;

/// The processes that collect the same batch. All of them make the same calls in the same order.
///
/// Work is dealt to *virtual workers*, and these to the processes. A sample may depend, by float noise, on the samples of
/// the same call. So numbers depend on the workers and not on the processes.
///
/// ```
/// use hint_rollout::RolloutError;
/// use hint_rollout::engine::Peers;
///
/// /// One process that does the work of four.
/// struct Alone;
///
/// impl Peers for Alone {
///     fn rank(&self) -> usize {
///         0
///     }
///
///     fn world_size(&self) -> usize {
///         1
///     }
///
///     fn num_virtual_workers(&self) -> usize {
///         4
///     }
///
///     fn all_gather_bytes(&self, bytes: Vec<u8>) -> Result<Vec<Vec<u8>>, RolloutError> {
///         Ok(vec![bytes])
///     }
/// }
/// ```
pub trait Peers: Send + Sync {
    /// The number of this process, from 0.
    fn rank(&self) -> usize;

    /// How many processes there are.
    fn world_size(&self) -> usize;

    /// How many virtual workers there are: at least one for each process.
    fn num_virtual_workers(&self) -> usize;

    /// Gives every process the bytes of all, by rank.
    ///
    /// # Errors
    ///
    /// Other processes that end, are late or give up.
    fn all_gather_bytes(&self, bytes: Vec<u8>) -> Result<Vec<Vec<u8>>, RolloutError>;

    /// Gives every process the bytes of the first one; those that the others bring are dropped. By default all of them gather.
    /// Where a gather takes room for the longest bytes of every process, a way of its own takes room for one.
    ///
    /// # Errors
    ///
    /// As [`Peers::all_gather_bytes`].
    fn broadcast_bytes(&self, bytes: Vec<u8>) -> Result<Vec<u8>, RolloutError> {
        let own = if self.rank() == 0 { bytes } else { Vec::new() };
        Ok(self.all_gather_bytes(own)?.into_iter().next().unwrap_or_default())
    }

    /// Tells the others that this process samples no more, and why, so that none waits for it. By default nobody is told.
    fn abort(&self, reason: &str) {
        let _ = reason;
    }
}

/// Gives every process the values of all, by rank. Numbers keep their bits.
///
/// # Errors
///
/// As [`Peers::all_gather_bytes`], and values that cannot be written or read.
pub fn all_gather_values<T: Serialize + DeserializeOwned>(
    peers: &dyn Peers,
    own: &T,
) -> Result<Vec<T>, RolloutError> {
    let all = peers.all_gather_bytes(write(own)?)?;
    all.into_iter().map(|bytes| read(&bytes)).collect()
}

fn write<T: Serialize>(value: &T) -> Result<Vec<u8>, RolloutError> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).map_err(|error| unusable(error.to_string()))?;
    Ok(bytes)
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, RolloutError> {
    ciborium::from_reader(bytes).map_err(|error| unusable(error.to_string()))
}

fn unusable(problem: String) -> RolloutError {
    RolloutError::other("what processes exchange", std::io::Error::other(problem))
}

/// The result of `ask`, which the first process alone calls, in all of them. `what` names it in the error of the others.
pub(crate) fn ask_first<T: Serialize + DeserializeOwned>(
    peers: &dyn Peers,
    what: &'static str,
    ask: impl FnOnce() -> Result<T, RolloutError>,
) -> Result<T, RolloutError> {
    let (mut bytes, mut failure) = (Vec::new(), None);
    if peers.rank() == 0 {
        let asked = ask().map_err(|error| {
            let text = error.chain();
            failure = Some(error);
            text
        });
        bytes = write(&asked)?;
    }
    // Not a gather: the completions of a step would take room once for each process.
    let bytes = peers.broadcast_bytes(bytes)?;
    if let Some(error) = failure {
        return Err(error);
    }
    let asked: Result<T, String> = read(&bytes)?;
    asked.map_err(|problem| RolloutError::other(what, std::io::Error::other(problem)))
}

/// The results of `count` pieces of work, of which `work` does those at the indices that it gets, one result for each. Without
/// peers it gets all.
pub(crate) fn in_processes<T: Serialize + DeserializeOwned>(
    peers: Option<&dyn Peers>,
    count: usize,
    work: impl FnOnce(&[usize]) -> Result<Vec<T>, RolloutError>,
) -> Result<Vec<T>, RolloutError> {
    let Some(peers) = peers.filter(|peers| peers.world_size() > 1) else {
        return work(&(0..count).collect::<Vec<_>>());
    };
    let own = (peers.rank()..count).step_by(peers.world_size()).collect::<Vec<_>>();
    let all = all_gather_values(peers, &work(&own)?)?;
    let mut all = all.into_iter().map(Vec::into_iter).collect::<Vec<_>>();
    let missing = || RolloutError::other("another process", std::io::Error::other("left work out"));
    let result = |index: usize| all[index % peers.world_size()].next().ok_or_else(missing);
    (0..count).map(result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The second of two processes. The first one has sent these bytes.
    struct Follower(Vec<u8>);

    impl Peers for Follower {
        fn rank(&self) -> usize {
            1
        }

        fn world_size(&self) -> usize {
            2
        }

        fn num_virtual_workers(&self) -> usize {
            2
        }

        fn all_gather_bytes(&self, _: Vec<u8>) -> Result<Vec<Vec<u8>>, RolloutError> {
            let problem = std::io::Error::other("it takes room for every process");
            Err(RolloutError::other("a gather", problem))
        }

        fn broadcast_bytes(&self, _: Vec<u8>) -> Result<Vec<u8>, RolloutError> {
            Ok(self.0.clone())
        }
    }

    #[test]
    fn an_answer_for_all_processes_is_not_gathered() {
        let sent: Result<Vec<u32>, String> = Ok(vec![5, 7]);
        let follower = Follower(write(&sent).unwrap());
        let ask = || -> Result<Vec<u32>, RolloutError> { panic!("the first process alone asks") };
        assert_eq!(ask_first(&follower, "the engine", ask).unwrap(), [5, 7]);
        let sent: Result<Vec<u32>, String> = Err("it is down".to_owned());
        let follower = Follower(write(&sent).unwrap());
        let error = ask_first(&follower, "the engine", ask).unwrap_err().chain();
        assert!(error.contains("it is down"), "{error}");
    }
}
