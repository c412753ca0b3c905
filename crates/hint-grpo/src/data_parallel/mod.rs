//! The processes of a run, which hold the same weights and train on the same batch.
//!
//! Every process takes the same decisions from the same numbers. Each samples, judges, scores and differentiates its
//! share, and all of them get everything. The shares are those of *virtual workers*. So numbers depend on the number of
//! workers, and not on the number of processes that they are dealt to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hint_dist::{Collective, CollectiveError, Single, broadcast_value};
use hint_policy::Parameter;
use hint_rollout::RolloutError;
use hint_rollout::engine::{Peers, all_gather_values};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::GrpoError;

mod turns;

pub(crate) use turns::{Lend, Turns};

/// The processes of a run.
#[derive(Debug, Clone)]
pub(crate) struct DataParallel {
    collective: Arc<dyn Collective>,
    /// The same, where the processes give each other parts of the weights.
    turns: Option<Arc<Turns>>,
    workers: usize,
}

impl Default for DataParallel {
    /// One process with one worker.
    fn default() -> Self {
        Self::new(Arc::new(Single), 1)
    }
}

impl DataParallel {
    /// The processes of `collective`, with `workers` virtual workers.
    pub(crate) fn new(collective: Arc<dyn Collective>, workers: usize) -> Self {
        Self { collective, turns: None, workers }
    }

    /// As [`DataParallel::new`], of processes that may give each other parts of the weights.
    pub(crate) fn in_turns(collective: Arc<dyn Collective>, workers: usize) -> Self {
        let turns = Arc::new(Turns::new(collective));
        let collective = Arc::clone(&turns) as Arc<dyn Collective>;
        Self { collective, turns: Some(turns), workers }
    }

    /// The processes as they give each other parts of the weights, if they do.
    pub(crate) const fn turns(&self) -> Option<&Arc<Turns>> {
        self.turns.as_ref()
    }

    /// The same processes, for a thread that samples while this one trains. All of them call it.
    pub(crate) fn duplicate(&self) -> Result<Self, GrpoError> {
        Ok(Self::new(self.collective.duplicate()?, self.workers))
    }

    pub(crate) fn collective(&self) -> &dyn Collective {
        &*self.collective
    }

    /// Whether this process writes the files of the run.
    pub(crate) fn is_first(&self) -> bool {
        self.collective.rank() == 0
    }

    pub(crate) fn is_alone(&self) -> bool {
        self.collective.world_size() == 1
    }

    pub(crate) const fn num_virtual_workers(&self) -> usize {
        self.workers
    }

    /// The virtual workers of this process, one for each round. In the last rounds it may have none.
    pub(crate) fn rounds(&self) -> impl Iterator<Item = Round> + use<> {
        let (rank, world_size, workers) =
            (self.collective.rank(), self.collective.world_size(), self.workers);
        (0..workers).step_by(world_size).map(move |first| Round {
            worker: Some(first + rank).filter(|worker| *worker < workers),
            present: world_size.min(workers - first),
        })
    }

    /// Whether a virtual worker is one of this process.
    pub(crate) fn owns(&self, worker: usize) -> bool {
        worker % self.collective.world_size() == self.collective.rank()
    }

    /// Gives every process the values of all, by rank. Numbers keep their bits.
    pub(crate) fn all_gather_values<T: Serialize + DeserializeOwned>(
        &self,
        own: T,
    ) -> Result<Vec<T>, GrpoError> {
        if self.is_alone() {
            return Ok(vec![own]);
        }
        Ok(all_gather_values(self, &own)?)
    }

    /// Refuses to continue where a process has something else than the first one, by the name of what differs.
    pub(crate) fn agree_on(&self, own: &BTreeMap<String, String>) -> Result<(), GrpoError> {
        if self.is_alone() {
            return Ok(());
        }
        let all = self.all_gather_values(own.clone())?;
        let Some(rank) = all.iter().position(|found| *found != all[0]) else { return Ok(()) };
        let (expected, found) = (&all[0], &all[rank]);
        let names = expected.keys().chain(found.keys()).collect::<BTreeSet<_>>();
        let differ = names.into_iter().filter(|name| expected.get(*name) != found.get(*name));
        let differ = differ.cloned().collect::<Vec<_>>();
        let value = |of: &BTreeMap<String, String>| {
            let first = differ.first().and_then(|name| of.get(name));
            first.cloned().unwrap_or_else(|| "nothing".to_owned())
        };
        let (expected, found) = (value(expected), value(found));
        Err(GrpoError::Diverged { what: differ.join(", "), rank, expected, found })
    }

    /// As [`DataParallel::agree_on`], for one thing.
    pub(crate) fn agree(&self, what: &str, own: String) -> Result<(), GrpoError> {
        self.agree_on(&BTreeMap::from([(what.to_owned(), own)]))
    }

