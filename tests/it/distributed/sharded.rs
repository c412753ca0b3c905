//! Runs whose processes each hold a part of the optimizer's state, compared with the same run in one.

use std::path::Path;
use std::sync::Arc;

use hint_dist::Collective;
use hint_grpo::optim::{AdamWConfig, AlgorithmConfig, MuonConfig, ParameterGroup};
use hint_grpo::{Demonstration, GrpoConfig, RunDir, SupervisedTrainer};
use hint_policy::{Parameter, Policy, PolicyError, SharedPolicy, TokenBatch};
use tch::{Device, Kind, Tensor};

use super::{Scenario, StopAfter, assert_same, outcome, run_in, shared_config};

pub(super) const WIDE: Scenario =
    Scenario { lora: false, wide: true, recomputes: false, stop: None };

pub(super) fn adamw() -> AlgorithmConfig {
    AlgorithmConfig::AdamW(AdamWConfig { weight_decay: 0.1, ..AdamWConfig::default() })
}

/// Compares runs in 2 to 4 processes with that in one.
pub(super) fn assert_equal(what: &str, scenario: Scenario, config: &GrpoConfig) {
    let alone = scenario.outcome_in(1, config);
    assert!(alone.contains_key("optimizer.safetensors"), "{:?}", alone.keys());
    for world_size in 2..=4 {
        let shared = scenario.outcome_in(world_size, config);
        assert_same(&format!("{what} in {world_size} processes"), &shared, &alone);
    }
}

#[test]
fn a_state_that_is_cut_over_processes_has_the_bytes_of_one() {
    let mut config = shared_config(3);
    config.run.num_iterations = 2;
    // The gradient is scaled in every step.
    config.optimizer.max_grad_norm = 1e-2;
    config.optimizer.algorithm = adamw();
    assert_equal("AdamW", WIDE, &config);
}

#[test]
fn adapters_groups_and_muon_have_the_bytes_of_one() {
    let config = shared_config(3);
    assert_equal("LoRA", Scenario { lora: true, ..WIDE }, &config);
    let group = |pattern: &str, frozen: bool| ParameterGroup {
        pattern: pattern.to_owned(),
        frozen,
        lr_multiplier: 0.5,
        weight_decay: None,
    };
    let mut config = shared_config(3);
    config.optimizer.algorithm = adamw();
    config.optimizer.groups = vec![group("*norm*", true), group("*.mlp.*", false)];
    assert_equal("groups", WIDE, &config);
    let mut config = shared_config(3);
    config.optimizer.algorithm = AlgorithmConfig::Muon(MuonConfig::default());
    assert_equal("Muon", WIDE, &config);
}

#[test]
fn a_run_whose_state_was_cut_goes_on_in_another_number_of_processes() {
    for algorithm in [adamw(), AlgorithmConfig::Muon(MuonConfig::default())] {
        let mut config = shared_config(5);
        config.optimizer.algorithm = algorithm;
        let whole = WIDE.outcome_in(1, &config);
        let dir = tempfile::tempdir().expect("a temporary folder");
        for (world_size, stop) in [(3, Some(1)), (1, Some(2)), (2, Some(4)), (4, None)] {
            Scenario { stop, ..WIDE }.run_in(world_size, &config, dir.path());
        }
        assert_same("3, 1, 2 and 4 processes", &outcome(dir.path()), &whole);
    }
}

/// A bigram in bf16, whose optimizer has master weights: the logits after each token.
pub(super) struct Coarse(Tensor);

/// Tokens of [`Coarse`]: 90 000 weights, which are four units.
const VOCABULARY: i64 = 300;

impl Coarse {
    pub(super) fn new() -> Self {
        let numbers = Tensor::arange(VOCABULARY * VOCABULARY, (Kind::Float, Device::Cpu)).sin();
        let table = numbers.view([VOCABULARY, VOCABULARY]).to_kind(Kind::BFloat16);
        Self(table.set_requires_grad(true))
    }
}

impl Policy for Coarse {
    fn logits(&self, tokens: &TokenBatch) -> Result<Tensor, PolicyError> {
        let logits = Tensor::embedding(&self.0, tokens.tokens(), -1, false, false);
        Ok(logits.to_kind(Kind::Float))
    }

    fn parameters(&self) -> Vec<Parameter> {
        vec![Parameter { name: "table".to_owned(), tensor: self.0.shallow_clone() }]
    }

    fn device(&self) -> Device {
        Device::Cpu
    }

    fn vocab_size(&self) -> usize {
        usize::try_from(VOCABULARY).expect("a size")
    }

    fn max_positions(&self) -> usize {
        64
    }

    fn save(&self, dir: &Path) -> Result<(), PolicyError> {
        let named = [("table", self.0.detach().contiguous())];
        Tensor::write_safetensors(&named, dir.join("model.safetensors"))
            .expect("a writable folder");
        Ok(())
    }
}

/// Rows of tokens that no two demonstrations share.
pub(super) fn demonstrations() -> Vec<Demonstration> {
    let row = |row: u32| {
        let response = (0..6).map(|place| (row * 37 + place * 11) % 300).collect();
        Demonstration::new(row.to_string(), vec![row], response)
    };
    (0..16).map(row).collect()
}

#[test]
fn master_weights_of_bf16_have_the_bytes_of_one() {
    let mut config = shared_config(4);
    config.optimizer.algorithm = adamw();
    let run = |world_size: usize, stop: Option<u64>, dir: &Path| {
        run_in(world_size, |collective: Arc<dyn Collective>| {
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
        outcome(dir)
    };
    let dir = tempfile::tempdir().expect("a temporary folder");
    let alone = run(1, None, &dir.path().join("alone"));
    for world_size in 2..=4 {
        let shared = run(world_size, None, &dir.path().join(world_size.to_string()));
        assert_same(&format!("{world_size} processes"), &shared, &alone);
    }
    let split = dir.path().join("split");
    run(3, Some(1), &split);
    run(1, Some(2), &split);
    assert_same("3, 1 and 2 processes", &run(2, None, &split), &alone);
}
