//! `config.json`: what is read, and what is refused by name.

use hint_policy::ModelConfig;
use hint_policy::config::{Architecture, RopeScaling};
use serde_json::{Value, json};

fn base(model_type: &str) -> Value {
    json!({
        "model_type": model_type, "vocab_size": 10, "hidden_size": 16, "intermediate_size": 8,
        "num_hidden_layers": 3, "num_attention_heads": 4, "max_position_embeddings": 64,
    })
}

#[expect(clippy::needless_pass_by_value, reason = "cases are literals")]
fn parse(model_type: &str, change: Value) -> Result<ModelConfig, String> {
    let mut json = base(model_type);
    for (key, value) in change.as_object().expect("changes are an object") {
        json[key] = value.clone();
    }
    serde_json::from_value(json).map_err(|error| error.to_string())
}

#[track_caller]
fn check_refused(model_type: &str, change: Value, words: &[&str]) {
    let error = parse(model_type, change).unwrap_err();
    for word in words {
        assert!(error.contains(word), "{error}: no {word}");
    }
}

#[test]
fn defaults_are_those_of_transformers() {
    let config = parse("llama", json!({})).unwrap();
    assert_eq!(config.num_key_value_heads, 4);
    assert_eq!(config.head_dim, 4);
    assert!(!config.tie_word_embeddings && !config.qkv_bias);
    assert!(parse("qwen2", json!({})).unwrap().qkv_bias);
    assert_eq!(parse("qwen3", json!({})).unwrap().head_dim, 128);
}

/// What a `config.json` means, layer by layer, under the names of transformers.
fn resolved(config: &ModelConfig) -> Value {
    let layers = 0..config.num_hidden_layers;
    let float = |size: usize| size as f64;
    let windows: Vec<_> =
        layers.clone().map(|layer| config.sliding_window(layer).map(float)).collect();
    let rotates = |layer: usize| config.rotary_layers.get(layer).copied().unwrap_or(true);
    let mut all = json!({
        "windows": windows, "rotates": layers.map(rotates).collect::<Vec<_>>(),
        "head_dim": float(config.head_dim), "num_key_value_heads": float(config.num_key_value_heads),
        "rms_norm_eps": config.rms_norm_eps, "rope_theta": config.rope_theta,
        "partial_rotary_factor": config.partial_rotary_factor,
        "max_position_embeddings": float(config.max_position_embeddings),
        "query_pre_attn_scalar": config.query_pre_attn_scalar,
        "attn_logit_softcapping": config.attn_logit_softcapping,
        "final_logit_softcapping": config.final_logit_softcapping,
        "embedding_multiplier": config.embedding_multiplier.unwrap_or(1.0),
        "residual_multiplier": config.residual_multiplier.unwrap_or(1.0),
        "attention_multiplier": config.attention_multiplier,
        "logits_scaling": config.logits_scaling.unwrap_or(1.0),
        "tie_word_embeddings": config.tie_word_embeddings,
        "attention_bias": config.qkv_bias, "mlp_bias": config.mlp_bias,
        "attention_out_bias": config.output_bias,
    });
    all["bos_token_id"] = config.bos_token_id.into_iter().collect();
    all["eos_token_id"] = json!(config.eos_token_ids);
    if let RopeScaling::LongRope { original_max_position_embeddings, .. } = config.rope_scaling {
        all["original_max_position_embeddings"] = json!(float(original_max_position_embeddings));
    }
    if let Some(sizes) = &config.delta_net {
        all["linear_num_key_heads"] = json!(float(sizes.key_heads));
        all["linear_num_value_heads"] = json!(float(sizes.value_heads));
        all["linear_key_head_dim"] = json!(float(sizes.key_head_dim));
        all["linear_value_head_dim"] = json!(float(sizes.value_head_dim));
        all["linear_conv_kernel_dim"] = json!(float(sizes.conv_kernel));
    }
    all
}

