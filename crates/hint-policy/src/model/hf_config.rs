//! The raw fields of a Hugging Face `config.json`, and their translation.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Architecture, ModelConfig, RopeScaling};
use crate::PolicyError;

/// `config.json` as transformers writes it. Keys that do not change the forward pass are ignored.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct HfConfig {
    architectures: Option<Vec<String>>,
    model_type: Option<String>,
    vocab_size: Option<usize>,
    hidden_size: Option<usize>,
    intermediate_size: Option<usize>,
    num_hidden_layers: Option<usize>,
    num_attention_heads: Option<usize>,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    hidden_act: Option<String>,
    rms_norm_eps: Option<f64>,
    max_position_embeddings: Option<usize>,
    rope_theta: Option<f64>,
    rope_scaling: Option<Value>,
    #[serde(skip_serializing)]
    rope_parameters: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attention_bias: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mlp_bias: Option<bool>,
    tie_word_embeddings: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    use_sliding_window: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sliding_window: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_window_layers: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    layer_types: Option<Vec<String>>,
    initializer_range: Option<f64>,
    bos_token_id: Option<Value>,
    eos_token_id: Option<Value>,
    pad_token_id: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dtype: Option<String>,
    // The name before transformers 4.56; older readers know only this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    torch_dtype: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quantization_config: Option<Value>,
}

impl TryFrom<HfConfig> for ModelConfig {
    type Error = PolicyError;

    fn try_from(raw: HfConfig) -> Result<Self, PolicyError> {
        let model_type = raw.model_type.clone().or_else(|| {
            let class = raw.architectures.as_ref()?.first()?;
            let known = Architecture::ALL.into_iter().find(|known| known.class_name() == class);
            Some(known.map_or_else(|| class.clone(), |known| known.model_type().to_owned()))
        });
        let model_type = required("model_type", model_type, "the name of an architecture")?;
        let architecture = Architecture::from_model_type(&model_type)?;
        if let Some(act) = raw.hidden_act.as_deref().filter(|act| *act != "silu") {
            return Err(unsupported("hidden_act", act, "silu"));
        }
        if let Some(quantization) = &raw.quantization_config {
            return Err(unsupported("quantization_config", quantization, "none"));
        }
        let size = "a positive size";
        let hidden_size = required("hidden_size", raw.hidden_size, size)?;
        let num_attention_heads = required("num_attention_heads", raw.num_attention_heads, size)?;
        let num_hidden_layers = required("num_hidden_layers", raw.num_hidden_layers, size)?;
        let max_position_embeddings =
            required("max_position_embeddings", raw.max_position_embeddings, size)?;
        let head_dim = match raw.head_dim {
            Some(head_dim) => head_dim,
            // The class's own default, whatever the width.
            None if architecture == Architecture::Qwen3 => 128,
            None => hidden_size / num_attention_heads.max(1),
        };
        let attention_bias = raw.attention_bias.unwrap_or(false);
        if attention_bias && architecture == Architecture::Mistral {
            return Err(unsupported("attention_bias", &true, "false (for mistral)"));
        }
        if raw.mlp_bias == Some(true) && architecture != Architecture::Llama {
            return Err(unsupported("mlp_bias", &true, "false (true for llama only)"));
        }
        let (rope_theta, rope_scaling) = rope(&raw)?;
        let config = Self {
            architecture,
            vocab_size: required("vocab_size", raw.vocab_size, size)?,
            hidden_size,
            intermediate_size: required("intermediate_size", raw.intermediate_size, size)?,
            num_hidden_layers,
            num_attention_heads,
            num_key_value_heads: raw.num_key_value_heads.unwrap_or(num_attention_heads),
            head_dim,
            rms_norm_eps: raw.rms_norm_eps.unwrap_or(1e-6),
            max_position_embeddings,
            rope_theta,
            rope_scaling,
            qkv_bias: architecture == Architecture::Qwen2 || attention_bias,
            output_bias: architecture != Architecture::Qwen2 && attention_bias,
            mlp_bias: raw.mlp_bias.unwrap_or(false),
            tie_word_embeddings: raw.tie_word_embeddings.unwrap_or(false),
            sliding_windows: sliding_windows(&raw, architecture, num_hidden_layers)?,
            initializer_range: raw.initializer_range.unwrap_or(0.02),
            bos_token_id: token_ids("bos_token_id", raw.bos_token_id.as_ref())?.first().copied(),
            eos_token_ids: token_ids("eos_token_id", raw.eos_token_id.as_ref())?,
            pad_token_id: token_ids("pad_token_id", raw.pad_token_id.as_ref())?.first().copied(),
        };
        config.validate()?;
        Ok(config)
    }
}

