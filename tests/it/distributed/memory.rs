//! The memory of real processes, each of which holds a part of the optimizer's state.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use hint_dist::{Collective, Gloo, Rendezvous, Single, Timeouts};
use hint_grpo::config::Sharding;
use hint_grpo::{Parts, RunDir, Trainer};
use hint_policy::config::Architecture;
use hint_policy::{CausalLm, ModelConfig, Policy, SharedPolicy};
use hint_process::peak_memory;
use hint_tests::{StopAfter, lenient_rubric, parts, tiny_policy};
use tch::Device;

use super::processes::free_port;
use super::{shared_config, training};

/// Variable of a child: rank, number of processes, port, [`Job`], file for the peak, and folder of the run.
const CHILD: &str = "HINT_TESTS_HOLDER";

/// A run whose processes report their peaks.
#[derive(Debug, Clone, Copy)]
struct Job {
    /// Blocks of the policy, of 3 million weights each.
    layers: usize,
    /// The processes keep their parts of the weights alone while they learn. A small policy samples in place of the large one,
    /// as servers do.
    in_parts: bool,
}

impl Job {
    /// The run that samples from its own policy of 12 million weights.
    const SMALL: Self = Self { layers: 4, in_parts: false };
}

/// A policy of so many blocks.
fn large_policy(layers: usize) -> CausalLm {
    let config = ModelConfig {
        hidden_size: 512,
        intermediate_size: 1536,
        num_hidden_layers: layers,
        num_attention_heads: 8,
        num_key_value_heads: 1,
        head_dim: 64,
        max_position_embeddings: 64,
        ..ModelConfig::small(Architecture::Llama, 16)
    };
    CausalLm::init(&config, 7, Device::Cpu).expect("the configuration is valid")
}

/// A child of [`peaks`]; nothing where nobody started it.
#[test]
#[expect(clippy::disallowed_methods, reason = "tells the child process from the test")]
fn holder() {
    let Ok(told) = std::env::var(CHILD) else { return };
    let [rank, world_size, port, layers, in_parts, file, dir] =
        told.splitn(7, ' ').collect::<Vec<_>>()[..]
    else {
        panic!("seven words")
    };
    tch::set_num_threads(1);
    let number = |text: &str| text.parse::<usize>().expect("a number");
    let (rank, world_size) = (number(rank), number(world_size));
    let collective: Arc<dyn Collective> = if world_size == 1 {
        Arc::new(Single)
    } else {
        let port = port.parse().expect("a port");
        let rendezvous = Rendezvous::new(rank, world_size, "127.0.0.1", port);
        Arc::new(Gloo::connect(&rendezvous, Timeouts::default()).expect("all are there"))
    };
    let before = peak_memory().expect("Linux tells it");
    let job = Job { layers: number(layers), in_parts: in_parts == "true" };
    let policy = SharedPolicy::new(large_policy(job.layers));
    let sampled = if job.in_parts { SharedPolicy::new(tiny_policy(7)) } else { policy.clone() };
    let parts = Parts { policy, ..parts(&sampled, lenient_rubric(), true) };
    let mut config = shared_config(2);
    if job.in_parts {
        config.run.shard = Sharding::Parameters;
    }
    // Each step begins with a checkpoint, and so no copy is made to take it back.
    config.run.checkpoint_every = 1;
    config.run.keep_checkpoints = 1;
    let builder = Trainer::from_config(config.clone(), parts).expect("the configuration is valid");
    let mut builder = builder.collective(Arc::clone(&collective)).observer(StopAfter(1));
    if rank == 0 {
        let run_dir = RunDir::resume_or_create(dir, &config).expect("a usable folder");
        builder = builder.run_dir(run_dir);
    }
    let mut trainer = builder.build().expect("it builds");
    trainer.run(&training()).expect("the run works");
    let peak = peak_memory().expect("Linux tells it");
    std::fs::write(file, format!("{before} {peak}")).expect("a writable folder");
    collective.shutdown().expect("all leave");
}

/// The largest memory that a process used, in bytes.
#[derive(Debug, Clone, Copy)]
struct Peak {
    /// Before it had a policy.
    before: u64,
    /// With a step and its checkpoint.
    most: u64,
}

