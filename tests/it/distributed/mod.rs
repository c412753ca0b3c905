//! Runs that several processes share, compared with the same run in one.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hint_dist::{Collective, Single, Threads};
use hint_grpo::objective::Aggregation;
use hint_grpo::optim::{AlgorithmConfig, SgdConfig};
use hint_grpo::{GrpoConfig, GrpoError, Outcome, Parts, RunBuilder, RunDir, Trainer};
use hint_policy::{CausalLm, LoraConfig, SharedPolicy};
use hint_rollout::{Problem, Seed};
use hint_tests::{
    StopAfter, bytes, config, lenient_rubric, parts, problems, tiny_policy, wide_policy,
};
use serde_json::json;

mod ahead;
mod failing;
mod losses;
mod memory;
mod parameters;
mod processes;
mod served;
mod sharded;

/// A part of the work for each of up to six processes.
const WORKERS: usize = 6;

/// A run for several processes.
fn shared_config(steps: u64) -> GrpoConfig {
    let mut config = config(steps);
    config.run.virtual_workers = Some(WORKERS);
    config.run.num_minibatches = 2;
    config.run.max_tokens_per_micro_batch = 60;
    config
}

/// A seed from the clock, so that every run of a test tries something else; printed for a repetition.
#[expect(clippy::disallowed_methods, reason = "a test is meant to vary")]
#[expect(clippy::print_stdout, reason = "shown when the test fails")]
fn any_seed() -> Seed {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let seed = u64::from(now.expect("the clock is set").subsec_nanos());
    println!("seed: {seed}");
    Seed::new(seed)
}

/// A run: its policy, and the step after which the first process stops it.
#[derive(Debug, Clone, Copy, Default)]
struct Scenario {
    lora: bool,
    /// So many weights that several processes hold a part of the optimizer's state.
    wide: bool,
    /// The backward pass computes blocks again.
    recomputes: bool,
    stop: Option<u64>,
}

/// A run whose processes each hold a part of the optimizer's state.
const RUN: Scenario = Scenario { lora: false, wide: true, recomputes: false, stop: None };

impl Scenario {
    /// The policy without adapters.
    fn policy(self, seed: u64) -> CausalLm {
        let policy = if self.wide { wide_policy(seed) } else { tiny_policy(seed) };
        policy.with_gradient_checkpointing(self.recomputes)
    }

    /// The run of one process. Only the first one has a folder.
    fn build(
        self,
        config: &GrpoConfig,
        dir: &Path,
        collective: Arc<dyn Collective>,
    ) -> Result<Trainer, GrpoError> {
        // The weights of the others become those of the first one.
        let seed = if collective.rank() == 0 { 7 } else { 11 };
        let (policy, reference, copy) = if self.lora {
            let rank = if self.wide { 32 } else { 4 };
            let lora = LoraConfig { rank, dropout: 0.2, ..LoraConfig::default() };
            let policy = self.policy(7).with_lora(&lora, seed)?;
            let reference = policy.base()?;
            (policy, reference, self.policy(7).with_lora(&lora, seed + 1)?)
        } else {
            (self.policy(seed), self.policy(seed + 1), self.policy(seed + 2))
        };
        let [policy, reference, copy] = [policy, reference, copy].map(SharedPolicy::new);
        let is_ahead = config.run.ahead > 0;
        let parts = parts(if is_ahead { &copy } else { &policy }, lenient_rubric(), true);
        let mut builder = Trainer::from_config(config.clone(), Parts { policy, ..parts })?;
        if is_ahead {
            // It gets the weights of the policy before it is sampled from.
            builder = builder.sampler_policy(copy);
        }
        if config.loss.needs_reference() {
            builder = builder.reference(reference);
        }
        if config.loss.further_teacher().is_some() {
            builder = builder.teacher(SharedPolicy::new(self.policy(seed)));
        }
        if collective.rank() == 0 {
            builder = builder.run_dir(RunDir::resume_or_create(dir, config)?);
        }
        if let Some(step) = self.stop.filter(|_| collective.rank() == 0) {
            builder = builder.observer(StopAfter(step));
        }
        let builder: RunBuilder<_> = builder.held_out(held_out()).collective(collective);
        builder.build()
    }

    fn run(
        self,
        config: &GrpoConfig,
        dir: &Path,
        collective: Arc<dyn Collective>,
    ) -> Result<Outcome, GrpoError> {
        self.build(config, dir, collective)?.run(&training())
    }

    /// Runs in `world_size` threads, as many processes would.
    fn run_in(self, world_size: usize, config: &GrpoConfig, dir: &Path) {
        run_in(world_size, |collective| self.run(config, dir, collective));
    }

    /// The files that a run in `world_size` threads leaves.
    fn outcome_in(self, world_size: usize, config: &GrpoConfig) -> BTreeMap<String, Vec<u8>> {
        let dir = tempfile::tempdir().expect("a temporary folder");
        self.run_in(world_size, config, dir.path());
        outcome(dir.path())
    }
}

