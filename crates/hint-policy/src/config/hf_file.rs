//! The raw fields of a Hugging Face `config.json`.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::config::architecture::Architecture;

/// `config.json` as transformers writes it. Keys that do not change the forward pass are ignored.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct HfConfig {
    pub(super) architectures: Option<Vec<String>>,
    pub(super) model_type: Option<String>,
    #[serde(deserialize_with = "size")]
    pub(super) vocab_size: Option<usize>,
    #[serde(deserialize_with = "size")]
    pub(super) hidden_size: Option<usize>,
    #[serde(deserialize_with = "size")]
    pub(super) intermediate_size: Option<usize>,
    #[serde(deserialize_with = "size")]
    pub(super) num_hidden_layers: Option<usize>,
    #[serde(deserialize_with = "size")]
    pub(super) num_attention_heads: Option<usize>,
    #[serde(deserialize_with = "size")]
    pub(super) num_key_value_heads: Option<usize>,
    #[serde(deserialize_with = "size")]
    pub(super) head_dim: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hidden_act: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hidden_activation: Option<String>,
    pub(super) rms_norm_eps: Option<f64>,
    #[serde(deserialize_with = "size")]
    pub(super) max_position_embeddings: Option<usize>,
    #[serde(deserialize_with = "size", skip_serializing_if = "Option::is_none")]
    pub(super) original_max_position_embeddings: Option<usize>,
    pub(super) rope_theta: Option<f64>,
    pub(super) rope_scaling: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rope_parameters: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rope_local_base_freq: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) partial_rotary_factor: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "whole")]
    pub(super) query_pre_attn_scalar: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub(super) attn_logit_softcapping: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub(super) final_logit_softcapping: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) embedding_multiplier: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) residual_multiplier: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) attention_multiplier: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) logits_scaling: Option<f64>,
    #[serde(skip_serializing)]
    pub(super) use_bidirectional_attention: Option<bool>,
    #[serde(skip_serializing)]
    pub(super) is_causal: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) attention_bias: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) attention_out_bias: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mlp_bias: Option<bool>,
    // Other names of the biases of attention and of the feed-forward layer, in some families.
    #[serde(skip_serializing)]
    pub(super) qkv_bias: Option<bool>,
    #[serde(skip_serializing)]
    pub(super) bias: Option<bool>,
    pub(super) tie_word_embeddings: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) use_sliding_window: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub(super) sliding_window: Option<Value>,
    #[serde(skip_serializing, deserialize_with = "size")]
    pub(super) max_window_layers: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) layer_types: Option<Vec<String>>,
    #[serde(skip_serializing, deserialize_with = "size")]
    pub(super) full_attention_interval: Option<usize>,
    #[serde(deserialize_with = "size", skip_serializing_if = "Option::is_none")]
    pub(super) linear_num_key_heads: Option<usize>,
    #[serde(deserialize_with = "size", skip_serializing_if = "Option::is_none")]
    pub(super) linear_num_value_heads: Option<usize>,
    #[serde(deserialize_with = "size", skip_serializing_if = "Option::is_none")]
    pub(super) linear_key_head_dim: Option<usize>,
    #[serde(deserialize_with = "size", skip_serializing_if = "Option::is_none")]
    pub(super) linear_value_head_dim: Option<usize>,
    #[serde(deserialize_with = "size", skip_serializing_if = "Option::is_none")]
    pub(super) linear_conv_kernel_dim: Option<usize>,
    /// Kind of the states; other programs read it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mamba_ssm_dtype: Option<String>,
    #[serde(skip_serializing)]
    pub(super) attn_output_gate: Option<bool>,
    // A number, or the kinds of layers in letters, one period of them.
    #[serde(skip_serializing)]
    pub(super) sliding_window_pattern: Option<Value>,
    // As transformers writes it, next to `layer_types`.
    #[serde(skip_serializing, rename(deserialize = "_sliding_window_pattern"))]
    pub(super) class_window_pattern: Option<usize>,
    pub(super) initializer_range: Option<f64>,
    /// 0 for each layer that does not rotate, else 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) no_rope_layers: Option<Vec<u8>>,
    #[serde(skip_serializing, deserialize_with = "size")]
    pub(super) no_rope_layer_interval: Option<usize>,
    #[serde(deserialize_with = "present")]
    pub(super) bos_token_id: Option<Value>,
    #[serde(deserialize_with = "present")]
    pub(super) eos_token_id: Option<Value>,
    #[serde(deserialize_with = "present")]
    pub(super) pad_token_id: Option<Value>,
    // A name, or one for each part of a model. The files of the weights have their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) dtype: Option<Value>,
    // The name before transformers 4.56; older readers know only this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) torch_dtype: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) quantization_config: Option<Value>,
    // The older name of compressed-tensors, and MLX's.
    #[serde(skip_serializing)]
    pub(super) compression_config: Option<Value>,
    #[serde(skip_serializing)]
    pub(super) quantization: Option<Value>,
    /// The language model of a model of several kinds of input.
    #[serde(skip_serializing)]
    pub(super) text_config: Option<Box<Self>>,
}

impl HfConfig {
    /// The part of a model that reads text, where the model reads other things too.
    pub(super) fn into_text(mut self) -> Self {
        let classes = self.architectures.as_deref().unwrap_or_default();
        let family = Architecture::ALL.into_iter().map(Architecture::family).find(|family| {
            family.whole.is_some_and(|whole| {
                let is_class = classes.is_empty() || classes.iter().any(|c| c == whole.class_name);
                self.model_type.as_deref() == Some(whole.model_type) && is_class
            })
        });
        // Its part may be one of another family.
        let fits = |text: &mut Box<Self>| {
            let own = text.model_type.as_deref();
            family.is_some_and(|family| own.is_none_or(|own| own == family.model_type))
        };
        let (Some(family), Some(text)) = (family, self.text_config.take_if(fits)) else {
            return self;
        };
        let quantization_config = self.quantization().or(text.quantization()).cloned();
        // Files say some things beside the part, for all parts.
        Self {
            model_type: Some(family.model_type.to_owned()),
            architectures: None,
            bos_token_id: text.bos_token_id.clone().or(self.bos_token_id),
            eos_token_id: self.eos_token_id.or(text.eos_token_id.clone()),
            pad_token_id: text.pad_token_id.clone().or(self.pad_token_id),
            quantization_config,
            is_causal: text.is_causal.filter(|is_causal| !is_causal).or(self.is_causal),
            tie_word_embeddings: text.tie_word_embeddings.or(self.tie_word_embeddings),
            ..*text
        }
    }

    /// Names the element type of the weights, under the old and the new key.
    pub(crate) fn with_dtype(mut self, name: &str) -> Self {
        self.dtype = Some(name.into());
        self.torch_dtype = Some(name.into());
        self
    }

    /// The description of quantized weights, by whichever name.
    pub(super) fn quantization(&self) -> Option<&Value> {
        let all = [&self.quantization_config, &self.compression_config, &self.quantization];
        all.into_iter().flatten().next()
    }
}

/// A size, also one that is written as a float.
fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<usize>, D::Error> {
    let Some(value) = Option::<Value>::deserialize(deserializer)? else {
        return Ok(None);
    };
    let size = size_of(&value);
    size.map(Some).ok_or_else(|| serde::de::Error::custom(format!("{value} is no size")))
}

/// The size that a number gives, also a float.
pub(super) fn size_of(number: &Value) -> Option<usize> {
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
    whole.and_then(|whole| usize::try_from(whole).ok())
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

/// Separates a `null` from a missing key, which stands for the default of the family.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}
