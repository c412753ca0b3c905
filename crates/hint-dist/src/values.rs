//! Values of rank 0, for every rank.

use std::fmt::Display;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::collective::Collective;
use crate::error::CollectiveError;

/// Gives every rank a value that rank 0 makes. Numbers keep their bits.
///
/// # Errors
///
/// Rank 0 returns the error of `make`, and the others [`PeerState::Failed`](crate::PeerState::Failed) with its text.
/// Values that cannot be written or read, and errors of the group.
///
/// # Examples
///
/// ```
/// use hint_dist::{CollectiveError, Single, broadcast_value};
///
/// let seed = broadcast_value(&Single, || Ok::<_, CollectiveError>(17_u64))?;
/// assert_eq!(seed, 17);
/// # Ok::<(), CollectiveError>(())
/// ```
pub fn broadcast_value<T, E>(
    collective: &dyn Collective,
    make: impl FnOnce() -> Result<T, E>,
) -> Result<T, E>
where
    T: Serialize + DeserializeOwned,
    E: Display + From<CollectiveError>,
{
    if collective.world_size() == 1 {
        return make();
    }
    let (mut bytes, mut failure) = (Vec::new(), None);
    if collective.rank() == 0 {
        let made = make().map_err(|error| {
            let text = format!("{error:#}");
            failure = Some(error);
            text
        });
        ciborium::into_writer(&made, &mut bytes)
            .map_err(|error| CollectiveError::backend("write a value", error.to_string()))?;
    }
    let bytes = collective.broadcast_bytes(&bytes)?;
    if let Some(error) = failure {
        return Err(error);
    }
    let made: Result<T, String> = ciborium::from_reader(bytes.as_slice())
        .map_err(|error| CollectiveError::backend("read a value", error.to_string()))?;
    Ok(made.map_err(|reason| CollectiveError::failed(0, &reason))?)
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::Threads;

    /// The results of the threads of a group.
    fn each<T: Send>(ranks: usize, work: impl Fn(&Threads) -> T + Sync) -> Vec<T> {
        let work = |member: Threads| {
            let found = work(&member);
            member.shutdown().expect("all ranks end");
            found
        };
        let work = &work;
        thread::scope(|scope| {
            let members = Threads::group(ranks, Duration::from_secs(20)).into_iter();
            let threads = members.map(|member| scope.spawn(move || work(member)));
            let threads = threads.collect::<Vec<_>>();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        })
    }

    #[test]
    fn every_rank_has_the_value_of_rank_0_to_the_bit() {
        let values = each(3, |member| {
            let make = || Ok::<_, CollectiveError>((member.rank(), f64::NAN, 0.1_f32));
            let (rank, nan, tenth) = broadcast_value(member, make).expect("a value");
            (rank, nan.is_nan(), tenth.to_bits())
        });
        assert_eq!(values, [(0, true, 0.1_f32.to_bits()); 3]);
    }

    #[test]
    fn an_error_of_rank_0_is_known_to_every_rank_at_once() {
        let errors = each(2, |member| {
            let make = || Err::<u8, _>(CollectiveError::Rendezvous("no folder".to_owned()));
            broadcast_value(member, make).expect_err("no value").to_string()
        });
        assert_eq!(errors[0], "the processes cannot meet: no folder");
        assert_eq!(errors[1], "rank 0 failed: the processes cannot meet: no folder");
    }
}
