//! The raw fields of a Hugging Face `config.json`, and their translation.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::config::architecture::Architecture;
use crate::config::rope::RopeScaling;
use crate::config::{ModelConfig, hf_layers};
use crate::error::PolicyError;

/// The activation of Gemma 3, as transformers calls it.
const GELU: &str = "gelu_pytorch_tanh";

/// `config.json` as transformers writes it. Keys that do not change the forward pass are ignored.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct HfConfig {
    architectures: Option<Vec<String>>,
    model_type: Option<String>,
    #[serde(deserialize_with = "size")]
    vocab_size: Option<usize>,
    #[serde(deserialize_with = "size")]
    hidden_size: Option<usize>,
    #[serde(deserialize_with = "size")]
    intermediate_size: Option<usize>,
    #[serde(deserialize_with = "size")]
    num_hidden_layers: Option<usize>,
    #[serde(deserialize_with = "size")]
    num_attention_heads: Option<usize>,
    #[serde(deserialize_with = "size")]
    num_key_value_heads: Option<usize>,
    #[serde(deserialize_with = "size")]
    head_dim: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hidden_act: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hidden_activation: Option<String>,
    rms_norm_eps: Option<f64>,
    #[serde(deserialize_with = "size")]
    max_position_embeddings: Option<usize>,
    pub(super) rope_theta: Option<f64>,
    pub(super) rope_scaling: Option<Value>,
    #[serde(skip_serializing)]
    pub(super) rope_parameters: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rope_local_base_freq: Option<f64>,
    #[serde(skip_serializing)]
    partial_rotary_factor: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "whole")]
    query_pre_attn_scalar: Option<f64>,
    #[serde(skip_serializing)]
    attention_dropout: Option<f64>,
    #[serde(skip_serializing)]
    attn_logit_softcapping: Option<f64>,
    #[serde(skip_serializing)]
    final_logit_softcapping: Option<f64>,
    #[serde(skip_serializing)]
    use_bidirectional_attention: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attention_bias: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mlp_bias: Option<bool>,
    tie_word_embeddings: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) use_sliding_window: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sliding_window: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) max_window_layers: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) layer_types: Option<Vec<String>>,
    #[serde(skip_serializing)]
    pub(super) sliding_window_pattern: Option<usize>,
    // As transformers writes it, next to `layer_types`.
    #[serde(skip_serializing, rename(deserialize = "_sliding_window_pattern"))]
    pub(super) class_window_pattern: Option<usize>,
    initializer_range: Option<f64>,
    #[serde(deserialize_with = "present")]
    bos_token_id: Option<Value>,
    #[serde(deserialize_with = "present")]
    eos_token_id: Option<Value>,
    #[serde(deserialize_with = "present")]
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
        let gemma = architecture == Architecture::Gemma3;
        // Other classes have heads that score or embed texts, or none.
        let classes = raw.architectures.as_deref().unwrap_or_default();
        if !classes.is_empty() && classes.iter().all(|class| class != architecture.class_name()) {
            let supported = format!("{} (for {model_type})", architecture.class_name());
            return Err(PolicyError::unsupported("architectures", &classes.join(", "), supported));
        }
        raw.refuse_unsupported(architecture)?;
        let size = "a positive size";
        let hidden_size = required("hidden_size", raw.hidden_size, size)?;
        let num_attention_heads = required("num_attention_heads", raw.num_attention_heads, size)?;
        let num_hidden_layers = required("num_hidden_layers", raw.num_hidden_layers, size)?;
        // What a file leaves out has the default of the family's class.
        let default = |value: usize| gemma.then_some(value);
        let max_position_embeddings = required(
            "max_position_embeddings",
            raw.max_position_embeddings.or(default(131_072)),
            size,
        )?;
        let head_dim = match raw.head_dim {
            Some(head_dim) => head_dim,
            None if architecture == Architecture::Qwen3 => 128,
            None if gemma => 256,
            None => hidden_size / num_attention_heads.max(1),
        };
        let attention_bias = raw.attention_bias.unwrap_or(false);
        let rope = hf_layers::rope(&raw, architecture)?;
        let token = |field: &str, value: Option<&Value>, id: u32| {
            let ids = token_ids(field, value)?;
            Ok::<_, PolicyError>(if gemma && value.is_none() { vec![id] } else { ids })
        };
        let config = Self {
            architecture,
            vocab_size: required("vocab_size", raw.vocab_size, size)?,
            hidden_size,
            intermediate_size: required("intermediate_size", raw.intermediate_size, size)?,
            num_hidden_layers,
            num_attention_heads,
            num_key_value_heads: raw
                .num_key_value_heads
                .or(default(4))
                .unwrap_or(num_attention_heads),
            head_dim,
            rms_norm_eps: raw.rms_norm_eps.unwrap_or(1e-6),
            max_position_embeddings,
            rope_theta: rope.theta,
            rope_scaling: rope.scaling,
            rope_local_theta: rope.local_theta,
            query_pre_attn_scalar: gemma.then(|| raw.query_pre_attn_scalar.unwrap_or(256.0)),
            qkv_bias: architecture == Architecture::Qwen2 || attention_bias,
            output_bias: architecture != Architecture::Qwen2 && attention_bias,
            mlp_bias: raw.mlp_bias.unwrap_or(false),
            tie_word_embeddings: raw.tie_word_embeddings.unwrap_or(gemma),
            sliding_windows: hf_layers::sliding_windows(&raw, architecture, num_hidden_layers)?,
            initializer_range: raw.initializer_range.unwrap_or(0.02),
            bos_token_id: token("bos_token_id", raw.bos_token_id.as_ref(), 2)?.first().copied(),
            eos_token_ids: token("eos_token_id", raw.eos_token_id.as_ref(), 1)?,
            pad_token_id: token("pad_token_id", raw.pad_token_id.as_ref(), 0)?.first().copied(),
        };
        config.validate()?;
        Ok(config)
    }
}

