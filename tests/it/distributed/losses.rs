//! Losses drawn from all axes, in several processes: any of them must have the bytes of one.

use hint_grpo::{ConfigError, GrpoConfig};
use hint_rollout::Seed;

use super::{RUN, any_seed, assert_same, shared_config};

/// Axes of the loss, and of the division of its work: a key of the configuration with values of each kind. The credit of a
/// hint that teaches, and supervised terms, need other hints; presets have them.
const AXES: &[(&str, &[&str])] = &[
    (
        "loss.objective",
        &[
            "{ type = 'clipped_surrogate' }",
            "{ type = 'clipped_surrogate', clip_high = 0.3, max_ratio = 4.0, dual_clip = 3.0 }",
            "{ type = 'geometric_mean' }",
            "{ type = 'cispo', max_ratio = 2.0 }",
            "{ type = 'sapo', temperature_positive = 1.0, temperature_negative = 1.05 }",
            "{ type = 'reinforce' }",
        ],
    ),
    ("loss.ratio_level", &["'token'", "'sequence'"]),
    (
        "loss.ratio_scheme",
        &[
            "{ type = 'plain' }",
            "{ type = 'hinted' }",
            "{ type = 'off_context' }",
            "{ type = 'demonstration' }",
        ],
    ),
    (
        "loss.ratio_shaping",
        &[
            "{ type = 'off' }",
            "{ type = 'fixed', gamma = 0.1 }",
            "{ type = 'quantile', quantile = 0.9 }",
        ],
    ),
    ("loss.old_logprobs", &["'recomputed'", "'engine'"]),
    (
        "loss.importance_correction",
        &[
            "{ type = 'off' }",
            "{ type = 'truncate', max_weight = 1.01, level = 'token' }",
            "{ type = 'truncate', max_weight = 1.01, level = 'sequence' }",
            "{ type = 'mask', min_weight = 0.9, max_weight = 1.1, level = 'token' }",
            "{ type = 'mask', min_weight = 0.9, max_weight = 1.1, level = 'sequence' }",
        ],
    ),
    ("loss.kl.coef", &["0.0", "0.1"]),
    ("loss.kl.estimator", &["'k1'", "'k2'", "'k3'"]),
    ("loss.kl.importance_weighted", &["false", "true"]),
    ("loss.kl.groups", &["'all'", "'varied'"]),
    (
        "loss.aggregation",
        &[
            "{ type = 'sequence_mean' }",
            "{ type = 'token_mean' }",
            "{ type = 'constant', max_completion_len = 8 }",
            "{ type = 'sequence_sum' }",
            "{ type = 'local_token_mean' }",
        ],
    ),
    (
        "loss.hinted_weight",
        &[
            "[]",
            "[{ type = 'affinity', exponent = 1.0 }]",
            "[{ type = 'affinity', exponent = 0.5, variant = { type = 'v1' } }]",
            "[{ type = 'off_context', min = 0.5, max = 2.0 }]",
            "[{ type = 'schedule', value = { type = 'constant', value = 0.5 } }]",
        ],
    ),
    (
        "advantage",
        &[
            "{ type = 'group_normalized', baseline = { type = 'group' } }",
            "{ type = 'group_normalized', baseline = { type = 'union' } }",
            "{ type = 'mean_only' }",
            "{ type = 'leave_one_out' }",
            "{ type = 'batch_normalized' }",
            "{ type = 'whitened' }",
            "{ type = 'whitened', baseline = { type = 'union' } }",
            "{ type = 'quantile_baseline', quantile = 0.5 }",
            "{ type = 'quantile_baseline', quantile = 0.5, scale = false }",
            "{ type = 'max_baseline' }",
        ],
    ),
    ("run.num_iterations", &["1", "2"]),
    ("run.num_minibatches", &["1", "2"]),
    ("run.shard", &["'gradients'", "'parameters'"]),
    ("run.ahead", &["0", "1"]),
];

/// A run of two steps with these settings.
fn configured(settings: &[String]) -> Result<GrpoConfig, ConfigError> {
    let base = shared_config(2).to_toml()?;
    GrpoConfig::from_toml_with(&base, settings.iter().map(String::as_str))
}

/// A run with a value of each axis, drawn until they fit together.
pub(super) fn any_loss(seed: Seed) -> GrpoConfig {
    let draw = |attempt: u64| {
        let seed = seed.child(attempt);
        let setting = |(key, values): &(&str, &[&str])| {
            let index = seed.named(key).permutation(values.len())[0];
            format!("{key}={}", values[index])
        };
        configured(&AXES.iter().map(setting).collect::<Vec<_>>())
    };
    let mut last = None;
    for drawn in (0..100).map(draw) {
        match drawn {
            Ok(config) => return config,
            Err(error) => last = Some(error),
        }
    }
    panic!("most values fit together, but {last:?}")
}

#[test]
fn every_value_of_every_axis_is_valid() {
    for (key, values) in AXES {
        for value in *values {
            let setting = format!("{key}={value}");
            if let Err(error) = configured(std::slice::from_ref(&setting)) {
                panic!("{setting}: {error}");
            }
        }
    }
}

#[test]
fn losses_of_all_axes_are_the_same_in_three_processes() {
    let seed = any_seed();
    for draw in 0..5 {
        let config = any_loss(seed.child(draw));
        let [alone, shared] = [1, 3].map(|world_size| RUN.outcome_in(world_size, &config));
        let GrpoConfig { run, loss, advantage, .. } = &config;
        assert_same(&format!("{run:?} {loss:?} {advantage:?}"), &shared, &alone);
    }
}
