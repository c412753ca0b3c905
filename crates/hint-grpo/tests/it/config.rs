//! Reading and checking configurations.

use hint_grpo::{ConfigError, GrpoConfig};

#[test]
fn the_default_is_valid_and_survives_a_round_trip() {
    let config = GrpoConfig::default();
    config.validate().expect("the published setting is valid");
    let text = toml::to_string(&config).expect("a configuration is plain data");
    assert_eq!(GrpoConfig::from_toml(&text).expect("round trip"), config);
    assert_eq!(GrpoConfig::from_toml("").expect("all keys have defaults"), config);
}

#[test]
fn every_violation_is_named_with_its_path() {
    let text = "
        clip_low = 1.5
        [run]
        steps = 0
        [rollout]
        group_size = 1
        [optimizer]
        learning_rate = -1.0
    ";
    let ConfigError::Invalid(violations) = GrpoConfig::from_toml(text).expect_err("invalid") else {
        panic!("the syntax is fine");
    };
    assert_eq!(
        violations,
        [
            "run.steps: must be at least 1, got 0",
            "rollout.group_size: must be at least 2, got 1",
            "clip_low: must be in (0, 1), got 1.5",
            "optimizer.learning_rate: must be positive, got -1",
        ]
    );
}

#[test]
fn unknown_keys_are_refused_in_every_variant() {
    for text in [
        "clip = 0.2",
        "[run]\nstep = 5",
        "[kl]\nbeta = 0.1",
        "[aggregation]\ntype = \"sequence_mean\"\nx = 1",
        "[aggregation]\ntype = \"constant\"",
        "[ratio_scheme]\ntype = \"plain\"\nx = 1",
        "[objective]\ntype = \"reinforce\"\nmax_ratio = 1.0",
        "[objective]\ntype = \"cispo\"",
        "[advantage]\ntype = \"leave_one_out\"\nbaseline = { type = \"union\" }",
        "[advantage]\ntype = \"group_normalized\"\nbaseline = { type = \"onion\" }",
        "[optimizer.schedule.decay]\ntype = \"constant\"\nfinal_frac = 0.1",
        "[rollout.trigger]\ntype = \"all_wrong\"\nrate = 0.1",
    ] {
        let error = GrpoConfig::from_toml(text).expect_err(text);
        assert!(matches!(error, ConfigError::Syntax { .. }), "{text}: {error}");
    }
}

#[test]
fn a_syntax_error_names_its_line() {
    let error = GrpoConfig::from_toml("[run]\nsteps = \"many\"").expect_err("not a number");
    assert!(error.to_string().contains("line 2"), "{error}");
}
