//! From a Hugging Face `config.json` to a [`ModelConfig`], and back.

use serde_json::Value;

use crate::config::architecture::Architecture;
use crate::config::family::{AttentionBias, LocalRotation, Sizes, Unrotated, Windows};
use crate::config::hf_file::HfConfig;
use crate::config::{DeltaNet, ModelConfig, hf_layers};
use crate::error::PolicyError;

impl TryFrom<HfConfig> for ModelConfig {
    type Error = PolicyError;

    fn try_from(raw: HfConfig) -> Result<Self, PolicyError> {
        let mut raw = raw.into_text();
        let model_type = raw.model_type.clone().or_else(|| {
            let class = raw.architectures.as_ref()?.first()?;
            let known = Architecture::ALL.into_iter().find(|known| known.class_name() == class);
            Some(known.map_or_else(|| class.clone(), |known| known.model_type().to_owned()))
        });
        let model_type = required("model_type", model_type, "the name of an architecture")?;
        let architecture = Architecture::from_model_type(&model_type)?;
        let family = architecture.family();
        let defaults = family.defaults;
        // Other classes have heads that score or embed texts, or none.
        let classes = raw.architectures.as_deref().unwrap_or_default();
        let is_known = |class: &String| family.class_names.contains(&class.as_str());
        if !classes.is_empty() && !classes.iter().any(is_known) {
            let supported = format!("{} (for {model_type})", architecture.class_name());
            return Err(PolicyError::unsupported("architectures", &classes.join(", "), supported));
        }
        if family.biases.renamed {
            raw.attention_bias = raw.attention_bias.or(raw.qkv_bias);
            raw.mlp_bias = raw.mlp_bias.or(raw.bias);
        }
        raw.refuse_unsupported(architecture)?;
        let size = "a positive size";
        let sizes = defaults.sizes;
        let needed = |field: &str, value: Option<usize>, default: fn(&Sizes) -> usize| {
            required(field, value.or(sizes.as_ref().map(default)), size)
        };
        let hidden_size = needed("hidden_size", raw.hidden_size, |sizes| sizes.hidden)?;
        let num_attention_heads =
            needed("num_attention_heads", raw.num_attention_heads, |sizes| sizes.heads)?;
        let num_hidden_layers =
            needed("num_hidden_layers", raw.num_hidden_layers, |sizes| sizes.layers)?;
        let max_position_embeddings = raw.max_position_embeddings.or(defaults.max_positions);
        let head_dim = raw.head_dim.or(defaults.head_dim);
        let attention_bias = raw
            .attention_bias
            .unwrap_or(matches!(family.biases.attention, AttentionBias::Apart { default: true }));
        let (qkv_bias, output_bias) = match family.biases.attention {
            AttentionBias::Never => (false, false),
            AttentionBias::Inputs => (true, false),
            AttentionBias::Key => (attention_bias, attention_bias),
            AttentionBias::Apart { .. } => {
                (attention_bias, raw.attention_out_bias.unwrap_or(false))
            }
        };
        let rope = hf_layers::rope(&raw, architecture)?;
        let window = hf_layers::window(&raw, architecture)?;
        let sliding_windows =
            hf_layers::sliding_windows(&raw, architecture, num_hidden_layers, window)?;
        let token = |field: &str, value: Option<&Value>, default: Option<u32>| match value {
            None => Ok(default.into_iter().collect()),
            Some(_) => token_ids(field, value),
        };
        let multiplier = |value: Option<f64>| {
            value.filter(|value| family.multiplied && (value - 1.0).abs() > 0.0)
        };
        let config = Self {
            architecture,
            vocab_size: needed("vocab_size", raw.vocab_size, |sizes| sizes.vocab)?,
            hidden_size,
            intermediate_size: needed("intermediate_size", raw.intermediate_size, |sizes| {
                sizes.inner
            })?,
            num_hidden_layers,
            num_attention_heads,
            num_key_value_heads: raw
                .num_key_value_heads
                .or(defaults.kv_heads)
                .unwrap_or(num_attention_heads),
            head_dim: head_dim.unwrap_or(hidden_size / num_attention_heads.max(1)),
            rms_norm_eps: raw.rms_norm_eps.unwrap_or(defaults.rms_norm_eps),
            max_position_embeddings: required(
                "max_position_embeddings",
                max_position_embeddings,
                size,
            )?,
            rope_theta: rope.theta,
            rope_scaling: rope.scaling,
            long_factors: false,
            rope_local_theta: rope.local_theta,
            rotary_layers: hf_layers::rotary_layers(
                &raw,
                architecture,
                num_hidden_layers,
                window,
                &sliding_windows,
            ),
            partial_rotary_factor: rope.share,
            query_pre_attn_scalar: defaults
                .query_pre_attn_scalar
                .map(|default| raw.query_pre_attn_scalar.unwrap_or(default)),
            attention_multiplier: family
                .multiplied
                .then(|| raw.attention_multiplier.unwrap_or(1.0)),
            attn_logit_softcapping: softcap(
                "attn_logit_softcapping",
                raw.attn_logit_softcapping.as_ref(),
                defaults.score_cap,
            )?,
            embedding_multiplier: multiplier(raw.embedding_multiplier),
            residual_multiplier: multiplier(raw.residual_multiplier),
            logits_scaling: multiplier(raw.logits_scaling),
            final_logit_softcapping: softcap(
                "final_logit_softcapping",
                raw.final_logit_softcapping.as_ref(),
                defaults.logit_cap,
            )?,
            delta_net: hf_layers::delta_net(&raw, architecture, num_hidden_layers),
            qkv_bias,
            output_bias,
            mlp_bias: raw.mlp_bias.unwrap_or(false),
            tie_word_embeddings: raw.tie_word_embeddings.unwrap_or(defaults.tied),
            sliding_windows,
            initializer_range: raw.initializer_range.unwrap_or(0.02),
            bos_token_id: token("bos_token_id", raw.bos_token_id.as_ref(), defaults.bos)?
                .first()
                .copied(),
            eos_token_ids: token("eos_token_id", raw.eos_token_id.as_ref(), defaults.eos)?,
            pad_token_id: token("pad_token_id", raw.pad_token_id.as_ref(), defaults.pad)?
                .first()
                .copied(),
        };
        config.validate()?;
        Ok(config)
    }
}

