//! Processes that each hold a part of the weights, and give them to each other while they wait.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hint_dist::{Collective, CollectiveError};
use tch::{Device, Kind, Tensor};

/// A process that waits for the others at an operation of the group, in place of the number of a part.
const WAITS: i64 = -1;

/// Parts of something that every process holds a share of.
pub(crate) trait Lend: Debug + Send {
    /// Gives the part with this index to the processes that want it. All of them call it at the same time.
    fn lend(
        &mut self,
        index: usize,
        is_wanted: bool,
        collective: &dyn Collective,
    ) -> Result<(), CollectiveError>;
}

/// A group whose processes need parts from each other between its operations.
///
/// They have passes of different numbers and lengths. So a process that has come to an operation helps the others until all
/// have come to it. That happens in turns. In each one, every process tells which part it wants, or that it waits. Then all of
/// them exchange these parts, in the order of their indices. When all wait, the operation follows.
///
/// One thread of a process calls it at a time.
#[derive(Debug)]
pub(crate) struct Turns {
    group: Arc<dyn Collective>,
    lender: Mutex<Option<Box<dyn Lend>>>,
}

impl Turns {
    /// The processes of `group`, without parts.
    pub(crate) fn new(group: Arc<dyn Collective>) -> Self {
        Self { group, lender: Mutex::default() }
    }

    /// From now on processes may want parts. All of them must begin between the same operations.
    pub(crate) fn begin(&self, lender: Box<dyn Lend>) {
        *self.lock() = Some(lender);
    }

    /// Waits until no process wants a part any more.
    pub(crate) fn end(&self) -> Result<(), CollectiveError> {
        self.meet()?;
        *self.lock() = None;
        Ok(())
    }

    /// Gets a part from the others. An error where nobody lends any.
    pub(crate) fn want(&self, index: usize) -> Result<(), CollectiveError> {
        if self.lock().is_none() {
            return Err(CollectiveError::Backend {
                action: "gather weights".to_owned(),
                problem: "an update failed before all of them were there".to_owned(),
            });
        }
        let index = i64::try_from(index).expect("the number of a buffer");
        self.turn(index).map(|_| ())
    }

    /// Helps the others until all wait.
    fn meet(&self) -> Result<(), CollectiveError> {
        while !self.turn(WAITS)? {}
        Ok(())
    }