/// Missing keys mean what they mean in transformers, and so does what is written (`gen/resolved_configs.py`).
#[test]
fn golden_configurations_are_read_as_in_transformers() {
    let path = crate::golden::golden_dir().0.join("resolved_configs.json");
    let cases: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut families: Vec<Architecture> = Vec::new();
    for case in &cases {
        let name = &case["name"];
        let config: ModelConfig = serde_json::from_value(case["config"].clone())
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        families.push(config.architecture);
        let ours = resolved(&config);
        for (key, expected) in case["resolved"].as_object().expect("an object") {
            assert_eq!(&ours[key], expected, "{name}: {key}");
        }
        // Once it is written, too.
        let written = serde_json::to_value(&config).unwrap();
        assert_eq!(resolved(&serde_json::from_value(written).unwrap()), ours, "{name}");
    }
    let missing = Architecture::ALL.into_iter().find(|one| !families.contains(one));
    assert_eq!(missing, None, "a family that is not compared; gen/resolved_configs.py does that");
}

#[test]
fn sizes_and_biases_are_read_under_each_of_their_names() {
    let float =
        json!({"sliding_window": 5.0, "max_window_layers": 1.0, "use_sliding_window": true});
    assert_eq!(parse("qwen2", float).unwrap().sliding_windows, [None, Some(5), Some(5)]);
    check_refused("mistral", json!({"sliding_window": 4.5}), &["sliding_window", "4.5", "size"]);
    check_refused("gemma3_text", json!({"sliding_window": null}), &["sliding_window", "null"]);
    // Conversions of InternLM leave its own names beside Llama's, which do not read them.
    let both = json!({"bias": true, "mlp_bias": false, "qkv_bias": true, "attention_bias": false});
    let config = parse("llama", both).unwrap();
    assert!(!config.mlp_bias && !config.qkv_bias);
    assert!(!parse("llama", json!({"bias": true})).unwrap().mlp_bias);
    let config =
        parse("internlm3", json!({"bias": true, "qkv_bias": true, "num_key_value_heads": 2}));
    assert!(config.is_ok_and(|config| config.mlp_bias && config.qkv_bias && config.output_bias));
    check_refused("internlm3", json!({"qkv_bias": true}), &["qkv_bias", "bias", "internlm3"]);
    let yarn = json!({"rope_parameters": {"rope_type": "yarn", "factor": null, "rope_theta": 7.0,
        "original_max_position_embeddings": 16}});
    let RopeScaling::Yarn { factor, .. } = parse("qwen3", yarn).unwrap().rope_scaling else {
        panic!("not YaRN")
    };
    assert_eq!(factor, 4.0);
}

#[test]
fn options_are_read() {
    let config = parse("llama", json!({"attention_bias": true, "eos_token_id": [1, 2]})).unwrap();
    assert!(config.qkv_bias && config.output_bias);
    assert_eq!(config.eos_token_ids, [1, 2]);
    let class = json!({"model_type": null, "architectures": ["Qwen3ForCausalLM"]});
    assert_eq!(parse("llama", class).unwrap().architecture, Architecture::Qwen3);
    let linear = json!({"rope_scaling": {"type": "linear", "factor": 2.0}});
    assert_eq!(parse("llama", linear).unwrap().rope_scaling, RopeScaling::Linear { factor: 2.0 });
    let nested = json!({"rope_parameters": {"rope_type": "default", "rope_theta": 5.0}});
    let config = parse("llama", nested).unwrap();
    assert_eq!((config.rope_theta, config.rope_scaling), (5.0, RopeScaling::Default));
}

