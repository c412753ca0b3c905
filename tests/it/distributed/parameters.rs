//! Runs whose processes keep their parts of the weights alone while they learn, compared with the same run in one.

use std::sync::Arc;

use hint_dist::Collective;
use hint_grpo::config::Sharding;
use hint_grpo::objective::CreditTeacher;
use hint_grpo::optim::{AlgorithmConfig, MuonConfig, ParameterGroup, SgdConfig};
use hint_grpo::{GrpoConfig, SupervisedTrainer};
use hint_policy::SharedPolicy;

use super::sharded::{Coarse, WIDE, adamw, assert_equal, demonstrations};
use super::{Scenario, assert_same, errors, outcome, preset, shared_config};

/// A run with weights in parts.
pub(super) fn in_parts(mut config: GrpoConfig) -> GrpoConfig {
    config.run.shard = Sharding::Parameters;
    config.optimizer.algorithm = adamw();
    config
}

#[test]
fn weights_in_parts_have_the_bytes_of_whole_ones() {
    let mut config = in_parts(shared_config(3));
    config.run.num_iterations = 2;
    // Completions without a gradient, a reference and the old policy are scored besides.
    config.run.full_entropy = true;
    config.loss.kl.coef = 0.1;
    config.evaluation.every = 2;
    config.optimizer.max_grad_norm = 1e-2;
    assert_equal("parts", WIDE, &config);
    let config = in_parts(shared_config(2));
    assert_equal("checkpointing", Scenario { recomputes: true, ..WIDE }, &config);
    // Less than a unit of weights, which one process has.
    assert_equal("a small model", Scenario::default(), &config);
}

#[test]
fn adapters_and_frozen_weights_have_the_bytes_of_whole_ones() {
    let mut config = in_parts(shared_config(3));
    assert_equal("LoRA", Scenario { lora: true, ..WIDE }, &config);
    let group = |pattern: &str, frozen: bool| ParameterGroup {
        pattern: pattern.to_owned(),
        frozen,
        lr_multiplier: 0.5,
        weight_decay: None,
    };
    config.optimizer.groups = vec![group("*norm*", true), group("*.mlp.*", false)];
    assert_equal("groups", WIDE, &config);
}

#[test]
fn weights_in_parts_that_are_sampled_ahead_have_the_bytes_of_whole_ones() {
    let mut config = in_parts(shared_config(3));
    config.run.ahead = 1;
    config.evaluation.every = 2;
    assert_equal("ahead", WIDE, &config);
    let scenario = Scenario { lora: true, ..WIDE };
    assert_same("LoRA", &scenario.outcome_in(2, &config), &scenario.outcome_in(1, &config));
    // The batches that wait in a checkpoint suit another number of processes.
    let mut config = in_parts(shared_config(4));
    config.run.ahead = 1;
    let whole = WIDE.outcome_in(1, &config);
    let dir = tempfile::tempdir().expect("a temporary folder");
    for (world_size, stop) in [(2, Some(1)), (3, Some(2)), (2, None)] {
        Scenario { stop, ..WIDE }.run_in(world_size, &config, dir.path());
    }
    assert_same("2, 3 and 2 processes", &outcome(dir.path()), &whole);
}

#[test]
fn a_run_goes_on_with_whole_weights_and_with_parts() {
    let mut whole = in_parts(shared_config(5));
    whole.run.shard = Sharding::Gradients;
    let expected = WIDE.outcome_in(1, &whole);
    let parts = in_parts(whole.clone());
    let dir = tempfile::tempdir().expect("a temporary folder");
    let sessions = [(3, &parts, Some(1)), (2, &whole, Some(2)), (2, &parts, Some(4))];
    for (world_size, config, stop) in sessions.into_iter().chain([(3, &whole, None)]) {
        Scenario { stop, ..WIDE }.run_in(world_size, config, dir.path());
    }
    assert_same("parts and whole weights in turn", &outcome(dir.path()), &expected);
}

#[test]
fn what_cannot_share_weights_is_refused_by_the_key() {
    #[track_caller]
    fn refused(config: &GrpoConfig, words: &str) {
        let found = errors(|collective| {
            let dir = tempfile::tempdir().expect("a temporary folder");
            WIDE.run(config, dir.path(), collective)
        });
        for found in found {
            assert!(
                found.contains("run.shard: must be gradients") && found.contains(words),
                "{found}"
            );
        }
    }
    for algorithm in
        [AlgorithmConfig::Sgd(SgdConfig::default()), AlgorithmConfig::Muon(MuonConfig::default())]
    {
        let mut config = in_parts(shared_config(1));
        config.optimizer.algorithm = algorithm;
        refused(&config, "with an optimizer other than AdamW");
    }
    let config = in_parts(preset("sdft"));
    assert!(matches!(config.loss.credit.teacher, CreditTeacher::Average { .. }));
    refused(&config, "where an average of the weights teaches");
    let found = errors(|collective: Arc<dyn Collective>| {
        let policy = SharedPolicy::new(Coarse::new());
        let config = in_parts(shared_config(1));
        let builder = SupervisedTrainer::builder(policy, config).collective(collective);
        builder.build()?.run(&demonstrations())
    });
    for found in found {
        assert!(found.contains("with a policy that cannot gather weights by block"), "{found}");
    }
}