/// Calls `run` in `world_size` threads, as in so many processes.
fn run_in(
    world_size: usize,
    run: impl Fn(Arc<dyn Collective>) -> Result<Outcome, GrpoError> + Sync,
) {
    if world_size == 1 {
        run(Arc::new(Single)).expect("the run works");
        return;
    }
    let one_of = |member: Threads| {
        let member = Arc::new(member);
        run(Arc::clone(&member) as Arc<dyn Collective>)
            .unwrap_or_else(|error| panic!("rank {}: {error}", member.rank()));
        member.shutdown().expect("all ranks leave");
    };
    let one_of = &one_of;
    std::thread::scope(|scope| {
        let members = Threads::group(world_size, Duration::from_mins(2));
        let threads = members.into_iter().map(|member| scope.spawn(move || one_of(member)));
        for thread in threads.collect::<Vec<_>>() {
            thread.join().expect("no panic");
        }
    });
}

/// Problems with everything that a preset may ask for.
fn training() -> Vec<Problem> {
    let complete = |problem: Problem| {
        let mut problem = problem.with_solution("7 1 9 9 9");
        for tier in ["knowledge", "planning", "solution"] {
            for level in 1..=4 {
                problem.columns.insert(format!("{tier}_{level}"), json!(level.to_string()));
            }
        }
        problem
    };
    problems().into_iter().map(complete).collect()
}

fn held_out() -> Vec<Problem> {
    (20..23).map(|number| Problem::new(format!("h{number}"), number.to_string(), "large")).collect()
}

/// Everything that a run leaves and that no clock decides: metrics, evaluations, rollout tables and the newest
/// checkpoint.
fn outcome(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let (_, checkpoint) = RunDir::checkpoints(dir).expect("a run").pop().expect("a checkpoint");
    let mut found = BTreeMap::from([("metrics".to_owned(), bytes(&dir.join("metrics.jsonl")))]);
    for folder in [checkpoint, dir.join("evaluations"), dir.join("rollouts")] {
        let Ok(entries) = std::fs::read_dir(folder) else { continue };
        for entry in entries {
            let path = entry.expect("an entry").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            if path.is_file() && name != "trainer.json" {
                found.insert(name, bytes(&path));
            }
            // Lengths of files that depend on the clock are in it.
            if path.ends_with("trainer.json") {
                let state: serde_json::Value = serde_json::from_slice(&bytes(&path)).expect("JSON");
                let parts = [&state["parts"], &state["progress"], &state["fingerprints"]];
                found.insert("state".to_owned(), format!("{parts:?}").into_bytes());
            }
        }
    }
    found
}

#[track_caller]
fn assert_same(
    what: &str,
    found: &BTreeMap<String, Vec<u8>>,
    expected: &BTreeMap<String, Vec<u8>>,
) {
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{what}");
    for (name, bytes) in expected {
        if name == "metrics" && found[name] != *bytes {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            assert_eq!(text(&found[name]), text(bytes), "{what}");
        }
        assert!(found[name] == *bytes, "{what}: `{name}` differs");
    }
}

#[test]
fn two_and_three_processes_end_with_the_bytes_of_one() {
    let mut config = shared_config(3);
    config.run.num_iterations = 2;
    config.run.full_entropy = true;
    config.loss.kl.coef = 0.1;
    config.evaluation.every = 2;
    let alone = Scenario::default().outcome_in(1, &config);
    assert!(alone.contains_key("step-00000003.json"), "{:?}", alone.keys());
    for world_size in [2, 3] {
        let shared = Scenario::default().outcome_in(world_size, &config);
        assert_same(&format!("{world_size} processes"), &shared, &alone);
    }
}

#[test]
fn adapters_with_dropout_are_the_same_in_two_processes() {
    let scenario = Scenario { lora: true, ..Scenario::default() };
    let config = shared_config(3);
    assert_same("LoRA", &scenario.outcome_in(2, &config), &scenario.outcome_in(1, &config));
}

/// The folder of the presets.
const PRESETS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/hint-rl/presets");

/// The names of the presets, in order.
fn presets() -> Vec<String> {
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.expect("an entry").path();
        path.file_stem().expect("a name").to_string_lossy().into_owned()
    };
    let mut names = std::fs::read_dir(PRESETS).expect("the presets").map(name).collect::<Vec<_>>();
    names.sort();
    names
}

/// A preset in small, for several processes.
fn preset(name: &str) -> GrpoConfig {
    let path = Path::new(PRESETS).join(format!("{name}.toml"));
    let text = std::fs::read_to_string(path).expect("a preset");
    let mut config = GrpoConfig::from_toml(&text).expect("the preset is valid");
    let ours = shared_config(2);
    config.run = ours.run;
    config.run.num_minibatches = 1;
    config.rollout.group_size = 4;
    config.rollout.sampling.max_completion_len = 8;
    config.rollout.sampling.temperature = 1.0;
    config.evaluation = ours.evaluation;
    config
}

#[test]
fn every_preset_is_the_same_in_three_processes() {
    for name in presets() {
        let config = preset(&name);
        let [alone, shared] =
            [1, 3].map(|world_size| Scenario::default().outcome_in(world_size, &config));
        assert_same(&name, &shared, &alone);
    }
}

