//! The split into micro-batches, through a real model and optimizer.

use hint_grpo::{AdamWConfig, Aggregation, AlgorithmConfig, RatioScheme};
use hint_tests::{config, problems, trainer, weights};

/// Weights after two steps of two updates, with a given token budget.
fn run(aggregation: Aggregation, scheme: RatioScheme, max_tokens: usize) -> Vec<f32> {
    let mut config = config(2);
    config.aggregation = aggregation;
    config.ratio_scheme = scheme;
    config.run.updates_per_batch = 2;
    config.run.max_tokens_per_micro_batch = max_tokens;
    // Without Adam's division by the root of the second moment, which turns rounding into sign.
    let adamw = AdamWConfig { epsilon: 1.0, ..AdamWConfig::default() };
    config.optimizer.algorithm = AlgorithmConfig::AdamW(adamw);
    config.optimizer.learning_rate = 1.0;
    let (mut trainer, policy) = trainer(&config, true, None);
    trainer.run(&problems()).expect("the run works");
    weights(&policy)
}

#[test]
fn many_micro_batches_give_the_weights_of_one() {
    for aggregation in [Aggregation::SequenceMean {}, Aggregation::TokenMean {}] {
        for scheme in [RatioScheme::Plain {}, RatioScheme::OffContext {}] {
            let whole = run(aggregation, scheme, 1 << 20);
            let split = run(aggregation, scheme, 20);
            let distance = whole
                .iter()
                .zip(&split)
                .map(|(whole, split)| (whole - split).abs())
                .fold(0.0_f32, f32::max);
            assert!(distance < 2e-6, "{aggregation:?} {scheme:?}: {distance:e}");
            let start = weights(&hint_policy::SharedPolicy::new(hint_tests::tiny_policy(7)));
            assert!(start != whole, "the scenario trains something");
        }
    }
}
