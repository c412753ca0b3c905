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
        loss.objective = { type = \"clipped_surrogate\", clip_low = 1.5 }
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
            "run.steps: must be at least 1, found 0",
            "rollout.group_size: must be at least 2, found 1",
            "loss.objective.clip_low: must be in (0, 1), found 1.5",
            "optimizer.learning_rate: must be positive and finite, found -1",
        ]
    );
}

#[test]
fn unknown_keys_are_refused_in_every_variant() {
    for text in [
        "loss.clip = 0.2",
        "[run]\nstep = 5",
        "[loss.kl]\nbeta = 0.1",
        "[loss.aggregation]\ntype = \"sequence_mean\"\nx = 1",
        "[loss.aggregation]\ntype = \"constant\"",
        "[loss.ratio_scheme]\ntype = \"plain\"\nx = 1",
        "[loss.objective]\ntype = \"reinforce\"\nmax_ratio = 1.0",
        "[loss.objective]\ntype = \"cispo\"",
        "[advantage]\ntype = \"leave_one_out\"\nbaseline = { type = \"union\" }",
        "loss.ratio_level = \"sentence\"",
        "[loss.objective]\ntype = \"geometric_mean\"\nmax_ratio = 1.0",
        "[loss.importance_correction]\ntype = \"off\"\nmax_weight = 1.0",
        "[loss.importance_correction]\ntype = \"truncate\"",
        "[loss.aggregation]\ntype = \"local_token_mean\"\nx = 1",
        "[loss.kl]\ngroups = \"some\"",
        "[advantage]\ntype = \"quantile_baseline\"",
        "[advantage]\ntype = \"whitened\"\nscale = true",
        "[advantage]\ntype = \"group_normalized\"\nbaseline = { type = \"onion\" }",
        "[optimizer.schedule.decay]\ntype = \"constant\"\nfinal_frac = 0.1",
        "[rollout.trigger]\ntype = \"all_wrong\"\nrate = 0.1",
    ] {
        let error = GrpoConfig::from_toml(text).expect_err(text);
        assert!(error.to_string().contains('`'), "{text}: the name is not in {error}");
    }
}

#[test]
fn a_syntax_error_names_its_line_and_a_wrong_type_its_key() {
    let error = GrpoConfig::from_toml("[run]\nsteps = = 3").expect_err("not TOML");
    assert!(error.to_string().contains("line 2"), "{error}");
    let found = violations("[run]\nsteps = \"many\"\n[optimizer]\nlearning_rate = true");
    assert_eq!(
        found,
        [
            "optimizer.learning_rate: invalid type: boolean `true`, expected f64",
            "run.steps: invalid type: string \"many\", expected u64",
        ]
    );
}

#[test]
fn variables_of_the_chat_template_have_names_of_their_own() {
    let config =
        GrpoConfig::from_toml("model.chat_template_kwargs = { enable_thinking = false, n = 2 }");
    let variables = config.expect("any names are valid").model.chat_template_kwargs;
    assert_eq!(variables["enable_thinking"], false);
    assert_eq!(variables["n"], 2);
}

#[test]
fn a_key_of_a_default_choice_needs_no_type() {
    let read = |overrides: &[&str]| GrpoConfig::from_toml_with("", overrides.iter().copied());
    let short = read(&["loss.objective.clip_high=0.3"]).expect("a key of the default objective");
    let long = ["loss.objective.type=clipped_surrogate", "loss.objective.clip_high=0.3"];
    assert_eq!(short, read(&long).expect("the same objective, written out"));
    assert_ne!(short, GrpoConfig::default());

    let error = read(&["loss.objective.clip_hgh=0.3"]).expect_err("an unknown key").to_string();
    assert!(error.contains("loss.objective.clip_hgh: unknown key"), "{error}");
    assert!(error.contains("did you mean `clip_high`?"), "{error}");
    // A key of another choice is refused under the default one.
    let foreign = "loss.objective.temperature_positive";
    let error = read(&[&format!("{foreign}=1.0")]).expect_err("a key of `sapo`").to_string();
    assert!(error.contains(&format!("{foreign}: unknown key")), "{error}");
}

