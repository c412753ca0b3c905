//! The memory of real processes, each of which holds a part of the optimizer's state.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use hint_dist::{Collective, Gloo, Rendezvous, Single, Timeouts};
use hint_grpo::{RunDir, Trainer};
use hint_policy::config::Architecture;
use hint_policy::{CausalLm, ModelConfig, Policy, SharedPolicy};
use hint_process::peak_memory;
use hint_tests::{StopAfter, lenient_rubric, parts};
use tch::Device;

use super::processes::free_port;
use super::{shared_config, training};

/// Variable of a child: its rank, the number of processes, the port, the file for its peak, and the run's folder.
const CHILD: &str = "HINT_TESTS_HOLDER";

/// A policy of 12 million weights.
fn large_policy() -> CausalLm {
    let config = ModelConfig {
        hidden_size: 512,
        intermediate_size: 1536,
        num_hidden_layers: 4,
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
    let [rank, world_size, port, file, dir] = told.splitn(5, ' ').collect::<Vec<_>>()[..] else {
        panic!("five words")
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
    let policy = SharedPolicy::new(large_policy());
    let parts = parts(&policy, lenient_rubric(), true);
    let mut config = shared_config(2);
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
    std::fs::write(file, peak.to_string()).expect("a writable folder");
    collective.shutdown().expect("all leave");
}

/// The largest memory that each of `world_size` processes used for a step with its checkpoint, in bytes. They continue the
/// run in `dir` if it has begun.
fn peaks(world_size: usize, dir: &Path) -> Vec<u64> {
    let port = free_port();
    let start = |rank: usize| {
        let file = dir.with_extension(format!("peak-{rank}"));
        let told = format!("{rank} {world_size} {port} {} {}", file.display(), dir.display());
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
        let peak = std::fs::read_to_string(file).expect("the child wrote it");
        peak.parse::<u64>().expect("a number")
    };
    started.into_iter().map(wait).collect()
}

/// The steps at which the run in `dir` has a checkpoint.
fn steps(dir: &Path) -> Vec<u64> {
    let all = RunDir::checkpoints(dir).expect("a run").into_iter();
    all.map(|(step, _)| step).collect()
}

/// Moments take eight bytes for each weight. Without the others' part, a process needs as much less memory. That holds in a
/// step, while its checkpoint is written, and when another session continues from that.
#[test]
fn the_memory_of_a_process_shrinks_by_the_state_that_others_hold() {
    let parameters = large_policy().parameters();
    let weights = parameters.iter().map(|one| one.tensor.numel() as u64).sum::<u64>();
    drop(parameters);
    let root = tempfile::tempdir().expect("a temporary folder");
    let sessions = |world_size: usize| {
        let dir = root.path().join(world_size.to_string());
        let of_session = |step: u64| {
            let found = peaks(world_size, &dir);
            assert_eq!(steps(&dir), [step], "{world_size} processes");
            found
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