impl From<ModelConfig> for HfConfig {
    fn from(config: ModelConfig) -> Self {
        let architecture = config.architecture;
        let (is_llama, is_qwen) = (
            architecture == Architecture::Llama,
            matches!(architecture, Architecture::Qwen2 | Architecture::Qwen3),
        );
        let window = config.sliding_windows.iter().copied().flatten().next();
        let layer_types = |window: usize| {
            (0..config.num_hidden_layers)
                .map(|layer| match config.sliding_window(layer) {
                    Some(own) if own == window => "sliding_attention".to_owned(),
                    _ => "full_attention".to_owned(),
                })
                .collect()
        };
        let eos_token_id = match config.eos_token_ids.as_slice() {
            [] => None,
            [one] => Some(Value::from(*one)),
            many => Some(Value::from(many)),
        };
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
            hidden_act: Some("silu".to_owned()),
            rms_norm_eps: Some(config.rms_norm_eps),
            max_position_embeddings: Some(config.max_position_embeddings),
            rope_theta: Some(config.rope_theta),
            rope_scaling: match config.rope_scaling {
                RopeScaling::Default {} => None,
                scaling => serde_json::to_value(scaling).ok(),
            },
            rope_parameters: None,
            attention_bias: (is_llama || architecture == Architecture::Qwen3)
                .then_some(config.qkv_bias),
            mlp_bias: is_llama.then_some(config.mlp_bias),
            tie_word_embeddings: Some(config.tie_word_embeddings),
            use_sliding_window: is_qwen.then_some(window.is_some()),
            sliding_window: window,
            max_window_layers: None,
            layer_types: window.filter(|_| is_qwen).map(layer_types),
            initializer_range: Some(config.initializer_range),
            bos_token_id: config.bos_token_id.map(Value::from),
            eos_token_id,
            pad_token_id: config.pad_token_id.map(Value::from),
            dtype: None,
            torch_dtype: None,
            quantization_config: None,
        }
    }
}

impl HfConfig {
    /// Names the element type of the weights, under the old and the new key.
    pub(crate) fn with_dtype(mut self, name: &str) -> Self {
        self.dtype = Some(name.to_owned());
        self.torch_dtype = Some(name.to_owned());
        self
    }
}

/// Rotary base and scaling: `rope_theta` and `rope_scaling`, or `rope_parameters` (transformers 5).
fn rope(raw: &HfConfig) -> Result<(f64, RopeScaling), PolicyError> {
    let object = raw.rope_scaling.as_ref().or(raw.rope_parameters.as_ref());
    let Some(Value::Object(object)) = object.filter(|value| !value.is_null()) else {
        return match object.filter(|value| !value.is_null()) {
            None => Ok((raw.rope_theta.unwrap_or(10_000.0), RopeScaling::Default {})),
            Some(other) => Err(unsupported("rope_scaling", other, "an object")),
        };
    };
    let mut object = object.clone();
    let nested = object.get("rope_theta").and_then(Value::as_f64);
    let theta = nested.or(raw.rope_theta).unwrap_or(10_000.0);
    // `type` is the key that transformers used before 4.43.
    let kind = object.remove("type");
    let kind = object.get("rope_type").or(kind.as_ref()).cloned().unwrap_or(Value::Null);
    let name = kind.as_str().unwrap_or("missing");
    if !RopeScaling::SUPPORTED.split(", ").any(|known| known == name) {
        return Err(unsupported("rope_scaling.rope_type", name, RopeScaling::SUPPORTED));
    }
    object.insert("rope_type".into(), kind.clone());
    let scaling = serde_json::from_value(Value::Object(object)).map_err(|error| {
        PolicyError::InvalidConfig {
            field: "rope_scaling".into(),
            value: error.to_string(),
            expected: format!("the fields of rope type {name}"),
        }
    })?;
    Ok((theta, scaling))
}

/// Window of each layer, as transformers derives it for each family.
fn sliding_windows(
    raw: &HfConfig,
    architecture: Architecture,
    layers: usize,
) -> Result<Vec<Option<usize>>, PolicyError> {
    let window = match architecture {
        Architecture::Llama => None,
        Architecture::Mistral => raw.sliding_window,
        Architecture::Qwen2 | Architecture::Qwen3 => {
            raw.sliding_window.filter(|_| raw.use_sliding_window == Some(true))
        }
    };
    let Some(window) = window else {
        return Ok(Vec::new());
    };
    // `validate` refuses more, but only after this list was made.
    let layers = layers.min(super::config::MAX_LAYERS);
    if architecture == Architecture::Mistral {
        return Ok(vec![Some(window); layers]);
    }
    let Some(types) = &raw.layer_types else {
        let first = raw.max_window_layers.unwrap_or(28);
        return Ok((0..layers).map(|layer| (layer >= first).then_some(window)).collect());
    };
    let windows = types.iter().map(|name| match name.as_str() {
        "full_attention" => Ok(None),
        "sliding_attention" => Ok(Some(window)),
        other => Err(unsupported("layer_types", other, "full_attention, sliding_attention")),
    });
    windows.collect()
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
    ids.ok_or_else(|| PolicyError::InvalidConfig {
        field: field.into(),
        value: value.map_or_else(String::new, Value::to_string),
        expected: "a token id or a list of token ids".into(),
    })
}

fn required<T>(field: &str, value: Option<T>, expected: &str) -> Result<T, PolicyError> {
    value.ok_or_else(|| PolicyError::InvalidConfig {
        field: field.into(),
        value: "missing".into(),
        expected: expected.into(),
    })
}

fn unsupported(option: &str, value: &(impl ToString + ?Sized), supported: &str) -> PolicyError {
    PolicyError::Unsupported {
        option: option.into(),
        value: value.to_string(),
        supported: supported.into(),
    }
}
