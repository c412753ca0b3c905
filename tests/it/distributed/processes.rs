//! The same in real processes, over Gloo: this test program starts itself.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use hint_dist::{Collective, Gloo, Rendezvous, Timeouts};
use hint_grpo::advantage::{AdvantageConfig, Baseline};
use hint_grpo::{GrpoConfig, GrpoError, RunDir};
use hint_rollout::Seed;
use hint_rollout::collect::curriculum::{DynamicSampling, SignalCriterion};

use super::losses::any_loss;
use super::parameters::in_parts;
use super::{
    RUN, Scenario, any_seed, assert_same, outcome, preset, presets, shared_config, training,
};
use crate::killed::{announce, wait_until_ready};

/// Variable of a child: its rank, the number of processes, the port, and the seconds without a heartbeat. Then follow the run,
/// for [`run_of`], and its folder.
const CHILD: &str = "HINT_TESTS_MEMBER";

/// Steps of the run whose processes are killed.
const STEPS: u64 = 12;

/// How often one of them is killed.
const KILLS: u64 = 30;

/// The longest time before a kill.
const LONGEST: Duration = Duration::from_secs(3);

/// Seconds without a heartbeat after which a rank has ended.
const HEARTBEAT: u64 = 10;

/// The same where another rank is to find that out soon.
const SHORT_HEARTBEAT: u64 = 2;

/// Batch-normalized advantages and dynamic sampling, which every rank must see alike.
fn run_config(steps: u64) -> GrpoConfig {
    let mut config = shared_config(steps);
    config.run.checkpoint_every = 1;
    config.advantage = AdvantageConfig::BatchNormalized { baseline: Baseline::Group };
    config.rollout.dynamic_sampling =
        DynamicSampling::UntilSignal { max_rounds: 3, criterion: SignalCriterion::Verdicts };
    config
}

/// As [`run_config`], sampled ahead.
fn ahead_config(steps: u64) -> GrpoConfig {
    let mut config = run_config(steps);
    config.run.ahead = 1;
    config.evaluation.every = 2;
    config
}

/// The run whose processes keep their parts of the weights alone while they learn.
const PARTS: &str = "parts";

/// The same, sampled ahead.
const PARTS_AHEAD: &str = "parts-ahead";

/// A run with the loss of a seed, which follows.
const LOSS: &str = "loss-";

/// The run that a child is told: so many steps of [`RUN`], also sampled ahead, [`PARTS`], [`PARTS_AHEAD`], [`LOSS`], or a
/// preset.
fn run_of(told: &str) -> (Scenario, GrpoConfig) {
    let number = |text: &str| text.parse::<u64>().ok();
    if let Some(steps) = number(told) {
        return (RUN, run_config(steps));
    }
    if let Some(seed) = told.strip_prefix(LOSS).and_then(number) {
        return (RUN, any_loss(Seed::new(seed)));
    }
    if told == PARTS {
        return (RUN, in_parts(run_config(3)));
    }
    if told == PARTS_AHEAD {
        return (RUN, in_parts(ahead_config(3)));
    }
    match told.strip_prefix("ahead-").and_then(number) {
        Some(steps) => (RUN, ahead_config(steps)),
        None => (Scenario::default(), preset(told)),
    }
}

/// A port that nobody listens at. It is below those that the system gives to connections, one of which could take it
/// before a process listens.
pub(super) fn free_port() -> u16 {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let next = || 37 * std::process::id() + TAKEN.fetch_add(1, Ordering::Relaxed);
    let mut ports =
        std::iter::repeat_with(|| 20_000 + u16::try_from(next() % 10_000).expect("small"));
    ports.find(is_free).expect("there is no end")
}