#[test]
fn sliding_windows_follow_the_family() {
    #[track_caller]
    fn check(model_type: &str, change: Value, expected: &[Option<usize>]) {
        assert_eq!(parse(model_type, change).unwrap().sliding_windows, expected);
    }
    check("mistral", json!({"sliding_window": 5}), &[Some(5); 3]);
    check("mistral", json!({"sliding_window": null}), &[]);
    check("mistral", json!({}), &[Some(4096); 3]);
    check("qwen2", json!({"sliding_window": 5}), &[]);
    let on = |key: &str, value: Value| json!({"use_sliding_window": true, "sliding_window": 5, key: value});
    check("qwen2", on("max_window_layers", json!(2)), &[None, None, Some(5)]);
    let types = json!(["sliding_attention", "full_attention", "full_attention"]);
    check("qwen3", on("layer_types", types), &[Some(5), None, None]);
    check_refused(
        "qwen2",
        on("layer_types", json!(["chunked", "x", "y"])),
        &["layer_types", "chunked"],
    );
}

#[test]
fn unsupported_options_are_refused_by_name() {
    let supported = "llama, qwen2, qwen3, mistral, gemma3_text";
    check_refused("gemma3", json!({}), &["model_type", "gemma3", supported, "text_config"]);
    let other = json!({"text_config": {"model_type": "gemma4_text"}});
    check_refused("gemma3", other, &["model_type", "gemma3", "text_config"]);
    check_refused("llama", json!({"hidden_act": "gelu"}), &["hidden_act", "gelu", "silu"]);
    let ntk = json!({"rope_scaling": {"rope_type": "ntk", "factor": 2.0}});
    check_refused("llama", ntk, &["rope_type", "ntk", "linear, dynamic, longrope, llama3, yarn"]);
    let uneven =
        json!({"rope_scaling": {"type": "su", "short_factor": [1.0], "long_factor": [1.0]}});
    check_refused("phi3", uneven, &["short_factor", "2 numbers", "rotary pair"]);
    let odd = json!({"partial_rotary_factor": 0.25});
    check_refused("phi3", odd, &["partial_rotary_factor", "0.25", "head of 4"]);
    check_refused("qwen2", json!({"mlp_bias": true}), &["mlp_bias"]);
    check_refused("llama", json!({"quantization_config": {"bits": 4}}), &["quantization_config"]);
    check_refused("mistral", json!({"attention_bias": true}), &["attention_bias", "mistral"]);
    check_refused("llama", json!({"partial_rotary_factor": 0.5}), &["partial_rotary_factor"]);
    let gelu = json!({"hidden_activation": "gelu"});
    check_refused("gemma3_text", gelu, &["hidden_activation", "gelu_pytorch_tanh"]);
    for key in ["attn_logit_softcapping", "final_logit_softcapping"] {
        check_refused("llama", json!({key: 30.0}), &[key, "30", "null"]);
        check_refused("gemma3_text", json!({key: -1.0}), &[key, "-1", "positive"]);
    }
    let both_ways = json!({"use_bidirectional_attention": true});
    check_refused("gemma3_text", both_ways, &["use_bidirectional_attention"]);
    check_refused("qwen2", json!({"is_causal": false}), &["is_causal", "false"]);
    let text = json!({"text_config": base("gemma3_text"), "is_causal": false});
    check_refused("gemma3", text, &["is_causal", "false"]);
    assert!(parse("qwen2", json!({"is_causal": true})).is_ok());
    let local = json!({"rope_parameters": {
        "full_attention": {"rope_type": "default"}, "sliding_attention": {"rope_type": "yarn"}}});
    check_refused("gemma3_text", local, &["sliding_attention.rope_type", "yarn", "default"]);
}

#[test]
fn gemma_reads_its_own_defaults_and_both_forms_of_rotary_settings() {
    let config = parse("gemma3_text", json!({})).unwrap();
    assert_eq!((config.head_dim, config.num_key_value_heads), (256, 4));
    assert_eq!((config.rope_theta, config.rope_local_theta), (1e6, Some(1e4)));
    assert_eq!(config.query_pre_attn_scalar, Some(256.0));
    assert_eq!(config.sliding_windows, [Some(4096); 3]);
    assert!(config.tie_word_embeddings);
    assert_eq!((config.bos_token_id, config.eos_token_ids), (Some(2), vec![1]));
    let pattern = json!({"sliding_window_pattern": 2, "sliding_window": 8});
    let config = parse("gemma3_text", pattern).unwrap();
    assert_eq!(config.sliding_windows, [Some(8), None, Some(8)]);
    let nested = json!({"rope_parameters": {
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 5.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 3.0}}});
    let config = parse("gemma3_text", nested).unwrap();
    assert_eq!((config.rope_theta, config.rope_local_theta), (5.0, Some(3.0)));
    assert_eq!(config.rope_scaling, RopeScaling::Linear { factor: 8.0 });
}