/// The weights of each checkpoint of a run of one step in `world_size` threads: before the step, and after it.
fn weights_in(world_size: usize, config: &GrpoConfig) -> [BTreeMap<String, tch::Tensor>; 2] {
    let dir = tempfile::tempdir().expect("a temporary folder");
    Scenario::default().run_in(world_size, config, dir.path());
    [0, 1].map(|step| {
        let path = dir.path().join(format!("checkpoints/step-{step:08}/model.safetensors"));
        let tensors = tch::Tensor::read_safetensors(path).expect("a checkpoint");
        tensors.into_iter().collect()
    })
}

#[test]
fn without_virtual_workers_numbers_differ_by_the_order_of_sums_alone() {
    let difference = |one: &BTreeMap<String, tch::Tensor>, other: &BTreeMap<_, tch::Tensor>| {
        let largest = |(name, one): (&String, &tch::Tensor)| {
            (one - &other[name]).abs().max().double_value(&[])
        };
        one.iter().map(largest).fold(0.0, f64::max)
    };
    for aggregation in [
        Aggregation::SequenceMean,
        Aggregation::TokenMean,
        Aggregation::Constant { max_completion_len: 4 },
        Aggregation::SequenceSum,
    ] {
        assert!(aggregation.is_split_invariant());
        let mut config = config(1);
        config.loss.aggregation = aggregation;
        config.run.num_iterations = 2;
        // AdamW would turn a gradient that is 0 up to float noise into a step.
        config.optimizer.algorithm = AlgorithmConfig::Sgd(SgdConfig::default());
        // A limit of the norm would hide a factor.
        (config.optimizer.max_grad_norm, config.optimizer.learning_rate) = (1e9, 1e-2);
        let [before, alone] = weights_in(1, &config);
        for world_size in [2, 3] {
            let [_, shared] = weights_in(world_size, &config);
            let (moved, apart) = (difference(&before, &alone), difference(&alone, &shared));
            assert!(
                moved > 3e-4 && apart < 1e-5 * moved.max(0.1),
                "{aggregation:?} in {world_size} processes: {moved}, {apart}"
            );
        }
    }
}

#[test]
fn a_run_goes_on_in_another_number_of_processes() {
    let config = shared_config(4);
    let whole = Scenario::default().outcome_in(1, &config);
    let dir = tempfile::tempdir().expect("a temporary folder");
    Scenario { stop: Some(1), ..Scenario::default() }.run_in(2, &config, dir.path());
    Scenario { stop: Some(3), ..Scenario::default() }.run_in(3, &config, dir.path());
    Scenario::default().run_in(1, &config, dir.path());
    assert_same("2, 3 and 1 processes", &outcome(dir.path()), &whole);
}

/// The errors of two threads that share a run.
fn errors(run: impl Fn(Arc<dyn Collective>) -> Result<Outcome, GrpoError> + Sync) -> Vec<String> {
    let find = |member: Threads| run(Arc::new(member)).expect_err("it fails").to_string();
    std::thread::scope(|scope| {
        let threads = Threads::group(2, Duration::from_mins(2)).into_iter();
        let threads = threads.map(|member| scope.spawn(|| find(member))).collect::<Vec<_>>();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    })
}

#[test]
fn processes_that_differ_are_refused_by_name() {
    let run = |config: &GrpoConfig, collective: Arc<dyn Collective>| {
        let dir = tempfile::tempdir().expect("a temporary folder");
        Scenario::default().run(config, dir.path(), collective)
    };
    let found = errors(|collective| {
        let mut config = shared_config(1);
        config.run.seed += collective.rank() as u64;
        run(&config, collective)
    });
    for found in found {
        assert!(found.contains("rank 1 differs from rank 0 in configuration"), "{found}");
    }
    let found = errors(|collective| {
        let mut config = shared_config(1);
        config.run.virtual_workers = Some(1);
        run(&config, collective)
    });
    let expected = "run.virtual_workers: must be at least 1 for each of the 2 processes, found 1";
    for found in found {
        assert!(found.contains(expected), "{found}");
    }
    let found = errors(|collective| {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let problems = training().split_off(collective.rank());
        let mut trainer = Scenario::default().build(&shared_config(1), dir.path(), collective)?;
        trainer.run(&problems)
    });
    for found in found {
        assert!(found.contains("rank 1 differs from rank 0 in "), "{found}");
        assert!(found.contains("problems"), "{found}");
    }
}

#[test]
fn an_error_of_one_process_ends_all_of_them() {
    let found = errors(|collective| {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut config = shared_config(1);
        config.run.max_staleness = Some(0);
        let rank = collective.rank();
        let mut trainer = Scenario::default().build(&config, dir.path(), collective)?;
        if rank == 1 {
            return trainer.run(&Vec::<Problem>::new());
        }
        trainer.run(&training())
    });
    assert_eq!(found, ["rank 1 failed: no problems to train on", "no problems to train on"]);
}