impl From<ModelConfig> for HfConfig {
    fn from(config: ModelConfig) -> Self {
        let architecture = config.architecture;
        let family = architecture.family();
        let window = config.sliding_windows.iter().copied().flatten().next();
        let layer_types = |window: usize| {
            (0..config.num_hidden_layers)
                .map(|layer| match config.sliding_window(layer) {
                    Some(own) if own == window => "sliding_attention".to_owned(),
                    _ => "full_attention".to_owned(),
                })
                .collect()
        };
        let mixer_types = |delta_net: &DeltaNet| {
            let name = |layer| {
                if delta_net.mixes(layer) { "linear_attention" } else { "full_attention" }
            };
            (0..config.num_hidden_layers).map(|layer| name(layer).to_owned()).collect()
        };
        let delta_net = config.delta_net.as_ref();
        let eos_token_id = match config.eos_token_ids.as_slice() {
            [] => None,
            [one] => Some(Value::from(*one)),
            many => Some(Value::from(many)),
        };
        let activation = |key: &str| {
            (key == family.activation.key()).then(|| family.activation.name().to_owned())
        };
        // Where the family has a bound by default, its absence is written too.
        let softcap = |cap: Option<f64>, default: Option<f64>| match cap {
            None => default.map(|_| Value::Null),
            Some(cap) => Some(Value::from(cap)),
        };
        let multiplier = |value: Option<f64>| value.or(family.multiplied.then_some(1.0));
        Self {
            architectures: Some(vec![architecture.class_name().to_owned()]),
            model_type: Some(architecture.model_type().to_owned()),
            vocab_size: Some(config.vocab_size),
            hidden_size: Some(config.hidden_size),
            intermediate_size: Some(config.intermediate_size),
            num_hidden_layers: Some(config.num_hidden_layers),
            num_attention_heads: Some(config.num_attention_heads),
            num_key_value_heads: Some(config.num_key_value_heads),
            head_dim: Some(config.head_dim),
            hidden_act: activation("hidden_act"),
            hidden_activation: activation("hidden_activation"),
            rms_norm_eps: Some(config.rms_norm_eps),
            max_position_embeddings: Some(config.max_position_embeddings),
            original_max_position_embeddings: hf_layers::original_positions(&config.rope_scaling),
            rope_theta: Some(config.rope_theta),
            rope_scaling: hf_layers::scaling_object(&config.rope_scaling),
            rope_parameters: hf_layers::rope_parameters(&config),
            rope_local_base_freq: match family.local_rotation {
                LocalRotation::Base { .. } => config.rope_local_theta,
                LocalRotation::Shared | LocalRotation::Unscaled => None,
            },
            partial_rotary_factor: family.partly_rotated.then_some(config.partial_rotary_factor),
            query_pre_attn_scalar: config.query_pre_attn_scalar,
            attn_logit_softcapping: softcap(
                config.attn_logit_softcapping,
                family.defaults.score_cap,
            ),
            final_logit_softcapping: softcap(
                config.final_logit_softcapping,
                family.defaults.logit_cap,
            ),
            embedding_multiplier: multiplier(config.embedding_multiplier),
            residual_multiplier: multiplier(config.residual_multiplier),
            attention_multiplier: family.multiplied.then(|| config.attention(0).scale),
            logits_scaling: multiplier(config.logits_scaling),
            use_bidirectional_attention: None,
            is_causal: None,
            attention_bias: matches!(
                family.biases.attention,
                AttentionBias::Key | AttentionBias::Apart { .. }
            )
            .then_some(config.qkv_bias),
            attention_out_bias: matches!(family.biases.attention, AttentionBias::Apart { .. })
                .then_some(config.output_bias),
            mlp_bias: family.biases.mlp.then_some(config.mlp_bias),
            qkv_bias: None,
            bias: None,
            tie_word_embeddings: Some(config.tie_word_embeddings),
            use_sliding_window: (family.windows == Windows::Flagged).then_some(window.is_some()),
            sliding_window: hf_layers::window_key(&config),
            max_window_layers: None,
            layer_types: match (family.windows, window) {
                (
                    Windows::Flagged | Windows::Pattern { .. } | Windows::Listed { .. },
                    Some(window),
                ) => Some(layer_types(window)),
                (Windows::Pattern { .. } | Windows::Listed { .. }, None) => Some(layer_types(0)),
                _ => delta_net.map(mixer_types),
            },
            full_attention_interval: None,
            linear_num_key_heads: delta_net.map(|delta_net| delta_net.key_heads),
            linear_num_value_heads: delta_net.map(|delta_net| delta_net.value_heads),
            linear_key_head_dim: delta_net.map(|delta_net| delta_net.key_head_dim),
            linear_value_head_dim: delta_net.map(|delta_net| delta_net.value_head_dim),
            linear_conv_kernel_dim: delta_net.map(|delta_net| delta_net.conv_kernel),
            mamba_ssm_dtype: delta_net.map(|_| "float32".to_owned()),
            attn_output_gate: None,
            sliding_window_pattern: None,
            class_window_pattern: None,
            initializer_range: Some(config.initializer_range),
            no_rope_layers: matches!(family.unrotated, Unrotated::Listed { .. }).then(|| {
                let rotates = |layer| u8::from(config.attention(layer).rotation.is_some());
                (0..config.num_hidden_layers).map(rotates).collect()
            }),
            no_rope_layer_interval: None,
            bos_token_id: config.bos_token_id.map(Value::from),
            eos_token_id,
            pad_token_id: config.pad_token_id.map(Value::from),
            dtype: None,
            torch_dtype: None,
            quantization_config: None,
            compression_config: None,
            quantization: None,
            text_config: None,
        }
    }
}