#[test]
fn families_read_what_sets_their_layers_apart() {
    let config = parse("smollm3", json!({"no_rope_layer_interval": 2})).unwrap();
    assert_eq!(config.rotary_layers, [true, false, true]);
    let listed =
        json!({"no_rope_layers": [0, 1, 1, 1], "use_sliding_window": true, "sliding_window": 5});
    let config = parse("smollm3", listed).unwrap();
    assert_eq!(config.rotary_layers, [false, true, true]);
    assert_eq!(config.sliding_windows, [Some(5), None, None]);
    check_refused("smollm3", json!({"no_rope_layers": [1]}), &["no_rope_layers", "list of 1"]);
    let granite = parse("granite", json!({"residual_multiplier": 0.5})).unwrap();
    assert_eq!((granite.residual_multiplier, granite.attention_multiplier), (Some(0.5), Some(1.0)));
    let gemma = parse("gemma2", json!({"attn_logit_softcapping": null})).unwrap();
    assert_eq!((gemma.attn_logit_softcapping, gemma.final_logit_softcapping), (None, Some(30.0)));
    assert_eq!(gemma.sliding_windows, [Some(4096), None, Some(4096)]);
    let yarn = json!({"rope_scaling": {"rope_type": "yarn", "factor": 2.0}, "rope_theta": 7.0});
    assert_eq!(parse("olmo3", yarn).unwrap().rope_local_theta, Some(7.0));
    let letters = json!({"sliding_window": 5, "sliding_window_pattern": "LG"});
    let exaone = parse("exaone4", letters).unwrap();
    assert_eq!(exaone.sliding_windows, [Some(5), None, Some(5)]);
    assert_eq!(exaone.rotary_layers, [true, false, true]);
    let other = json!({"sliding_window": 5, "sliding_window_pattern": "GLL"});
    check_refused("exaone4", other, &["sliding_window_pattern", "GLL", "LLLG"]);
    let long = json!({"original_max_position_embeddings": 16,
        "rope_scaling": {"type": "longrope", "short_factor": [1.0, 1.5], "long_factor": [2.0, 3.0]}});
    assert_eq!(parse("phi3", long).unwrap().max_positions(), 16);
    let seed_oss = parse("seed_oss", json!({"num_key_value_heads": 2})).unwrap();
    assert_eq!((seed_oss.qkv_bias, seed_oss.output_bias, seed_oss.head_dim), (true, false, 128));
}

/// transformers 5 has these readings. 4.57 has them too, except for Llama with the length in the object alone.
#[test]
fn the_length_of_pre_training_is_that_beside_the_scaling() {
    let long = |more: Value, beside: Value| {
        let mut scaling =
            json!({"type": "longrope", "short_factor": [1.0, 1.5], "long_factor": [2.0, 3.0]});
        scaling.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"rope_scaling": scaling, "original_max_position_embeddings": beside})
    };
    let original = |config: ModelConfig| match config.rope_scaling {
        RopeScaling::LongRope { original_max_position_embeddings, .. } => {
            original_max_position_embeddings
        }
        other => panic!("{other:?}"),
    };
    let key = "original_max_position_embeddings";
    for (kind, inside, beside, expected) in [
        ("phi3", json!({}), Value::Null, 4096),
        ("phi3", json!({}), json!(16), 16),
        ("phi3", json!({key: 8}), json!(16), 16),
        ("phi3", json!({key: 8}), Value::Null, 4096),
        ("llama", json!({key: 8}), json!(16), 16),
        ("llama", json!({key: 8}), Value::Null, 8),
        ("llama", json!({}), Value::Null, 64),
        ("llama", json!({key: 16, "factor": 4.0}), Value::Null, 16),
    ] {
        let found = parse(kind, long(inside.clone(), beside.clone())).unwrap();
        assert_eq!(original(found), expected, "{kind} {inside} {beside}");
    }
    let other = long(json!({"factor": 8.0}), json!(16));
    check_refused("llama", other, &["rope_scaling.factor", "8", "4, the ratio"]);
    let yarn = json!({"rope_scaling": {"rope_type": "yarn", "factor": 4.0, key: 16}, key: 32});
    check_refused("qwen3", yarn, &[key, "32", "16, as for `rope_scaling`"]);
}

