//! The same in real processes, over Gloo: this test program starts itself.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;

use hint_dist::{Collective, Gloo, Rendezvous, Timeouts};
use hint_grpo::advantage::{AdvantageConfig, Baseline};
use hint_grpo::{GrpoConfig, GrpoError};
use hint_rollout::collect::curriculum::{DynamicSampling, SignalCriterion};

use super::{Scenario, assert_same, outcome, shared_config};

/// Variable of a child: its rank, the number of processes, the port, the steps, and the folder of the run.
const CHILD: &str = "HINT_TESTS_MEMBER";

/// Steps of the run whose processes are killed: enough that the last one is far, on a busy machine as well.
const STEPS: u64 = 16;

/// Batch-normalized advantages and dynamic sampling, which every rank must see alike.
fn run_config(steps: u64) -> GrpoConfig {
    let mut config = shared_config(steps);
    config.run.checkpoint_every = 1;
    config.advantage = AdvantageConfig::BatchNormalized { baseline: Baseline::Group };
    config.rollout.dynamic_sampling =
        DynamicSampling::UntilSignal { max_rounds: 3, criterion: SignalCriterion::Verdicts };
    config
}

/// A run whose processes each hold a part of the optimizer's state.
const RUN: Scenario = Scenario { lora: false, wide: true, stop: None };

/// A port that nobody listens at.
pub(super) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

/// Starts `world_size` processes of the run in `dir`.
fn start(world_size: usize, steps: u64, dir: &Path) -> Vec<Child> {
    let port = free_port();
    let start = |rank: usize| {
        let told = format!("{rank} {world_size} {port} {steps} {}", dir.display());
        Command::new(std::env::current_exe().expect("tests are files"))
            .args(["--exact", "distributed::processes::member", "--nocapture"])
            .env(CHILD, told)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the test can start itself")
    };
    (0..world_size).map(start).collect()
}

/// The exit status of each process, and its errors.
fn wait(children: Vec<Child>) -> Vec<(ExitStatus, String)> {
    let wait = |child: Child| {
        let output = child.wait_with_output().expect("a child can be awaited");
        (output.status, String::from_utf8_lossy(&output.stderr).into_owned())
    };
    children.into_iter().map(wait).collect()
}

/// A child of [`start`]; nothing where nobody started it.
#[test]
#[expect(clippy::disallowed_methods, reason = "tells the child process from the test")]
fn member() {
    let Ok(told) = std::env::var(CHILD) else { return };
    let [rank, world_size, port, steps, dir] = told.splitn(5, ' ').collect::<Vec<_>>()[..] else {
        panic!("five words")
    };
    let number = |text: &str| text.parse::<usize>().expect("a number");
    let port = port.parse().expect("a port");
    let config = run_config(steps.parse().expect("a number"));
    let rendezvous = Rendezvous::new(number(rank), number(world_size), "127.0.0.1", port);
    let group = Arc::new(Gloo::connect(&rendezvous, Timeouts::default()).expect("all are there"));
    let collective = Arc::clone(&group) as Arc<dyn Collective>;
    let result = RUN.run(&config, Path::new(dir), collective);
    match result {
        Ok(_) => group.shutdown().expect("all leave"),
        Err(GrpoError::Collective(error)) => panic!("typed: {error}"),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn real_processes_end_with_the_bytes_of_one() {
    let whole = RUN.outcome_in(1, &run_config(5));
    for world_size in [2, 3] {
        let dir = tempfile::tempdir().expect("a temporary folder");
        for (status, errors) in wait(start(world_size, 5, dir.path())) {
            assert!(status.success(), "{errors}");
        }
        assert_same(&format!("{world_size} processes"), &outcome(dir.path()), &whole);
    }
}

/// Kills ranks in the middle of the run, and starts all of them again each time.
#[test]
fn killed_processes_go_on_from_the_last_step() {
    let whole = RUN.outcome_in(1, &run_config(STEPS));
    let dir = tempfile::tempdir().expect("a temporary folder");
    let newest = || {
        let checkpoints = hint_grpo::RunDir::checkpoints(dir.path()).expect("a folder");
        checkpoints.last().map(|(step, _)| *step)
    };
    for killed in [1, 0] {
        let after = newest().map_or(1, |step| step + 1);
        let mut children = start(2, STEPS, dir.path());
        while newest().is_none_or(|step| step < after) {
            let ended = children[killed].try_wait().expect("a child can be asked");
            assert_eq!(ended, None, "it ended before it was killed");
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        children[killed].kill().expect("a child can be killed");
        let ended = wait(children);
        let (status, errors) = &ended[1 - killed];
        assert!(!status.success(), "the other one must not continue");
        let expected = format!("typed: rank {killed} has ended");
        assert!(errors.contains(&expected), "{errors}");
    }
    for (status, errors) in wait(start(2, STEPS, dir.path())) {
        assert!(status.success(), "{errors}");
    }
    assert_same("killed twice", &outcome(dir.path()), &whole);
}