    /// Takes a turn. Whether all wait.
    fn turn(&self, own: i64) -> Result<bool, CollectiveError> {
        let mut lender = self.lock();
        let Some(lender) = lender.as_mut() else { return Ok(true) };
        let ranks = i64::try_from(self.group.world_size()).expect("a number of processes");
        let mut all = Tensor::zeros([ranks], (Kind::Int64, Device::Cpu));
        self.group.all_gather(&mut all, &Tensor::from_slice(&[own]))?;
        let all = (0..ranks).map(|rank| all.int64_value(&[rank]));
        let wanted = all.filter(|index| *index != WAITS).collect::<BTreeSet<_>>();
        for &index in &wanted {
            let place = usize::try_from(index).expect("the number of a buffer");
            lender.lend(place, index == own, &*self.group)?;
        }
        Ok(wanted.is_empty())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Box<dyn Lend>>> {
        self.lender.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collective for Turns {
    fn rank(&self) -> usize {
        self.group.rank()
    }

    fn world_size(&self) -> usize {
        self.group.world_size()
    }

    fn all_to_all(&self, output: &mut Tensor, input: &Tensor) -> Result<(), CollectiveError> {
        self.meet()?;
        self.group.all_to_all(output, input)
    }

    fn all_gather(&self, output: &mut Tensor, input: &Tensor) -> Result<(), CollectiveError> {
        self.meet()?;
        self.group.all_gather(output, input)
    }

    fn broadcast(&self, tensor: &mut Tensor, root: usize) -> Result<(), CollectiveError> {
        self.meet()?;
        self.group.broadcast(tensor, root)
    }

    fn barrier(&self) -> Result<(), CollectiveError> {
        self.meet()?;
        self.group.barrier()
    }

    /// That of the group itself: the other thread needs no parts, and lends none.
    fn duplicate(&self) -> Result<Arc<dyn Collective>, CollectiveError> {
        self.meet()?;
        self.group.duplicate()
    }

    fn failure(&self) -> Option<CollectiveError> {
        self.group.failure()
    }

    fn abort(&self, reason: &str) {
        self.group.abort(reason);
    }

    fn shutdown(&self) -> Result<(), CollectiveError> {
        self.group.shutdown()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hint_dist::Threads;

    use super::*;

    /// Every process holds a number. A part is the sum of all of them times its index.
    #[derive(Debug)]
    struct Sums {
        own: i64,
        got: Arc<Mutex<Vec<(usize, i64)>>>,
    }

    impl Lend for Sums {
        fn lend(
            &mut self,
            index: usize,
            is_wanted: bool,
            collective: &dyn Collective,
        ) -> Result<(), CollectiveError> {
            let factor = i64::try_from(index).expect("a small number");
            let mut sum = Tensor::from_slice(&[self.own * factor]);
            collective.all_reduce(&mut sum)?;
            if is_wanted {
                let mut got = self.got.lock().expect("no panic");
                got.push((index, sum.int64_value(&[0])));
            }
            Ok(())
        }
    }

    #[test]
    fn a_process_that_waits_gives_its_share_to_the_others() {
        let members = Threads::group(3, Duration::from_secs(20));
        std::thread::scope(|scope| {
            let threads = members.into_iter().map(|member| {
                scope.spawn(move || {
                    let member = Arc::new(member);
                    let rank = member.rank();
                    let turns = Turns::new(Arc::clone(&member) as Arc<dyn Collective>);
                    let got = Arc::new(Mutex::new(Vec::new()));
                    let own = [1, 10, 100][rank];
                    turns.begin(Box::new(Sums { own, got: Arc::clone(&got) }));
                    // The first process wants none, and the others want different ones.
                    let (none, third): (&[usize], &[usize]) = (&[], &[3]);
                    let wanted = [none, &[5], &[2, 5, 2, 7]][rank];
                    for &index in wanted {
                        turns.want(index).expect("the others help");
                    }
                    let mut total = Tensor::from_slice(&[own]);
                    turns.all_reduce(&mut total).expect("the others come");
                    assert_eq!(total.int64_value(&[0]), 111);
                    if rank == 0 {
                        turns.want(3).expect("the others help");
                    }
                    turns.end().expect("the others end");
                    turns.barrier().expect("nobody wants anything");
                    turns.want(3).expect_err("nobody lends any more");
                    member.shutdown().expect("all leave");
                    let got = got.lock().expect("no panic").clone();
                    let wanted = if rank == 0 { third } else { wanted };
                    let value = |index: &usize| {
                        (*index, 111 * i64::try_from(*index).expect("a small number"))
                    };
                    assert_eq!(got, wanted.iter().map(value).collect::<Vec<_>>());
                })
            });
            for thread in threads.collect::<Vec<_>>() {
                thread.join().expect("no panic");
            }
        });
    }

    /// A process that wants a part, or none, before it opens a second group. The first one uses both groups at the same time.
    fn use_a_second_group(member: Threads) {
        let member = Arc::new(member);
        let rank = member.rank();
        let turns = Turns::new(Arc::clone(&member) as Arc<dyn Collective>);
        let got = Arc::new(Mutex::new(Vec::new()));
        let own = [1, 10][rank];
        turns.begin(Box::new(Sums { own, got: Arc::clone(&got) }));
        if rank == 1 {
            turns.want(2).expect("the other one helps before it opens the group");
        }
        let second = turns.duplicate().expect("the group has one");
        let add = || {
            let mut total = Tensor::from_slice(&[own]);
            second.all_reduce(&mut total).expect("the other one comes");
            total.int64_value(&[0])
        };
        let total = if rank == 0 {
            std::thread::scope(|scope| {
                let beside = scope.spawn(add);
                turns.barrier().expect("the other one comes later");
                beside.join().expect("no panic")
            })
        } else {
            let total = add();
            turns.barrier().expect("the other one is there");
            total
        };
        assert_eq!(total, 11);
        turns.end().expect("the other one ends");
        member.shutdown().expect("all leave");
        let got = got.lock().expect("no panic").clone();
        assert_eq!(got, if rank == 1 { vec![(2, 22)] } else { Vec::new() });
    }

    #[test]
    fn a_second_group_takes_no_turns() {
        let members = Threads::group(2, Duration::from_secs(20));
        std::thread::scope(|scope| {
            let threads = members.into_iter();
            let threads = threads.map(|member| scope.spawn(move || use_a_second_group(member)));
            for thread in threads.collect::<Vec<_>>() {
                thread.join().expect("no panic");
            }
        });
    }
}