#[test]
fn an_unknown_key_of_a_choice_or_a_list_comes_with_the_nearest_one_of_that_choice() {
    let text = "
        loss.objective = { type = \"cispo\", max_ratio = 5.0, max_ratoi = 4.0 }
        loss.hinted_weight = [{ type = \"affinity\", exponent = 1.0, varient = {} }]
        optimizer.groups = [{ pattern = \"*\", frozn = true }, { pattern = \"*\", frozn = true }]
        rollout.source = { type = \"placebo\", of = { type = \"solution_prefix\", in_promt = true } }
        rollout.level = { type = \"ladder\", plain_frist = true }
    ";
    let found = violations(text);
    for expected in [
        "loss.objective.max_ratoi: unknown key `max_ratoi`; did you mean `max_ratio`?",
        "loss.hinted_weight[0].varient: unknown key `varient`; did you mean `variant`?",
        "optimizer.groups[0].frozn: unknown key `frozn`; did you mean `frozen`?",
        "optimizer.groups[1].frozn: unknown key `frozn`; did you mean `frozen`?",
        "rollout.source.of.in_promt: unknown key `in_promt`; did you mean `in_prompt`?",
        "rollout.level.plain_frist: unknown key `plain_frist`; did you mean `plain_first`?",
    ] {
        assert!(found.iter().any(|line| line == expected), "{expected}: {found:#?}");
    }
}

#[test]
fn a_choice_without_a_key_that_it_needs_is_refused_as_a_whole() {
    let found = violations("loss.objective = { type = \"cispo\" }");
    assert_eq!(found, ["loss.objective: missing field `max_ratio`"]);
    // The names that it has are the reader's.
    let found = violations("loss.objective = { type = \"cispo\", max_rato = 5.0 }");
    assert!(found[0].starts_with("loss.objective.max_rato: unknown field `max_rato`"), "{found:?}");
    assert_eq!(found[1..], ["loss.objective: missing field `max_ratio`"]);
    let found = violations("optimizer.groups = [{ pattern = \"*\" }, { frozen = true }]");
    assert_eq!(found, ["optimizer.groups[1]: missing field `pattern`"]);
}

#[test]
fn a_wrong_type_is_no_unknown_key() {
    let text = "
        custom_parts = 3
        optimizer.groups = [{ pattern = \"*\", frozen = 1 }]
    ";
    let found = violations(text);
    let expected = [
        "custom_parts: invalid type: integer `3`, expected a map",
        "optimizer.groups[0].frozen: invalid type: integer `1`, expected a boolean",
    ];
    assert_eq!(found, expected);
}

#[test]
fn every_table_refuses_unknown_keys_by_path() {
    let default = GrpoConfig::default().to_toml().expect("in TOML");
    let mut tables = vec![Vec::<String>::new()];
    let whole: toml::Table = default.parse().expect("in TOML");
    while let Some(path) = tables.pop() {
        let mut changed = whole.clone();
        let mut table = &mut changed;
        for key in &path {
            table = table[key].as_table_mut().expect("a table");
        }
        let inner = table.iter().filter(|(_, value)| value.is_table());
        tables.extend(inner.map(|(key, _)| [path.as_slice(), std::slice::from_ref(key)].concat()));
        table.insert("zzzzzz".to_owned(), 3.into());
        let path = path.join(".");
        if path == "model.chat_template_kwargs" {
            continue;
        }
        let found = violations(&changed.to_string());
        let place = format!("{path}.zzzzzz: unknown key `zzzzzz`");
        assert_eq!(found, [place.trim_start_matches('.')]);
    }
}

/// Every violation of `text`.
fn violations(text: &str) -> Vec<String> {
    match GrpoConfig::from_toml(text).expect_err("invalid") {
        ConfigError::Invalid(violations) => violations,
        error => panic!("{text}: {error}"),
    }
}

#[test]
fn every_part_of_a_loss_can_be_configured() {
    for text in [
        "loss.objective = { type = \"clipped_surrogate\", max_ratio = 3.0, dual_clip = 3.0 }",
        "loss.objective = { type = \"clipped_surrogate\" }\nloss.ratio_level = \"sequence\"",
        "loss.objective = { type = \"geometric_mean\", clip_low = 0.3297, clip_high = 0.4918 }",
        "loss.objective = { type = \"cispo\", max_ratio = 5.0 }\nloss.aggregation = { type = \"token_mean\" }",
        "loss.objective = { type = \"sapo\", temperature_positive = 1.0, temperature_negative = 1.05 }",
        "loss.objective = { type = \"reinforce\" }\nadvantage = { type = \"whitened\" }",
        "advantage = { type = \"whitened\", baseline = { type = \"union\" } }",
        "advantage = { type = \"batch_normalized\" }",
        "advantage = { type = \"quantile_baseline\", quantile = 0.4, scale = false }",
        "advantage = { type = \"max_baseline\" }",
        "loss.kl = { coef = 0.1, estimator = \"k2\", importance_weighted = true, groups = \"varied\" }",
        "loss.importance_correction = { type = \"truncate\", max_weight = 2.0 }",
        "loss.importance_correction = { type = \"mask\", max_weight = 2.0, level = \"sequence\" }",
        "loss.aggregation = { type = \"local_token_mean\" }",
        "loss.aggregation = { type = \"constant\", max_completion_len = 3000 }",
        "loss.aggregation = { type = \"sequence_sum\" }",
    ] {
        let config = GrpoConfig::from_toml(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_ne!(config, GrpoConfig::default(), "{text}");
    }
}

#[test]
fn parts_of_a_loss_out_of_range_are_named_with_their_path() {
    let text = "
        loss.objective = { type = \"clipped_surrogate\", max_ratio = 1.1, dual_clip = 1.0 }
        advantage = { type = \"quantile_baseline\", quantile = 1.5 }
        loss.importance_correction = { type = \"mask\", min_weight = 2.0, max_weight = 1.0 }
        loss.aggregation = { type = \"constant\", max_completion_len = 0 }
    ";
    assert_eq!(
        violations(text),
        [
            "advantage.quantile: must be in (0, 1], found 1.5",
            "loss.objective.max_ratio: must be finite and more than 1 + clip_high, found 1.1",
            "loss.objective.dual_clip: must be finite and more than 1, found 1",
            "loss.importance_correction.max_weight: must be finite and more than min_weight, found 1",
            "loss.aggregation.max_completion_len: must be at least 1, found 0",
        ]
    );
}

#[test]
fn a_truncated_distribution_is_no_denominator_of_the_whole_one() {
    let engine = "rollout.sampling = { top_p = 0.9 }\nloss.old_logprobs = \"engine\"";
    assert_eq!(
        violations(engine),
        ["loss.old_logprobs: must be \"recomputed\" where rollout.sampling truncates \
          (top_k, top_p, min_p, min_completion_len, banned_tokens), found \"engine\""]
    );
    let corrected = "rollout.sampling = { top_k = 50 }\n\
        loss.importance_correction = { type = \"truncate\", max_weight = 2.0 }";
    assert_eq!(
        violations(corrected),
        ["loss.importance_correction.type: must be \"off\" where rollout.sampling truncates \
          (top_k, top_p, min_p, min_completion_len, banned_tokens), found \"truncate\""]
    );
    let banned = "rollout.sampling = { banned_tokens = [3] }\nloss.old_logprobs = \"engine\"";
    assert_eq!(violations(banned), violations(engine));
    GrpoConfig::from_toml("rollout.sampling = { top_p = 0.9 }").expect("scored again");
}

#[test]
fn a_bound_of_infinity_must_be_finite() {
    let text = "
        loss.importance_correction = { type = \"mask\", min_weight = 2.0, max_weight = inf }
        loss.hinted_weight = [{ type = \"off_context\", min = 0.0, max = inf }]
        [optimizer]
        learning_rate = inf
    ";
    assert_eq!(
        violations(text),
        [
            "loss.importance_correction.max_weight: must be finite and more than min_weight, found inf",
            "loss.hinted_weight[0].max: must be positive, finite and not below min, found inf",
            "optimizer.learning_rate: must be positive and finite, found inf",
        ]
    );
}

#[test]
fn every_unknown_name_is_reported_with_its_path_and_the_nearest_valid_one() {
    let text = "
        loss.agregation = { type = \"token_mean\" }
        loss.objective = { type = \"clipped_surogate\" }
        [run]
        step = 5
        prompts_per_step = 0
        [optimizer.schedule]
        warmup_step = 1
    ";
    assert_eq!(
        violations(text),
        [
            "loss.agregation: unknown key `agregation`; did you mean `aggregation`?",
            "loss.objective: unknown variant `clipped_surogate`, expected one of \
             `clipped_surrogate`, `geometric_mean`, `cispo`, `sapo`, `reinforce`",
            "optimizer.schedule.warmup_step: unknown key `warmup_step`; did you mean `warmup_steps`?",
            "run.step: unknown key `step`; did you mean `steps`?",
            "run.prompts_per_step: must be at least 1, found 0",
        ]
    );
}

#[test]
fn overrides_set_single_keys_with_or_without_a_prefix() {
    let text = "run.seed = 3\nloss.objective = { type = \"cispo\", max_ratio = 5.0 }";
    let overrides = [
        "grpo.run.seed=5",
        "run.steps = 7",
        "loss.objective.type=clipped_surrogate",
        "rollout.sampling.top_k=50",
    ];
    let config = GrpoConfig::from_toml_with(text, overrides).expect("all keys are known");
    assert_eq!((config.run.seed, config.run.steps), (5, 7));
    assert_eq!(config.loss.objective, GrpoConfig::default().loss.objective);
    assert_eq!(config.rollout.sampling.top_k, Some(50));
    for wrong in ["run.steps", "=3", "run.seed.x=1"] {
        let error = GrpoConfig::from_toml_with(text, [wrong]).expect_err(wrong).to_string();
        assert!(error.contains(wrong), "{error}");
    }
}

#[test]
fn violations_of_the_evaluation_have_their_paths() {
    let text = "
        [evaluation]
        held_out = { type = \"share\", frac = 1.0 }
        max_problems = 0
        completions_per_problem = 2
        k = [3]
    ";
    let ConfigError::Invalid(violations) = GrpoConfig::from_toml(text).expect_err("invalid") else {
        panic!("the syntax is fine");
    };
    assert_eq!(
        violations,
        [
            "evaluation.held_out.frac: must be in (0, 1), found 1",
            "evaluation.max_problems: must be at least 1, found 0",
            "evaluation.completions_per_problem: must be 1 when sampling is greedy: further \
             completions would be the same, found 2",
            "evaluation.k: must be between 1 and completions_per_problem, found [3]",
        ]
    );
}

#[test]
fn controls_and_teaching_hints_that_cannot_work_are_refused() {
    let credit = r#"loss.credit.form = { type = "weight", min = 0.5, max = 2.0 }"#;
    let geometric = r#"loss.objective.type = "geometric_mean""#;
    let twice = r#"rollout.level = { type = "ladder", plain_first = true }"#;
    let divergence =
        r#"loss.credit.form = { type = "divergence", kind = { type = "forward_kl" }, top_k = 4 }"#;
    let teach = r#"rollout.combine = { type = "teach", contrast = "placebo" }"#;
    let both = r#"rollout.combine = { type = "teach", samples = true }"#;
    let placebo = r#"rollout.source = { type = "placebo" }"#;
    for (text, refused) in [
        (format!("{teach}\nloss.ratio_level = \"sequence\""), "found \"advantage\""),
        (format!("{teach}\n{geometric}\n{credit}"), "loss.credit.form.type"),
        (format!("{teach}\n{placebo}"), "rollout.combine.contrast"),
        (format!("{teach}\n{divergence}"), "which compares with the teacher alone"),
        (r#"rollout.source = { type = "peer_success" }"#.to_owned(), "rollout.source.type"),
        (format!("{teach}\n{twice}"), "rollout.level.plain_first"),
        (format!("{both}\n{twice}"), "rollout.level.plain_first"),
        (format!("{both}\nrollout.source.type = \"peer_success\""), "rollout.source.type"),
        (format!("run.prompts_per_step = 1\n{teach}"), "rollout.combine.contrast"),
        (format!("run.prompts_per_step = 1\n{placebo}"), "rollout.source.type"),
        (format!("{teach}\nrollout.source.type = \"demonstration\""), "rollout.source.type"),
        (
            r#"rollout.source = { type = "unrelated", of = { type = "placebo" } }"#.to_owned(),
            "rollout.source.of.type",
        ),
    ] {
        let error = GrpoConfig::from_toml(&text).expect_err(&text).to_string();
        assert!(error.contains(refused), "{text}: {error}");
    }
    let held = r#"rollout.source = { type = "placebo", of = { type = "masked_solution" } }"#;
    let config = GrpoConfig::from_toml(held).expect("a control of a source");
    assert_eq!(config.rollout.source.name(), "placebo of masked_solution");
}

#[test]
fn the_reference_in_the_book_holds_every_key_with_its_default() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    // A package away from the repository has no book.
    let Ok(page) = std::fs::read_to_string(path) else { return };
    let text = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next());
    let text = text.expect("the page begins with all keys");
    let config = GrpoConfig::default();
    assert_eq!(GrpoConfig::from_toml(text).expect("the reference is valid"), config);
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let words: std::collections::BTreeSet<&str> = text.split(|c| !is_word(c)).collect();
    // Unlike TOML, JSON has a value for what is not set.
    let written = serde_json::to_value(&config).expect("a configuration is plain data");
    for key in keys(&written) {
        assert!(words.contains(key.as_str()), "docs/configuration.md lacks `{key}`");
    }
}

/// The keys of all objects in a value.
fn keys(value: &serde_json::Value) -> Vec<String> {
    let inner =
        |(key, value): (&String, &serde_json::Value)| [vec![key.clone()], keys(value)].concat();
    value.as_object().into_iter().flatten().flat_map(inner).collect()
}
