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
    let failed = |error: String| {
        RolloutError::other("what processes exchange", std::io::Error::other(error))
    };
    let mut bytes = Vec::new();
    ciborium::into_writer(own, &mut bytes).map_err(|error| failed(error.to_string()))?;
    let all = peers.all_gather_bytes(bytes)?;
    let read = |bytes: Vec<u8>| {
        ciborium::from_reader(bytes.as_slice()).map_err(|error| failed(error.to_string()))
    };
    all.into_iter().map(read).collect()
}

/// The result of `ask`, which the first process alone calls, in all of them. `what` names it in the error of the others.
pub(crate) fn ask_first<T: Serialize + DeserializeOwned>(
    peers: &dyn Peers,
    what: &'static str,
    ask: impl FnOnce() -> Result<T, RolloutError>,
) -> Result<T, RolloutError> {
    let (mut own, mut failure) = (None, None);
    if peers.rank() == 0 {
        own = Some(match ask() {
            Ok(result) => Ok(result),
            Err(error) => {
                let text = error.chain();
                failure = Some(error);
                Err(text)
            }
        });
    }
    let asked = all_gather_values(peers, &own)?.into_iter().next().flatten();
    let failed = |problem: String| RolloutError::other(what, std::io::Error::other(problem));
    match (failure, asked) {
        (Some(error), _) => Err(error),
        (None, Some(Ok(result))) => Ok(result),
        (None, Some(Err(problem))) => Err(failed(problem)),
        (None, None) => Err(failed("nothing was sent".to_owned())),
    }
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
