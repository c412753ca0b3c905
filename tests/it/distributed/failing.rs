//! A rank whose group fails at its n-th operation, for every n. Every rank ends with a typed error, and the last
//! checkpoint is whole.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hint_dist::{Collective, CollectiveError, Threads};
use hint_grpo::{GrpoConfig, GrpoError, Outcome, RunDir, SupervisedTrainer};
use hint_policy::SharedPolicy;
use tch::Tensor;

use super::parameters::in_parts;
use super::sharded::{Coarse, WIDE, adamw, demonstrations};
use super::{Scenario, StopAfter, assert_same, outcome, shared_config};

/// Processes of a run.
const RANKS: usize = 2;

/// A rank whose operation number `at` fails before the others hear of it.
#[derive(Debug)]
struct Failing {
    inner: Arc<dyn Collective>,
    at: Option<usize>,
    /// Those of a duplicate as well.
    calls: Arc<AtomicUsize>,
}

impl Failing {
    fn call(&self) -> Result<(), CollectiveError> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        if self.at != Some(call) {
            return Ok(());
        }
        let action = format!("call operation {call}");
        Err(CollectiveError::Backend { action, problem: "the cable was cut".to_owned() })
    }
}

impl Collective for Failing {
    fn rank(&self) -> usize {
        self.inner.rank()
    }

    fn world_size(&self) -> usize {
        self.inner.world_size()
    }

    fn all_to_all(&self, output: &mut Tensor, input: &Tensor) -> Result<(), CollectiveError> {
        self.call()?;
        self.inner.all_to_all(output, input)
    }

    fn all_gather(&self, output: &mut Tensor, input: &Tensor) -> Result<(), CollectiveError> {
        self.call()?;
        self.inner.all_gather(output, input)
    }

    fn broadcast(&self, tensor: &mut Tensor, root: usize) -> Result<(), CollectiveError> {
        self.call()?;
        self.inner.broadcast(tensor, root)
    }

    fn barrier(&self) -> Result<(), CollectiveError> {
        self.call()?;
        self.inner.barrier()
    }

    fn duplicate(&self) -> Result<Arc<dyn Collective>, CollectiveError> {
        let (inner, calls) = (self.inner.duplicate()?, Arc::clone(&self.calls));
        Ok(Arc::new(Self { inner, at: self.at, calls }))
    }

    fn failure(&self) -> Option<CollectiveError> {
        self.inner.failure()
    }

    fn abort(&self, reason: &str) {
        self.inner.abort(reason);
    }
}

/// How a run of two ranks ended, on each: its result, and the operations that it called.
type Ended = Vec<(Result<Outcome, GrpoError>, usize)>;

/// Runs in two threads. The rank that `fails` names does so at its operation of that number.
fn run_failing(
    fails: Option<(usize, usize)>,
    run: impl Fn(Arc<dyn Collective>) -> Result<Outcome, GrpoError> + Sync,
) -> Ended {
    let one_of = |member: Threads| {
        let at = fails.filter(|(rank, _)| *rank == member.rank()).map(|(_, at)| at);
        let member = Arc::new(Failing { inner: Arc::new(member), at, calls: Arc::default() });
        let result = run(Arc::clone(&member) as Arc<dyn Collective>);
        if result.is_ok() {
            member.inner.shutdown().expect("all ranks leave");
        }
        (result, member.calls.load(Ordering::Relaxed))
    };
    let one_of = &one_of;
    std::thread::scope(|scope| {
        let members = Threads::group(RANKS, Duration::from_mins(2)).into_iter();
        let threads = members.map(|member| scope.spawn(move || one_of(member)));
        let threads = threads.collect::<Vec<_>>();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    })
}