/// Starts `world_size` processes of the run in `dir` that [`run_of`] returns for `run`.
fn start(world_size: usize, run: &str, heartbeat: u64, dir: &Path) -> Vec<Child> {
    let port = free_port();
    let start = |rank: usize| {
        let told = format!("{rank} {world_size} {port} {heartbeat} {run} {}", dir.display());
        Command::new(std::env::current_exe().expect("tests are files"))
            .args(["--exact", "distributed::processes::member", "--nocapture"])
            .env(CHILD, told)
            .stdout(Stdio::piped())
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

/// Runs `world_size` processes to the end.
fn complete(world_size: usize, run: &str, dir: &Path) {
    for (status, errors) in wait(start(world_size, run, HEARTBEAT, dir)) {
        assert!(status.success(), "`{run}` in {world_size} processes: {errors}");
    }
}

/// Compares 2 and 3 processes with one.
fn assert_same_as_one(told: &str) {
    let (run, config) = run_of(told);
    let whole = run.outcome_in(1, &config);
    for world_size in [2, 3] {
        let dir = tempfile::tempdir().expect("a temporary folder");
        complete(world_size, told, dir.path());
        let GrpoConfig { loss, advantage, .. } = &config;
        let what = format!("`{told}` in {world_size} processes, {loss:?} {advantage:?}");
        assert_same(&what, &outcome(dir.path()), &whole);
    }
}

/// A child of [`start`]; nothing where nobody started it.
#[test]
#[expect(clippy::disallowed_methods, reason = "tells the child process from the test")]
fn member() {
    let Ok(told) = std::env::var(CHILD) else { return };
    let [rank, world_size, port, heartbeat, run, dir] = told.splitn(6, ' ').collect::<Vec<_>>()[..]
    else {
        panic!("six words")
    };
    let number = |text: &str| text.parse::<usize>().expect("a number");
    let heartbeat = Duration::from_secs(heartbeat.parse().expect("a number"));
    let timeouts = Timeouts::default().with_heartbeat(heartbeat);
    let port = port.parse().expect("a port");
    let rendezvous = Rendezvous::new(number(rank), number(world_size), "127.0.0.1", port);
    let (scenario, config) = run_of(run);
    let train = || {
        let group = Arc::new(Gloo::connect(&rendezvous, timeouts)?);
        let collective = Arc::clone(&group) as Arc<dyn Collective>;
        let mut trainer = scenario.build(&config, Path::new(dir), collective)?;
        announce();
        trainer.run(&training())?;
        drop(trainer);
        group.shutdown()?;
        Ok::<_, GrpoError>(())
    };
    match train() {
        Ok(()) => {}
        Err(GrpoError::Collective(error)) => panic!("typed: {error}"),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn real_processes_end_with_the_bytes_of_one() {
    assert_same_as_one("5");
}

#[test]
fn real_processes_that_sample_ahead_end_with_the_bytes_of_one() {
    assert_same_as_one("ahead-5");
}

#[test]
fn real_processes_with_weights_in_parts_end_with_the_bytes_of_one() {
    for told in [PARTS, PARTS_AHEAD] {
        assert_same_as_one(told);
    }
}

#[test]
fn presets_in_real_processes_end_with_the_bytes_of_one() {
    let names = presets();
    for index in any_seed().permutation(names.len()).into_iter().take(2) {
        assert_same_as_one(&names[index]);
    }
}

#[test]
fn losses_of_all_axes_in_real_processes_end_with_the_bytes_of_one() {
    let seed = any_seed();
    for draw in 0..3 {
        assert_same_as_one(&format!("{LOSS}{}", seed.child(draw).value()));
    }
}

/// How a round with a kill ended.
#[derive(Debug, Clone, Copy)]
struct Round {
    /// The killed process was at work.
    is_hit: bool,
    /// The other process ended by itself, with the error that names the killed one.
    is_found: bool,
}

/// Starts two processes of a run and kills one of them. `draw` decides which one, and when: within `range` after it began to
/// train. In every tenth round, it is while the processes start. The test then ends the other one, as a launcher does. In a
/// further tenth, that one finds out by itself, which takes seconds.
fn kill_one(run: &str, dir: &Path, draw: Seed, kill: u64, range: Duration) -> Round {
    let killed = usize::from(draw.named("rank").unit() < 0.5);
    let (other, is_alone) = (1 - killed, kill % 10 == 4);
    let heartbeat = if is_alone { SHORT_HEARTBEAT } else { HEARTBEAT };
    let mut children = start(2, run, heartbeat, dir);
    let moment = draw.named("moment").unit();
    if kill % 10 == 9 {
        std::thread::sleep(Duration::from_millis(400).mul_f64(moment));
    } else {
        wait_until_ready(&mut children[killed]);
        std::thread::sleep(range.mul_f64(moment));
    }
    let is_hit = children[killed].try_wait().expect("a child can be asked").is_none();
    children[killed].kill().expect("a child can be killed");
    if !is_hit || !is_alone {
        std::thread::sleep(Duration::from_millis(50).mul_f64(draw.named("launcher").unit()));
        children[other].kill().expect("a child can be killed");
    }
    let ended = wait(children);
    let (status, errors) = &ended[killed];
    assert!(is_hit || status.success(), "rank {killed} failed before it was killed: {errors}");
    let (status, errors) = &ended[other];
    let is_found = is_hit && is_alone && !status.success();
    let expected = format!("typed: rank {killed} has ended");
    assert!(!is_found || errors.contains(&expected), "{errors}");
    Round { is_hit, is_found }
}

/// Kills random ranks at random moments, and starts all of them again each time.
#[test]
fn thirty_kills_of_random_ranks_end_with_the_bytes_of_one() {
    let seed = any_seed();
    let whole = RUN.outcome_in(1, &run_config(STEPS));
    let dir = tempfile::tempdir().expect("a temporary folder");
    let newest = || {
        let checkpoints = RunDir::checkpoints(dir.path()).expect("a folder");
        checkpoints.last().map_or(0, |(step, _)| *step)
    };
    let mut rounds = Vec::new();
    // The range grows while the run is behind the kills and shrinks while it is ahead, so that it lives through most of them.
    let mut range = Duration::from_millis(200);
    for kill in 0..KILLS {
        let is_behind = newest() * KILLS < kill * STEPS;
        range = range.mul_f64(if is_behind { 1.3 } else { 0.8 }).min(LONGEST);
        rounds.push(kill_one(&STEPS.to_string(), dir.path(), seed.child(kill), kill, range));
    }
    let count = |is: fn(&Round) -> bool| rounds.iter().filter(|round| is(round)).count();
    let (hit, found) = (count(|round| round.is_hit), count(|round| round.is_found));
    println!("{hit} of {KILLS} kills hit a process at work; step {} of {STEPS}", newest());
    assert!(hit >= 20 && found >= 1, "{rounds:?}");
    complete(2, &STEPS.to_string(), dir.path());
    assert_same("killed thirty times", &outcome(dir.path()), &whole);
}

/// As above, of a run whose batches wait in the checkpoints.
#[test]
fn kills_of_ranks_that_sample_ahead_end_with_the_bytes_of_one() {
    let (seed, run) = (any_seed(), format!("ahead-{STEPS}"));
    let whole = RUN.outcome_in(1, &ahead_config(STEPS));
    let dir = tempfile::tempdir().expect("a temporary folder");
    let rounds = (0..6).map(|kill| {
        let range = Duration::from_millis(300);
        kill_one(&run, dir.path(), seed.child(kill), kill, range)
    });
    let rounds = rounds.collect::<Vec<_>>();
    assert!(rounds.iter().any(|round| round.is_hit), "{rounds:?}");
    complete(2, &run, dir.path());
    assert_same("killed six times", &outcome(dir.path()), &whole);
}
