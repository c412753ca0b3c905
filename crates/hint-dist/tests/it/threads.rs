//! Groups of threads, and one process alone.

use std::time::Duration;

use hint_dist::{Collective, CollectiveError, PeerState, Single, Threads};
use tch::{Kind, Tensor};

/// The results of `world_size` threads.
fn on_threads<T: Send>(
    world_size: usize,
    deadline: Duration,
    work: impl Fn(Threads) -> T + Sync,
) -> Vec<T> {
    let members = Threads::group(world_size, deadline);
    std::thread::scope(|scope| {
        let threads = members.into_iter().map(|member| scope.spawn(|| work(member)));
        let threads = threads.collect::<Vec<_>>();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    })
}

fn floats(tensor: &Tensor) -> Vec<f64> {
    Vec::try_from(tensor.to_kind(Kind::Double).view([-1])).expect("numbers")
}

#[test]
fn traits_are_dyn_compatible() {
    fn boxed(_: Box<dyn Collective>) {}
    boxed(Box::new(Single));
}

#[test]
fn threads_see_what_every_rank_brings() {
    let results = on_threads(3, Duration::from_secs(20), |member| {
        let rank = i32::try_from(member.rank()).expect("small");
        let own = Tensor::from_slice(&[rank * 3, rank * 3 + 1, rank * 3 + 2]);
        let mut parts = own.zeros_like();
        member.all_to_all(&mut parts, &own)?;
        let mut all = Tensor::zeros([3, 3], (Kind::Int, own.device()));
        member.all_gather(&mut all, &own)?;
        let mut reduced = Tensor::from_slice(&[rank, 1, 1, 10]).view([2, 2]);
        member.all_reduce(&mut reduced)?;
        let mut part = Tensor::zeros([1], (Kind::Int, own.device()));
        member.reduce_scatter(&mut part, &own)?;
        let mut root = own.copy();
        member.broadcast(&mut root, 2)?;
        let texts = member.all_gather_bytes(&vec![7; member.rank()])?;
        let shared = member.broadcast_bytes(format!("from {rank}").as_bytes())?;
        member.shutdown()?;
        Ok::<_, CollectiveError>((
            [parts, all, reduced, part, root].map(|tensor| floats(&tensor)),
            texts,
            String::from_utf8(shared).expect("text"),
        ))
    });
    for (rank, result) in results.into_iter().enumerate() {
        let ([parts, all, reduced, part, root], texts, shared) = result.expect("all ranks agree");
        let rank = f64::from(u8::try_from(rank).expect("small"));
        assert_eq!(parts, [rank, 3.0 + rank, 6.0 + rank]);
        assert_eq!(all, (0..9).map(f64::from).collect::<Vec<_>>());
        assert_eq!(reduced, [3.0, 3.0, 3.0, 30.0]);
        // Each rank `r` brings `3 r + rank` for this one.
        assert_eq!(part, [9.0 + 3.0 * rank]);
        assert_eq!(root, [6.0, 7.0, 8.0]);
        assert_eq!(texts, [vec![], vec![7], vec![7, 7]]);
        assert_eq!(shared, "from 0");
    }
}

#[test]
fn sums_are_in_the_order_of_the_ranks() {
    // In f32, (1e8 − 1e8) + 1 is 1 and 1e8 + (1 − 1e8) is 0.
    let values = [1e8_f32, -1e8, 1.0];
    let sums = on_threads(3, Duration::from_secs(20), |member| {
        let mut sum = Tensor::from_slice(&[values[member.rank()]; 4]);
        member.all_reduce(&mut sum).expect("all ranks agree");
        let input = Tensor::from_slice(&[values[member.rank()]; 6]);
        let mut part = Tensor::zeros([2], (Kind::Float, tch::Device::Cpu));
        member.reduce_scatter(&mut part, &input).expect("all ranks agree");
        member.shutdown().expect("all ranks leave");
        [floats(&sum), floats(&part)]
    });
    assert_eq!(sums, vec![[vec![1.0; 4], vec![1.0; 2]]; 3]);
}

#[track_caller]
fn all_find(expected: &CollectiveError, found: Vec<Result<(), CollectiveError>>) {
    for found in found {
        assert_eq!(found.as_ref(), Err(expected));
    }
}

fn failed(rank: usize, reason: &str) -> CollectiveError {
    let state = PeerState::Failed { reason: reason.to_owned() };
    CollectiveError::Peer { ranks: vec![rank], state }
}