/// Fails at every `stride`-th operation of each rank, of a new run and of one that continues after a step. The newest
/// checkpoint is whole each time, and from every `continued`-th on, the run continues to the files of an undisturbed one.
fn fail_at_every(
    (stride, continued): (usize, usize),
    run: impl Fn(&Path, Option<u64>, Arc<dyn Collective>) -> Result<Outcome, GrpoError> + Sync,
) {
    let root = tempfile::tempdir().expect("a temporary folder");
    let (whole, half) = (root.path().join("whole"), root.path().join("half"));
    let complete = |dir: &Path, stop: Option<u64>| {
        for (result, _) in run_failing(None, |collective| run(dir, stop, collective)) {
            result.expect("nothing fails");
        }
    };
    complete(&whole, None);
    complete(&half, Some(1));
    let expected = outcome(&whole);
    let fail_once = |rank: usize, at: usize, resumed: bool| {
        let what = format!("rank {rank} at {at}, resumed: {resumed}");
        let dir = tempfile::tempdir_in(root.path()).expect("a temporary folder");
        if resumed {
            copy(&half, dir.path());
        }
        let ended = run_failing(Some((rank, at)), |collective| run(dir.path(), None, collective));
        if ended.iter().all(|(result, _)| result.is_ok()) {
            assert!(at > 20 && ended[rank].1 <= at, "{what}: {ended:?}");
            return false;
        }
        for (number, (result, _)) in ended.iter().enumerate() {
            check_error(&what, number == rank, rank, result.as_ref().expect_err("all ranks fail"));
        }
        match RunDir::resume(dir.path()) {
            Ok(_) => {}
            Err(GrpoError::NoCheckpoint { .. }) => assert!(!resumed, "{what}"),
            Err(error) => panic!("{what}: {error}"),
        }
        if at / stride % continued == rank {
            complete(dir.path(), None);
            assert_same(&what, &outcome(dir.path()), &expected);
        }
        true
    };
    for resumed in [false, true] {
        for rank in 0..RANKS {
            let ends = (0..).step_by(stride).find(|at| !fail_once(rank, *at, resumed));
            assert!(ends.is_some(), "every run has an end");
        }
    }
}

/// An error is that of the rank that failed, and names it elsewhere.
fn check_error(what: &str, is_own: bool, rank: usize, error: &GrpoError) {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(source) = cause {
        text = format!("{text}: {source}");
        cause = source.source();
    }
    assert!(text.contains("the cable was cut"), "{what}: {text}");
    if !is_own {
        assert!(matches!(error, GrpoError::Collective(_)), "{what}: {text}");
        assert!(text.contains(&format!("rank {rank} failed")), "{what}: {text}");
    }
}

/// Copies a folder.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a writable folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).expect("a writable folder");
        }
    }
}

#[test]
fn a_group_that_fails_at_any_operation_leaves_a_whole_checkpoint() {
    let mut config: GrpoConfig = shared_config(2);
    config.run.virtual_workers = Some(RANKS);
    config.run.checkpoint_every = 1;
    config.optimizer.algorithm = adamw();
    fail_at_every((1, 5), |dir, stop, collective| {
        tch::set_num_threads(1);
        let policy = SharedPolicy::new(Coarse::new());
        let mut builder = SupervisedTrainer::builder(policy, config.clone());
        if collective.rank() == 0 {
            builder = builder.run_dir(RunDir::resume_or_create(dir, &config)?);
        }
        if let Some(step) = stop {
            builder = builder.observer(StopAfter(step));
        }
        builder.collective(collective).build()?.run(&demonstrations())
    });
}

#[test]
fn a_run_that_samples_survives_a_group_that_fails_at_many_operations() {
    let mut config = shared_config(2);
    config.run.virtual_workers = Some(RANKS);
    config.run.checkpoint_every = 1;
    config.evaluation.every = 1;
    fail_at_every((37, 2), |dir, stop, collective| {
        Scenario { stop, ..WIDE }.run(&config, dir, collective)
    });
    // Operations of two threads, in an order that timing decides.
    config.run.ahead = 1;
    config.run.steps = 3;
    fail_at_every((61, 2), |dir, stop, collective| {
        Scenario { stop, ..WIDE }.run(&config, dir, collective)
    });
}

#[test]
fn a_group_that_fails_while_it_gathers_weights_leaves_a_whole_checkpoint() {
    let mut config = in_parts(shared_config(2));
    config.run.virtual_workers = Some(RANKS);
    config.run.checkpoint_every = 1;
    // Most operations of a run gather weights.
    fail_at_every((401, 2), |dir, stop, collective| {
        Scenario { stop, ..WIDE }.run(&config, dir, collective)
    });
    // The thread that samples has operations of its own.
    config.run.ahead = 1;
    config.run.steps = 3;
    fail_at_every((701, 2), |dir, stop, collective| {
        Scenario { stop, ..WIDE }.run(&config, dir, collective)
    });
}