/// The peak of each of `world_size` processes. They continue the run in `dir` if it has begun.
fn peaks(world_size: usize, job: Job, dir: &Path) -> Vec<Peak> {
    let port = free_port();
    let start = |rank: usize| {
        let file = dir.with_extension(format!("peak-{rank}"));
        let Job { layers, in_parts } = job;
        let (to, of) = (file.display(), dir.display());
        let told = format!("{rank} {world_size} {port} {layers} {in_parts} {to} {of}");
        let child = Command::new(std::env::current_exe().expect("tests are files"))
            .args(["--exact", "distributed::memory::holder", "--nocapture"])
            .env(CHILD, told)
            // glibc gives freed tensors back at once, so the peak is of what is held, not of what is left between.
            .env("MALLOC_MMAP_THRESHOLD_", "131072")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the test can start itself");
        (child, file)
    };
    let started = (0..world_size).map(start).collect::<Vec<_>>();
    let wait = |(child, file): (std::process::Child, std::path::PathBuf)| {
        let output = child.wait_with_output().expect("a child can be awaited");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = std::fs::read_to_string(file).expect("the child wrote it");
        let (before, most) = text.split_once(' ').expect("two numbers");
        let number = |text: &str| text.parse::<u64>().expect("a number");
        Peak { before: number(before), most: number(most) }
    };
    started.into_iter().map(wait).collect()
}

/// The steps at which the run in `dir` has a checkpoint.
fn steps(dir: &Path) -> Vec<u64> {
    let all = RunDir::checkpoints(dir).expect("a run").into_iter();
    all.map(|(step, _)| step).collect()
}

/// Weights of a policy of so many blocks.
fn weights(layers: usize) -> u64 {
    let parameters = large_policy(layers).parameters();
    parameters.iter().map(|one| one.tensor.numel() as u64).sum()
}

/// Moments take eight bytes for each weight. Without the others' part, a process needs as much less memory. That holds in a
/// step, while its checkpoint is written, and when another session continues from that.
#[test]
fn the_memory_of_a_process_shrinks_by_the_state_that_others_hold() {
    let weights = weights(Job::SMALL.layers);
    let root = tempfile::tempdir().expect("a temporary folder");
    let sessions = |world_size: usize| {
        let dir = root.path().join(world_size.to_string());
        let of_session = |step: u64| {
            let found = peaks(world_size, Job::SMALL, &dir);
            assert_eq!(steps(&dir), [step], "{world_size} processes");
            found.into_iter().map(|peak| peak.most).collect::<Vec<_>>()
        };
        [1, 2].map(of_session)
    };
    let [first_alone, second_alone] = sessions(1);
    for world_size in [2, 4] {
        let moments_of_others = 8 * weights * (world_size - 1) / world_size;
        let [first, second] = sessions(usize::try_from(world_size).expect("a few"));
        let pairs = [("a new run", first, first_alone[0]), ("resumed", second, second_alone[0])];
        for (session, found, alone) in pairs {
            for peak in &found {
                assert!(
                    peak + moments_of_others * 4 / 5 < alone,
                    "{session}: {found:?} in {world_size} processes, {alone} in one, {weights} weights"
                );
            }
        }
        // What one process needs to continue is what it needs to begin, and a few tensors.
        assert!(second_alone[0] < first_alone[0] + 4 * weights, "{second_alone:?}");
    }
}

/// Prints rows of a table: what the largest of 1, 2 and 4 processes takes, in MiB and in bytes a weight. The memory of a
/// process before it has a policy does not count.
#[test]
#[ignore = "prints a table; for an idle machine with 4 GB of free memory"]
fn the_more_processes_the_less_each_of_them_takes() {
    let layers = 16;
    let weights = weights(layers);
    println!("{weights} weights");
    let root = tempfile::tempdir().expect("a temporary folder");
    let mut before = [u64::MAX; 2];
    for world_size in [1, 2, 4] {
        let taken = [false, true].map(|in_parts| {
            let dir = root.path().join(format!("{world_size}-{in_parts}"));
            let found = peaks(world_size, Job { layers, in_parts }, &dir);
            std::fs::remove_dir_all(dir).expect("the run wrote it");
            found.iter().map(|peak| peak.most - peak.before).max().expect("a process")
        });
        let cell = |bytes: &u64| {
            let mebibytes = bytes >> 20;
            format!("{mebibytes} MiB, {:.1} bytes", *bytes as f64 / weights as f64)
        };
        println!("| {world_size} | {} |", taken.each_ref().map(cell).join(" | "));
        for (found, before) in taken.iter().zip(before) {
            assert!(*found < before, "more processes hold less: {taken:?}, {before}");
        }
        before = taken;
    }
}
