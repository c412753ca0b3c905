//! The model families.

use crate::error::PolicyError;

/// Model families this crate implements. They share one decoder block and differ in options.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Architecture {
    /// `LlamaForCausalLM`.
    Llama,
    /// `Qwen2ForCausalLM`: biases on queries, keys and values.
    Qwen2,
    /// `Qwen3ForCausalLM`: RMS normalization of each query and key head.
    Qwen3,
    /// `MistralForCausalLM`: Llama with an optional sliding window.
    Mistral,
    /// `Gemma3ForCausalLM`, text only: scaled embeddings, norms before and after each part, norms of
    /// queries and keys, sliding windows with a rotary base of their own, a gate of GELU.
    Gemma3,
}

impl Architecture {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Llama, Self::Qwen2, Self::Qwen3, Self::Mistral, Self::Gemma3];

    /// The `model_type` of `config.json`.
    pub const fn model_type(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::Mistral => "mistral",
            Self::Gemma3 => "gemma3_text",
        }
    }

    /// The class name that `config.json` lists under `architectures`.
    pub const fn class_name(self) -> &'static str {
        match self {
            Self::Llama => "LlamaForCausalLM",
            Self::Qwen2 => "Qwen2ForCausalLM",
            Self::Qwen3 => "Qwen3ForCausalLM",
            Self::Mistral => "MistralForCausalLM",
            Self::Gemma3 => "Gemma3ForCausalLM",
        }
    }

    /// Finds an architecture by its `model_type`.
    ///
    /// # Errors
    ///
    /// [`PolicyError::Unsupported`] with the list of supported types.
    pub fn from_model_type(name: &str) -> Result<Self, PolicyError> {
        Self::ALL.into_iter().find(|known| known.model_type() == name).ok_or_else(|| {
            PolicyError::unsupported(
                "model_type",
                &name,
                Self::ALL.map(Self::model_type).join(", "),
            )
        })
    }
}
