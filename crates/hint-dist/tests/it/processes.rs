//! Groups of real processes: this test program starts itself.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use hint_dist::{Collective, CollectiveError, Gloo, PeerState, Rendezvous, Timeouts};
use tch::{Kind, Tensor};

/// The rank of a child.
const RANK: &str = "HINT_DIST_TEST_RANK";
/// The scenarios of a child, each with a port.
const PLAN: &str = "HINT_DIST_TEST_PLAN";
/// The number of children.
const WORLD: &str = "HINT_DIST_TEST_WORLD";
/// The mark of a finding in the output of a child.
const MARK: &str = "FOUND ";

/// A port that nobody listens at. It is below those that the system gives to connections, one of which could take it
/// before a process listens.
fn free_port() -> u16 {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let next = || 37 * std::process::id() + TAKEN.fetch_add(1, Ordering::Relaxed);
    let mut ports =
        std::iter::repeat_with(|| 20_000 + u16::try_from(next() % 10_000).expect("small"));
    ports.find(is_free).expect("there is no end")
}

/// Starts `world_size` processes that go through `scenarios`, and returns what each of them found, by rank and scenario.
fn processes(world_size: usize, scenarios: &[&str]) -> Vec<Vec<Result<(), CollectiveError>>> {
    let plan = scenarios.iter().map(|name| format!("{name}={}", free_port()));
    let plan = plan.collect::<Vec<_>>().join(",");
    let program = std::env::current_exe().expect("a test program");
    let start = |rank: usize| {
        Command::new(&program)
            .args(["--exact", "processes::member", "--nocapture"])
            .env(RANK, rank.to_string())
            .env(WORLD, world_size.to_string())
            .env(PLAN, &plan)
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process")
    };
    let children = (0..world_size).map(start).collect::<Vec<_>>();
    let found = |mut child: Child| {
        // A member that hangs must not hang the suite.
        for _ in 0..1200 {
            if child.try_wait().expect("a child can be asked").is_some() {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let _ = child.kill();
        let output = child.wait_with_output().expect("it ends");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let lines = text.lines().filter_map(|line| line.split_once(MARK));
        lines.map(|(_, json)| serde_json::from_str(json).expect("a finding")).collect()
    };
    children.into_iter().map(found).collect()
}

/// A child of [`processes`]; nothing where no scenario is given.
#[test]
#[expect(clippy::disallowed_methods, reason = "the parent tells its children what to do")]
fn member() {
    let Ok(plan) = std::env::var(PLAN) else { return };
    let number = |name| std::env::var(name).expect("set").parse::<usize>().expect("a number");
    let (rank, world_size) = (number(RANK), number(WORLD));
    tch::set_num_threads(1);
    for step in plan.split(',') {
        let (name, port) = step.split_once('=').expect("a scenario and a port");
        let rendezvous =
            Rendezvous::new(rank, world_size, "127.0.0.1", port.parse().expect("a port"));
        let found = scenario(name, rendezvous);
        println!("{MARK}{}", serde_json::to_string(&found).expect("JSON"));
    }
}

fn scenario(name: &str, mut rendezvous: Rendezvous) -> Result<(), CollectiveError> {
    let (rank, timeouts) = (rendezvous.rank, Timeouts::default());
    let is = |other: usize| rank == other;
    match name {
        "operations" => {
            let member = Gloo::connect(&rendezvous, timeouts)?;
            operations(&member)?;
            member.shutdown()
        }
        "duplicate" => {
            let member = Gloo::connect(&rendezvous, timeouts)?;
            let second = member.duplicate()?;
            second.duplicate().expect_err("one is enough");
            let again = member.duplicate()?;
            std::thread::scope(|scope| {
                let beside = scope.spawn(|| (0..20).try_for_each(|_| operations(&*second)));
                (0..20).try_for_each(|_| operations(&member))?;
                beside.join().expect("no panic")
            })?;
            // It is the same one, whose operations go on where they were.
            again.barrier()?;
            member.shutdown()
        }
        // A rank that came to all operations of the group does not come to one of the duplicate.
        "late beside" => {
            let deadline = Duration::from_secs(4);
            let member = Gloo::connect(&rendezvous, timeouts.with_operation(deadline))?;
            let second = member.duplicate()?;
            member.barrier()?;
            while is(2) && member.failure().is_none() {
                std::thread::sleep(Duration::from_millis(20));
            }
            second.barrier()
        }
        "abort beside" => {
            let member = Gloo::connect(&rendezvous, timeouts)?;
            let second = member.duplicate()?;
            if is(1) {
                second.abort("no memory");
            }
            member.barrier()
        }
        "mismatch" => {
            let member = Gloo::connect(&rendezvous, timeouts)?;
            let mut tensor = Tensor::zeros([if is(1) { 50 } else { 4 }], FLOAT);
            member.all_reduce(&mut tensor)
        }
        "late" => {
            let deadline = Duration::from_secs(4);
            let member = Gloo::connect(&rendezvous, timeouts.with_operation(deadline))?;
            while is(2) && member.failure().is_none() {
                std::thread::sleep(Duration::from_millis(20));
            }
            member.barrier()
        }
        "abort" => {
            let member = Gloo::connect(&rendezvous, timeouts)?;
            if is(1) {
                member.abort("no memory");
            }
            member.barrier()
        }
        "world_size" => {
            rendezvous.world_size += usize::from(is(1));
            Gloo::connect(&rendezvous, timeouts).map(|_| ())
        }
        // The others connect, and this rank cannot.
        "no address" => {
            rendezvous.bind_address = is(1).then(|| NOWHERE.to_owned());
            Gloo::connect(&rendezvous, timeouts).map(|_| ())
        }
        "missing" => {
            let timeouts = timeouts.with_rendezvous(Duration::from_secs(5));
            if is(2) { Ok(()) } else { Gloo::connect(&rendezvous, timeouts).map(|_| ()) }
        }
        // The others wait for a rank that ends.
        "dead 1" | "dead 0" => {
            let member = Gloo::connect(&rendezvous, timeouts)?;
            if name.ends_with(&rank.to_string()) {
                die();
            }
            member.all_reduce(&mut Tensor::zeros([4], FLOAT))
        }
        // The other waits for a rank whose machine does not answer any more, the store neither. Or it computes, or opens a
        // second group.
        "stopped 0" | "stopped unnoticed" | "stopped beside" => {
            // Longer than a busy machine keeps a thread waiting.
            let timeouts = timeouts.with_heartbeat(Duration::from_secs(4));
            let member = Gloo::connect(&rendezvous, timeouts)?;
            let ids = member.all_gather_bytes(std::process::id().to_string().as_bytes())?;
            let first = String::from_utf8_lossy(&ids[0]).into_owned();
            let signal = |name: &str| Command::new("kill").args([name, &first]).status();
            if is(0) {
                let _ = signal("-STOP");
                // Another thread takes the signal; this one must not get to the barrier before.
                std::thread::sleep(Duration::from_secs(5));
            }
            let found = match name {
                "stopped 0" => member.barrier(),
                "stopped unnoticed" => until_noticed(&member),
                _ => {
                    // That rank has stopped by now.
                    std::thread::sleep(Duration::from_secs(1));
                    member.duplicate().map(|_| ())
                }
            };
            drop(member);
            let _ = signal("-9");
            found
        }
        // Two ask for a GPU that no machine has, and one for none.
        #[cfg(feature = "nccl")]
        "no gpu" => {
            let gloo = std::sync::Arc::new(Gloo::connect(&rendezvous, timeouts)?);
            let device = if is(1) { tch::Device::Cpu } else { tch::Device::Cuda(1000) };
            let found = hint_dist::Nccl::connect(gloo.clone(), device).map(|_| ());
            operations(&*gloo)?;
            gloo.shutdown()?;
            found
        }
        // The others compute while a rank ends.
        "dead unnoticed" => {
            let member =
                Gloo::connect(&rendezvous, timeouts.with_heartbeat(Duration::from_secs(5)))?;
            if is(1) {
                die();
            }
            until_noticed(&member)
        }
        other => panic!("no scenario `{other}`"),
    }
}

/// Computes until the group has failed, for half a minute at most.
fn until_noticed(member: &dyn Collective) -> Result<(), CollectiveError> {
    for _ in 0..1500 {
        if let Some(failure) = member.failure() {
            return Err(failure);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Of a network for documentation: no machine has it.
const NOWHERE: &str = "192.0.2.1";

const FLOAT: (Kind, tch::Device) = (Kind::Float, tch::Device::Cpu);

/// Ends this process as `kill -9` does.
fn die() -> ! {
    let id = std::process::id().to_string();
    let _ = Command::new("kill").args(["-9", &id]).status();
    unreachable!("killed")
}

/// Compares every operation with what it must give.
fn operations(member: &dyn Collective) -> Result<(), CollectiveError> {
    let (rank, world_size) = (member.rank(), member.world_size());
    let number = |value: usize| f32::from(u8::try_from(value).expect("small"));
    let own = (0..world_size).map(|part| number(10 * rank + part)).collect::<Vec<_>>();
    let own = Tensor::from_slice(&own);
    let floats = |tensor: &Tensor| Vec::<f32>::try_from(tensor.view([-1])).expect("numbers");
    let mut parts = own.zeros_like();
    member.all_to_all(&mut parts, &own)?;
    let expected = (0..world_size).map(|from| number(10 * from + rank)).collect::<Vec<_>>();
    assert_eq!(floats(&parts), expected);
    let mut sum = parts.sum(Kind::Float).view([1]);
    let last = i64::try_from(world_size).expect("small");
    let mut all = Tensor::zeros([last, last], FLOAT);
    member.all_gather(&mut all, &own)?;
    let expected =
        (0..world_size).flat_map(|from| (0..world_size).map(move |part| number(10 * from + part)));
    assert_eq!(floats(&all), expected.collect::<Vec<_>>());
    member.broadcast(&mut sum, world_size - 1)?;
    let expected = (0..world_size).map(|from| number(10 * from + world_size - 1)).sum::<f32>();
    assert_eq!(floats(&sum), [expected]);
    // Gloo itself does not have this kind.
    let mut root = Tensor::from_slice(&[i16::try_from(rank).expect("small")]);
    member.broadcast(&mut root, world_size - 1)?;
    assert_eq!(root.int64_value(&[0]), last - 1);
    // In f32, (1e8 − 1e8) + 1 is 1 and 1e8 + (1 − 1e8) is 0.
    let mut ordered = Tensor::from_slice(&[[1e8_f32, -1e8, 1.0][rank]; 5]);
    member.all_reduce(&mut ordered)?;
    assert_eq!(floats(&ordered), [1.0; 5]);
    let mut part = Tensor::zeros([1], FLOAT);
    member.reduce_scatter(&mut part, &own)?;
    // Rank `r` brings `10 r + rank`, for every `r`.
    let expected = (0..world_size).map(|from| number(10 * from + rank)).sum::<f32>();
    assert_eq!(floats(&part), [expected]);
    let input = Tensor::from_slice(&vec![[1e8_f32, -1e8, 1.0][rank]; 2 * world_size]);
    let mut part = Tensor::zeros([2], FLOAT);
    member.reduce_scatter(&mut part, &input)?;
    assert_eq!(floats(&part), [1.0; 2]);
    assert_eq!(member.all_gather_bytes(&vec![7; rank])?[world_size - 1], vec![7; world_size - 1]);
    assert_eq!(member.broadcast_bytes(format!("from {rank}").as_bytes())?, b"from 0");
    Ok(())
}

fn peer(ranks: &[usize], state: PeerState) -> Result<(), CollectiveError> {
    Err(CollectiveError::Peer { ranks: ranks.to_vec(), state })
}

#[test]
fn every_rank_finds_the_same() {
    let scenarios =
        ["operations", "mismatch", "late", "abort", "world_size", "no address", "dead 1"];
    let found = processes(3, &scenarios);
    let text = |len: usize| format!("`all_to_all` of {len} elements (Float)");
    let processes = |world_size: usize| format!("a group of {world_size} processes");
    let error = TcpListener::bind((NOWHERE, 0)).expect_err("no machine has it");
    let no_address = format!(
        "`{NOWHERE}` is no address of this machine ({error}); give another one as `--bind-address`"
    );
    let expected = [
        Ok(()),
        Err(CollectiveError::Mismatch { rank: 1, expected: text(6), found: text(51) }),
        peer(&[2], PeerState::Late { seconds: 4 }),
        peer(&[1], PeerState::Failed { reason: "no memory".to_owned() }),
        Err(CollectiveError::Mismatch { rank: 1, expected: processes(3), found: processes(4) }),
        peer(&[1], PeerState::Failed { reason: no_address }),
        peer(&[1], PeerState::Ended),
    ];
    for (rank, found) in found.into_iter().enumerate() {
        // The rank that was killed could not say what it found.
        let told = if rank == 1 { 6 } else { 7 };
        assert_eq!(found, expected[..told], "rank {rank}");
    }
}

#[test]
fn a_duplicate_goes_its_own_way_and_fails_with_its_group() {
    let found = processes(3, &["duplicate", "late beside", "abort beside"]);
    let late = peer(&[2], PeerState::Late { seconds: 4 });
    let failed = peer(&[1], PeerState::Failed { reason: "no memory".to_owned() });
    for (rank, found) in found.into_iter().enumerate() {
        assert_eq!(found, [Ok(()), late.clone(), failed.clone()], "rank {rank}");
    }
}

#[test]
fn a_rank_that_ends_or_never_comes_is_named_whoever_serves_the_store() {
    // First together, since some start later than others.
    let of_three = ["operations", "missing", "dead unnoticed"];
    // The groups wait most of the time.
    let groups: [(usize, &[&str]); 5] = [
        (3, &of_three),
        (2, &["dead 0"]),
        (2, &["stopped 0"]),
        (2, &["stopped unnoticed"]),
        (2, &["stopped beside"]),
    ];
    let [of_three, ends @ ..] = std::thread::scope(|scope| {
        let start = |(world_size, scenarios)| scope.spawn(move || processes(world_size, scenarios));
        groups.map(start).map(|group| group.join().expect("no panic"))
    });
    let missing = peer(&[2], PeerState::Late { seconds: 5 });
    let ended = peer(&[1], PeerState::Ended);
    assert_eq!(of_three[0], [Ok(()), missing.clone(), ended.clone()]);
    assert_eq!(of_three[1], [Ok(()), missing]);
    assert_eq!(of_three[2], [Ok(()), Ok(()), ended]);
    for (found, (_, scenario)) in ends.iter().zip(&groups[1..]) {
        assert_eq!(found[1], [peer(&[0], PeerState::Ended)], "{scenario:?}");
    }
}

#[cfg(feature = "nccl")]
#[test]
fn ranks_without_gpus_know_why_and_go_on_over_gloo() {
    let found = processes(3, &["no gpu"]);
    for (rank, found) in found.iter().enumerate() {
        let [Err(CollectiveError::NoNccl { ranks, reason })] = &found[..] else {
            panic!("rank {rank}: {found:?}");
        };
        assert_eq!(ranks, &[0, 2], "rank {rank}");
        assert!(reason.starts_with("it asks for GPU 1000, and libtorch sees "), "{reason}");
    }
}

#[test]
fn settings_that_cannot_be_are_refused() {
    let message = |rendezvous: &Rendezvous| {
        let timeouts = Timeouts::default().with_rendezvous(Duration::from_millis(300));
        Gloo::connect(rendezvous, timeouts).expect_err("no group").to_string()
    };
    let found = message(&Rendezvous::new(2, 2, "127.0.0.1", 1));
    assert!(found.contains("found rank 2 of 2"), "{found}");
    let found = message(&Rendezvous::new(1, 2, "127.0.0.1", free_port()));
    assert!(found.contains("there is no store of rank 0 at `127.0.0.1:"), "{found}");
}