impl From<ModelConfig> for HfConfig {
    fn from(config: ModelConfig) -> Self {
        let architecture = config.architecture;
        let (is_llama, is_gemma, is_qwen) = (
            architecture == Architecture::Llama,
            architecture == Architecture::Gemma3,
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
            hidden_act: (!is_gemma).then(|| "silu".to_owned()),
            hidden_activation: is_gemma.then(|| GELU.to_owned()),
            rms_norm_eps: Some(config.rms_norm_eps),
            max_position_embeddings: Some(config.max_position_embeddings),
            rope_theta: Some(config.rope_theta),
            rope_scaling: match config.rope_scaling {
                RopeScaling::Default {} => None,
                scaling => serde_json::to_value(scaling).ok(),
            },
            rope_parameters: None,
            rope_local_base_freq: config.rope_local_theta,
            partial_rotary_factor: None,
            query_pre_attn_scalar: config.query_pre_attn_scalar,
            attention_dropout: None,
            attn_logit_softcapping: None,
            final_logit_softcapping: None,
            use_bidirectional_attention: None,
            attention_bias: (is_llama || is_gemma || architecture == Architecture::Qwen3)
                .then_some(config.qkv_bias),
            mlp_bias: is_llama.then_some(config.mlp_bias),
            tie_word_embeddings: Some(config.tie_word_embeddings),
            use_sliding_window: is_qwen.then_some(window.is_some()),
            sliding_window: window,
            max_window_layers: None,
            layer_types: match window {
                Some(window) if is_qwen || is_gemma => Some(layer_types(window)),
                None if is_gemma => Some(layer_types(0)),
                _ => None,
            },
            sliding_window_pattern: None,
            class_window_pattern: None,
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
    /// Refuses every option that would change the forward pass and is not implemented.
    fn refuse_unsupported(&self, architecture: Architecture) -> Result<(), PolicyError> {
        let name = architecture.model_type();
        let gemma = architecture == Architecture::Gemma3;
        let activation = if gemma { GELU } else { "silu" };
        // Gemma configurations carry the other key too, for the sake of older readers.
        let (key, value) = if gemma {
            ("hidden_activation", self.hidden_activation.as_deref())
        } else {
            ("hidden_act", self.hidden_act.as_deref())
        };
        if let Some(value) = value.filter(|value| *value != activation) {
            return Err(PolicyError::unsupported(key, value, format!("{activation} (for {name})")));
        }
        if let Some(quantization) = &self.quantization_config {
            return Err(PolicyError::unsupported("quantization_config", quantization, "none"));
        }
        if self.attention_bias == Some(true) && architecture == Architecture::Mistral {
            return Err(PolicyError::unsupported("attention_bias", &true, "false (for mistral)"));
        }
        if self.mlp_bias == Some(true) && architecture != Architecture::Llama {
            return Err(PolicyError::unsupported("mlp_bias", &true, "false (true for llama only)"));
        }
        let numbers = [
            ("attention_dropout", self.attention_dropout, 0.0),
            ("partial_rotary_factor", self.partial_rotary_factor, 1.0),
            ("attn_logit_softcapping", self.attn_logit_softcapping, f64::NAN),
            ("final_logit_softcapping", self.final_logit_softcapping, f64::NAN),
        ];
        for (key, value, supported) in numbers {
            let Some(value) = value else { continue };
            if supported.is_nan() {
                return Err(PolicyError::unsupported(key, &value, "null"));
            }
            if (value - supported).abs() > 0.0 {
                return Err(PolicyError::unsupported(key, &value, supported.to_string()));
            }
        }
        if self.use_bidirectional_attention == Some(true) {
            return Err(PolicyError::unsupported("use_bidirectional_attention", &true, "false"));
        }
        Ok(())
    }

    /// Names the element type of the weights, under the old and the new key.
    pub(crate) fn with_dtype(mut self, name: &str) -> Self {
        self.dtype = Some(name.to_owned());
        self.torch_dtype = Some(name.to_owned());
        self
    }
}

/// A size, also one that is written as a float.
fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<usize>, D::Error> {
    let Some(number) = Option::<serde_json::Number>::deserialize(deserializer)? else {
        return Ok(None);
    };
    let whole = number.as_u64().or_else(|| {
        let float =
            number.as_f64().filter(|float| float.fract() == 0.0 && (0.0..9e15).contains(float));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a whole number in range"
        )]
        float.map(|float| float as u64)
    });
    let size = whole.and_then(|whole| usize::try_from(whole).ok());
    size.map(Some).ok_or_else(|| serde::de::Error::custom(format!("{number} is no size")))
}

/// Writes a whole number without a point, which transformers 5 insists on.
#[expect(clippy::ref_option, reason = "serde passes a reference to the field")]
fn whole<S: Serializer>(number: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    match number {
        Some(number) if number.fract() == 0.0 && number.abs() < 9e15 =>
        {
            #[expect(clippy::cast_possible_truncation, reason = "a whole number in range")]
            serializer.serialize_i64(*number as i64)
        }
        other => other.serialize(serializer),
    }
}

/// Tells a `null` from a key that is not there, which stands for the default of the family.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
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