impl HfConfig {
    /// Refuses every option that would change the forward pass and is not implemented.
    fn refuse_unsupported(&self, architecture: Architecture) -> Result<(), PolicyError> {
        let name = architecture.model_type();
        let family = architecture.family();
        let (key, supported) = (family.activation.key(), family.activation.name());
        let value = if key == "hidden_act" { &self.hidden_act } else { &self.hidden_activation };
        let others = family.activation.other_names();
        let is_other = |value: &&str| *value != supported && !others.contains(value);
        if let Some(value) = value.as_deref().filter(is_other) {
            return Err(PolicyError::unsupported(key, value, format!("{supported} (for {name})")));
        }
        if let Some(quantization) = self.quantization() {
            let named = |key: &str| quantization.get(key).filter(|value| !value.is_null());
            let found: Vec<String> =
                ["quant_method", "bits", "load_in_4bit", "load_in_8bit", "fmt", "format"]
                    .into_iter()
                    .filter_map(|key| Some(format!("{key} {}", named(key)?)))
                    .collect();
            let found = if found.is_empty() { quantization.to_string() } else { found.join(", ") };
            let supported = "none: load the model that was quantized, in bf16, f16 or f32";
            return Err(PolicyError::unsupported("quantization_config", &found, supported));
        }
        if self.attention_bias == Some(true) && family.biases.attention == AttentionBias::Never {
            let supported = format!("false (for {name})");
            return Err(PolicyError::unsupported("attention_bias", &true, supported));
        }
        if self.mlp_bias == Some(true) && !family.biases.mlp {
            let supported = format!("false (for {name})");
            return Err(PolicyError::unsupported("mlp_bias", &true, supported));
        }
        let [attention, inner] =
            [self.attention_bias, self.mlp_bias].map(|bias| bias == Some(true));
        if family.biases.renamed && attention != inner {
            let found = format!("{attention} beside `bias` {inner}");
            let supported = format!("the same for both (for {name})");
            return Err(PolicyError::unsupported("qkv_bias", &found, supported));
        }
        let rotated = self.partial_rotary_factor.filter(|_| !family.partly_rotated);
        if let Some(share) = rotated.filter(|share| (share - 1.0).abs() > 0.0) {
            return Err(PolicyError::unsupported("partial_rotary_factor", &share, "1"));
        }
        let caps = [
            ("attn_logit_softcapping", &self.attn_logit_softcapping),
            ("final_logit_softcapping", &self.final_logit_softcapping),
        ];
        for (key, value) in caps {
            let value = value.as_ref().filter(|value| !value.is_null() && !family.bounded);
            if let Some(value) = value {
                return Err(PolicyError::unsupported(key, value, format!("null (for {name})")));
            }
        }
        if self.attn_output_gate.is_some_and(|gated| gated != family.output_gate) {
            let (found, supported) = (!family.output_gate, family.output_gate);
            let supported = format!("{supported} (for {name})");
            return Err(PolicyError::unsupported("attn_output_gate", &found, supported));
        }
        if self.use_bidirectional_attention == Some(true) {
            return Err(PolicyError::unsupported("use_bidirectional_attention", &true, "false"));
        }
        // Models that embed texts have it, under the class of one that writes.
        if self.is_causal == Some(false) {
            return Err(PolicyError::unsupported("is_causal", &false, "true"));
        }
        Ok(())
    }
}