#[test]
fn delta_nets_are_read_with_their_layers() {
    let config = parse("qwen3_5_text", json!({"head_dim": 16})).unwrap();
    let delta_net = config.delta_net.as_ref().unwrap();
    assert_eq!(delta_net.layers, [true, true, true]);
    assert_eq!((delta_net.key_heads, delta_net.value_heads), (16, 32));
    assert_eq!(config.partial_rotary_factor, 0.25);
    let listed = json!({"layer_types": ["full_attention", "linear_attention", "full_attention"],
        "linear_conv_kernel_dim": 3, "attn_output_gate": true,
        "rope_parameters": {"rope_theta": 7.0, "mrope_section": [1, 1, 0], "partial_rotary_factor": 0.5}});
    let config = parse("qwen3_5_text", listed).unwrap();
    let delta_net = config.delta_net.as_ref().unwrap();
    assert_eq!(delta_net.layers, [false, true, false]);
    assert_eq!((delta_net.conv_kernel, config.partial_rotary_factor), (3, 0.5));
    assert_eq!(config.rope_theta, 7.0);
    check_refused("qwen3_5_text", json!({"attn_output_gate": false}), &["attn_output_gate"]);
    let heads = json!({"linear_num_key_heads": 3, "linear_num_value_heads": 4});
    check_refused("qwen3_5_text", heads, &["linear_num_key_heads", "3", "divisor"]);
    check_refused("qwen3_5_text", json!({"linear_key_head_dim": 0}), &["linear_key_head_dim"]);
    let types = json!({"layer_types": ["sliding_attention"]});
    check_refused("qwen3_5_text", types, &["layer_types", "sliding_attention", "linear_attention"]);
    check_refused("qwen3_5_moe_text", json!({}), &["qwen3_5_moe_text", "qwen3_5_text"]);
}

#[test]
fn contradictions_are_refused_by_name() {
    check_refused("llama", json!({"hidden_size": null}), &["hidden_size", "missing"]);
    check_refused("llama", json!({"num_key_value_heads": 3}), &["num_key_value_heads", "divisor"]);
    check_refused("llama", json!({"head_dim": 3}), &["head_dim", "even"]);
    check_refused("llama", json!({"num_hidden_layers": 1_000_000_000}), &["num_hidden_layers"]);
    check_refused("llama", json!({"rms_norm_eps": -1.0}), &["rms_norm_eps"]);
    let llama3 = json!({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}});
    check_refused("llama", llama3, &["rope_scaling", "low_freq_factor"]);
    let linear = json!({"rope_scaling": {"rope_type": "linear", "factor": 0.0}});
    check_refused("llama", linear, &["rope_scaling.factor", "positive"]);
}

#[test]
fn json_round_trips() {
    #[track_caller]
    fn check(config: &ModelConfig) {
        let json = serde_json::to_string(config).unwrap();
        assert_eq!(&serde_json::from_str::<ModelConfig>(&json).unwrap(), config);
    }
    for architecture in Architecture::ALL {
        check(&ModelConfig::small(architecture, 11));
    }
    check(&ModelConfig {
        sliding_windows: vec![None, None, Some(4), Some(4)],
        rope_scaling: RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: 32,
        },
        ..ModelConfig::small(Architecture::Qwen3, 11)
    });
}