#[test]
fn a_rank_that_leaves_early_or_gives_up_is_named_on_every_rank() {
    let found = on_threads(3, Duration::from_secs(20), |member| {
        member.barrier()?;
        if member.rank() == 1 {
            let (group, ()) = (member.failure(), drop(member));
            assert_eq!(group, None);
            return Err(failed(1, "it left before the end"));
        }
        member.barrier()
    });
    all_find(&failed(1, "it left before the end"), found);

    let found = on_threads(2, Duration::from_secs(20), |member| {
        if member.rank() == 0 {
            member.abort("no memory");
        }
        member.barrier()
    });
    all_find(&failed(0, "no memory"), found);
}

#[test]
fn a_late_rank_is_named_on_every_rank() {
    // Long enough for a thread to start on a busy machine.
    let found = on_threads(3, Duration::from_secs(2), |member| {
        if member.rank() == 2 {
            while member.failure().is_none() {
                std::thread::yield_now();
            }
        }
        member.barrier()
    });
    let state = PeerState::Late { seconds: 2 };
    all_find(&CollectiveError::Peer { ranks: vec![2], state }, found);
}

#[test]
fn a_duplicate_goes_its_own_way_and_fails_with_its_group() {
    let found = on_threads(2, Duration::from_secs(20), |member| {
        let (second, rank) = (member.duplicate()?, member.rank());
        let own = u8::try_from(rank).expect("small");
        let both = std::thread::scope(|scope| {
            let beside = scope.spawn(|| {
                let first = second.all_gather_bytes(&[own])?;
                Ok::<_, CollectiveError>((first, second.all_gather_bytes(&[own + 2])?))
            });
            // Rank 1 comes to its own operations when the other thread has done its own.
            let beside = if rank == 1 { Ok(beside.join()) } else { Err(beside) };
            let here = member.all_gather_bytes(&[own + 4]);
            let beside =
                beside.unwrap_or_else(std::thread::ScopedJoinHandle::join).expect("no panic");
            Ok::<_, CollectiveError>((beside?, here?))
        })?;
        assert_eq!(
            both,
            ((vec![vec![0], vec![1]], vec![vec![2], vec![3]]), vec![vec![4], vec![5]])
        );
        if rank == 1 {
            second.abort("no memory");
        }
        member.barrier()
    });
    all_find(&failed(1, "no memory"), found);
}

#[test]
fn ranks_that_call_different_operations_find_the_same_mismatch() {
    let found = on_threads(3, Duration::from_secs(20), |member| {
        let len = if member.rank() == 1 { 5 } else { 4 };
        let own = Tensor::zeros([len], (Kind::Float, tch::Device::Cpu));
        let mut all = Tensor::zeros([3 * len], (Kind::Float, tch::Device::Cpu));
        member.all_gather(&mut all, &own)
    });
    let text = |len: usize| format!("`all_gather` of {len} elements (Float)");
    all_find(&CollectiveError::Mismatch { rank: 1, expected: text(4), found: text(5) }, found);
}

#[test]
fn tensors_that_do_not_fit_are_refused() {
    let four = Tensor::from_slice(&[1, 2, 3, 4]);
    let message =
        |error: Result<(), CollectiveError>| error.expect_err("a wrong shape").to_string();
    let mut three = Tensor::from_slice(&[0; 3]);
    let found = message(Single.all_gather(&mut three, &four));
    assert_eq!(found, "`all_gather` needs an output of 4 Int, found 3 Int");
    let mut floats = Tensor::from_slice(&[0.0_f32; 4]);
    let found = message(Single.all_to_all(&mut floats, &four));
    assert_eq!(found, "`all_to_all` needs an output of 4 Int, found 4 Float");
    let found = message(Single.reduce_scatter(&mut three, &four));
    assert_eq!(
        found,
        "`reduce_scatter` needs an input of 3 Int, and contiguous tensors, found 4 Int"
    );
    assert!(message(Single.broadcast(&mut three, 1)).contains("a root below 1"));
    // Alone, every operation is a copy.
    let mut copy = four.zeros_like();
    Single.all_gather(&mut copy, &four).expect("it fits");
    assert_eq!(copy, four);
    let mut sum = four.zeros_like();
    Single.reduce_scatter(&mut sum, &four).expect("it fits");
    assert_eq!(sum, four);
}