/// A bound, none if it is `null`, and the default of the family where there is no key.
fn softcap(
    field: &str,
    value: Option<&Value>,
    default: Option<f64>,
) -> Result<Option<f64>, PolicyError> {
    match value {
        None => Ok(default),
        Some(Value::Null) => Ok(None),
        Some(value) => value
            .as_f64()
            .map(Some)
            .ok_or_else(|| PolicyError::config(field, value, "a positive number or null")),
    }
}

/// One token id, a list of them, or none.
fn token_ids(field: &str, value: Option<&Value>) -> Result<Vec<u32>, PolicyError> {
    let one = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    let ids = match value {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(Value::Array(list)) => list.iter().map(one).collect(),
        // Some tools write -1 for "none".
        Some(Value::Number(number)) if number.as_i64().is_some_and(|id| id < 0) => Some(Vec::new()),
        Some(value) => one(value).map(|id| vec![id]),
    };
    ids.ok_or_else(|| {
        PolicyError::config(
            field,
            &value.map_or_else(String::new, Value::to_string),
            "a token id or a list of token ids",
        )
    })
}

fn required<T>(field: &str, value: Option<T>, expected: &str) -> Result<T, PolicyError> {
    value.ok_or_else(|| PolicyError::config(field, "missing", expected))
}