    /// Gives every process a value of the first one, which alone makes it.
    pub(crate) fn broadcast_value<T: Serialize + DeserializeOwned>(
        &self,
        make: impl FnOnce() -> Result<T, GrpoError>,
    ) -> Result<T, GrpoError> {
        broadcast_value(self.collective(), make)
    }

    /// Gives the parameters the values of the first process.
    pub(crate) fn share_weights(&self, parameters: &[Parameter]) -> Result<(), GrpoError> {
        if self.is_alone() {
            return Ok(());
        }
        for Parameter { tensor, .. } in parameters {
            let mut values = tensor.detach().contiguous();
            self.collective.broadcast(&mut values, 0)?;
            tch::no_grad(|| tensor.shallow_clone().copy_(&values));
        }
        Ok(())
    }
}

/// One worker of each process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Round {
    /// That of this process, if there is one.
    pub(crate) worker: Option<usize>,
    /// How many processes have one: the first ones.
    pub(crate) present: usize,
}

impl Peers for DataParallel {
    fn rank(&self) -> usize {
        self.collective.rank()
    }

    fn world_size(&self) -> usize {
        self.collective.world_size()
    }

    fn num_virtual_workers(&self) -> usize {
        self.workers
    }

    fn all_gather_bytes(&self, bytes: Vec<u8>) -> Result<Vec<Vec<u8>>, RolloutError> {
        self.collective.all_gather_bytes(&bytes).map_err(not_exchanged)
    }

    fn broadcast_bytes(&self, bytes: Vec<u8>) -> Result<Vec<u8>, RolloutError> {
        self.collective.broadcast_bytes(&bytes).map_err(not_exchanged)
    }

    fn abort(&self, reason: &str) {
        self.collective.abort(reason);
    }
}

fn not_exchanged(error: CollectiveError) -> RolloutError {
    RolloutError::other("the exchange with other processes", error)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hint_dist::Threads;
    use tch::Tensor;

    use super::*;

    /// A rank that gathers one number of each at most.
    #[derive(Debug)]
    struct Narrow(Threads);

    impl Collective for Narrow {
        fn rank(&self) -> usize {
            self.0.rank()
        }

        fn world_size(&self) -> usize {
            self.0.world_size()
        }

        fn all_to_all(&self, output: &mut Tensor, input: &Tensor) -> Result<(), CollectiveError> {
            self.0.all_to_all(output, input)
        }

        fn all_gather(&self, output: &mut Tensor, input: &Tensor) -> Result<(), CollectiveError> {
            assert!(output.numel() <= self.world_size(), "room for {} elements", output.numel());
            self.0.all_gather(output, input)
        }

        fn broadcast(&self, tensor: &mut Tensor, root: usize) -> Result<(), CollectiveError> {
            self.0.broadcast(tensor, root)
        }

        fn barrier(&self) -> Result<(), CollectiveError> {
            self.0.barrier()
        }

        fn shutdown(&self) -> Result<(), CollectiveError> {
            self.0.shutdown()
        }
    }

    #[test]
    fn bytes_of_the_first_process_take_room_once() {
        let give = |member: Threads| {
            let own = vec![[3_u8, 9, 27][member.rank()]; 1000];
            let all = DataParallel::new(Arc::new(Narrow(member)), 3);
            let found = all.broadcast_bytes(own).expect("all are there");
            all.collective().shutdown().expect("all leave");
            found
        };
        std::thread::scope(|scope| {
            let members = Threads::group(3, Duration::from_secs(20)).into_iter();
            let threads = members.map(|member| scope.spawn(move || give(member)));
            for thread in threads.collect::<Vec<_>>() {
                assert_eq!(thread.join().expect("no panic"), [3; 1000]);
            }
        });
    }

    #[test]
    fn workers_are_dealt_to_processes_in_rounds() {
        let rounds = |world_size: usize, workers: usize| {
            let members = Threads::group(world_size, Duration::from_secs(1));
            let rounds = members.into_iter().map(|member| {
                let all = DataParallel::new(Arc::new(member), workers);
                all.rounds().map(|round| (round.worker, round.present)).collect::<Vec<_>>()
            });
            rounds.collect::<Vec<_>>()
        };
        assert_eq!(rounds(1, 3), [[(Some(0), 1), (Some(1), 1), (Some(2), 1)]]);
        assert_eq!(rounds(2, 3), [[(Some(0), 2), (Some(2), 1)], [(Some(1), 2), (None, 1)]]);
        assert_eq!(rounds(2, 2), [[(Some(0), 2)], [(Some(1), 2)]]);
    }
}
